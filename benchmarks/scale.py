"""Run the parts of a training whose cost grows with the data set and the processes, at the size of Kinetics-700.

    python -m benchmarks.scale [--videos 650000] [--processes 64] [--test-videos 35000] [--views 30] [--classes 700]
                               [--to FILE.md]

Nothing is decoded and no network runs. The list is read, every process draws its part of an epoch, and every process
writes the scores of its videos, which are then merged into one file, as in a run. Each part runs in its own process,
whose peak of private memory is shown.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch

from benchmarks.timing import add_page_argument, set_memory, this_machine, write_page
from videopool.data.lists.records import read_videos
from videopool.data.order import balanced_order, epoch_clips, uniform_order, weighted_order
from videopool.data.steps import Steps
from videopool.engine.scoring.score_shards import ScoreShard, ShardWriter, logits_file, write_npz
from videopool.engine.scoring.scores import ClipScores

Sizes = argparse.Namespace
BATCH_PER_PROCESS = 8


def write_list(path: Path, sizes: Sizes) -> str:
    """Write a list of all videos with their classes, of which one exists; return what it is."""
    first = path.parent / "train/class_000/0000000.mp4"
    first.parent.mkdir(parents=True)
    first.touch()
    with path.open("w", encoding="utf-8") as file:
        file.writelines(
            f"train/class_{v % sizes.classes:03d}/{v:07d}.mp4 {v % sizes.classes}\n" for v in range(sizes.videos)
        )
    return f"{sizes.videos:,} lines, {path.stat().st_size / 1e6:.0f} MB"


def read_list(path: Path, sizes: Sizes) -> str:
    """Read the list as training does."""
    videos = read_videos(str(path), None)
    return f"{len(videos.records):,} videos of {len(videos.classes)} classes"


def draw_epoch(kind: str, sizes: Sizes) -> str:
    """Draw an epoch as each process does, and check that every video is drawn about equally often."""
    labels = np.arange(sizes.videos) % sizes.classes
    orders = {
        "uniform": functools.partial(uniform_order, videos=sizes.videos),
        "balanced": functools.partial(balanced_order, labels=labels),
        "weighted": functools.partial(weighted_order, weights=1.0 + labels),
    }
    steps = Steps(clips=sizes.videos, batch=BATCH_PER_PROCESS * sizes.processes)
    begin = time.perf_counter()
    clips = epoch_clips(videos=sizes.videos, clips=steps.most_clips, seed=1, epoch=3, order=orders[kind])
    seconds = time.perf_counter() - begin
    drawn = np.bincount(clips % sizes.videos, minlength=sizes.videos)
    if kind == "uniform" and drawn.max() > 1:
        raise AssertionError("a video was drawn twice")
    return f"{seconds:.2f} s in each process; {len(clips):,} clips, a video at most {drawn.max()} times"


def write_shards(folder: Path, sizes: Sizes) -> str:
    """Write the scores of every process, one process after the other."""
    generator = torch.Generator().manual_seed(0)
    for rank in range(sizes.processes):
        writer = ShardWriter(sizes.classes, folder / f"scores-{rank:05d}.part")
        for video in range(rank, sizes.test_videos, sizes.processes):
            scores = torch.rand(sizes.views, sizes.classes, generator=generator)
            same = torch.full((sizes.views,), video)
            seconds = torch.arange(2.0 * sizes.views, dtype=torch.float64).view(-1, 2)
            writer.add(ClipScores(scores, same, torch.arange(sizes.views), same % sizes.classes, scores.log(), seconds))
        shard = writer.finish()
        np.savez(folder / f"keys-{rank}.npz", *(tensor.numpy() for tensor in keys_of(shard)))
    size = sum(path.stat().st_size for path in folder.glob("*.part"))
    return f"{sizes.processes} files, {size / 1e6:,.0f} MB"


def keys_of(shard: ScoreShard) -> tuple[torch.Tensor, ...]:
    """Return what a process sends to the main process."""
    return shard.video, shard.view, shard.labels, shard.seconds, shard.rows


def merge_shards(folder: Path, sizes: Sizes) -> str:
    """Merge the files as the main process does."""
    shards = []
    for rank in range(sizes.processes):
        with np.load(folder / f"keys-{rank}.npz") as keys:
            tensors = [torch.from_numpy(keys[f"arr_{number}"]) for number in range(5)]
        path = folder / f"scores-{rank:05d}.part"
        files = (path, logits_file(path))
        stored = (np.memmap(file, np.float32, mode="r").reshape(-1, sizes.classes) for file in files)
        shards.append(ScoreShard(*tensors, *stored))
    merged = folder / "scores.npz"
    with merged.open("wb") as file:
        write_npz(file, shards, {})
    with np.load(merged, mmap_mode="r") as found:
        video, view = found["video"], found["view"]
    expected = np.arange(sizes.test_videos * sizes.views)
    if not np.array_equal(video * sizes.views + view, expected):
        raise AssertionError("the merged clips are not sorted or not complete")
    return f"{merged.stat().st_size / 1e6:,.0f} MB, {len(video):,} clips"


def run_apart(part: Callable[[], str]) -> tuple[str, float, float]:
    """Return what ``part`` returns in another process, its seconds, and the growth of its private memory in MB."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_send_result, args=(part, sender))
    process.start()
    sender.close()
    assert process.pid is not None
    before = peak = _anonymous_mb(process.pid)
    while not receiver.poll(0.01):
        if not process.is_alive():
            raise SystemExit(f"a part ended with code {process.exitcode}")
        peak = max(peak, _anonymous_mb(process.pid))
    text, seconds = receiver.recv()
    process.join()
    return text, seconds, peak - before


def _send_result(part: Callable[[], str], sender: Connection) -> None:
    begin = time.perf_counter()
    text = part()
    sender.send((text, time.perf_counter() - begin))


def _anonymous_mb(pid: int) -> float:
    """Return the megabytes of a process that no file backs."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return float(next((line.split()[1] for line in lines if line.startswith("RssAnon")), "0")) / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    sizes = {"videos": 650_000, "processes": 64, "test-videos": 35_000, "views": 30, "classes": 700}
    for name, default in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"(default: {default:,})")
    parser.add_argument("--folder", type=Path, help="folder for the files, twice the size of the scores")
    add_page_argument(parser)
    arguments = parser.parse_args()
    machine = this_machine(torch.device("cpu"), set_memory("malloc"))
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        parts: dict[str, Callable[[], str]] = {
            "write the list": functools.partial(write_list, folder / "train.txt", arguments),
            "read the list": functools.partial(read_list, folder / "train.txt", arguments),
            **{
                f"draw an epoch, {kind}": functools.partial(draw_epoch, kind, arguments)
                for kind in ("uniform", "balanced", "weighted")
            },
            "write the scores of all processes": functools.partial(write_shards, folder, arguments),
            "merge them": functools.partial(merge_shards, folder, arguments),
        }
        lines = [
            f"# What {arguments.processes} processes need for {arguments.videos:,} videos",
            "",
            f"{datetime.date.today()}, {machine.hardware}, one process at a time. {arguments.test_videos:,} test "
            f"videos of {arguments.views} views, {arguments.classes} classes. Memory is the growth of private "
            "memory of a process.",
            "",
            "    python -m benchmarks.scale",
            "",
            "| part | seconds | memory MB | result |",
            "|---|---:|---:|---|",
        ]
        for title, part in parts.items():
            text, seconds, memory = run_apart(part)
            lines.append(f"| {title} | {seconds:.1f} | {memory:,.0f} | {text} |")
            print(lines[-1], flush=True)
    write_page(lines, arguments.to)


if __name__ == "__main__":
    main()
