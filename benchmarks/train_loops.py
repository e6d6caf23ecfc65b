"""Train the same network on the same videos with other toolkits' data sets and a plain loop, clips per second.

    python -m benchmarks.train_loops LIST [--workers 2] [--rounds 5] [--steps 20] [--network c3d] [--to FILE.md]

LIST has the lines "path label" or is a CSV of videopool. The loops take turns in one process, ``--steps`` steps at a
time, each with its own workers, which pause while another loop has its turn:

* videopool: the trainer and its loader, as ``videopool train`` runs them.
* torchvision: its VideoClips, with the transforms and the loop of its reference for video classification.
* pytorchvideo: LabeledVideoDataset with the transforms of its tutorial and a plain loop.

All train on clips of the same number of frames, which span the same time, scaled and cropped to the same size and
flipped half of the time, in batches of the same size. Needs a torchvision that loads beside the installed torch.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from benchmarks.loader_others import MEAN, STD, pytorchvideo_clips, pytorchvideo_problem
from benchmarks.timing import OtherWork, add_page_argument, set_memory, spread, this_machine, turn_order, write_page
from videopool import models
from videopool.config import Config, load
from videopool.data.lists.records import VideoList, read_videos
from videopool.engine import StopRequest, World, build_optimizer, build_training
from videopool.engine.builders.parts import clip_sampling

NETWORKS = {
    "c3d": "model={name: c3d, arguments: {width: 16, depth: 4}}",
    "r2plus1d": "model={name: r2plus1d, pooling_sites: [shortcut], arguments: {depth: 14, width: 16}}",
}
Batches = Iterator[tuple[torch.Tensor, torch.Tensor]]  # float32 [B,3,T,H,W], int64 [B]
Turn = Callable[[], None]  # trains some steps


class ReferenceClips(Dataset[tuple[torch.Tensor, int]]):
    """Random clips of torchvision's VideoClips, changed as its reference for video classification does."""

    def __init__(self, videos: VideoList, config: Config, fps: float, samples: int) -> None:
        from torchvision.datasets.video_utils import VideoClips
        from torchvision.transforms import v2

        records = list(videos.records)
        self.labels = [record.label for record in records]
        self.clips = VideoClips(
            [str(record.path) for record in records],
            clip_length_in_frames=config.clip.frames,
            frames_between_clips=1,
            frame_rate=fps / config.clip.stride,
            output_format="TCHW",
        )
        self.samples = samples
        low, _ = config.clip.scale
        self.change = v2.Compose(
            [
                v2.ToDtype(torch.float32, scale=True),
                v2.Resize(low, antialias=False),
                v2.RandomHorizontalFlip(),
                v2.Normalize([MEAN] * 3, [STD] * 3),
                v2.RandomCrop(config.clip.crop),
            ]
        )

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        ends = self.clips.cumulative_sizes
        video = index % len(self.labels)
        first = ends[video - 1] if video else 0
        chosen = first + int(torch.randint(ends[video] - first, ()))
        frames, _, _, _ = self.clips.get_clip(chosen)
        return self.change(frames).transpose(0, 1), self.labels[video]


def reference_batches(videos: VideoList, config: Config, fps: float, samples: int) -> Batches:
    """Yield batches as the loop of torchvision's reference loads them."""
    dataset = ReferenceClips(videos, config, fps, samples)
    return iter(_loader(dataset, config, shuffle=True))


def pytorchvideo_batches(videos: VideoList, config: Config, fps: float, samples: int) -> Batches:
    """Yield batches of pytorchvideo's data set."""
    records = list(videos.records)
    dataset = pytorchvideo_clips([str(record.path) for record in records], clip_sampling(config), fps, samples)
    for batch in _loader(dataset, config, shuffle=False):
        yield batch["video"], batch["label"]


def _loader(dataset: Any, config: Config, *, shuffle: bool) -> DataLoader[Any]:
    return DataLoader(
        dataset, config.train.batch, num_workers=config.data.workers, shuffle=shuffle, drop_last=True, prefetch_factor=2
    )


def plain_loop(batches: Batches, model: nn.Module, steps: int) -> Turn:
    """Return a function that trains ``model`` for ``steps`` steps."""
    optimizer = build_optimizer(model.train(), "sgd", lr=0.01, weight_decay=1e-4)

    def train() -> None:
        for clips, labels in itertools.islice(batches, steps):
            loss = functional.cross_entropy(model(clips.contiguous(memory_format=torch.channels_last_3d)), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return train


def videopool_loop(config: Config, steps: int, ends: contextlib.ExitStack) -> Turn:
    """Return a function that trains for ``steps`` steps with the trainer."""
    run = build_training(config, World(0, 1, torch.device("cpu")), ends.enter_context(StopRequest()))
    ends.callback(run.close)
    ends.enter_context(run.trainer.log)
    trainer = run.trainer
    trainer.model.train()

    def every_step() -> Iterator[None]:
        for epoch in itertools.count():
            batches = trainer.loader.batches(epoch)
            for batch in batches:
                trainer.update_weights([batch])
                trainer.log_step()
                trainer.stop_step()
                trainer.save_step(trainer.evaluate_step())
                yield

    endless = every_step()

    def train() -> None:
        for _ in itertools.islice(endless, steps):
            pass

    return train


def measure(arguments: argparse.Namespace, network: str) -> list[str]:
    """Return the rows of a network."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as ends:
        config = load(
            None,
            [
                f"data={{train: {arguments.list}, test: {arguments.list}, workers: {arguments.workers}}}",
                f"clip={{frames: 8, stride: 3, scale: [112, 128], crop: 96, mean: [{MEAN}, {MEAN}, {MEAN}], "
                f"std: [{STD}, {STD}, {STD}]}}",
                NETWORKS[network],
                "model.pooling=soft",
                "optim={name: sgd, lr: 0.01}",
                "train={batch: 8, epochs: 100000, evaluate_every: 0, save_every: 100000000, device: cpu}",
                f"out={folder}/run",
            ],
        )
        videos = read_videos(arguments.list, None)
        samples = (arguments.rounds + 2) * arguments.steps * config.train.batch * 2

        def model() -> nn.Module:
            torch.manual_seed(0)
            given = {"classes": len(videos.classes), "frames": 8, "crop": 96, "pooling": "soft"}
            built: Any = models.build(config.model.name, **given, **config.model.arguments)
            return built.to(memory_format=torch.channels_last_3d)

        loops: dict[str, Turn] = {"videopool": videopool_loop(config, arguments.steps, ends)}
        problem = pytorchvideo_problem()
        if problem:
            print(f"only videopool is measured: {problem}")
        else:
            make = {"torchvision": reference_batches, "pytorchvideo": pytorchvideo_batches}
            for name, batches in make.items():
                loops[name] = plain_loop(batches(videos, config, arguments.fps, samples), model(), arguments.steps)
        times, others = take_turns(loops, arguments.rounds)
    clips = arguments.steps * config.train.batch
    rows = []
    for name, seconds in times.items():
        ratio = spread([one / two for one, two in zip(seconds, times["videopool"], strict=True)])
        found = spread([1e3 * one / clips for one in seconds])
        rows.append(
            f"| {network} | {name} | {1e3 / found.median_ms:.1f} | {ratio.median_ms:.2f} | "
            f"{ratio.low_ms:.2f} to {ratio.high_ms:.2f} | {100 * others:.0f} % |"
        )
    return rows


def take_turns(loops: dict[str, Turn], rounds: int) -> tuple[dict[str, list[float]], float]:
    """Return the seconds of each loop in every round, and the share of time that other processes used."""
    times: dict[str, list[float]] = {name: [] for name in loops}
    for loop in loops.values():
        loop()  # starts the workers and fills what is loaded ahead
    others = OtherWork()
    for number in range(rounds):
        for name in turn_order(list(loops), number):
            loops[name]()  # uses up what was loaded while others had their turn
            begin = time.perf_counter()
            loops[name]()
            times[name].append(time.perf_counter() - begin)
    return times, others.share()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("list", help="list of videos with labels")
    parser.add_argument("--fps", type=float, default=25.0, help="frame rate of the videos (default: 25)")
    parser.add_argument("--workers", type=int, default=2, help="loader processes of each loop (default: 2)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each loop (default: 5)")
    parser.add_argument("--steps", type=int, default=20, help="steps in a turn, of 8 clips (default: 20)")
    parser.add_argument("--network", choices=NETWORKS, action="append", help="default: all")
    add_page_argument(parser)
    arguments = parser.parse_args()
    machine = this_machine(torch.device("cpu"), set_memory("malloc"))
    lines = [
        "# Training loops of toolkits on the same videos",
        "",
        f"{datetime.date.today()}, {machine.hardware}, {machine.threads} thread(s), torch {machine.torch}. Clips of 8 "
        f"frames of 96 x 96, batches of 8, {arguments.workers} loader processes each; {arguments.rounds} turns of "
        f"{arguments.steps} steps. Ratios are times over those of videopool in the same round.",
        "",
        f"    python -m benchmarks.train_loops LIST --workers {arguments.workers} --steps {arguments.steps}",
        "",
        "| network | loop | clips/s | time / videopool | quartiles | other processes |",
        "|---|---|---:|---:|---|---:|",
    ]
    for network in arguments.network or NETWORKS:
        lines += measure(arguments, network)
    print("\n".join(lines))
    write_page(lines, arguments.to)


if __name__ == "__main__":
    main()
