"""A training step: mixed precision, the scale of the loss, compilation."""

from __future__ import annotations

import copy
import dataclasses
import functools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters
from torch.nn import functional

from tests.conftest import same_tensors
from tests.engine.conftest import take_steps
from tests.engine.divided_steps import CLASSES, clips_of, network
from videopool.data.transforms import Normalize
from videopool.engine import TrainStep, Update, World, build_optimizer, split_batch
from videopool.engine.optimization.loss import choose_loss
from videopool.engine.step.distillation import Teacher
from videopool.engine.step.precision import Precision, check_scale
from videopool.errors import InputError
from videopool.pooling import StochasticPool
from videopool.types import Batch, Place

WORLD = World(0, 1, torch.device("cpu"))


def same_batch(batch: Batch, seed: int, place: Place) -> Batch:
    return batch


def step_of(model: nn.Module, *, most: int = 0, group: int = 4, **changed: Any) -> TrainStep:
    normalize = Normalize((0.45, 0.45, 0.45), (0.225, 0.225, 0.225))
    dtype = next(model.parameters()).dtype
    update = Update(
        split=split_batch(8, processes=1, most=most, group=group),
        augment=same_batch,
        preprocess=lambda clips: normalize(clips).to(dtype),
        lr=0.1,
        schedule=lambda progress: 1.0,
        loss=choose_loss(several_labels=False, label_smoothing=0.0),
        clip_norm=0.0,
        precision="float32",
        seed=7,
    )
    update = dataclasses.replace(update, **changed)
    return TrainStep(model, build_optimizer(model, "sgd", lr=0.1, weight_decay=0.0), update, WORLD)


def take(step: TrainStep, count: int) -> None:
    for number in range(count):
        step(clips_of(number, 8).split(step.update.split.size), number, number / count)


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


def random_network() -> nn.Module:
    """Return a float64 network with batch norm, dropout, stochastic and S3 pooling, in training mode."""
    model = network().train()
    model[3] = StochasticPool(3, 3, 2, padding=1)
    return model


def mixed_batch(batch: Batch, seed: int, place: Place) -> Batch:
    """Return ``batch`` with shares of two classes as targets."""
    one, other = (functional.one_hot(labels, CLASSES).float() for labels in (batch.labels, batch.labels.flip(0)))
    return dataclasses.replace(batch, targets=0.7 * one + 0.3 * other)


OBJECTIVES: dict[str, dict[str, Any]] = {
    "labels": {"loss": choose_loss(several_labels=False, label_smoothing=0.1)},
    "mixed, distilled": {
        "loss": choose_loss(several_labels=False, class_weights=torch.arange(1.0, 6.0)),
        "augment": mixed_batch,
        "teacher": Teacher(network(), weight=0.4, temperature=2.0, several_labels=False),
    },
    "several labels": {"loss": choose_loss(several_labels=True, focal_gamma=1.5), "augment": mixed_batch},
}


@pytest.fixture(params=["aot_eager", pytest.param("inductor", marks=[pytest.mark.long, pytest.mark.timeout(900)])])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Compile modules with "inductor", or with "aot_eager", which traces the same graphs and runs torch's kernels."""
    compile_module = functools.partialmethod(nn.Module.compile, backend=request.param)
    monkeypatch.setattr(nn.Module, "compile", compile_module)
    return request.param


@pytest.mark.slow
@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_compiled_step_is_one_graph_with_equal_weights(
    name: str, backend: str, fresh_compiler: Callable[[], int]
) -> None:
    eager = network().train() if name == "labels" else random_network()
    compiled, before = copy.deepcopy(eager), copy.deepcopy(eager)
    chosen = {"most": 4, "schedule": lambda progress: 1.0 - progress, **OBJECTIVES[name]}
    steps = [step_of(eager, **chosen), step_of(compiled, compile="require", **chosen)]
    for step in steps:
        take(step, 3)
    assert fresh_compiler() == 1  # for all steps, forward passes and learning rates
    # The network computes in float64, but the loss in float32, in sums of 5 classes and 4 clips.
    reference = changes(eager, before)
    for key, change in changes(compiled, before).items():
        assert (change - reference[key]).norm() <= 20 * 2**-24 * reference[key].norm() + 1e-12, key
    for one, other in zip(compiled.buffers(), eager.buffers(), strict=True):
        torch.testing.assert_close(one, other, rtol=20 * 2**-24, atol=0)
    values = [step.sums.read(WORLD) for step in steps]
    assert values[1]["loss"] == pytest.approx(values[0]["loss"], rel=20 * 2**-24)
    assert values[1]["top1"] == values[0]["top1"]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_compiled_step_with_a_loss_that_is_not_finite(
    precision: Precision, backend: str, fresh_compiler: Callable[[], int]
) -> None:
    factor = torch.ones(())

    def scaled_batch(batch: Batch, seed: int, place: Place) -> Batch:
        batch = mixed_batch(batch, seed, place)
        return dataclasses.replace(batch, targets=batch.targets * factor)

    model = network().float().train()
    step = step_of(model, compile="require", precision=precision, augment=scaled_batch)
    take(step, 2)
    assert not step.broken
    weights = copy.deepcopy(dict(model.named_parameters()))
    factor.fill_(torch.nan)
    take(step, 1)
    assert step.broken
    factor.fill_(1.0)
    take(step, 1)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, weights[name])
    assert fresh_compiler() == 1


@pytest.mark.slow
def test_a_compiled_run_resumes_bit_for_bit(backend: str, begin: Callable) -> None:
    settings = ("model.pooling=stochastic", "model.dropout=0.5", "train.compile=require", "augment.mixup=0.8")
    whole, stopped = take_steps(begin("whole", *settings), 3), take_steps(begin("stopped", *settings), 1)
    torch._dynamo.reset()  # as in another process
    resumed = begin("resumed", *settings)
    resumed.trainer.restore(stopped.trainer.state())
    take_steps(resumed, 2)
    assert same_tensors(resumed.trainer.model.state_dict(), whole.trainer.model.state_dict())


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


def test_one_process_of_a_machine_warns_that_it_does_not_compile(
    fresh_compiler: Callable[[], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torchrun gives each process a file for its error; those of a machine share a folder."""
    for process in range(2):
        monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / f"{process}/error.json"))
        model = nn.Sequential(Breaks(), network().float()).train()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            take(step_of(model, compile="try"), 1)
        assert ["trained without compilation" in str(each.message) for each in caught].count(True) == 1 - process


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
    loss = step.objective.loss
    step.objective.loss = lambda logits, batch: loss(logits, batch) * torch.nan
    take(step, 1)
    assert step.broken
    step.objective.loss = loss
    take(step, 1)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, weights[name])
