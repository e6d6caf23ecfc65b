"""A trained network that classifies videos, exactly as ``videopool evaluate`` scores them.

::

    classifier = videopool.load("runs/mine/checkpoints/best.pt")
    classifier.predict("video.mp4")  # [Prediction(label='waving', probability=0.93), ...]
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator, Sequence
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
from videopool.data.sampling import ClipSampling
from videopool.engine.builders.parts import clip_sampling, reading
from videopool.engine.builders.testing import build_test
from videopool.engine.scoring.assessment import video_means
from videopool.engine.scoring.evaluation import Evaluation, Preprocess, evaluate
from videopool.errors import InputError
from videopool.inference.backends import Backend, BackendModule
from videopool.inference.features import Features, LayerTap
from videopool.inference.timeline import Segment, Timeline, TimelineBuilder, Window
from videopool.inference.trained import Network, read_network
from videopool.inference.windows import WindowClip, sliding_windows
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
        return top_of(self.probabilities[video], self.classes, k)


def top_of(probabilities: torch.Tensor, classes: Sequence[str], k: int) -> list[Prediction]:
    """Return the ``k`` most probable classes (at most K) of ``probabilities`` [K], the most probable first."""
    values, indices = probabilities.topk(min(k, len(classes)))
    return [Prediction(classes[i], p) for p, i in zip(values.tolist(), indices.tolist(), strict=True)]


class Classifier:
    """A trained network and the pipeline from videos to its scores; made by ``load``.

    Attributes:
        classes: names of the K classes, in label order.
        backend: runs the network: from uint8 clips [B,3,T,H,W] to logits [B,K].
        model: the network of a checkpoint or of weights, in evaluation mode on its device, from what ``preprocessing``
            returns to logits [B,K]; for other forms, a module that calls ``backend``.
        preprocessing: turns uint8 clips [B,3,T,H,W] into the input of ``model``.
        config: the configuration that it was trained with, changed by the overrides.
        several_labels: whether a video may have several classes, each with its own probability.
        sampling: how clips are cut out of videos.
        note: what was loaded, if the weights are of another package; else "".
    """

    def __init__(self, network: Network) -> None:
        trained = network.trained
        self.config: Config = trained.config
        self.classes = trained.classes
        self.several_labels = trained.several_labels
        self.backend: Backend = network.backend
        self.model: nn.Module = trained.model
        self.preprocessing: Preprocess = trained.preprocess
        self.sampling: ClipSampling = clip_sampling(trained.config)
        self.note = trained.note
        self._network, self._trained, self._world = network, trained, network.world

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

    def scores(self, videos: str | Path | Sequence[str | Path | VideoRecord] | torch.Tensor) -> Scores:
        """Return the probabilities of all classes for each video.

        It takes what ``predict`` takes, and the records of a list, whose labels are not used.
        """
        if isinstance(videos, torch.Tensor):
            return Scores(self._score_frames(videos), self.classes, ())
        records = _records(videos)
        return self._scored(self._evaluate(records)) if records else self._without_videos()

    def features(self, videos: str | Path | Sequence[str | Path | VideoRecord], layer: str) -> tuple[Scores, Features]:
        """Return the scores of videos, and the features of each of their clips.

        Args:
            videos: as for ``scores``.
            layer: path of a layer of ``model``, such as ``"head.pool"``.

        Raises:
            InputError: for a layer that does not exist, does not run or does not return one tensor, and for a form of
                the network without layers.
        """
        tap = LayerTap(self.model, layer)
        records = _records(videos)
        if not records:
            return self._without_videos(), Features.of((), tap.values())
        with tap:
            result = self._evaluate(records)
        return self._scored(result), Features.of(result.shards, tap.values())

    def windows(self, video: str | Path | VideoRecord, hop: float = 0.0) -> Iterator[Window]:
        """Yield the scores of windows that slide over a video of any length; see ``sliding_windows``.

        Args:
            video: a file, a folder of frames, or a record.
            hop: seconds from the start of a window to that of the next one; 0 is half a window.

        Raises:
            DecodeError: if the video cannot be read, at its start or in the middle.
            InputError: for a network that takes frames from all over a video.
        """
        (record,) = _records([video])
        crops = self.config.evaluate.crops
        clips = sliding_windows(record, self.sampling, hop=hop, crops=crops, reading=reading(self.config))
        many = max(1, self.config.test_batch // crops)
        while batch := [*itertools.islice(clips, many)]:
            yield from self.score_windows(batch)

    def score_windows(self, batch: Sequence[WindowClip]) -> list[Window]:
        """Return the scores of windows: the mean of the probabilities of their crops."""
        probabilities = self._probabilities(torch.cat([clip.crops for clip in batch]))
        means = probabilities.unflatten(0, (len(batch), -1)).mean(1)
        return [Window(clip.start, clip.end, mean) for clip, mean in zip(batch, means, strict=True)]

    def timeline(
        self,
        video: str | Path | VideoRecord,
        hop: float = 0.0,
        *,
        smooth: float | None = None,
        shortest: float | None = None,
        threshold: float | None = None,
    ) -> Timeline:
        """Return the windows of a video, and the segments in which it shows a class.

        Args:
            video, hop: as for ``windows``, and so are the errors.
            smooth: seconds over which scores are averaged before segments are found; None is the length of a window.
            shortest: seconds of the shortest segment; None is half a window.
            threshold: the lowest score of a class in a segment; None is 0.5 if videos may have several classes, else 0.
        """
        windows: list[Window] = []
        segments: list[Segment] = []
        builder = None
        for window in self.windows(video, hop):
            if builder is None:
                settings: dict[str, Any] = {"smooth": smooth, "shortest": shortest, "threshold": threshold}
                builder = self.timeline_builder(window.length, **settings)
            windows.append(window)
            segments += builder.add(window)[1]
        return Timeline(tuple(windows), (*segments, *(builder.finish()[1] if builder else ())))

    def timeline_builder(
        self,
        length: float,
        *,
        smooth: float | None = None,
        shortest: float | None = None,
        threshold: float | None = None,
    ) -> TimelineBuilder:
        """Return what finds the segments of windows of ``length`` seconds; see ``timeline`` for the others."""
        return TimelineBuilder(
            self.classes,
            smooth=length if smooth is None else smooth,
            shortest=length / 2 if shortest is None else shortest,
            threshold=(0.5 if self.several_labels else 0.0) if threshold is None else threshold,
            several=self.several_labels,
        )

    def with_workers(self, workers: int) -> Classifier:
        """Return this classifier with another number of processes that decode; 0 decodes in this process."""
        config = dataclasses.replace(self.config, data=dataclasses.replace(self.config.data, workers=workers))
        return Classifier(dataclasses.replace(self._network, trained=dataclasses.replace(self._trained, config=config)))

    def _evaluate(self, records: Sequence[VideoRecord]) -> Evaluation:
        loader, plan = build_test(self._trained, records, self._world)
        plan = dataclasses.replace(plan, preprocess=lambda clips: clips, precision="float32")  # the backend has both
        with contextlib.closing(loader):
            return evaluate(BackendModule(self.backend), plan, world=self._world)

    def _scored(self, result: Evaluation) -> Scores:
        probabilities = video_means(result.shards, result.videos)
        probabilities[~result.videos.complete] = float("nan")
        return Scores(probabilities, self.classes, result.bad)

    def _without_videos(self) -> Scores:
        return Scores(torch.empty(0, len(self.classes), dtype=torch.float64), self.classes, ())

    def _probabilities(self, clips: torch.Tensor) -> torch.Tensor:
        """Return the probabilities float32 [B,K], on the CPU, of uint8 ``clips`` [B,3,T,H,W].

        Raises:
            InputError: if they are not finite.
        """
        parts = [self.backend.scores(part) for part in clips.split(self.config.test_batch)]
        found = torch.cat([(part.sigmoid() if self.several_labels else part.softmax(1)).cpu() for part in parts])
        if not found.isfinite().all():
            raise InputError(
                "The scores are not finite, so the weights are broken. Use an earlier checkpoint or "
                "train.precision=float32."
            )
        return found

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
        return self._probabilities(torch.stack(views)).double().mean(0, keepdim=True)

    def __repr__(self) -> str:
        name = self.config.model.target or self.config.model.name
        return f"Classifier({name}, {len(self.classes)} classes, on {self._world.device})"


def _records(videos: str | Path | Sequence[str | Path | VideoRecord]) -> list[VideoRecord]:
    """Return records of the videos with the label 0, so that they fit any network."""
    given = [videos] if isinstance(videos, str | Path) else videos
    return [_record(video) for video in given]


def _record(video: str | Path | VideoRecord) -> VideoRecord:
    if isinstance(video, VideoRecord):
        return dataclasses.replace(video, label=0, labels=None)
    path = Path(video)
    return VideoRecord(str(video), path, 0, frames=0 if path.is_dir() else None)


def load(
    path: str | Path,
    overrides: Sequence[str] = (),
    *,
    device: str = "auto",
    workers: int | None = 0,
    trust: bool = False,
    config: str | Path | None = None,
    classes: Sequence[str] | None = None,
) -> Classifier:
    """Load a trained network and return a ``Classifier``.

    Args:
        path: a checkpoint, the folder of a run, an exported file (weights, program, compiled program or ONNX), or the
            folder of an export.
        overrides: changes of the configuration, such as ``"evaluate.clips=1"``.
        device: auto (a GPU if there is one), cpu or cuda.
        workers: processes that decode; 0 decodes in this process, None takes ``data.workers`` of the configuration.
        trust: whether the file may name functions to call, such as that of ``model.target``.
        config: for weights of another package (docs/pretrained.md): a YAML file or the name of a shipped configuration
            that describes their network.
        classes: with ``config``: the names of the classes in the order of the weights; None: numbers.

    Raises:
        InputError: if the file is not one of these, cannot be read, or names functions without ``trust``.
    """
    changes = [*overrides, *([] if workers is None else [f"data.workers={workers}"])]
    changes += [] if device == "auto" else [f"train.device={device}"]
    return Classifier(read_network(Path(path), changes, trust=trust, config=config, classes=classes))
