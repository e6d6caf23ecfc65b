"""The figures of one pooling method."""

from __future__ import annotations

import dataclasses

from videopool.compare.significance import Difference


@dataclasses.dataclass(frozen=True)
class MethodResult:
    """The figures of one method over its finished runs. Accuracies are fractions, times seconds, memory bytes.

    Attributes:
        complete: whether all planned runs are finished.
        by_seed: for each seed that has finished all folds, the accuracy over their test videos. Each video is in one
            fold, so this is one accuracy over all videos.
        video_top1, clip_top1: means with equal weight for every tested video of every run.
        video_top1_sd: the standard deviation of ``by_seed``.
        video_top1_sd_runs: the standard deviation over single runs (fold, seed).
        mean_class_accuracy, train_loss, train_top1: means over the runs.
        against: the difference to the reference method.
    """

    method: str
    runs: int
    failed: int
    complete: bool
    video_top1: float
    video_top1_sd: float | None
    video_top1_sd_runs: float | None
    clip_top1: float
    mean_class_accuracy: float
    train_loss: float
    train_top1: float
    train_seconds: float | None
    step_seconds: float | None
    peak_memory: float
    memory_before: float
    parameters: int
    pooling_parameters: int
    information_kept: float | None
    by_seed: dict[int, float]
    against: Difference | None

    def row(self) -> dict[str, object]:
        """Return the figures as plain values; those of the difference have the prefix ``difference_``."""
        plain = {k: v for k, v in dataclasses.asdict(self).items() if k not in ("by_seed", "against")}
        found = dataclasses.asdict(self.against) if self.against else {}
        return {**plain, **{f"difference_{name}": value for name, value in found.items()}}
