"""A trained network that classifies videos, exactly as ``videopool evaluate`` scores them.

::

    classifier = videopool.load("runs/mine/checkpoints/best.pt")
    classifier.predict("video.mp4")  # [Prediction(label='waving', probability=0.93), ...]
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import torch
from torch import nn

from videopool.config import Config
from videopool.data.clip_times import place_clips
from videopool.data.decoding.decode import OpenVideo
from videopool.data.decoding.memory_reader import MemoryReader
from videopool.data.decoding.reader import DecodeError
from videopool.data.loading.dataset import views_at
from videopool.engine.builders.parts import clip_sampling
from videopool.engine.builders.testing import Trained, build_test
from videopool.engine.cluster.distributed import World, alone
from videopool.engine.scoring.assessment import video_means
from videopool.engine.scoring.evaluation import Preprocess, evaluate
from videopool.engine.step.precision import autocast
from videopool.errors import InputError
from videopool.inference.trained import read_trained
from videopool.types import BadVideo, VideoRecord


@dataclasses.dataclass(frozen=True)
class Prediction:
    """A class and its probability, 0..1."""

    label: str
    probability: float


@dataclasses.dataclass(frozen=True)
class Scores:
    """The scores of V videos.

    Attributes:
        probabilities: float64 [V,K], the mean over the views of each video; NaN for a video that cannot be read. The
            rows sum to 1, unless a video may have several classes: then each class has its own probability.
        classes: the K names.
        bad: the videos that cannot be read, with the reasons; ``BadVideo.video`` is the row.
    """

    probabilities: torch.Tensor
    classes: tuple[str, ...]
    bad: tuple[BadVideo, ...]

    def top(self, video: int, k: int = 5) -> list[Prediction]:
        """Return the ``k`` most probable classes (at most K) of a row, the most probable first."""
        values, indices = self.probabilities[video].topk(min(k, len(self.classes)))
        return [Prediction(self.classes[i], p) for p, i in zip(values.tolist(), indices.tolist(), strict=True)]


class Classifier:
    """A trained network and the pipeline from videos to its scores; made by ``load``.

    Attributes:
        classes: names of the K classes, in label order.
        model: the network, in evaluation mode on its device, from what ``preprocessing`` returns to logits [B,K].
        preprocessing: turns uint8 clips [B,3,T,H,W] into the input of ``model``.
        config: the configuration that it was trained with, changed by the overrides.
    """

    def __init__(self, trained: Trained, world: World) -> None:
        self.config: Config = trained.config
        self.classes = trained.classes
        self.model: nn.Module = trained.model.to(world.device)
        self.preprocessing: Preprocess = trained.preprocess
        self._trained, self._world = trained, world

    @overload
    def predict(self, videos: str | Path | torch.Tensor, top: int = ...) -> list[Prediction]: ...

    @overload
    def predict(self, videos: list[str] | list[Path], top: int = ...) -> list[list[Prediction]]: ...

    def predict(self, videos: Any, top: int = 5) -> Any:
        """Return the most probable classes of a video, or of each video of a list.

        Args:
            videos: a path (a file, or a folder of frames), a list of paths, or the frames of one video as a tensor
                uint8 [3,T,H,W], RGB, at ``config.data.folder_fps`` frames a second.
            top: how many classes.

        Raises:
            DecodeError: if a video cannot be read. ``scores`` does without it.
        """
        one = isinstance(videos, str | Path | torch.Tensor)
        scores = self.scores(videos)
        if scores.bad:
            raise DecodeError(scores.bad[0].path, scores.bad[0].reason)
        return scores.top(0, top) if one else [scores.top(row, top) for row in range(len(scores.probabilities))]

    def scores(self, videos: str | Path | Sequence[str | Path] | torch.Tensor) -> Scores:
        """Return the probabilities of all classes for each video; takes what ``predict`` takes."""
        if isinstance(videos, torch.Tensor):
            return Scores(self._score_frames(videos), self.classes, ())
        paths = [Path(videos)] if isinstance(videos, str | Path) else [Path(path) for path in videos]
        if not paths:
            return Scores(torch.empty(0, len(self.classes), dtype=torch.float64), self.classes, ())
        records = [VideoRecord(str(path), path, 0, frames=0 if path.is_dir() else None) for path in paths]
        loader, plan = build_test(self._trained, records, self._world)
        with contextlib.closing(loader):
            result = evaluate(self.model, plan, world=self._world)
        probabilities = video_means(result.shards, result.videos)
        probabilities[~result.videos.complete] = float("nan")
        return Scores(probabilities, self.classes, result.bad)

    @torch.inference_mode()
    def _score_frames(self, frames: torch.Tensor) -> torch.Tensor:
        """Return float64 [1,K] for the frames uint8 [3,T,H,W] of one video."""
        spec, sampling = self.config.evaluate, clip_sampling(self.config)
        if not spec.clips:
            raise InputError("evaluate.clips=0 (sliding windows) needs a video file; load with evaluate.clips=10")
        video = OpenVideo(MemoryReader(frames, self.config.data.folder_fps), "frames")
        timing = video.timing
        times = place_clips(
            duration=timing.duration_seconds, fps=timing.fps, start=0.0, end=None, sampling=sampling, clips=spec.clips
        )
        views = views_at(video, times, sampling, spec.crops)
        parts = []
        for part in torch.stack(views).split(self.config.test_batch):
            with autocast(self._world.device, self.config.train.precision):
                logits = self.model(self.preprocessing(part.to(self._world.device))).float()
            parts.append((logits.sigmoid() if self._trained.several_labels else logits.softmax(1)).cpu())
        return torch.cat(parts).double().mean(0, keepdim=True)

    def __repr__(self) -> str:
        name = self.config.model.target or self.config.model.name
        return f"Classifier({name}, {len(self.classes)} classes, on {self._world.device})"


def load(
    path: str | Path, overrides: Sequence[str] = (), *, device: str = "auto", workers: int | None = 0
) -> Classifier:
    """Load a trained network and return a ``Classifier``.

    Args:
        path: a checkpoint, an exported ``program.pt2`` or ``model.safetensors``, or the folder of an export.
        overrides: changes of the configuration, such as ``"evaluate.clips=1"``.
        device: auto (a GPU if there is one), cpu or cuda.
        workers: processes that decode; 0 decodes in this process, None takes ``data.workers`` of the configuration.

    Raises:
        InputError: if the file is not one of these, or cannot be read.
    """
    changes = [*overrides, *([] if workers is None else [f"data.workers={workers}"])]
    trained = read_trained(Path(path), changes if device == "auto" else [*changes, f"train.device={device}"])
    return Classifier(trained, alone(trained.config.train.device))
