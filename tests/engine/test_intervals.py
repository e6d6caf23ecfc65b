"""Intervals against formulas, slow loops over resamples, and samples whose true value is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from videopool.engine.scoring import intervals
from videopool.engine.scoring.intervals import (
    Outcomes,
    Rankings,
    average_precisions,
    bootstrap,
    resampled,
    wilson,
)
from videopool.engine.scoring.scores import average_precision, top_k
from videopool.errors import InputError


def test_wilson_solves_its_equation() -> None:
    """The bounds are the fractions p whose distance from the observed one is 1.96 standard errors at p."""
    for correct, total in [(0, 5), (1, 5), (5, 5), (37, 80), (999, 1000)]:
        for bound in wilson(correct, total):
            distance = abs(correct / total - bound)
            error = 1.959963984540054 * math.sqrt(bound * (1 - bound) / total)
            assert distance == pytest.approx(error, abs=1e-7)
    assert all(math.isnan(bound) for bound in wilson(0, 0))
    assert wilson(15, 60) == pytest.approx((0.1577, 0.3723), abs=1e-4)


def test_resamples_have_as_many_videos_as_the_sample() -> None:
    parts = list(resampled(30, 600))
    assert [part.shape for part in parts] == [(30, 250), (30, 250), (30, 100)]
    counts = torch.cat(parts, 1)
    assert (counts.sum(0) == 30).all()
    # Binomial with mean 1 and variance 29/30: six standard errors of the mean and of the variance over 18,000 counts.
    assert abs(float(counts.var()) - 29 / 30) < 6 * math.sqrt(3 / 18_000)
    assert abs(float(counts.mean(1).max()) - 1) < 6 * math.sqrt(1 / 600)
    assert torch.equal(counts, torch.cat(list(resampled(30, 600)), 1))


def test_resamples_of_many_videos_are_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = torch.cat(list(resampled(30, 100)), 1)
    monkeypatch.setattr(intervals, "_NUMBERS", 65)
    parts = list(resampled(30, 100))
    assert {part.shape[1] for part in parts} == {2}
    assert torch.equal(torch.cat(parts, 1), whole)
    monkeypatch.setattr(intervals, "_NUMBERS", 5)
    assert torch.equal(torch.cat(list(resampled(30, 100)), 1), whole)


def outcomes(videos: int, classes: int, seed: int) -> Outcomes:
    rng = np.random.default_rng(seed)
    labels, other = (torch.from_numpy(rng.integers(classes, size=videos)) for _ in range(2))
    hits = torch.from_numpy(rng.random(videos) < 0.6)
    top1 = torch.from_numpy(rng.integers(4, size=videos))
    return Outcomes(
        labels=labels,
        predicted=torch.where(hits, labels, other),
        confidence=torch.from_numpy(rng.random(videos)),
        views=torch.full((videos,), 6),
        clips_top1=top1,
        clips_top5=top1 + 2,
        classes=classes,
    )


def slow_metrics(sample: Outcomes, drawn: list[int]) -> dict[str, float]:
    """Return the metrics of the videos ``drawn``, one after the other."""
    labels, predicted = [int(sample.labels[i]) for i in drawn], [int(sample.predicted[i]) for i in drawn]
    recalls, scores = [], []
    for label in set(labels):
        both = sum(a == b == label for a, b in zip(labels, predicted, strict=True))
        recall = both / labels.count(label)
        precision = both / predicted.count(label) if label in predicted else 0
        recalls.append(recall)
        scores.append(2 * precision * recall / (precision + recall) if both else 0)
    error = 0.0
    for number in range(15):
        inside = [i for i in drawn if number / 15 < float(sample.confidence[i]) <= (number + 1) / 15]
        if inside:
            correct = np.mean([bool(sample.labels[i] == sample.predicted[i]) for i in inside])
            error += len(inside) / len(drawn) * abs(correct - np.mean([float(sample.confidence[i]) for i in inside]))
    views = sum(int(sample.views[i]) for i in drawn)
    return {
        "mean_class_accuracy": float(np.mean(recalls)),
        "macro_f1": float(np.mean(scores)),
        "clip_top1": sum(int(sample.clips_top1[i]) for i in drawn) / views,
        "clip_top5": sum(int(sample.clips_top5[i]) for i in drawn) / views,
        "ece": error,
    }


def test_metrics_of_resamples_are_those_of_the_drawn_videos() -> None:
    sample = outcomes(40, 5, seed=1)
    counts = next(iter(resampled(40, 30)))
    found = sample.draws(counts)
    for number, column in enumerate(counts.unbind(1)):
        drawn = torch.repeat_interleave(torch.arange(40), column.long()).tolist()
        expected = slow_metrics(sample, drawn)
        assert {name: float(values[number]) for name, values in found.items()} == pytest.approx(expected, rel=1e-12)


def test_average_precisions_of_resamples_are_those_of_the_drawn_videos() -> None:
    generator = torch.Generator().manual_seed(2)
    counts = next(iter(resampled(50, 40)))
    for levels in (3, 1000):  # many ties, and none
        scores = torch.randint(0, levels, (50,), generator=generator) / levels
        positive = torch.rand(50, generator=generator) < 0.1
        found = average_precisions(scores, positive, counts)
        assert bool(positive.any())
        for number, column in enumerate(counts.unbind(1)):
            drawn = torch.repeat_interleave(torch.arange(50), column.long())
            expected = average_precision(scores[drawn], positive[drawn])
            assert float(found[number]) == pytest.approx(expected, rel=1e-12, nan_ok=True)
    assert average_precisions(scores, torch.zeros(50, dtype=torch.bool), counts).isnan().all()


def test_mean_average_precision_leaves_out_classes_that_were_not_drawn() -> None:
    scores = torch.tensor([[0.9, 0.3], [0.2, 0.8], [0.1, 0.1]])
    positive = torch.tensor([[True, False], [False, True], [True, False]])
    counts = torch.tensor([[1.0, 2.0], [1.0, 0.0], [1.0, 1.0]])
    expected = torch.tensor([((1 + 2 / 3) / 2 + 1) / 2, 1.0], dtype=torch.float64)
    torch.testing.assert_close(Rankings(scores, positive).draws(counts)["video_map"], expected)


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution() -> None:
    """The bootstrap of a mean of n values has the standard error s/sqrt(n)."""
    values = torch.from_numpy(np.random.default_rng(3).normal(size=400))
    low, high = bootstrap(lambda counts: {"mean": values @ counts.double() / 400}, 400, 4000)["mean"]
    half = 1.96 * float(values.std(correction=0)) / 20
    # A percentile p of R draws has the standard error sqrt(p(1-p)/R)/density: here 0.042 standard errors of the mean.
    assert low == pytest.approx(float(values.mean()) - half, abs=6 * 0.042 * half / 1.96)
    assert high == pytest.approx(float(values.mean()) + half, abs=6 * 0.042 * half / 1.96)


@pytest.mark.slow
def test_intervals_cover_the_true_value() -> None:
    """Of 200 samples with a true mean class accuracy of 0.6 about 95 % have an interval that contains it."""
    covered = 0
    for seed in range(200):
        rng = torch.Generator().manual_seed(seed)
        labels = torch.arange(300) % 3
        hits = torch.rand(300, generator=rng) < 0.6
        ones = torch.ones(300, dtype=torch.int64)
        sample = Outcomes(labels, torch.where(hits, labels, 3), torch.rand(300).double(), ones, ones, ones, classes=4)
        low, high = bootstrap(sample.draws, 300, 250)["mean_class_accuracy"]
        covered += low <= 0.6 <= high
    assert 0.95 * 200 - 6 * math.sqrt(200 * 0.95 * 0.05) < covered  # binomial


def test_no_resamples_and_no_videos() -> None:
    sample = outcomes(5, 2, seed=0)
    assert bootstrap(sample.draws, 5, 0) == {}
    assert bootstrap(sample.draws, 0, 10) == {}
    with pytest.raises(InputError, match="resamples=-1 must be 0 or more"):
        bootstrap(sample.draws, 5, -1)


@pytest.mark.parametrize("seed", range(3))
def test_scikit_learn_agrees(seed: int) -> None:
    """F1, recall and mean average precision of the sample itself."""
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed; it is a test oracle only")
    sample, ones = outcomes(60, 4, seed), torch.ones(60, 1)
    found = sample.draws(ones)
    truth, predicted = sample.labels.numpy(), sample.predicted.numpy()
    present = np.unique(truth)
    expected = metrics.f1_score(truth, predicted, labels=present, average="macro", zero_division=0)
    assert float(found["macro_f1"]) == pytest.approx(expected, rel=1e-12)
    assert float(found["mean_class_accuracy"]) == pytest.approx(metrics.balanced_accuracy_score(truth, predicted))
    rng = np.random.default_rng(seed)
    scores, positive = rng.random((60, 5)), rng.random((60, 5)) < 0.3
    found = Rankings(torch.from_numpy(scores), torch.from_numpy(positive)).draws(ones)
    expected = metrics.average_precision_score(positive, scores, average="macro")
    assert float(found["video_map"]) == pytest.approx(expected, rel=1e-12)


def test_the_sample_itself_has_the_metrics_of_an_evaluation() -> None:
    sample = outcomes(60, 4, seed=5)
    one_hot = torch.nn.functional.one_hot(sample.predicted, 4)
    per_class = [top_k(one_hot[sample.labels == k], sample.labels[sample.labels == k], 1) for k in range(4)]
    assert float(sample.draws(torch.ones(60, 1))["mean_class_accuracy"]) == pytest.approx(np.mean(per_class))
