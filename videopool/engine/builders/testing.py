"""Trained networks, and how they are tested."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

import videopool
from videopool.config import Config, dump
from videopool.data.label_sets import LabelSets
from videopool.data.lists.table import VideoTable
from videopool.data.loading.dataset import TestVideos
from videopool.data.loading.loader import TestLoader, WindowLoader
from videopool.data.loading.windows import WindowVideos
from videopool.engine.builders.parts import build_model, clip_sampling, load_weights, loading, preprocessing, reading
from videopool.engine.builders.stored_config import stored_config
from videopool.engine.checkpoints.files import read_checkpoint
from videopool.engine.cluster.distributed import World
from videopool.engine.scoring.assessment import Assessment, assess_evaluation
from videopool.engine.scoring.evaluation import Evaluation, EvaluationPlan, Metric, Preprocess
from videopool.engine.scoring.results import write_results
from videopool.engine.step.memory_order import channels_last
from videopool.errors import InputError
from videopool.export.deployed import Deployed
from videopool.export.description import Description
from videopool.models.video_model import VideoModel
from videopool.targets import import_target
from videopool.types import VideoRecord


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained network in evaluation mode on the CPU, and what is needed to run it.

    Attributes:
        model: from what ``preprocess`` returns to logits [B,K].
        preprocess: from uint8 clips [B,3,T,H,W].
        config, classes: of the training; the configuration is changed by overrides.
        several_labels: whether a video may have several classes.
        step: the step of the checkpoint; None for an export, which does not know it.
        weights: averaged or raw, see ``evaluate.weights``; "" for an export.
        note: what was loaded, if the weights are of another package; else "".
    """

    model: nn.Module
    preprocess: Preprocess
    config: Config
    classes: tuple[str, ...]
    several_labels: bool
    step: int | None = None
    weights: str = ""
    note: str = ""

    def deployed(self, *, any_size: bool = False) -> tuple[Deployed, Description]:
        """Return the network from uint8 clips to logits, and its description, for an export.

        ``any_size`` is for clips of any height and width: an average pool of the training size in the head becomes one
        of all cells (``VideoModel.take_any_size``).
        """
        clip, data = self.config.clip, self.config.data
        model = self.model
        if any_size and isinstance(model, VideoModel):
            model = copy.deepcopy(model)
            model.take_any_size()
        description = Description(
            frames=clip.frames,
            sampling=clip.sampling,
            stride=clip.stride,
            fps=clip.fps,
            window=clip.window,
            short=clip.short,
            short_side=self.config.test_scale,
            crop=self.config.test_crop,
            mean=clip.mean,
            std=clip.std,
            square_pixels=data.square_pixels,
            deinterlace=data.deinterlace,
            classes=self.classes,
            several_labels=self.several_labels,
            config=dump(self.config),
            any_size=any_size,
            provenance={
                "videopool": videopool.__version__,
                "torch": str(torch.__version__),
                **({} if self.step is None else {"step": self.step}),
            },
        )
        return Deployed(model, self.preprocess).eval(), description


def load_trained(path: Path, overrides: Sequence[str] = (), *, trust: bool = False) -> Trained:
    """Return the network of a checkpoint, its configuration changed by ``overrides``.

    Raises:
        InputError: if the file is not a checkpoint, if its weights do not fit the changed configuration, or if it names
            functions to call and ``trust`` is False.
    """
    state = read_checkpoint(path)
    config = stored_config(state["config"], path, overrides, trust=trust)
    weights = chosen_weights(state, config)
    trained = with_weights(config, state["classes"], state["several_labels"], weights, path, step=state["step"])
    averaged = "averaged" in state and config.evaluate.weights == "averaged"
    return dataclasses.replace(trained, weights="averaged" if averaged else "raw")


def write_evaluation(
    folder: Path,
    trained: Trained,
    evaluation: Evaluation,
    records: Sequence[VideoRecord],
    *,
    checkpoint: Path,
    **details: Any,
) -> tuple[Assessment | None, list[Path]]:
    """Assess an evaluation of ``trained``, which is from ``checkpoint``, and write it with ``details`` to ``folder``.

    Returns:
        The assessment, None without labels, and the files with results (``results.write_results``).

    Raises:
        InputError: see ``results.write_results``.
    """
    settings = trained.config.evaluate
    assessed = assess_evaluation(evaluation, trained.classes, settings.resamples)
    described = {"checkpoint": str(checkpoint), "step": trained.step, "weights": trained.weights, **details}
    described |= {} if assessed is None else assessed.values()
    allow_missing = settings.allow_missing
    written = write_results(folder, evaluation, records, trained.classes, described, allow_missing=allow_missing)
    return assessed, written


def chosen_weights(state: dict[str, Any], config: Config) -> dict[str, Any]:
    """Return the weights of a checkpoint that ``evaluate.weights`` asks for."""
    averaged: dict[str, Any] = state.get("averaged", state["model"])
    return averaged if config.evaluate.weights == "averaged" else state["model"]


def with_weights(
    config: Config,
    classes: Sequence[str],
    several_labels: bool,
    weights: dict[str, Any],
    path: Path,
    *,
    step: int | None = None,
) -> Trained:
    """Return the network of ``config`` with ``weights``, which were read from ``path``.

    Raises:
        InputError: if the weights do not fit the configuration.
    """
    model, _ = build_model(config, classes)
    load_weights(model, weights, path, strict=True)
    return Trained(channels_last(model).eval(), preprocessing(config), config, tuple(classes), several_labels, step)


def build_test(
    trained: Trained, records: Sequence[VideoRecord], world: World
) -> tuple[TestLoader | WindowLoader, EvaluationPlan]:
    """Return the test of ``config.evaluate``, K clips x S crops of every video, and its loader, to be closed."""
    spec = trained.config.evaluate
    loader, plan = build_plan(
        trained.config, records, trained.classes, world, trained.several_labels, clips=spec.clips, crops=spec.crops
    )
    return loader, dataclasses.replace(plan, preprocess=trained.preprocess)


def build_plan(
    config: Config,
    records: Sequence[VideoRecord],
    classes: tuple[str, ...],
    world: World,
    several_labels: bool,
    *,
    clips: int,
    crops: int,
) -> tuple[TestLoader | WindowLoader, EvaluationPlan]:
    """Return a loader, to be closed, and the plan to evaluate ``clips`` x ``crops`` views of every video."""
    table = records if isinstance(records, VideoTable) else None
    if not several_labels and table is not None and table.several_labels:
        raise InputError(
            f"the videos of {config.data.test} have several classes each, but the network was trained on one each; "
            "give another data.test, or train on a list with several"
        )
    sampling, shared = clip_sampling(config), loading(config, world)
    loader: TestLoader | WindowLoader
    if clips:
        dataset = TestVideos(records, sampling, clips=clips, crops=crops, reading=reading(config))
        loader = TestLoader(dataset, batch_videos=max(1, config.test_batch // (clips * crops)), **shared)
    else:
        windows = WindowVideos(records, sampling, hop=config.evaluate.hop, crops=crops, reading=reading(config))
        loader = WindowLoader(windows, batch=config.test_batch, **shared)
    labels = table.label if table is not None else [record.label for record in records]
    labeled = table is None or not table.unlabeled
    plan = EvaluationPlan(
        loader,
        torch.as_tensor(labels, dtype=torch.int64),
        classes,
        preprocess=preprocessing(config),
        views=clips * crops,
        crops=crops,
        batch=config.test_batch,
        targets=_targets(records, len(classes), labeled) if several_labels else None,
        labeled=labeled,
        precision=config.train.precision,
        metrics=custom_metrics(config.evaluate.metrics),
    )
    return loader, plan


def _targets(records: Sequence[VideoRecord], classes: int, labeled: bool) -> torch.Tensor:
    """Return float32 [V,K], 1 for each class of a video; zeros for a list without labels."""
    return LabelSets(records, classes)(range(len(records))) if labeled else torch.zeros(len(records), classes)


def custom_metrics(targets: Sequence[str]) -> dict[str, Metric]:
    """Return the metrics of ``evaluate.metrics`` by the names of their functions.

    Raises:
        InputError: if a function cannot be imported, or two have the same name.
    """
    found: dict[str, Metric] = {}
    for target in targets:
        name = target.rpartition(".")[2]
        if name in found:
            raise InputError(f"evaluate.metrics has two functions named {name}; rename one")
        found[name] = import_target(target, setting="metrics")
    return found
