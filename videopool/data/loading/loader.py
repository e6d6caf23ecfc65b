"""Loaders of batches for training and testing, which are the same for any number of workers.

Which clips a step sees is a pure function of (seed, epoch, step), defined in ``order``. So nothing is lost when a
worker dies: ``supervisor`` continues with new ones.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from videopool.data.label_sets import LabelSets
from videopool.data.loading.batches import BatchDataset, RequestSampler
from videopool.data.loading.dataset import NoClip, TestVideos, TrainClips
from videopool.data.loading.malloc import keep_freed_memory
from videopool.data.loading.supervisor import WorkerSupervisor
from videopool.data.loading.windows import WindowStream, WindowVideos
from videopool.data.order import Order, epoch_clips
from videopool.data.steps import Stage, Steps
from videopool.errors import InputError
from videopool.processes.children import exit_now, fork_server, unblock_stop_signals, when_parent_ends
from videopool.processes.cores import limit_threads
from videopool.ranges import AT_LEAST_ONE, AT_LEAST_ZERO, check_divisor
from videopool.types import BadVideo, Batch, Clip

PRELOAD = ("__main__", "videopool.data.loading.dataset")
_GRACE_SECONDS = 20  # that a worker continues after SIGTERM


class _Loader:
    """A loader with workers."""

    _workers: WorkerSupervisor

    def close(self) -> None:
        """Stop the workers; they start again if more batches are asked for."""
        self._workers.close()


class TrainLoader(_Loader):
    """Batches of random clips: ``passes`` in each step.

    The workers continue from one epoch into the next, so that its first batches are ready when they are asked for.

    Args:
        dataset: of the clips.
        batch: clips of a step, over all processes; a multiple of ``world`` times ``passes``.
        seed: of the order of the videos.
        rank, world: the number of this process, and how many there are.
        workers: processes that decode; 0 decodes in this process.
        pin: yield batches in page-locked memory, for a fast copy to a GPU.
        order: how the videos of an epoch are drawn; None is ``uniform_order``.
        clips_per_video: consecutive clips of a video in a batch; divides ``batch``.
        targets: ``Batch.targets`` of videos with several classes; None if each has one.
        epochs: after which the workers stop; None: they never stop by themselves.
        passes: equal batches in which a process gets its clips of a step, for gradient accumulation.
        stages: the sizes of steps, if not all have ``batch`` clips of full shape; see ``Steps``.

    Attributes:
        steps: all steps of the training.
        steps_per_epoch: the steps of an epoch in which all have ``batch`` clips.
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
        passes: int = 1,
        stages: Sequence[Stage] = (Stage(1),),
    ) -> None:
        _check("batch", batch, rank, world, workers)
        if batch % (world * passes):
            raise InputError(f"batch={batch} must be a multiple of world={world} x passes={passes}", setting="batch")
        check_divisor("clips_per_video", clips_per_video, "batch", batch)
        clips = len(dataset) * clips_per_video
        self.steps = Steps(clips=clips, batch=batch, stages=stages)
        self.steps_per_epoch = Steps(clips=clips, batch=batch).count(0)
        self._epochs, self._passes = epochs, passes
        self._rank, self._world, self._dataset = rank, world, dataset
        self._clips = functools.partial(
            epoch_clips,
            videos=len(dataset),
            clips=self.steps.most_clips,
            seed=seed,
            order=order,
            clips_per_video=clips_per_video,
        )
        sizes = {size for stage in stages for size in stage.cycle}
        largest = max(size.times * math.prod(dataset.shape(size.shape)) for size in sizes) * batch // (world * passes)
        batches = BatchDataset(dataset, functools.partial(collate_train, targets=targets), largest)
        self._requests = RequestSampler(batches)
        self._loader = _data_loader(batches, workers, pin, sampler=self._requests)
        self._workers = WorkerSupervisor(self._loader, dataset, batches)
        self._upcoming: Iterator[Batch | NoClip] | None = None
        self._next = 0  # the number of the next batch of ``_upcoming``, counted from the start of epoch 0

    def shape(self, number: int) -> tuple[int, int, int, int]:
        """Return [C,T,H,W] of the clips of shape ``number`` (``StepSize.shape``)."""
        return self._dataset.shape(number)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of ``epoch`` from step ``start`` on, the same as in a whole epoch.

        Raises:
            ValueError: if ``start`` is not in 0..steps of the epoch.
            InputError: from the iterator, if too many videos in a row cannot be decoded, or workers keep dying.
        """
        count = self.steps.count(epoch)
        if not 0 <= start <= count:
            raise ValueError(f"start={start} must be from 0 to {count}, the steps of epoch {epoch}")

        first, end = ((self.steps.first(epoch) + step) * self._passes for step in (start, count))
        return map(self._batch, range(first, end))

    def _batch(self, number: int) -> Batch:
        if self._upcoming is None or self._next != number:

            def start(count: int) -> None:
                self._requests.plan = self._keys(number + count)

            self._upcoming = self._workers.batches(start)
        upcoming, self._upcoming = self._upcoming, None  # after an error it starts again
        batch = next(upcoming)
        if isinstance(batch, NoClip):
            raise InputError(batch.message)  # raised in a worker it would become a text with a traceback
        self._upcoming, self._next = upcoming, number + 1
        return batch

    def _keys(self, first: int) -> Iterator[list[tuple[int, ...]]]:
        """Yield the keys of each batch from number ``first`` on, counted from the start of epoch 0.

        They end with the last epoch, or with the epoch of ``first`` if that is later.
        """
        step, number = divmod(first, self._passes)
        first_epoch = self.steps.position(step)[0]
        for epoch in itertools.count(first_epoch):
            if self._epochs is not None and epoch >= max(first_epoch + 1, self._epochs):
                return
            done = step - self.steps.first(epoch)
            for keys in self._keys_of_epoch(epoch, done):
                yield from keys[number:]
                number = 0
            step = self.steps.first(epoch + 1)

    def _keys_of_epoch(self, epoch: int, done: int) -> Iterator[list[list[tuple[int, ...]]]]:
        """Yield the keys of each step of ``epoch`` but the first ``done``: one list for each of its batches."""
        clips, ends = self._clips(epoch=epoch), self.steps.ends(epoch)
        first = self.steps.first(epoch)
        for step in range(done, len(ends)):
            begin = ends[step - 1] if step else 0
            own = clips[begin : ends[step]].reshape(self._world, self._passes, -1)[self._rank]
            shape = self.steps.size(first + step).shape
            yield [[(epoch, index, shape) if shape else (epoch, index) for index in batch] for batch in own.tolist()]

    def close(self) -> None:
        """Stop the workers; they start again if more batches are asked for."""
        self._upcoming = None
        super().close()


class TestLoader(_Loader):
    """All views of all videos of this process: each of the videos ``rank, rank + world, ...`` once.

    A process may have no video, and then yields no batch.

    Args:
        dataset: of the views.
        batch_videos: videos in a batch; B is ``batch_videos * len(dataset.views)``, or less with bad videos.
        rank, world, workers, pin: as in ``TrainLoader``.

    Attributes:
        videos: the number of videos of this process.
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
        _check("batch_videos", batch_videos, rank, world, workers)
        videos = range(rank, len(dataset), world)
        self.videos = len(videos)
        self._shares = [videos[first : first + batch_videos] for first in range(0, len(videos), batch_videos)]
        view = _view_size(dataset)
        collate = functools.partial(_collate_test, view)
        batches = BatchDataset(dataset, collate, batch_videos * len(dataset.views) * math.prod(view))
        self._requests = RequestSampler(batches)
        self._workers = WorkerSupervisor(_data_loader(batches, workers, pin, sampler=self._requests), dataset, batches)

    def __len__(self) -> int:
        return len(self._shares)

    def __iter__(self) -> Iterator[Batch]:
        def start(count: int) -> None:
            self._requests.plan = self._shares[count:]

        return self._workers.batches(start)


class WindowLoader(_Loader):
    """All windows of all videos of this process, as in ``TestLoader``; a worker takes every n-th of its videos.

    Args:
        dataset: of the windows.
        batch: clips in a batch, of one or several videos; the last batch of each worker may have fewer.
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
        _check("batch", batch, rank, world, workers)
        videos = range(rank, len(dataset), world)
        self.videos = len(videos)
        self._stream = WindowStream(dataset, videos, batch)
        self._processes = max(1, workers)
        collate = functools.partial(_collate_test, _view_size(dataset))
        self._workers = WorkerSupervisor(_data_loader(self._stream, workers, pin, collate=collate), dataset)

    def __iter__(self) -> Iterator[Batch]:
        starts: dict[int, tuple[int, int]] = {}

        def start(count: int) -> None:
            if self._stream.starts and not count:  # the running workers started in the middle
                self._workers.close()
            self._stream.starts = dict(starts)

        for batch in self._workers.batches(start):
            starts |= self._stream.start_after(batch, self._processes)
            yield batch


def _view_size(dataset: TestVideos | WindowVideos) -> tuple[int, int, int, int]:
    """Return the shape [C,T,H,W] of a test view."""
    return 3, dataset.sampling.frames, dataset.sampling.test_crop, dataset.sampling.test_crop


def _collate_test(
    view: tuple[int, ...], videos: Sequence[tuple[Clip, ...] | BadVideo], out: torch.Tensor | None = None
) -> Batch:
    """Return test views as one Batch; if all videos are bad, it has no clips of the shape ``view`` [C,T,H,W]."""
    bad = tuple(video for video in videos if isinstance(video, BadVideo))
    clips = [clip for video in videos if not isinstance(video, BadVideo) for clip in video]
    return _batch(_stacked(clips, out) if clips else torch.empty((0, *view), dtype=torch.uint8), clips, bad)


def collate_train(
    clips: Sequence[Clip | NoClip], targets: LabelSets | None = None, out: torch.Tensor | None = None
) -> Batch | NoClip:
    """Return the clips as one Batch, whose ``bad`` lists all their failures, or the first NoClip.

    Args:
        targets: makes ``Batch.targets``, of the videos shown, some of which may be substitutes.
        out: uint8, contiguous, of at least as many bytes as the clips, which are written there.
    """
    for clip in clips:
        if isinstance(clip, NoClip):
            return clip
    whole = [clip for clip in clips if isinstance(clip, Clip)]
    batch = _batch(_stacked(whole, out), whole, tuple(bad for clip in whole for bad in clip.bad))
    return batch if targets is None else dataclasses.replace(batch, targets=targets(clip.video for clip in whole))


def _stacked(clips: Sequence[Clip], out: torch.Tensor | None) -> torch.Tensor:
    """Return uint8 [B,C,T,H,W] in ``out``, or in new memory, which a worker shares with the training process."""
    frames = [clip.frames for clip in clips]
    if out is None:
        return default_collate(frames)  # type: ignore[no-any-return]
    shape = (len(frames), *frames[0].shape)
    return torch.stack(frames, out=out.view(-1)[: math.prod(shape)].view(shape))


def _batch(frames: torch.Tensor, clips: Sequence[Clip], bad: tuple[BadVideo, ...]) -> Batch:
    seconds = [clip.seconds for clip in clips if clip.seconds is not None]
    return Batch(
        clips=frames,
        labels=torch.tensor([clip.label for clip in clips], dtype=torch.int64),
        video=torch.tensor([clip.video for clip in clips], dtype=torch.int64),
        view=torch.tensor([clip.view for clip in clips], dtype=torch.int64),
        substituted=torch.tensor([clip.substituted for clip in clips], dtype=torch.bool),
        bad=bad,
        seconds=torch.tensor(seconds, dtype=torch.float64).view(-1, 2) if len(seconds) == len(clips) else None,
    )


def _data_loader(
    dataset: Dataset,
    workers: int,
    pin: bool,
    *,
    sampler: Sampler[Any] | None = None,
    collate: Callable[..., Any] | None = None,
) -> DataLoader:
    """Return a loader of a data set of whole batches, or of items from which ``collate`` makes batches."""
    return DataLoader(
        dataset,
        sampler=sampler,
        batch_size=None,
        collate_fn=collate,
        num_workers=workers,
        pin_memory=pin,
        persistent_workers=workers > 0,
        multiprocessing_context=fork_server(PRELOAD) if workers else None,
        worker_init_fn=_start_worker if workers else None,
        generator=torch.Generator(),  # DataLoader draws from it, instead of from the global generator
    )


def _start_worker(worker: int) -> None:
    """Use one thread, since the workers run in parallel, and ignore the signals that ask the run to stop.

    Ctrl-C and many schedulers signal every process of the run. The training process finishes its step and saves, for
    which it may need the workers. They end with it, even if it is killed, or some time after a SIGTERM.
    """
    when_parent_ends(exit_now)
    limit_threads(1)
    keep_freed_memory()
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(_GRACE_SECONDS))
    unblock_stop_signals()


def _check(name: str, batch: int, rank: int, world: int, workers: int) -> None:
    AT_LEAST_ONE.check(name, batch)
    AT_LEAST_ZERO.check("workers", workers)
    if not 0 <= rank < world:
        raise ValueError(f"rank={rank} must be from 0 to {world - 1}, for world={world} processes")
