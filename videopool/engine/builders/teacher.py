"""The teacher of a distillation."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch

from videopool.config import Config, from_plain
from videopool.engine.builders.multigrid import check_shapes
from videopool.engine.builders.stored_config import network_functions, refuse_code
from videopool.engine.builders.testing import chosen_weights, with_weights
from videopool.engine.checkpoints.files import read_checkpoint
from videopool.engine.class_names import class_difference
from videopool.engine.step.distillation import Teacher
from videopool.errors import InputError
from videopool.models import VideoModel


def teacher_of(
    config: Config, classes: Sequence[str], several_labels: bool, device: torch.device, *, trust: bool = False
) -> Teacher | None:
    """Return the network of the checkpoint ``train.distill`` for clips of this training; None without one.

    Without ``trust``, the checkpoint may name only the functions that ``config`` names too.

    Raises:
        InputError: if the file is not a checkpoint, if its network was trained on other classes or takes clips with
            another normalization, or if its weights do not fit clips of this size.
    """
    spec = config.train
    if not spec.distill:
        return None
    path = Path(spec.distill)
    state = read_checkpoint(path)
    if state["classes"] != list(classes) or state["several_labels"] != several_labels:
        raise InputError(
            f"train.distill: {path} was trained on other classes than {config.data.train} has "
            f"({class_difference(state['classes'], classes)}); give a checkpoint of the same classes"
        )
    trained = from_plain(state["config"], f"the config in {path}")
    if not trust:
        refuse_code(network_functions(trained), path, network_functions(config).values())
    for name in ("mean", "std"):
        one, other = getattr(trained.clip, name), getattr(config.clip, name)
        if one != other:
            raise InputError(
                f"train.distill: {path} was trained with clip.{name}={list(one)}, but this run has {list(other)}; "
                "use the same"
            )
    own = dataclasses.replace(trained, clip=config.clip, evaluate=config.evaluate)
    model = with_weights(own, classes, several_labels, chosen_weights(state, trained), path).model.to(device)
    if spec.multigrid != "none" and isinstance(model, VideoModel):
        model.take_any_size()
    check_shapes(config, model)
    return Teacher(model, spec.distill_weight, spec.distill_temperature, several_labels, precision=spec.precision)
