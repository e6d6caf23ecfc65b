"""Measure the samples per second of whole loaders with one worker each: videopool, decord and pytorchvideo."""

from __future__ import annotations

import dataclasses
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from benchmarks.loader_others import DecordClips, pytorchvideo_clips, pytorchvideo_problem
from benchmarks.loader_stages import process_seconds, worker_pids
from videopool.data.decoding.decode import open_video
from videopool.data.loading.dataset import TrainClips
from videopool.data.loading.loader import TrainLoader
from videopool.data.sampling import ClipSampling
from videopool.data.transforms import Normalize
from videopool.types import VideoRecord

BATCH = 8
WARM_UP = 4  # batches that do not count


@dataclasses.dataclass(frozen=True)
class Rate:
    """Samples per second, and processor milliseconds per sample in the worker and in the main process."""

    per_second: float
    worker_ms: float
    main_ms: float


def measure_rate(batches: Iterator[Any], pids: Callable[[], Sequence[int]], samples: int) -> Rate:
    """Take ``samples`` samples after the warm-up, and return their rate."""
    for _ in range(WARM_UP):
        next(batches)
    worker, main, wall = process_seconds(pids()), time.process_time(), time.perf_counter()
    for _ in range(samples // BATCH):
        next(batches)
    wall, main = time.perf_counter() - wall, time.process_time() - main
    used = process_seconds(pids()) - worker
    return Rate(samples / wall, 1000 * used / samples, 1000 * main / samples)


def videopool_rate(paths: Sequence[Path], sampling: ClipSampling, samples: int) -> Rate:
    """Return the rate of videopool's loader. The main process normalizes; the others do that in their workers."""
    count = samples + (WARM_UP + 8) * BATCH
    records = [VideoRecord(str(path), path, 0) for path in paths] * -(-count // len(paths))
    loader = TrainLoader(TrainClips(records, sampling, seed=0), batch=BATCH, seed=0, workers=1)
    normalize = Normalize((0.45,) * 3, (0.225,) * 3)
    try:
        batches = (normalize(batch.clips) for batch in loader.batches(0))
        return measure_rate(batches, lambda: worker_pids(loader), samples)
    finally:
        loader.close()


def torch_rate(dataset: Any, samples: int) -> Rate:
    """Return the rate of a plain DataLoader with ``dataset``."""
    loader = DataLoader(dataset, batch_size=BATCH, num_workers=1)  # forked, as by default
    batches = iter(loader)
    try:
        return measure_rate(batches, lambda: [worker.pid for worker in batches._workers], samples)  # type: ignore[attr-defined]
    finally:
        batches._shutdown_workers()  # type: ignore[attr-defined]


def table(paths: Sequence[Path], sampling: ClipSampling, samples: int, rounds: int) -> list[str]:
    """Return the medians over ``rounds`` in which the loaders take turns, for each file."""
    reason = pytorchvideo_problem()
    lines = [
        "| file | loader, 1 worker | samples/s | / videopool | ms in the worker | ms in the main process |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for path in paths:
        runs: dict[str, Callable[[], Rate]] = {
            "videopool": lambda path=path: videopool_rate([path], sampling, samples),  # type: ignore[misc]
            "decord, defaults": lambda path=path: torch_rate(  # type: ignore[misc]
                DecordClips([str(path)], sampling, 10**9), samples
            ),
        }
        if not reason:
            with open_video(path) as video:
                fps = video.timing.fps
            runs["pytorchvideo"] = lambda path=path, fps=fps: torch_rate(  # type: ignore[misc]
                pytorchvideo_clips([str(path)], sampling, fps, samples + (WARM_UP + 8) * BATCH), samples
            )
        found: dict[str, list[Rate]] = {name: [] for name in runs}
        for _ in range(rounds):
            for name, run in runs.items():
                found[name].append(run())
        best = statistics.median(each.per_second for each in found["videopool"])
        for name, rates in found.items():
            middle = statistics.median(each.per_second for each in rates)
            worker, main = (
                statistics.median(getattr(each, part) for each in rates) for part in ("worker_ms", "main_ms")
            )
            lines.append(f"| {path.name} | {name} | {middle:.1f} | {middle / best:.2f} | {worker:.2f} | {main:.2f} |")
            print(lines[-1], flush=True)
    return [*lines, "", *([f"pytorchvideo was not measured: {reason}."] if reason else [])]


def environment() -> str:
    """Return the versions that the rates depend on."""
    import av
    import decord

    return f"PyAV {av.__version__}, decord {decord.__version__}, {os.cpu_count()} processors, torch {torch.__version__}"
