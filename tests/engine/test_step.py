"""A training step: mixed precision, the scale of the loss, compilation."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from tests.engine.divided_steps import clips_of, network
from videopool.data.transforms import Normalize
from videopool.engine import TrainStep, Update, World, build_optimizer, split_batch
from videopool.engine.optimization.loss import choose_loss
from videopool.engine.step.compilation import Compile
from videopool.engine.step.precision import Precision, check_scale
from videopool.errors import InputError
from videopool.pooling import SoftPool
from videopool.types import Batch, Place

WORLD = World(0, 1, torch.device("cpu"))


def same_batch(batch: Batch, seed: int, place: Place) -> Batch:
    return batch


def step_of(
    model: nn.Module, *, compile: Compile = "none", precision: Precision = "float32", most: int = 0, group: int = 4
) -> TrainStep:
    update = Update(
        split=split_batch(8, processes=1, most=most, group=group),
        augment=same_batch,
        preprocess=Normalize((0.45, 0.45, 0.45), (0.225, 0.225, 0.225)),
        lr=0.1,
        schedule=lambda progress: 1.0,
        loss=choose_loss(several_labels=False, label_smoothing=0.0),
        clip_norm=0.0,
        precision=precision,
        seed=7,
        compile=compile,
    )
    return TrainStep(model, build_optimizer(model, "sgd", lr=0.1, weight_decay=0.0), update, WORLD)


def take(step: TrainStep, count: int) -> None:
    for number in range(count):
        step(clips_of(number, 8).split(step.update.split.size), number, 0.0)


def changes(model: nn.Module, before: nn.Module) -> dict[str, torch.Tensor]:
    pairs = zip(model.named_parameters(), before.parameters(), strict=True)
    return {name: (new - old).detach() for (name, new), old in pairs}


# --- compilation ---------------------------------------------------------------------------------------------------


@pytest.fixture
def fresh_compiler() -> Callable[[], int]:
    """Return a function that counts the graphs compiled in the test."""
    torch._dynamo.reset()
    counters.clear()
    yield lambda: counters["stats"]["unique_graphs"]
    torch._dynamo.reset()


class Whole(nn.Module):
    """The network as one module; ``nn.Sequential`` alone is compiled layer by layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = network()
        self.layers[8] = SoftPool(3, 2)  # S3 draws from a generator, which a graph cannot contain

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


@pytest.mark.slow
def test_a_compiled_step_is_one_graph_with_equal_weights(fresh_compiler: Callable[[], int]) -> None:
    eager = Whole().float().train()
    compiled, before = copy.deepcopy(eager), copy.deepcopy(eager)
    take(step_of(eager, most=4), 3)
    take(step_of(compiled, compile="require", most=4), 3)
    assert fresh_compiler() == 1  # for all steps and forward passes
    reference = changes(eager, before)
    for name, change in changes(compiled, before).items():
        torch.testing.assert_close(change, reference[name], rtol=1e-3, atol=1e-5, msg=name)
    for one, other in zip(compiled.buffers(), eager.buffers(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


class Breaks(nn.Module):
    """A layer with a value of the host, which cannot be part of one graph."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * (2 if x.sum().item() > 0 else 1)


def test_a_network_that_cannot_be_compiled(fresh_compiler: Callable[[], int]) -> None:
    model = nn.Sequential(Breaks(), network().float()).train()
    with pytest.raises(InputError, match=r"The network cannot be compiled: .*\. Use compile=none, or compile=try"):
        take(step_of(copy.deepcopy(model), compile="require"), 1)
    eager = copy.deepcopy(model)
    with pytest.warns(UserWarning, match="trained without compilation, because it failed"):
        take(step_of(model, compile="try"), 2)
    take(step_of(eager), 2)
    for one, other in zip(model.parameters(), eager.parameters(), strict=True):
        assert torch.equal(one, other)


def test_batch_normalization_of_one_value() -> None:
    model = nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.BatchNorm1d(3), nn.Linear(3, 5)).train()
    step = step_of(model, most=1, group=1)
    with pytest.raises(InputError, match=r"one value per channel, because the statistics are those of 1 clip\(s\)"):
        take(step, 1)


# --- precision -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("precision", "epsilon"), [("bfloat16", 2**-8), ("float16", 2**-11)])
def test_mixed_precision_changes_the_gradient_by_its_rounding(precision: Precision, epsilon: float) -> None:
    exact, rounded = network().float().train(), network().float().train()
    before = network().float()
    take(step_of(exact), 1)
    take(step_of(rounded, precision=precision), 1)
    reference, found = changes(exact, before), changes(rounded, before)
    for name in ("0.weight", "5.weight", "12.weight"):
        difference = (found[name] - reference[name]).norm() / reference[name].norm()
        assert 0 < difference < 40 * epsilon, name  # 12 layers, forward and backward, batch norm of few values
    assert not step_of(rounded, precision=precision).broken


def test_an_overflow_in_float16_leaves_out_the_step_and_halves_the_scale() -> None:
    model = network().float().train()
    step = step_of(model, precision="float16")
    assert step.scaler.get_scale() == 2.0**16
    before = copy.deepcopy(model.state_dict())
    hook = model[0].weight.register_hook(lambda gradient: torch.full_like(gradient, torch.inf))
    take(step, 1)
    assert step.scaler.get_scale() == 2.0**15
    assert not step.broken
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name])
    hook.remove()
    take(step, 1)
    assert step.scaler.get_scale() == 2.0**15
    assert not torch.equal(model[0].weight, before["0.weight"])
    assert step.sums.read(WORLD)["grad_norm"] < float("inf")


def test_a_gradient_that_always_overflows_ends_training() -> None:
    model = network().float().train()
    step = step_of(model, precision="float16")
    model[0].weight.register_hook(lambda gradient: torch.full_like(gradient, torch.inf))
    take(step, 16)
    check_scale(step.scaler)
    take(step, 1)
    with pytest.raises(InputError, match="overflows float16 at any scale of the loss"):
        check_scale(step.scaler)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_loss_that_is_not_finite_stops_all_updates(precision: Precision) -> None:
    model = network().float().train()
    step = step_of(model, precision=precision)
    take(step, 1)
    weights = copy.deepcopy(dict(model.named_parameters()))
    loss = step.update.loss
    object.__setattr__(step.update, "loss", lambda logits, batch: loss(logits, batch) * torch.nan)
    take(step, 1)
    assert step.broken
    object.__setattr__(step.update, "loss", functools.partial(loss))
    take(step, 1)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, weights[name])
