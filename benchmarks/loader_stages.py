"""Time the stages of a clip from its file to the batch, and decoding alone."""

from __future__ import annotations

import contextlib
import functools
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from videopool.data.decoding import decode, listed_frames, pyav_reader
from videopool.data.decoding.container import best_stream, open_container, packets_of
from videopool.data.decoding.source import Source
from videopool.data.decoding.y4m_reader import Y4MReader
from videopool.data.loading.dataset import NoClip, TrainClips
from videopool.data.loading.loader import TrainLoader, collate_train
from videopool.data.loading.torch_loader import worker_processes
from videopool.types import Batch, Clip

STAGES = ("open", "list", "seek", "decode", "convert", "collate", "other")
DEVICE_STAGES = ("transfer", "augment", "normalize")
_ROUNDS = 9
Augment = Callable[[Batch, int], Batch]
Preprocess = Callable[[torch.Tensor], torch.Tensor]


class ClipSpan(NamedTuple):
    """The part of a file that a clip needs, in seconds from the first frame."""

    source: Source
    first_seconds: float
    last_seconds: float


class StageTimes:
    """Processor seconds by stage, the spans of the clips and the number of packets, recorded by ``time_stages``."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self.spans: list[ClipSpan] = []
        self.packets = 0

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the processor time of this thread to a stage."""
        begin = time.thread_time()
        try:
            yield
        finally:
            self.seconds[name] += time.thread_time() - begin

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``function`` with its time added to a stage."""

        @functools.wraps(function)
        def run(*arguments: Any, **named: Any) -> Any:
            with self.stage(name):
                return function(*arguments, **named)

        return run

    def timed_frames(self, function: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        """Return a generator function of frames with its decoding time added, but not the time of its consumer."""

        @functools.wraps(function)
        def run(*arguments: Any) -> Iterator[Any]:
            found = function(*arguments)
            while True:
                seeking = self.seconds["seek"]
                with self.stage("decode"):
                    frame = next(found, None)
                self.seconds["decode"] -= self.seconds["seek"] - seeking
                if frame is None:
                    return
                yield frame

        return run


class _Container:
    """A container of PyAV that times seeking and counts packets."""

    def __init__(self, container: Any, times: StageTimes) -> None:
        self._container = container
        self.seek = times.timed("seek", container.seek)
        self._times = times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def demux(self, stream: Any) -> Iterator[Any]:
        with packets_of(self._container, stream) as packets:
            for packet in packets:
                self._times.packets += 1
                yield packet


@contextlib.contextmanager
def time_stages() -> Iterator[StageTimes]:
    """Time the reading of every video by PyAV, or without decoding, in this process."""
    stages = StageTimes()
    reader = pyav_reader.PyAVReader
    opened = pyav_reader.open_container
    indexed_frames, listed, put = pyav_reader.indexed_frames, reader._listed_frames, pyav_reader.Outputs.put

    def recorded(clips: Callable[..., Any]) -> Callable[..., Any]:
        def run(self: Any, times: Sequence[float] | np.ndarray, grids: Any) -> Any:
            stages.spans.append(ClipSpan(self._source, float(np.min(times)), float(np.max(times))))
            return clips(self, times, grids)

        return run

    def timed_open(source: Any) -> _Container:
        with stages.stage("open"):
            return _Container(opened(source), stages)

    with contextlib.ExitStack() as undo:
        for place, name, new in (
            (pyav_reader, "open_container", timed_open),
            (listed_frames, "open_container", timed_open),
            (pyav_reader, "index_times", stages.timed("open", pyav_reader.index_times)),
            (pyav_reader, "read_timeline", stages.timed("list", pyav_reader.read_timeline)),
            (decode, "read_layout", stages.timed("open", decode.read_layout)),
            (reader, "clips", recorded(reader.clips)),
            (Y4MReader, "clips", recorded(Y4MReader.clips)),
            (Y4MReader, "_read", stages.timed("decode", Y4MReader._read)),
            (pyav_reader, "indexed_frames", stages.timed_frames(indexed_frames)),
            (reader, "_listed_frames", stages.timed_frames(listed)),
            (pyav_reader.Outputs, "put", stages.timed("convert", put)),
            (pyav_reader, "planes_of", stages.timed("convert", pyav_reader.planes_of)),
        ):
            undo.callback(setattr, place, name, getattr(place, name))
            setattr(place, name, new)
        yield stages


def measure_stages(dataset: TrainClips, keys: Sequence[tuple[int, int]], batch: int) -> tuple[StageTimes, float]:
    """Load the clips of ``keys`` in this process, ``batch`` at a time; return the stages and all processor seconds."""
    sampling = dataset.sampling
    slot = torch.zeros(
        batch, 3, sampling.frames, sampling.crop, sampling.crop, dtype=torch.uint8
    )  # like a worker's slot
    begin = time.process_time()
    with time_stages() as stages:
        for first in range(0, len(keys), batch):
            clips: list[Clip | NoClip] = [dataset[key] for key in keys[first : first + batch]]
            with stages.stage("collate"):
                collate_train(clips, out=slot)
        seconds = time.process_time() - begin
    stages.seconds["other"] = seconds - sum(stages.seconds.values())
    return stages, seconds


def device_stages(batch: Batch, device: torch.device, augment: Augment, preprocess: Preprocess) -> dict[str, float]:
    """Return the median seconds per clip that the training process needs for ``batch`` until ``device`` is done.

    The stages are the transfer (from page-locked memory, as from the loader), augmentation and normalization to floats.
    """
    taken: dict[str, list[float]] = {name: [] for name in DEVICE_STAGES}

    def timed(name: str, change: Callable[[], Any]) -> Any:
        begin = time.perf_counter()
        changed = change()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken[name].append((time.perf_counter() - begin) / len(batch))
        return changed

    ready = batch.pin_memory() if device.type == "cuda" else batch
    for seed in range(_ROUNDS + 1):
        there = timed("transfer", lambda: ready.to(device))
        augmented = timed("augment", lambda there=there, seed=seed: augment(there, seed))
        timed("normalize", lambda augmented=augmented: preprocess(augmented.clips))
    return {name: statistics.median(seconds[1:]) for name, seconds in taken.items()}  # the first one warms up


def decode_only(span: ClipSpan) -> None:
    """Decode with PyAV from the keyframe before a span to its last frame, and do nothing else."""
    container = open_container(span.source)
    try:
        stream = best_stream(container)
        start = stream.start_time or 0
        first = start + int(span.first_seconds / stream.time_base)
        last = start + int(span.last_seconds / stream.time_base)
        frame_ticks = int(1 / ((stream.average_rate or 25) * stream.time_base))
        container.seek(first, stream=stream, backward=True, any_frame=False)
        for frame in container.decode(stream):
            if frame.pts is not None and frame.pts + frame_ticks > last:
                break
    finally:
        container.close()


def worker_pids(loader: TrainLoader) -> list[int]:
    """Return the processes of a loader that has started its workers."""
    return [worker.pid for worker in worker_processes(loader._loader)]


def process_seconds(pids: Sequence[int]) -> float:
    """Return the processor seconds, user and system, that the processes have used so far."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int, part: str = "Pss") -> float:
    """Return the proportional memory of a process in MB: its private memory and its share of common memory.

    ``part`` "Pss_Anon" excludes files and shared memory, and so the batches that the main process has not yet received.
    """
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{part}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"/proc/{pid}/smaps_rollup has no line {part}")
