"""Measure the time to open a manifest of a million videos, and its memory in every loader process.

    python -m benchmarks.manifest [--videos N] [--workers N] [--to FILE.md]

The script writes a manifest of made-up videos, drops it from the page cache if the system allows it, and opens it in a
new process as training does. Then it sends the list to worker processes of a fork server, like loader processes; each
reads records in a different order. The result is the growth of a worker's memory in /proc/self/smaps_rollup:
``private`` is its own memory (USS), ``proportional`` includes its share of memory that several processes map (PSS). A
tuple of records, without columns, is measured for comparison.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import multiprocessing
import multiprocessing.synchronize
import os
import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.timing import add_page_argument, this_machine, write_page
from videopool.data.lists.columns import text_columns
from videopool.data.lists.manifest import MEASURED, Manifest, write_manifest
from videopool.data.lists.records import read_videos
from videopool.data.lists.table import VideoTable
from videopool.report.tables import Row, markdown
from videopool.types import VideoRecord

CLASSES = tuple(f"the action of number {number}" for number in range(400))
READS = 200_000  # records that each worker reads
OPEN_SCRIPT = """
import sys, time
from videopool.data.lists.records import read_videos
begin = time.perf_counter()
videos = read_videos(sys.argv[1])
first = videos.records[len(videos.records) - 1]
print(time.perf_counter() - begin)
"""


class WorkerCost(NamedTuple):
    """The bytes that a list adds to one worker, and the seconds to read a record."""

    private: int
    proportional: int
    read_seconds: float


def write(folder: Path, videos: int) -> Path:
    """Write a manifest with paths and labels like those of Kinetics; one video in a hundred is unreadable."""
    rng = np.random.default_rng(0)
    labels = rng.integers(len(CLASSES), size=videos, dtype=np.int32)
    numbers = rng.integers(2**40, size=videos)
    paths = [f"{CLASSES[label]}/{number:011x}_000010_000020.mp4" for label, number in zip(labels, numbers, strict=True)]
    columns = {"label": labels, **{name: np.ones(videos).astype(kind) for name, kind in MEASURED.items()}}
    columns["path"], columns["path_ends"] = text_columns(paths)
    reasons = ["" if number % 100 else "is truncated or damaged" for number in range(videos)]
    columns["reason"], columns["reason_ends"] = text_columns(reasons)
    first = folder / paths[1]  # one of the videos must exist
    first.parent.mkdir()
    first.touch()
    path = folder / "all.manifest"
    write_manifest(path, Manifest(VideoTable(columns, folder), CLASSES, ("", "h264"), "benchmarks/manifest.py"))
    return path


def drop_from_cache(path: Path) -> None:
    """Ask the system to drop the cached pages of ``path``."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def open_seconds(path: Path) -> float:
    """Return the seconds that a new process needs to open the manifest, without imports."""
    done = subprocess.run([sys.executable, "-c", OPEN_SCRIPT, str(path)], capture_output=True, text=True, check=True)
    return float(done.stdout)


def process_memory() -> tuple[int, int]:
    """Return the private and the proportional bytes of this process."""
    gc.collect()
    lines = [line.split() for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]]
    kilobytes = {words[0]: int(words[1]) for words in lines}
    private = kilobytes["Private_Clean:"] + kilobytes["Private_Dirty:"]
    return 1024 * private, 1024 * kilobytes["Pss:"]


def run_worker(connection: Connection, ready: multiprocessing.synchronize.Barrier, seed: int) -> None:
    """Receive a list, read READS of its records, and send the cost."""
    order = np.random.default_rng(seed).random(READS)
    before = process_memory()
    records = connection.recv()
    begin = time.perf_counter()
    for place in order:
        records[int(place * len(records))].label  # noqa: B018
    seconds = (time.perf_counter() - begin) / READS
    ready.wait()  # until all workers map the common memory
    after = process_memory()
    ready.wait()
    connection.send(WorkerCost(after[0] - before[0], after[1] - before[1], seconds))


def measure(records: VideoTable | tuple[VideoRecord, ...], workers: int) -> list[WorkerCost]:
    """Return the costs of ``records`` in each of the workers."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["videopool.processes.children", "videopool.data.lists.records"])
    barrier = context.Barrier(workers)
    pipes = [context.Pipe() for _ in range(workers)]
    started = [
        context.Process(target=run_worker, args=(theirs, barrier, seed)) for seed, (_, theirs) in enumerate(pipes)
    ]
    for process in started:
        process.start()
    for ours, _ in pipes:
        ours.send(records)
    found = [ours.recv() for ours, _ in pipes]
    for process in started:
        process.join()
    return found


def row(name: str, costs: list[WorkerCost]) -> Row:
    """Return a row of the table: medians and maxima over the workers."""
    cells: dict[str, object] = {"list": name, "workers": len(costs)}
    for column, sizes in (
        ("private", [cost.private / 1e6 for cost in costs]),
        ("proportional", [cost.proportional / 1e6 for cost in costs]),
    ):
        cells[f"{column}, MB"] = f"{np.median(sizes):.1f}"
        cells[f"{column}, max"] = f"{max(sizes):.1f}"
    return {**cells, "microseconds per record": f"{1e6 * np.median([cost.read_seconds for cost in costs]):.1f}"}


def page(arguments: argparse.Namespace, size: int, seconds: list[float], rows: list[Row], load: float) -> str:
    """Return the results as Markdown."""
    machine = this_machine(torch.device("cpu"), "malloc")
    again = sorted(seconds[1:])
    return "\n".join(
        [
            f"# A manifest of {arguments.videos:,} videos, {machine.hardware}, {os.cpu_count()} cores",
            "",
            f"    python -m benchmarks.manifest --videos {arguments.videos} --workers {arguments.workers}",
            "",
            f"{datetime.date.today().isoformat()}, load average {load:.1f} at the start, which affects the times but "
            "not the memory.",
            "",
            f"The file has {size / 1e6:.0f} MB. A new process opens it and reads the last record in {seconds[0]:.2f} s "
            f"after its pages were dropped from the cache, then in {again[0]:.2f} to {again[-1]:.2f} s "
            f"({len(again)} times).",
            "",
            f"Memory that the list adds to a worker that reads {READS:,} records in random order: `private` is memory "
            "of that worker alone, `proportional` includes its share of memory that several processes map. Medians "
            "and maxima over the workers.",
            "",
            markdown(rows, list(rows[0])),
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--videos", type=int, default=1_000_000, help="videos of the manifest (1000000)")
    parser.add_argument("--workers", type=int, default=8, help="worker processes (8)")
    add_page_argument(parser)
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), arguments.videos)
        drop_from_cache(path)
        seconds = [open_seconds(path) for _ in range(6)]
        videos = read_videos(path)
        other_order = videos.records.relabeled(range(len(CLASSES))[::-1])
        rows = [
            row("manifest", measure(videos.records, arguments.workers)),
            row("manifest, classes in another order", measure(other_order, arguments.workers)),
            row("a tuple of records", measure(tuple(videos.records), 1)),
        ]
        text = page(arguments, path.stat().st_size, seconds, rows, load)
    print(text)
    write_page([text], arguments.to)


if __name__ == "__main__":
    main()
