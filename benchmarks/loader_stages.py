"""Where the time of a clip goes between the file and the batch, and what decoding alone would take."""

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
from torch.utils.data import DataLoader

from videopool.data.decoding import listed_frames, pyav_reader
from videopool.data.decoding.container import best_stream, open_container, packets_of
from videopool.data.decoding.source import Source
from videopool.data.loading.dataset import NoClip, TrainClips
from videopool.data.loading.loader import collate_train
from videopool.types import Batch, Clip

STAGES = ("open", "list", "seek", "decode", "convert", "collate", "other")
DEVICE_STAGES = ("transfer", "augment", "normalize")
_ROUNDS = 9
Augment = Callable[[Batch, int], Batch]
Preprocess = Callable[[torch.Tensor], torch.Tensor]


class Wanted(NamedTuple):
    """What a clip asked of a file: the part of its display, in seconds from the first frame."""

    source: Source
    first_seconds: float
    last_seconds: float


class Watch:
    """Processor seconds by stage, and what was wanted of each file, while ``watching`` is in effect."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self.wanted: list[Wanted] = []
        self.packets = 0

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the processor time of this thread to a stage."""
        begin = time.thread_time()
        try:
            yield
        finally:
            self.seconds[name] += time.thread_time() - begin

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function``, watched."""

        @functools.wraps(function)
        def run(*arguments: Any, **named: Any) -> Any:
            with self.stage(name):
                return function(*arguments, **named)

        return run

    def frames(self, function: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        """A generator of decoded frames, watched while it decodes and not while its frames are used."""

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
    """A container of PyAV whose seeking is watched and whose packets are counted."""

    def __init__(self, container: Any, watch: Watch) -> None:
        self._container = container
        self.seek = watch.timed("seek", container.seek)
        self._watch = watch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def demux(self, stream: Any) -> Iterator[Any]:
        with packets_of(self._container, stream) as packets:
            for packet in packets:
                self._watch.packets += 1
                yield packet


@contextlib.contextmanager
def watching() -> Iterator[Watch]:
    """Watches every video that PyAV reads in this process."""
    watch = Watch()
    reader = pyav_reader.PyAVReader
    opened, clips = pyav_reader.open_container, reader.clips
    indexed_frames, listed, put = pyav_reader.indexed_frames, reader._listed_frames, pyav_reader.Outputs.put

    def noted(self: Any, times: Sequence[float] | np.ndarray, grids: Any) -> Any:
        watch.wanted.append(Wanted(self._source, float(np.min(times)), float(np.max(times))))
        return clips(self, times, grids)

    def watched_open(source: Any) -> _Container:
        with watch.stage("open"):
            return _Container(opened(source), watch)

    with contextlib.ExitStack() as undo:
        for place, name, new in (
            (pyav_reader, "open_container", watched_open),
            (listed_frames, "open_container", watched_open),
            (pyav_reader, "index_times", watch.timed("open", pyav_reader.index_times)),
            (pyav_reader, "read_timeline", watch.timed("list", pyav_reader.read_timeline)),
            (reader, "clips", noted),
            (pyav_reader, "indexed_frames", watch.frames(indexed_frames)),
            (reader, "_listed_frames", watch.frames(listed)),
            (pyav_reader.Outputs, "put", watch.timed("convert", put)),
            (pyav_reader, "planes_of", watch.timed("convert", pyav_reader.planes_of)),
        ):
            undo.callback(setattr, place, name, getattr(place, name))
            setattr(place, name, new)
        yield watch


def measure_stages(dataset: TrainClips, keys: Sequence[tuple[int, int]], batch: int) -> tuple[Watch, float]:
    """Loads the clips of ``keys`` in this process, ``batch`` at a time; the watch, and all processor seconds."""
    sampling = dataset.sampling
    slot = torch.zeros(batch, 3, sampling.frames, sampling.crop, sampling.crop, dtype=torch.uint8)  # as a worker has it
    begin = time.process_time()
    with watching() as watch:
        for first in range(0, len(keys), batch):
            clips: list[Clip | NoClip] = [dataset[key] for key in keys[first : first + batch]]
            with watch.stage("collate"):
                collate_train(clips, out=slot)
        seconds = time.process_time() - begin
    watch.seconds["other"] = seconds - sum(watch.seconds.values())
    return watch, seconds


def device_stages(batch: Batch, device: torch.device, augment: Augment, preprocess: Preprocess) -> dict[str, float]:
    """Seconds that the training process takes for a clip of ``batch``, until ``device`` is done: to bring it there
    (from page-locked memory, as the loader gives it), to augment it, and to make normalised floats of it; medians."""
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


def decode_only(wanted: Wanted) -> None:
    """The limit: PyAV decodes from the keyframe before the first wanted frame to the last one, and does no more."""
    container = open_container(wanted.source)
    try:
        stream = best_stream(container)
        start = stream.start_time or 0
        first = start + int(wanted.first_seconds / stream.time_base)
        last = start + int(wanted.last_seconds / stream.time_base)
        frame_ticks = int(1 / ((stream.average_rate or 25) * stream.time_base))
        container.seek(first, stream=stream, backward=True, any_frame=False)
        for frame in container.decode(stream):
            if frame.pts is not None and frame.pts + frame_ticks > last:
                break
    finally:
        container.close()


def worker_pids(loader: DataLoader) -> list[int]:
    """The processes of a loader with persistent workers that has begun."""
    return [worker.pid for worker in loader._iterator._workers]  # type: ignore[union-attr]


def process_seconds(pids: Sequence[int]) -> float:
    """Processor seconds, user and system, that the processes have used so far."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int, part: str = "Pss") -> float:
    """Proportional memory of a process in MB: its own, and its share of what it has in common with others.

    ``part`` "Pss_Anon" leaves files and shared memory out, and so the batches on their way to the main process.
    """
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{part}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"/proc/{pid}/smaps_rollup has no line {part}")
