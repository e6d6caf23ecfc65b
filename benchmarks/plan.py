"""Plan a training on a cluster from costs that were measured: processors, storage, time, scores.

    videopool benchmark plan --videos 545000 --gpus 64 --batch 512 --step-seconds 0.9 --decode-ms 10 --epochs 196

Prints what each GPU and each machine needs so that loading never waits, how long an epoch, a checkpoint and an
evaluation take, and what the scores need. All arithmetic is in ``Plan``. Measure its inputs: --decode-ms and --read-mb
with ``videopool benchmark loader``, --step-seconds with a few steps of training.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable

HOURS, DAYS = 3600.0, 86400.0


@dataclasses.dataclass(frozen=True)
class Plan:
    """The costs of a training, and what follows from them.

    Attributes:
        videos: training videos.
        epochs: how often each is shown.
        batch: clips of a step, over all GPUs.
        gpus: GPUs that share a step.
        gpus_per_machine: GPUs of a machine.
        step_seconds: seconds of forward, backward and optimizer on the share of one GPU, without communication.
        decode_ms: processor milliseconds of a training clip, on one core.
        read_mb: megabytes that a clip reads from storage.
        parameters: millions of parameters of the network.
        network_gb: gigabytes a second between machines.
        disk_mb: megabytes a second at which a checkpoint is written.
        states: tensors of the size of the weights in a checkpoint: 2 for weights and momentum, 3 with AdamW or EMA.
        test_videos, views, classes: videos, views of each and classes of the evaluation.
        test_decode_ms: processor milliseconds of a test view.
        test_clip_seconds: seconds of a test view on a GPU.
    """

    videos: int
    epochs: int
    batch: int
    gpus: int
    gpus_per_machine: int
    step_seconds: float
    decode_ms: float
    read_mb: float
    parameters: float
    network_gb: float
    disk_mb: float
    states: int
    test_videos: int
    views: int
    classes: int
    test_decode_ms: float
    test_clip_seconds: float

    @property
    def share(self) -> float:
        """Clips of a GPU in a step."""
        return self.batch / self.gpus

    @property
    def steps_per_epoch(self) -> int:
        """Steps of an epoch."""
        return max(1, self.videos // self.batch)

    @property
    def allreduce_seconds(self) -> float:
        """Seconds to average float32 gradients in a ring over the machines: each sends and receives 2 (n - 1) / n."""
        machines = -(-self.gpus // self.gpus_per_machine)
        return 2 * (machines - 1) / machines * 4e6 * self.parameters / (1e9 * self.network_gb)

    @property
    def step_range(self) -> tuple[float, float]:
        """Seconds of a step: with communication during the backward pass, and after it."""
        return max(self.step_seconds, self.allreduce_seconds), self.step_seconds + self.allreduce_seconds

    @property
    def epoch_seconds(self) -> float:
        """Seconds of an epoch, with communication after the backward pass."""
        return self.steps_per_epoch * self.step_range[1]

    @property
    def cores_per_gpu(self) -> float:
        """Cores that decode as fast as the GPU computes."""
        return self.share / self.step_range[0] * self.decode_ms / 1e3

    @property
    def read_mb_per_machine(self) -> float:
        """Megabytes a second that a machine reads from storage."""
        return self.share * self.gpus_per_machine / self.step_range[0] * self.read_mb

    @property
    def checkpoint_mb(self) -> float:
        """Megabytes of a checkpoint."""
        return 4 * self.parameters * self.states

    @property
    def test_seconds(self) -> tuple[float, float]:
        """Seconds of the evaluation: of decoding on ``cores_per_gpu`` cores, and of the GPUs."""
        views = self.test_videos * self.views / self.gpus
        return views * self.test_decode_ms / 1e3 / max(1.0, self.cores_per_gpu), views * self.test_clip_seconds

    @property
    def scores_mb(self) -> float:
        """Megabytes of the probabilities and logits of all clips."""
        return 8e-6 * self.test_videos * self.views * self.classes

    def lines(self) -> list[tuple[str, str]]:
        """Return what follows, as pairs of a name and a text."""
        low, high = self.step_range
        decode, compute = self.test_seconds
        total = self.epochs * self.epoch_seconds
        return [
            ("clips of a GPU in a step", f"{self.share:g}"),
            ("steps of an epoch", f"{self.steps_per_epoch:,}"),
            ("step", f"{low:.3f} to {high:.3f} s (gradients need {self.allreduce_seconds:.3f} s of network)"),
            ("epoch", f"{self.epoch_seconds / 60:.1f} min, {DAYS / self.epoch_seconds:.1f} a day"),
            ("whole training", f"{total / DAYS:.2f} days, {total * self.gpus / HOURS:,.0f} GPU hours"),
            ("clips a second", f"{self.batch / high:,.0f} in all, {self.share / high:.1f} on each GPU"),
            ("cores for decoding", f"{self.cores_per_gpu:.1f} for each GPU; keep one more for the training process"),
            ("reading", f"{self.read_mb_per_machine:,.1f} MB/s on each machine of {self.gpus_per_machine} GPUs"),
            (
                "checkpoint",
                f"{self.checkpoint_mb:,.0f} MB, {self.checkpoint_mb / self.disk_mb:.1f} s in the background",
            ),
            (
                "evaluation",
                f"{max(decode, compute) / 60:.1f} min (decoding {decode / 60:.1f}, GPUs {compute / 60:.1f})",
            ),
            ("clip scores", f"{self.scores_mb:,.0f} MB in all, {self.scores_mb / self.gpus:,.1f} in each process"),
        ]


def _number(kind: type, least: float) -> Callable[[str], float]:
    """Return a function that reads a number of at least ``least``, or above 0 for ``least`` 0."""

    def read(text: str) -> float:
        value = kind(text)
        if not (value >= least and value > 0 and value < float("inf")):
            raise argparse.ArgumentTypeError(f"{text} must be {f'{least:g} or more' if least else 'above 0'}")
        return value  # type: ignore[no-any-return]

    read.__name__ = kind.__name__
    return read


# name: (type, default or None if required, meaning)
OPTIONS: dict[str, tuple[type, float | None, str]] = {
    "videos": (int, None, "training videos"),
    "epochs": (int, None, "epochs"),
    "batch": (int, None, "clips of a step, over all GPUs"),
    "gpus": (int, None, "GPUs"),
    "gpus-per-machine": (int, 8, "GPUs of a machine"),
    "step-seconds": (float, None, "seconds of a step on one GPU, without communication"),
    "decode-ms": (float, None, "processor milliseconds of a training clip"),
    "read-mb": (float, 0.5, "megabytes read for a clip"),
    "parameters": (float, 34.5, "millions of parameters"),
    "network-gb": (float, 10.0, "gigabytes a second between machines"),
    "disk-mb": (float, 200.0, "megabytes a second written to the run folder"),
    "states": (int, 2, "tensors of the size of the weights in a checkpoint"),
    "test-videos": (int, 35000, "videos of the evaluation"),
    "views": (int, 30, "views of a video"),
    "classes": (int, 700, "classes"),
    "test-decode-ms": (float, 5.0, "processor milliseconds of a view"),
    "test-clip-seconds": (float, 0.02, "seconds of a view on a GPU"),
}


def main(arguments: list[str] | None = None) -> int:
    """Print a plan; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="videopool benchmark plan",
        description=(__doc__ or "").partition("\n")[0],
        epilog="example: videopool benchmark plan --videos 545000 --gpus 64 --batch 512 --step-seconds 0.9 "
        "--decode-ms 10 --epochs 196",
    )
    for name, (kind, default, meaning) in OPTIONS.items():
        note = "" if default is None else f" (default: {default:g})"
        least = 1.0 if kind is int else 0.0
        parser.add_argument(
            f"--{name}",
            type=_number(kind, least),
            default=default,
            required=default is None,
            metavar="N",
            help=meaning + note,
        )
    given = parser.parse_args(arguments)
    if given.batch % given.gpus:
        print(f"error: --batch {given.batch} cannot be shared equally by --gpus {given.gpus}", file=sys.stderr)
        return 2
    plan = Plan(**vars(given))
    width = max(len(name) for name, _ in plan.lines())
    for name, text in plan.lines():
        print(f"{name:<{width}}  {text}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
