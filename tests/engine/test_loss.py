"""Losses and counts of correct predictions, against formulas in float64 and torch's own losses."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import hypothesis
import pytest
import torch
from hypothesis import strategies
from torch.nn import functional

from videopool.data.lists.table import VideoTable
from videopool.engine.optimization.class_weights import count_labels, inverse_frequency, read_class_weights
from videopool.engine.optimization.loss import choose_loss, count_correct
from videopool.errors import InputError
from videopool.types import Batch, VideoRecord

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


def test_cross_entropy_of_several_labels_is_refused() -> None:
    with pytest.raises(InputError, match=r"loss=cross_entropy needs one class for each video.* Use bce"):
        choose_loss("cross_entropy", several_labels=True)


WEIGHTS = torch.tensor([0.5, 2.0, 1.25])
FLOAT = 16 * 2**-24  # a few roundings of float32


def one_hot(labels: list[int]) -> torch.Tensor:
    return functional.one_hot(torch.tensor(labels), 3).float()


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("targets", [None, MIXED])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_softmax_losses_match_the_formula(
    gamma: float, weights: torch.Tensor | None, targets: torch.Tensor | None, smoothing: float
) -> None:
    loss = choose_loss(several_labels=False, label_smoothing=smoothing, focal_gamma=gamma, class_weights=weights)
    labels = [0, 1, 1, 2]
    t = (one_hot(labels) if targets is None else targets).double() * (1 - smoothing) + smoothing / 3
    p, w = LOGITS.double().softmax(1), 1.0 if weights is None else weights.double()
    expected = (w * t * (1 - p) ** gamma * -p.log()).sum() / 4
    torch.testing.assert_close(loss(LOGITS, batch(labels, targets)).double(), expected, rtol=FLOAT, atol=0)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize(("several", "smoothing"), [(False, 0.0), (False, 0.2), (True, 0.0)])
def test_sigmoid_losses_match_the_formula(
    gamma: float, weights: torch.Tensor | None, several: bool, smoothing: float
) -> None:
    arguments = {"label_smoothing": smoothing, "focal_gamma": gamma, "class_weights": weights}
    loss = choose_loss("bce", several_labels=several, **arguments)
    labels = [0, 1, 1, 2]
    targets = torch.tensor([[1.0, 0, 1], [0, 0, 0], [0, 1, 0], [0.3, 1, 0]]) if several else None
    t = (one_hot(labels) if targets is None else targets).double() * (1 - smoothing) + smoothing / 3
    p, w = LOGITS.double().sigmoid(), 1.0 if weights is None else weights.double()
    expected = (w * (t * (1 - p) ** gamma * -p.log() + (1 - t) * p**gamma * -(1 - p).log())).mean()
    torch.testing.assert_close(loss(LOGITS, batch(labels, targets)).double(), expected, rtol=FLOAT, atol=0)


def test_class_weights_are_those_of_torch_but_for_the_divisor() -> None:
    labels, arguments = [0, 1, 1, 2], {"weight": WEIGHTS, "label_smoothing": 0.1, "reduction": "sum"}
    found = choose_loss(several_labels=False, label_smoothing=0.1, class_weights=WEIGHTS)(LOGITS, batch(labels))
    expected = functional.cross_entropy(LOGITS, torch.tensor(labels), **arguments) / 4
    torch.testing.assert_close(found, expected, rtol=FLOAT, atol=0)


@pytest.mark.parametrize("kind", ["cross_entropy", "bce"])
@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_the_gradient_of_certain_predictions_is_finite(kind: str, gamma: float) -> None:
    logits = torch.tensor([[200.0, -200.0, 0.0], [-200.0, 200.0, 0.0]], requires_grad=True)
    loss = choose_loss(kind, several_labels=False, focal_gamma=gamma)(logits, batch([0, 0]))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


@hypothesis.given(
    kind=strategies.sampled_from(["cross_entropy", "bce"]),
    gamma=strategies.sampled_from([0.0, 2.0]),
    weights=strategies.sampled_from([None, WEIGHTS.double()]),
    smoothing=strategies.sampled_from([0.0, 0.1]),
    mixed=strategies.booleans(),
    cuts=strategies.sets(strategies.integers(1, 7)),
    seed=strategies.integers(0, 100),
)
@hypothesis.settings(deadline=None, max_examples=60)
def test_the_loss_of_a_batch_is_the_mean_of_its_parts_weighted_by_their_size(
    kind: str,
    gamma: float,
    weights: torch.Tensor | None,
    smoothing: float,
    mixed: bool,
    cuts: set[int],
    seed: int,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(8, 3, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 3, (8,), generator=generator).tolist()
    targets = torch.rand(8, 3, generator=generator, dtype=torch.float64).softmax(1) if mixed else None
    arguments = {"label_smoothing": smoothing, "focal_gamma": gamma, "class_weights": weights}
    loss = choose_loss(kind, several_labels=False, **arguments)
    parts = [
        (end - start)
        / 8
        * loss(logits[start:end], batch(labels[start:end], None if targets is None else targets[start:end]))
        for start, end in itertools.pairwise([0, *sorted(cuts), 8])
    ]
    torch.testing.assert_close(sum(parts), loss(logits, batch(labels, targets)), rtol=2**-48, atol=0)


def table(*labels: int | tuple[int, ...]) -> VideoTable:
    plain = VideoRecord("v", Path("v"), 0)
    records = [
        dataclasses.replace(plain, label=label)
        if isinstance(label, int)
        else dataclasses.replace(plain, label=label[0] if label else -1, labels=label)
        for label in labels
    ]
    return VideoTable.from_records(records, Path())


def test_balanced_weights_are_inverse_to_the_number_of_videos() -> None:
    counts = count_labels(table(0, 0, 0, 1, 2, 2), 3)
    assert counts.tolist() == [3, 1, 2]
    weights = inverse_frequency(counts)
    torch.testing.assert_close(weights, torch.tensor([6 / 9, 6 / 3, 6 / 6]))
    assert (weights * counts).sum() / 6 == pytest.approx(1.0)
    assert count_labels(table((0, 2), (2,), ()), 3).tolist() == [1, 0, 2]
    assert torch.isfinite(inverse_frequency(torch.tensor([1, 0, 2]))).all()


def test_class_weights_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "weights.txt").write_text("1\n0.5\n0\n")
    assert read_class_weights(tmp_path / "weights.txt", ("a", "b", "c")).tolist() == [1.0, 0.5, 0.0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1\n2\n", r"has 2 lines for 3 classes. Write one weight per class, from 'a' to 'c'"),
        ("1\nx\n2\n", r"weights.txt:2: 'x' must be a number of 0 or more"),
        ("1\n2\n-1\n", "weights.txt:3: '-1' must be"),
        ("1\nnan\n1\n", "weights.txt:2: 'nan' must be"),
        (None, "cannot be read .* Give 'balanced', or a text file with one number per class"),
    ],
)
def test_class_weights_that_cannot_be_used(text: str | None, expected: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "weights.txt").write_text(text)
    with pytest.raises(InputError, match=expected):
        read_class_weights(tmp_path / "weights.txt", ("a", "b", "c"))


def test_count_correct() -> None:
    assert count_correct(LOGITS, batch([0, 1, 1, 0])) == 2
    # Predicted shares: 0.7 is the largest, 0.5 is one of two equal ones, 0.0 of 1.0 and 0.0 of 0.6 are not the largest.
    assert count_correct(LOGITS, batch([0, 0, 1, 0], MIXED)) == 2
    several = torch.tensor([[1.0, 1, 0], [0, 0, 0], [0, 1, 1], [1, 0, 1]])
    assert count_correct(LOGITS, batch([0, -1, 1, 0], several)) == 2  # the second has no class
