"""Batches for training and testing, the same for any number of workers.

Which clips a step sees is a pure function of (seed, epoch, step); ``order`` says which. So nothing is lost with a
worker that dies: ``workers`` goes on with new ones.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from videopool.data.loading.batches import Dealt, WholeBatches
from videopool.data.loading.dataset import NoClip, TestVideos, TrainClips
from videopool.data.loading.malloc import keep_freed_memory
from videopool.data.loading.windows import WindowStream, WindowVideos
from videopool.data.loading.workers import Workers
from videopool.data.order import Order, epoch_keys, steps_per_epoch
from videopool.data.targets import LabelSets
from videopool.errors import InputError
from videopool.processes.children import fork_server, unblock_stop_signals
from videopool.processes.cores import limit_threads
from videopool.types import BadVideo, Batch, Clip

PRELOAD = ("__main__", "videopool.data.loading.dataset")
_GRACE_SECONDS = 20  # that a worker goes on for after SIGTERM


class TrainLoader:
    """Batches of random clips, ``steps_per_epoch`` in an epoch.

    The workers go on from one epoch into the next, so that its first batches are there when they are asked for.

    Args:
        dataset: where the clips come from.
        batch: clips of this process in a step.
        seed: of the order of the videos.
        rank, world: which of how many processes this is.
        workers: processes that decode; 0 decodes in this one.
        pin: give batches in page-locked memory, for a fast copy to a GPU.
        order: how the videos of an epoch are drawn; None is ``uniform_order``.
        clips_per_video: clips of a video side by side in a batch; divides ``batch``.
        targets: of videos with several classes, for ``Batch.targets``; None where each has one.
        epochs: behind which the workers do not go on.
    """

    def __init__(
        self,
        dataset: TrainClips,
        *,
        batch: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        workers: int = 2,
        pin: bool = False,
        order: Order | None = None,
        clips_per_video: int = 1,
        targets: LabelSets | None = None,
        epochs: int | None = None,
    ) -> None:
        _check(batch, "train.batch_per_device", rank, world, workers)
        if clips_per_video < 1 or batch % clips_per_video:
            raise InputError(
                f"train.clips_per_video={clips_per_video} does not divide train.batch_per_device={batch}; change one"
            )
        self.steps_per_epoch = steps_per_epoch(
            videos=len(dataset), batch=batch, world=world, clips_per_video=clips_per_video
        )
        sampling = dataset.sampling
        self._plan = _EpochPlan(
            functools.partial(
                epoch_keys,
                videos=len(dataset),
                batch=batch,
                seed=seed,
                rank=rank,
                world=world,
                order=order,
                clips_per_video=clips_per_video,
            ),
            self.steps_per_epoch,
            epochs,
        )
        collate = functools.partial(collate_train, targets=targets)
        batches = WholeBatches(dataset, collate, (batch, 3, sampling.frames, sampling.crop, sampling.crop))
        self._loader = _loader(batches, workers, pin, sampler=Dealt(self._plan, batches))
        self._workers = Workers(self._loader, dataset, batches)
        self._coming: Iterator[Batch | NoClip] | None = None
        self._step = 0  # the number of the next step of ``_coming``, counted from the start of epoch 0

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of ``epoch`` from step ``start`` on: those an epoch from its beginning would give there.

        Raises:
            ValueError: if ``start`` is outside of 0..steps_per_epoch.
            InputError: from the iterator, when too many videos in a row cannot be decoded, or workers keep dying.
        """
        if not 0 <= start <= self.steps_per_epoch:
            raise ValueError(f"step {start} is outside of the epoch's {self.steps_per_epoch} steps")

        steps = range(start, self.steps_per_epoch)
        return (self._batch(epoch * self.steps_per_epoch + step) for step in steps)

    def _batch(self, step: int) -> Batch:
        if self._coming is None or self._step != step:

            def begin(given: int) -> None:
                self._plan.first = step + given

            self._coming = self._workers.batches(begin)
        coming, self._coming = self._coming, None  # after an error it begins anew
        batch = _readable(next(coming))
        self._coming, self._step = coming, step + 1
        return batch

    def close(self) -> None:
        """Stop the workers; they start again if more batches are asked for."""
        self._coming = None
        self._workers.close()


class TestLoader:
    """All views of all videos of this process: videos ``rank, rank + world, ...``, none left out, none twice.

    ``videos`` counts them; a process may have none, and then gives no batch.

    Args:
        dataset: where the views come from.
        batch_videos: videos in a batch; B is ``batch_videos * len(dataset.views)``, less where videos are bad.
        rank, world, workers, pin: as in ``TrainLoader``.
    """

    __test__ = False

    def __init__(
        self,
        dataset: TestVideos,
        *,
        batch_videos: int,
        rank: int = 0,
        world: int = 1,
        workers: int = 2,
        pin: bool = False,
    ) -> None:
        _check(batch_videos, "evaluation batch", rank, world, workers)
        videos = range(rank, len(dataset), world)
        self.videos = len(videos)
        shares = [videos[first : first + batch_videos] for first in range(0, len(videos), batch_videos)]
        self._plan = _TestPlan(shares)
        size = (dataset.sampling.frames, dataset.sampling.test_crop, dataset.sampling.test_crop)
        batches = WholeBatches(dataset, _TestCollate(dataset), (batch_videos * len(dataset.views), 3, *size))
        loader = _loader(batches, workers, pin, sampler=Dealt(self._plan, batches))
        self._workers = Workers(loader, dataset, batches)

    def __len__(self) -> int:
        return len(self._plan.shares)

    def __iter__(self) -> Iterator[Batch]:
        return self._workers.batches(self._plan.begin)

    def close(self) -> None:
        """Stop the workers; they start again if more batches are asked for."""
        self._workers.close()


class WindowLoader:
    """All windows of all videos of this process, shared as in ``TestLoader``; a worker takes every n-th of its videos.

    Args:
        dataset: where the windows come from.
        batch: clips in a batch, of one video or several; each worker's last batch may have fewer.
        rank, world, workers, pin: as in ``TrainLoader``.
    """

    def __init__(
        self,
        dataset: WindowVideos,
        *,
        batch: int,
        rank: int = 0,
        world: int = 1,
        workers: int = 2,
        pin: bool = False,
    ) -> None:
        _check(batch, "evaluation batch", rank, world, workers)
        videos = range(rank, len(dataset), world)
        self.videos = len(videos)
        self._stream = WindowStream(dataset, videos, batch)
        self._processes = max(1, workers)
        self._workers = Workers(_loader(self._stream, workers, pin, collate=_TestCollate(dataset)), dataset)

    def __iter__(self) -> Iterator[Batch]:
        places: dict[int, tuple[int, int]] = {}

        def begin(given: int) -> None:
            if self._stream.places and not given:  # these workers began in the middle
                self._workers.close()
            self._stream.places = dict(places)

        for batch in self._workers.batches(begin):
            places |= self._stream.place_behind(batch, self._processes)
            yield batch

    def close(self) -> None:
        """Stop the workers; they start again if more batches are asked for."""
        self._workers.close()


class _EpochPlan(Sampler):
    """The keys ``(epoch, index)`` of each batch, from step ``first`` on, counted from the start of epoch 0, to the end
    of the last of ``epochs``, or of that of step ``first`` where it is a later one; without ``epochs`` it has no end.

    ``indices`` gives those of an ``epoch``, [steps_per_epoch, batch].
    """

    def __init__(self, indices: Callable[..., np.ndarray], steps_per_epoch: int, epochs: int | None) -> None:
        self._indices, self._steps, self._epochs = indices, steps_per_epoch, epochs
        self.first = 0

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        begins, start = divmod(self.first, self._steps)
        after = None if self._epochs is None else max(begins + 1, self._epochs)
        for epoch in itertools.count(begins) if after is None else range(begins, after):
            for step in self._indices(epoch=epoch)[start:]:
                yield [(epoch, int(index)) for index in step]
            start = 0


class _TestPlan(Sampler):
    """The videos of each batch, ``shares``, behind those ``given`` already."""

    def __init__(self, shares: Sequence[range]) -> None:
        self.shares = shares
        self._given = 0

    def begin(self, given: int) -> None:
        self._given = given

    def __iter__(self) -> Iterator[range]:
        return iter(self.shares[self._given :])


class _TestCollate:
    """Batches of test views, of the right shape also when every video of the batch is bad."""

    def __init__(self, dataset: TestVideos | WindowVideos) -> None:
        size = dataset.sampling.test_crop
        self._empty = (0, 3, dataset.sampling.frames, size, size)

    def __call__(self, videos: Sequence[tuple[Clip, ...] | BadVideo], out: torch.Tensor | None = None) -> Batch:
        bad = tuple(video for video in videos if isinstance(video, BadVideo))
        clips = [clip for video in videos if not isinstance(video, BadVideo) for clip in video]
        frames = _stacked(clips, out) if clips else torch.empty(self._empty, dtype=torch.uint8)
        return _batch(frames, clips, bad)


def collate_train(
    clips: Sequence[Clip | NoClip], targets: LabelSets | None = None, out: torch.Tensor | None = None
) -> Batch | NoClip:
    """The clips as one Batch, whose ``bad`` lists the failures of them all; or the first that is no clip.

    With ``targets``, the batch has those of the videos that are shown, of which some may be substitutes. With ``out``,
    uint8 [B,C,T,H,W] for at least these clips, they lie there.
    """
    whole = [clip for clip in clips if isinstance(clip, Clip)]
    for clip in clips:
        if isinstance(clip, NoClip):
            return clip
    batch = _batch(_stacked(whole, out), whole, tuple(bad for clip in whole for bad in clip.bad))
    return batch if targets is None else dataclasses.replace(batch, targets=targets(clip.video for clip in whole))


def _readable(batch: Batch | NoClip) -> Batch:
    """Raises here, in the training process: an error that crosses from a worker becomes a text with a traceback."""
    if isinstance(batch, NoClip):
        raise InputError(batch.sentence)
    return batch


def _stacked(clips: Sequence[Clip], out: torch.Tensor | None) -> torch.Tensor:
    """uint8 [B,C,T,H,W], in ``out`` where it is given; else, in a worker, in new memory that the training process
    shares, which saves a copy on the way."""
    frames = [clip.frames for clip in clips]
    if out is None:
        return default_collate(frames)  # type: ignore[no-any-return]
    return torch.stack(frames, out=out[: len(frames)])


def _batch(frames: torch.Tensor, clips: Sequence[Clip], bad: tuple[BadVideo, ...]) -> Batch:
    return Batch(
        clips=frames,
        labels=torch.tensor([clip.label for clip in clips], dtype=torch.int64),
        video=torch.tensor([clip.video for clip in clips], dtype=torch.int64),
        view=torch.tensor([clip.view for clip in clips], dtype=torch.int64),
        substituted=torch.tensor([clip.substituted for clip in clips], dtype=torch.bool),
        bad=bad,
    )


def _loader(
    dataset: Dataset,
    workers: int,
    pin: bool,
    *,
    sampler: Sampler[Any] | None = None,
    collate: Callable[..., Any] | None = None,
) -> DataLoader:
    """A loader of a data set that gives whole batches, or what ``collate`` makes one of."""
    return DataLoader(
        dataset,
        sampler=sampler,
        batch_size=None,
        collate_fn=collate or _unchanged,
        num_workers=workers,
        pin_memory=pin,
        persistent_workers=workers > 0,
        multiprocessing_context=fork_server(PRELOAD) if workers else None,
        worker_init_fn=_start_worker if workers else None,
        generator=torch.Generator(),  # DataLoader draws from it; the model's own generator is to stay as it is
    )


def _unchanged(batch: object) -> object:
    return batch


def _start_worker(worker: int) -> None:
    """One thread, for the workers are the parallelism; and no part in signals that ask the run to stop.

    Ctrl-C and many schedulers signal every process of the run. The training process answers by finishing its step and
    saving, for which it may need the workers; they end with it, or a while after a SIGTERM.
    """
    limit_threads(1)
    keep_freed_memory()
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(_GRACE_SECONDS))
    unblock_stop_signals()


def _check(batch: int, name: str, rank: int, world: int, workers: int) -> None:
    if batch < 1:
        raise InputError(f"{name}={batch}: expected at least 1")
    if workers < 0:
        raise InputError(f"data.workers={workers}: expected 0 or more")
    if not 0 <= rank < world:
        raise ValueError(f"rank {rank} is outside of the {world} processes")
