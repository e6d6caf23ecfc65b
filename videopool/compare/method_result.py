"""What is known of one pooling method when its runs are done."""

from __future__ import annotations

import dataclasses

from videopool.compare.statistics import Difference


@dataclasses.dataclass(frozen=True)
class MethodResult:
    """The figures of one method over its finished runs; accuracies are fractions, times seconds, memory bytes.

    ``by_seed``: accuracy over the test videos of all folds, for each seed that has finished all of them; since folds
    part the videos, this is one accuracy over all videos, and ``video_top1_sd`` its standard deviation. The mean
    weighs every tested video of every run alike, and so does ``clip_top1``. ``video_top1_sd_runs`` is that of single
    runs (fold, seed), ``mean_class_accuracy`` and ``train_loss`` their mean. ``complete``: all planned runs are there.
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
        """The figures as plain values, a difference's with ``difference_`` before their names."""
        plain = {k: v for k, v in dataclasses.asdict(self).items() if k not in ("by_seed", "against")}
        found = dataclasses.asdict(self.against) if self.against else {}
        return {**plain, **{f"difference_{name}": value for name, value in found.items()}}
