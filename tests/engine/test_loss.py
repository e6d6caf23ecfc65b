"""Losses and counts of correct predictions, against formulas in float64."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from videopool.engine.loss import choose_loss, count_correct
from videopool.errors import InputError
from videopool.types import Batch

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.1, 0.2, -3.0], [-1.0, 4.0, 4.5], [0.0, 0.3, 0.2]])
MIXED = torch.tensor([[0.7, 0.0, 0.3], [0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.6, 0.0, 0.4]])


def batch(labels: list[int], targets: torch.Tensor | None = None) -> Batch:
    count = len(labels)
    zeros = torch.zeros(count, dtype=torch.int64)
    clips = torch.zeros(count, 1, 1, 1, 1, dtype=torch.uint8)
    return Batch(clips, torch.tensor(labels), zeros, zeros, zeros.bool(), targets=targets)


def test_one_label_equals_cross_entropy() -> None:
    labels = [0, 1, 1, 2]
    for smoothing in (0.0, 0.1):
        found = choose_loss(several_labels=False, label_smoothing=smoothing)(LOGITS, batch(labels))
        expected = functional.cross_entropy(LOGITS, torch.tensor(labels), label_smoothing=smoothing)
        assert torch.equal(found, expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_mixed_targets_match_the_formula(smoothing: float) -> None:
    found = choose_loss(several_labels=False, label_smoothing=smoothing)(LOGITS, batch([0, 0, 1, 0], MIXED))
    smooth = MIXED.double() * (1 - smoothing) + smoothing / 3
    expected = -(smooth * LOGITS.double().log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(found.double(), expected, rtol=8 * 2**-24, atol=0)


def test_one_hot_targets_give_the_loss_of_labels() -> None:
    labels = [0, 1, 1, 2]
    targets = functional.one_hot(torch.tensor(labels), 3).float()
    loss = choose_loss(several_labels=False, label_smoothing=0.1)
    torch.testing.assert_close(loss(LOGITS, batch(labels, targets)), loss(LOGITS, batch(labels)))


def test_several_labels_match_the_formula() -> None:
    targets = torch.tensor([[1.0, 0, 1], [0, 0, 0], [0, 1, 0], [0.3, 1, 0]])
    found = choose_loss(several_labels=True, label_smoothing=0.0)(LOGITS, batch([0, -1, 1, 0], targets))
    p, t = LOGITS.double().sigmoid(), targets.double()
    expected = -(t * p.log() + (1 - t) * (1 - p).log()).mean()
    torch.testing.assert_close(found.double(), expected, rtol=8 * 2**-24, atol=0)


def test_label_smoothing_of_several_labels_is_refused() -> None:
    with pytest.raises(InputError, match=r"label_smoothing=0\.1 must be 0, because the training videos"):
        choose_loss(several_labels=True, label_smoothing=0.1)


def test_count_correct() -> None:
    assert count_correct(LOGITS, batch([0, 1, 1, 0])) == 2
    # Predicted shares: 0.7 is the largest, 0.5 is one of two equal ones, 0.0 of 1.0 and 0.0 of 0.6 are not the largest.
    assert count_correct(LOGITS, batch([0, 0, 1, 0], MIXED)) == 2
    several = torch.tensor([[1.0, 1, 0], [0, 0, 0], [0, 1, 1], [1, 0, 1]])
    assert count_correct(LOGITS, batch([0, -1, 1, 0], several)) == 2  # the second has no class
