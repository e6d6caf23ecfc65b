"""Mean average precision against slow references, with ties, absent classes and videos without any class."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.engine.results import joined_results, own_scores
from tests.engine.slow_precision import slow_precision
from tests.engine.whole_scores import rows_of, unknown_seconds
from videopool.engine.cluster.distributed import World
from videopool.engine.scoring.results import metrics_table
from videopool.engine.scoring.scores import ClipScores, SeveralLabelMetrics, average_precision, measure_several

CLASSES = ("a", "b", "c", "d")


def charades_precision(scores: np.ndarray, positive: np.ndarray, labeled: np.ndarray) -> float:
    """Return the average precision of one class by the protocol of Charades, for scores without ties.

    Videos without any class rank last.
    """
    ranked = np.where(labeled, scores, -np.inf)
    precisions: list[float] = []
    for rank, video in enumerate(sorted(range(len(scores)), key=lambda video: -ranked[video]), start=1):
        if positive[video]:
            precisions.append((len(precisions) + 1) / rank)
    return float(np.mean(precisions))


def test_average_precision_matches_a_calculation_by_hand() -> None:
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6])
    found = average_precision(scores, torch.tensor([True, False, True, False]))
    assert found == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert average_precision(scores, torch.tensor([True, True, False, False])) == 1.0
    assert average_precision(scores, torch.tensor([False, False, False, True])) == 0.25
    assert math.isnan(average_precision(scores, torch.zeros(4, dtype=torch.bool)))


def test_constant_scores_have_the_precision_of_a_guess() -> None:
    positive = torch.tensor([True, False, False, False, True])
    assert average_precision(torch.ones(5), positive) == pytest.approx(0.4)
    assert average_precision(torch.ones(5), positive.flip(0)) == pytest.approx(0.4)


@pytest.mark.parametrize("levels", [3, 10_000])
def test_average_precision_matches_a_slow_reference(levels: int) -> None:
    generator = torch.Generator().manual_seed(levels)
    for _ in range(20):
        scores = torch.randint(0, levels, (60,), generator=generator) / 7
        positive = torch.rand(60, generator=generator) < 0.3
        expected = slow_precision(scores.tolist(), positive.tolist())
        assert average_precision(scores, positive) == pytest.approx(expected, rel=1e-12)
        shuffled = torch.randperm(60, generator=generator)
        assert average_precision(scores[shuffled], positive[shuffled]) == pytest.approx(expected, rel=1e-12)


def clips_of(scores: torch.Tensor) -> ClipScores:
    """Return the clip scores of ``scores`` [V,W,K] of W views of V videos."""
    videos, views, _ = scores.shape
    video = torch.arange(videos).repeat_interleave(views)
    flat = scores.flatten(0, 1)
    return ClipScores(
        flat,
        video,
        torch.arange(views).repeat(videos),
        torch.zeros_like(video),
        flat.logit(),
        unknown_seconds(len(flat)),
    )


def measure_clips(
    clips: ClipScores, targets: torch.Tensor, classes: tuple[str, ...], views: int
) -> SeveralLabelMetrics:
    labels = torch.zeros(len(targets), dtype=torch.int64)
    own = own_scores(clips, labels=labels, classes=len(classes), views=views)
    by_video, by_clip = own.average_precisions(targets, World(0, 1, torch.device("cpu")))
    return measure_several(joined_results(own, labels), targets, classes, by_video=by_video, by_clip=by_clip)


def test_measure_several_matches_the_protocol_of_charades() -> None:
    generator = torch.Generator().manual_seed(0)
    scores, targets = torch.rand(40, 3, 4, generator=generator), torch.rand(40, 4, generator=generator) < 0.3
    targets[:, 2] = False  # a class without videos
    targets[5:9] = False  # videos without classes
    clips = clips_of(scores)
    metrics = measure_clips(clips, targets.float(), CLASSES, views=3)
    labeled, present = targets.any(1).numpy(), (0, 1, 3)
    mean = scores.double().mean(1).numpy()
    by_class = {k: charades_precision(mean[:, k], targets[:, k].numpy(), labeled) for k in present}
    assert metrics.video_map == pytest.approx(np.mean(list(by_class.values())), rel=1e-12)
    assert metrics.per_class["c"] is None
    for k in present:
        assert metrics.per_class[CLASSES[k]] == pytest.approx(by_class[k], rel=1e-12)
    flat, wide = scores.flatten(0, 1).numpy(), targets.repeat_interleave(3, 0).numpy()
    by_clip = [charades_precision(flat[:, k], wide[:, k], labeled.repeat(3)) for k in present]
    assert metrics.clip_map == pytest.approx(np.mean(by_clip), rel=1e-12)
    empty = int((~targets.any(1)).sum())
    assert empty >= 4
    assert (metrics.absent_classes, metrics.unlabeled, metrics.videos, metrics.unscored) == (1, empty, 40, 0)
    assert metrics.clips == 3 * (40 - empty)
    assert metrics.score == metrics.video_map
    table = metrics_table(metrics)
    assert f"video-level mAP        {100 * metrics.video_map:6.2f} %" in table
    assert f"40 videos x 3 views, {empty} of them without a class, 1 classes without a video" in table


def test_video_without_all_views_does_not_count() -> None:
    scores = torch.tensor([[[0.9, 0.1]], [[0.8, 0.7]], [[0.1, 0.2]]])
    clips = clips_of(scores)
    kept = rows_of(clips, torch.arange(2))
    metrics = measure_clips(kept, torch.tensor([[0.0, 1], [1, 0], [1, 1]]), ("a", "b"), views=1)
    assert metrics.per_class == {"a": 0.5, "b": 0.5}
    assert (metrics.unscored, metrics.unlabeled, metrics.clips) == (1, 0, 2)


def test_no_scored_video_gives_nan() -> None:
    none = ClipScores(
        torch.empty(0, 2), *[torch.empty(0, dtype=torch.int64)] * 3, torch.empty(0, 2), unknown_seconds(0)
    )
    metrics = measure_clips(none, torch.ones(3, 2), ("a", "b"), views=1)
    assert math.isnan(metrics.video_map)
    assert (metrics.unscored, metrics.absent_classes) == (3, 2)
