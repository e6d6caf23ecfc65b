"""The loss of distillation against its formula in float64."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from videopool.engine.step.distillation import Teacher
from videopool.errors import InputError

FLOAT = 64 * 2**-24  # sums and differences of a few logarithms of about 1 in float32


class Scores(nn.Module):
    """Gives its inputs as logits, times a weight, with dropout and normalization."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1.5))
        self.norm = nn.BatchNorm1d(4, affine=False)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dropout(self.norm(x)) * self.weight


def drawn(seed: int, rows: int = 6) -> torch.Tensor:
    return 2 * torch.randn(rows, 4, generator=torch.Generator().manual_seed(seed))


def logits_of(teacher: Teacher, inputs: torch.Tensor) -> torch.Tensor:
    return inputs.double() * 1.5 / (1 + teacher.model.norm.eps) ** 0.5


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("several", [False, True])
def test_the_loss_matches_the_formula(temperature: float, several: bool) -> None:
    teacher = Teacher(Scores(), weight=0.3, temperature=temperature, several_labels=several)
    logits, inputs = drawn(1), drawn(2)
    y, z = logits_of(teacher, inputs) / temperature, logits.double() / temperature
    if several:
        p, q = y.sigmoid(), z.sigmoid()
        expected = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean()
    else:
        p, q = y.softmax(1), z.softmax(1)
        expected = (p * (p / q).log()).sum(1).mean()
    expected = expected * temperature**2
    torch.testing.assert_close(teacher.loss(logits, inputs).double(), expected, rtol=FLOAT, atol=FLOAT)
    total = teacher.total(torch.tensor(2.0), logits, inputs)
    torch.testing.assert_close(total.double(), 0.7 * 2.0 + 0.3 * expected, rtol=FLOAT, atol=FLOAT)


@pytest.mark.parametrize("several", [False, True])
def test_the_loss_is_zero_for_the_logits_of_the_teacher(several: bool) -> None:
    teacher = Teacher(Scores(), weight=1.0, temperature=2.0, several_labels=several)
    inputs = drawn(2)
    logits = teacher.model(inputs).requires_grad_()
    loss = teacher.loss(logits, inputs)
    loss.backward()
    torch.testing.assert_close(loss, torch.tensor(0.0), rtol=0, atol=FLOAT)
    torch.testing.assert_close(logits.grad, torch.zeros(6, 4), rtol=0, atol=FLOAT)


def test_the_gradient_at_a_high_temperature_is_that_of_matching_logits() -> None:
    """Section 2.1 of the paper: with zero-mean logits, the gradient of a clip tends to (z - y) / K."""
    teacher = Teacher(Scores(), weight=1.0, temperature=1000.0, several_labels=False)
    inputs = drawn(2, rows=1)
    inputs -= inputs.mean()
    logits = drawn(1, rows=1)
    logits = (logits - logits.mean()).requires_grad_()
    teacher.loss(logits, inputs).backward()
    expected = (logits.detach().double() - logits_of(teacher, inputs)) / 4
    torch.testing.assert_close(logits.grad.double(), expected, rtol=0, atol=0.01)


def test_the_teacher_evaluates_and_does_not_change() -> None:
    teacher = Teacher(Scores().train(), weight=0.5, temperature=1.0, several_labels=False)
    before = {name: value.clone() for name, value in teacher.model.state_dict().items()}
    logits, inputs = drawn(1).requires_grad_(), drawn(2)
    one, other = teacher.loss(logits, inputs), teacher.loss(logits, inputs)
    one.backward()
    assert torch.equal(one, other)  # no dropout
    assert teacher.model.weight.grad is None
    assert all(torch.equal(value, before[name]) for name, value in teacher.model.state_dict().items())


def test_the_loss_of_a_batch_is_the_mean_of_its_parts_weighted_by_their_size() -> None:
    for several in (False, True):
        teacher = Teacher(Scores(), weight=0.5, temperature=3.0, several_labels=several)
        logits, inputs = drawn(1), drawn(2)
        parts = 2 / 6 * teacher.loss(logits[:2], inputs[:2]) + 4 / 6 * teacher.loss(logits[2:], inputs[2:])
        torch.testing.assert_close(parts, teacher.loss(logits, inputs), rtol=FLOAT, atol=0)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"weight": 1.5, "temperature": 1.0}, "distill_weight=1.5 must be from 0 to 1"),
        ({"weight": 0.5, "temperature": 0.0}, "distill_temperature=0.0 must be above 0"),
    ],
)
def test_invalid_settings(arguments: dict, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        Teacher(Scores(), several_labels=False, **arguments)
