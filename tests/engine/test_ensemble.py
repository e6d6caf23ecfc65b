"""Ensembles of stored scores, curves over views and comparisons, against slow references in float64."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.engine.slow_precision import slow_precision
from tests.engine.whole_scores import unknown_seconds
from videopool.engine import ScoreFile, assess_scores, combine_scores, compare_scores
from videopool.engine.scoring.ensemble import Average, views_curve
from videopool.engine.scoring.paired import mcnemar
from videopool.engine.scoring.score_shards import ShardWriter
from videopool.engine.scoring.scores import ClipScores, Metrics, SeveralLabelMetrics, UnlabeledMetrics
from videopool.errors import InputError

CLASSES = ("a", "b", "c", "d")
VIDEOS = 24
GENERATOR = torch.Generator().manual_seed(0)
LABELS = torch.randint(0, 4, (VIDEOS,), generator=GENERATOR)
TARGETS = (torch.rand(VIDEOS, 4, generator=GENERATOR) < 0.4).float()


def logits_of(seed: int, views: int) -> torch.Tensor:
    """Return logits [V,W,K] that favor the label."""
    noise = torch.randn(VIDEOS, views, 4, generator=torch.Generator().manual_seed(seed))
    return noise * 1.5 + torch.nn.functional.one_hot(LABELS, 4)[:, None]


def score_file(logits: torch.Tensor, *, several: bool = False, videos: range = range(VIDEOS)) -> ScoreFile:
    """Return the scores of some videos as an evaluation would store them."""
    views = logits.shape[1]
    flat = logits[list(videos)].flatten(0, 1)
    video = torch.tensor(videos).repeat_interleave(views)
    scores = flat.sigmoid() if several else flat.softmax(1)
    writer = ShardWriter(4)
    writer.add(
        ClipScores(
            scores, video, torch.arange(views).repeat(len(videos)), LABELS[video], flat, unknown_seconds(len(flat))
        )
    )
    return ScoreFile(
        path=Path("scores.npz"),
        names=tuple(map(str, range(VIDEOS))),
        classes=CLASSES,
        shard=writer.finish(),
        labels=LABELS,
        targets=TARGETS if several else None,
        views=views,
        crops=1,
        several_labels=several,
        list_sha256="0",
    )


def slow_scores(parts: list[torch.Tensor], average: Average, several: bool) -> np.ndarray:
    """Return the scores of the videos, video by video."""
    found = np.zeros((VIDEOS, 4))
    for video in range(VIDEOS):
        logits = [part[video].double() for part in parts]
        probabilities = [part.float().sigmoid() if several else part.float().softmax(1) for part in logits]
        if average == "maximum":
            found[video] = torch.cat(probabilities).max(0).values
        elif average == "logits":
            mean = torch.stack([part.mean(0) for part in logits]).mean(0)
            found[video] = mean.sigmoid() if several else mean.softmax(0)
        else:
            found[video] = torch.stack([part.double().mean(0) for part in probabilities]).mean(0)
    return found


@pytest.mark.parametrize("average", ["probabilities", "logits", "maximum"])
@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("views", [(5,), (5, 5), (2, 6, 1)])
def test_scores_against_a_loop(average: Average, several: bool, views: tuple[int, ...]) -> None:
    parts = [logits_of(seed, number) for seed, number in enumerate(views)]
    ensemble = combine_scores([score_file(part, several=several) for part in parts], average)
    expected = slow_scores(parts, average, several)
    np.testing.assert_allclose(ensemble.scores, expected, rtol=4e-7)  # of float32 probabilities
    metrics = ensemble.metrics
    counted = int(TARGETS.any(1).sum()) if several else VIDEOS
    assert (metrics.views, metrics.clips, metrics.unscored) == (sum(views), counted * sum(views), 0)
    if isinstance(metrics, SeveralLabelMetrics):
        labeled = TARGETS.any(1).numpy()
        precisions = [slow_precision(expected[labeled, k].tolist(), TARGETS[labeled, k].tolist()) for k in range(4)]
        assert metrics.video_map == pytest.approx(np.mean(precisions))
        return
    assert isinstance(metrics, Metrics)
    assert metrics.video_top1 == np.mean(expected.argmax(1) == LABELS.numpy())
    clips = torch.cat([part.flatten(0, 1).argmax(1) for part in parts])
    labels = torch.cat([LABELS.repeat_interleave(number) for number in views])
    assert metrics.clip_top1 == pytest.approx(float((clips == labels).double().mean()))
    assert 0.3 < metrics.video_top1 < 1  # neither chance nor perfect


def test_a_video_that_one_file_lacks_is_unscored() -> None:
    files = [score_file(logits_of(0, 3)), score_file(logits_of(1, 2), videos=range(20))]
    ensemble = combine_scores(files)
    assert ensemble.metrics.unscored == 4
    assert ensemble.videos.complete.tolist() == [True] * 20 + [False] * 4
    assert ensemble.metrics.clips == 20 * 5
    expected = combine_scores([score_file(logits_of(0, 3), videos=range(20)), files[1]])
    assert dataclasses.asdict(ensemble.metrics) == dataclasses.asdict(expected.metrics)


def test_files_of_other_classes_or_another_list_are_refused() -> None:
    file = score_file(logits_of(0, 2))
    other = dataclasses.replace(file, classes=("a", "x", "c", "d"), path=Path("other.npz"))
    with pytest.raises(InputError, match=r"other.npz has other classes than scores.npz \(class 1 is 'x', not 'b'\)"):
        combine_scores([file, other])
    other = dataclasses.replace(file, list_sha256="1", path=Path("other.npz"))
    with pytest.raises(
        InputError,
        match=r"other.npz is of another list of videos than scores.npz \(the same videos with other labels\)",
    ):
        combine_scores([file, other])
    renamed = dataclasses.replace(other, names=("0", "y", *file.names[2:]))
    with pytest.raises(InputError, match=r"than scores.npz \(video 1 is 'y', not '1'\)"):
        compare_scores(combine_scores([file]), combine_scores([renamed]), 0)
    with pytest.raises(InputError, match="The scores are of a list without labels"):
        assess_scores(combine_scores([dataclasses.replace(file, labels=torch.full_like(LABELS, -1))]))


def test_a_list_without_labels() -> None:
    file = dataclasses.replace(score_file(logits_of(0, 2)), labels=torch.full((VIDEOS,), -1))
    ensemble = combine_scores([file, file])
    assert isinstance(ensemble.metrics, UnlabeledMetrics)
    assert ensemble.truth is None
    assert views_curve([file]) == []
    with pytest.raises(InputError, match="without labels cannot be compared"):
        compare_scores(ensemble, ensemble, 0)


def test_curve_over_views() -> None:
    logits = logits_of(3, 7)
    curve = dict(views_curve([score_file(logits)]))
    assert list(curve) == [1, 2, 3, 4, 5, 6, 7]
    probabilities = logits.softmax(2).double()
    for number, views in {1: [3], 2: [1, 5], 3: [1, 3, 5], 7: list(range(7))}.items():
        correct = probabilities[:, views].mean(1).argmax(1) == LABELS
        assert curve[number] == float(correct.double().mean())
    assert views_curve([score_file(logits), score_file(logits[:, :3])]) == []
    cropped = dataclasses.replace(score_file(logits[:, :6]), crops=3)  # 2 clips, of which views 1 and 4 are the middle
    for number, views in {1: [4], 2: [1, 4], 6: list(range(6))}.items():
        correct = probabilities[:, views].mean(1).argmax(1) == LABELS
        assert dict(views_curve([cropped]))[number] == float(correct.double().mean())
    assert [number for number, _ in views_curve([cropped])] == [1, 2, 6]
    assert views_curve([score_file(logits[:, :6]), cropped]) == []
    several = views_curve([score_file(logits, several=True)])
    assert several[-1] == (7, combine_scores([score_file(logits, several=True)]).metrics.score)


def test_mcnemar_against_counts_of_coins() -> None:
    for first, second in [(0, 0), (1, 0), (3, 9), (9, 3), (10, 10), (0, 20)]:
        pairs = first + second
        uneven = sum(math.comb(pairs, k) for k in range(pairs + 1) if abs(2 * k - pairs) >= abs(first - second))
        assert mcnemar(first, second) == pytest.approx(uneven / 2**pairs, rel=1e-12)
    assert 0 < mcnemar(4700, 5300) < 1e-8  # no overflow


def test_comparison_of_labels() -> None:
    one, two = (combine_scores([score_file(logits_of(seed, 4))]) for seed in (0, 1))
    hits = [one.videos.predicted == LABELS, two.videos.predicted == LABELS]
    found = compare_scores(one, two, 1000)
    assert (found.only_first, found.only_second) == (int((hits[0] & ~hits[1]).sum()), int((hits[1] & ~hits[0]).sum()))
    assert found.first - found.second == pytest.approx(found.difference)
    assert found.interval[0] <= found.difference <= found.interval[1]
    assert found.p_value == mcnemar(found.only_first, found.only_second)
    back = compare_scores(two, one, 1000)
    assert back.interval == pytest.approx((-found.interval[1], -found.interval[0]))
    same = compare_scores(one, one, 100)
    assert (same.difference, same.interval, same.p_value) == (0, (0, 0), 1)
    assert "McNemar" in str(found)


def test_comparison_of_several_labels() -> None:
    one, two = (combine_scores([score_file(logits_of(seed, 4), several=True)]) for seed in (0, 1))
    found = compare_scores(one, two, 200)
    assert found.first == pytest.approx(one.metrics.score)
    assert found.second == pytest.approx(two.metrics.score)
    assert found.interval[0] <= found.difference <= found.interval[1]
    assert math.isnan(found.p_value)
    assert "McNemar" not in str(found)


def test_paired_intervals_are_narrower_than_those_of_each() -> None:
    """Two evaluations that fail on the same videos differ by less than their intervals suggest."""
    logits = logits_of(0, 4)
    one, two = combine_scores([score_file(logits)]), combine_scores([score_file(logits + 0.1 * logits_of(1, 4))])
    paired = compare_scores(one, two, 1000).interval
    alone = assess_scores(one).intervals["video_top1"]
    assert paired[1] - paired[0] < alone[1] - alone[0]


def test_rates_of_classes() -> None:
    ensemble = combine_scores([score_file(logits_of(0, 2))])
    found = assess_scores(ensemble, resamples=0)
    truth, predicted = LABELS.tolist(), ensemble.videos.predicted.tolist()
    for number, name in enumerate(CLASSES):
        both = sum(a == b == number for a, b in zip(truth, predicted, strict=True))
        assert found.precision[name] == both / predicted.count(number)
        assert found.recall[name] == both / truth.count(number)
        assert found.f1[name] == pytest.approx(2 * both / (truth.count(number) + predicted.count(number)))
    assert found.intervals.keys() == {"video_top1", "video_top5"}
    several = combine_scores([score_file(logits_of(0, 2), several=True)])
    found = assess_scores(several, resamples=100)
    labeled = TARGETS.any(1)
    chosen, positive = several.scores[labeled] >= 0.5, TARGETS[labeled] > 0
    assert found.recall["b"] == int((chosen & positive)[:, 1].sum()) / int(positive[:, 1].sum())
    assert found.precision["c"] == int((chosen & positive)[:, 2].sum()) / int(chosen[:, 2].sum())
    assert math.isnan(found.ece)
    low, high = found.intervals["video_map"]
    assert low < several.metrics.score < high
    never = dataclasses.replace(several.videos, views=torch.zeros(VIDEOS, dtype=torch.int64))
    empty = assess_scores(dataclasses.replace(several, videos=never)).values()
    assert empty["macro_f1"] is None
    assert empty["precision"]["a"] is None
    assert assess_scores(dataclasses.replace(ensemble, videos=never)).values()["ece"] is None
