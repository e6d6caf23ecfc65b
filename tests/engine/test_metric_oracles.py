"""The metrics of an evaluation against those of scikit-learn and torchmetrics."""

from __future__ import annotations

import numpy as np
import pytest

from tests.engine.test_ensemble import CLASSES, LABELS, TARGETS, logits_of, score_file
from videopool.engine import assess_scores, combine_scores
from videopool.engine.scoring.scores import Metrics, SeveralLabelMetrics

sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed; pip install 'videopool[dev]'")
torchmetrics = pytest.importorskip("torchmetrics.functional", reason="pip install 'videopool[dev]' for torchmetrics")


def test_one_class_for_each_video() -> None:
    ensemble = combine_scores([score_file(logits_of(3, views=3))])
    metrics, assessed = ensemble.metrics, assess_scores(ensemble, resamples=0)
    assert isinstance(metrics, Metrics)
    scores, predicted = ensemble.scores, ensemble.scores.argmax(1)
    assert metrics.confusion == sklearn.confusion_matrix(LABELS, predicted, labels=range(4)).tolist()
    rates = sklearn.precision_recall_fscore_support(LABELS, predicted, labels=range(4), zero_division=np.nan)
    for found, expected in zip((assessed.precision, assessed.recall, assessed.f1), rates, strict=False):
        assert [found[name] for name in CLASSES] == pytest.approx(expected.tolist(), rel=1e-12)
    kinds = {"task": "multiclass", "num_classes": 4}
    assert metrics.video_top1 == pytest.approx(
        float(torchmetrics.accuracy(scores, LABELS, average="micro", **kinds)), rel=1e-6
    )
    assert metrics.mean_class_accuracy == pytest.approx(
        float(torchmetrics.accuracy(scores, LABELS, average="macro", **kinds)), rel=1e-6
    )
    assert assessed.macro_f1 == pytest.approx(
        float(torchmetrics.f1_score(scores, LABELS, average="macro", **kinds)), rel=1e-6
    )
    error = torchmetrics.calibration_error(scores, LABELS, n_bins=15, norm="l1", **kinds)
    assert assessed.ece == pytest.approx(float(error), rel=1e-6)
    assert 0.01 < assessed.ece < 0.99


def test_several_classes_for_each_video() -> None:
    ensemble = combine_scores([score_file(logits_of(3, views=3), several=True)])
    metrics, assessed = ensemble.metrics, assess_scores(ensemble, resamples=0)
    assert isinstance(metrics, SeveralLabelMetrics)
    labeled = TARGETS.any(1)
    scores, targets = ensemble.scores[labeled], TARGETS[labeled].long()
    expected = sklearn.average_precision_score(targets, scores, average=None)
    assert [metrics.per_class[name] for name in CLASSES] == pytest.approx(expected.tolist(), rel=1e-12)
    found = torchmetrics.average_precision(scores, targets, task="multilabel", num_labels=4, average="macro")
    assert metrics.video_map == pytest.approx(float(found), rel=1e-6)
    rates = sklearn.precision_recall_fscore_support(targets, scores >= 0.5, zero_division=np.nan)
    for mine, other in zip((assessed.precision, assessed.recall, assessed.f1), rates, strict=False):
        assert [mine[name] for name in CLASSES] == pytest.approx(other.tolist(), rel=1e-12)
