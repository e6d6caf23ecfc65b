"""Averaged weights: the formulas, skipped steps, resuming, and who uses them."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import videopool
from tests.conftest import QUICK, ROOT, same_tensors
from tests.engine.conftest import take_steps
from videopool.engine.checkpoints.files import read_checkpoint
from videopool.engine.step.averaging import Averaging, WeightAverage, equal_average, moving_average
from videopool.errors import InputError

pytestmark = pytest.mark.long

OFF, ON = torch.zeros(()), torch.ones(())


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(3, 4, 2), nn.BatchNorm3d(4), nn.Dropout(0.5)).double()


def change(model: nn.Module, step: int) -> None:
    """Give ``model`` other weights and buffers."""
    torch.manual_seed(step)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand_like(tensor) + 0.5)
        else:
            tensor.fill_(step)


def averaged(averaging: Averaging, steps: int, broken: tuple[int, ...] = ()) -> tuple[list[dict], dict]:
    """Return the states of a network after each of its steps, and the average of them."""
    model = network()
    average, states = WeightAverage(model, averaging), []
    for step in range(1, steps + 1):
        if step not in broken:
            change(model, step)
        states.append(copy.deepcopy(model.state_dict()))
        average.update(step, ON if step in broken else OFF)
    return states, average.network.state_dict()


def expected(states: list[dict], decays: list[float]) -> dict:
    """Return the exponential average of ``states``; the last count is that of the last state."""
    result = dict(states[0])
    for state, decay in zip(states[1:], decays, strict=True):
        for name, value in state.items():
            result[name] = decay * result[name] + (1 - decay) * value if value.is_floating_point() else value
    return result


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
def test_moving_average_is_the_formula(decay: float) -> None:
    states, found = averaged(moving_average(decay, warmup=False), 8)
    torch.testing.assert_close(found, expected(states, [decay] * 7), rtol=1e-13, atol=0)


def test_warmup_raises_the_decay() -> None:
    states, found = averaged(moving_average(0.4, warmup=True), 8)
    decays = [2 / 11, 3 / 12, 4 / 13, 5 / 14, 6 / 15, 0.4, 0.4]  # 7/16 is above 0.4
    torch.testing.assert_close(found, expected(states, decays), rtol=1e-13, atol=0)


def test_weights_agree_with_those_of_torch() -> None:
    model = network()
    average = WeightAverage(model, moving_average(0.9, warmup=False))
    other = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for step in range(1, 6):
        change(model, step)
        average.update(step, OFF)
        other.update_parameters(model)
    found, theirs = dict(average.network.named_parameters()), dict(other.module.named_parameters())
    torch.testing.assert_close(found, theirs, rtol=1e-14, atol=0, check_stride=True)


def test_broken_steps_do_not_count() -> None:
    states, found = averaged(moving_average(0.5, warmup=False), 6, broken=(3, 4))
    kept = [state for step, state in enumerate(states, 1) if step not in (3, 4)]
    torch.testing.assert_close(found, expected(kept, [0.5] * 3), rtol=1e-13, atol=0)


def test_equal_average_has_the_weights_after_a_skipped_step() -> None:
    states, found = averaged(equal_average((2, 4, 6)), 6, broken=(4,))
    mean = torch.stack([states[step - 1]["0.weight"] for step in (2, 4, 6)]).mean(0)
    torch.testing.assert_close(found["0.weight"], mean, rtol=1e-14, atol=0)


def test_average_of_a_network_in_training_is_in_evaluation_mode() -> None:
    model = network().train()
    average = WeightAverage(model, moving_average(0.9))
    average.update(1, OFF)
    assert not any(module.training for module in average.network.modules())
    assert not any(parameter.requires_grad for parameter in average.network.parameters())
    assert all(module.training for module in model.modules())


def test_resumed_average_equals_an_uninterrupted_one(begin: Callable) -> None:
    whole, stopped = take_steps(begin("whole", "train.ema=0.9"), 3), take_steps(begin("stopped", "train.ema=0.9"), 1)
    resumed = begin("resumed", "train.ema=0.9")
    resumed.trainer.restore(copy.deepcopy(stopped.trainer.state()))
    take_steps(resumed, 2)
    found, reference = resumed.trainer.state(), whole.trainer.state()
    assert found["averages"] == 3
    assert same_tensors(found["averaged"], reference["averaged"])
    assert not same_tensors(found["averaged"], found["model"])


def test_training_is_the_same_with_an_average(begin: Callable) -> None:
    plain, with_average = take_steps(begin("plain"), 2), take_steps(begin("average", "train.ema=0.9"), 2)
    assert same_tensors(plain.trainer.model.state_dict(), with_average.trainer.model.state_dict())
    assert "averaged" not in plain.trainer.state()


def test_later_uses_take_the_average(motion_videos: Path, tmp_path: Path, tool: Callable) -> None:
    out = tmp_path / "run"
    arguments = ["--config", ROOT / "configs/demo.yaml", *QUICK, f"data.root={motion_videos}", f"out={out}"]
    ended = tool("train", *arguments, "train.ema=0.8", "train.evaluate_every=0")
    assert ended.code == 0, ended.err
    last = out / "checkpoints/last.pt"
    state = read_checkpoint(last)
    for choice, name in (("averaged", "averaged"), ("raw", "model")):
        model = videopool.load(last, [f"evaluate.weights={choice}"]).model
        assert same_tensors(dict(model.state_dict()), dict(state[name])), choice
        folder = tmp_path / f"export-{choice}"
        exported = tool("export", last, "--format", "weights", "--weights", choice, "--to", folder)
        assert exported.code == 0, exported.err
        from safetensors.torch import load_file

        assert same_tensors(load_file(folder / "model.safetensors"), dict(state[name]))


def test_validation_measures_the_average(begin: Callable) -> None:
    validated = []
    run = begin("run", "train.ema=0.9", "train.evaluate_every=0")
    evaluate = run.trainer.evaluate
    run.trainer.evaluate = lambda model: validated.append(copy.deepcopy(model.state_dict())) or evaluate(model)
    with run.trainer.log:
        assert run.trainer.run()
    assert len(validated) == 1
    assert same_tensors(validated[0], run.trainer.state()["averaged"])


def test_equal_average_is_the_mean_of_torch() -> None:
    model, steps = network(), (4, 6, 8)
    average, other, chosen = WeightAverage(model, equal_average(steps)), AveragedModel(model), []
    for step in range(1, 9):
        change(model, step)
        average.update(step, OFF)
        assert average.updates == sum(each <= step for each in steps)
        if step in steps:
            other.update_parameters(model)
            chosen.append(copy.deepcopy(model.state_dict()))
    torch.testing.assert_close(average.network.state_dict(), other.module.state_dict(), rtol=1e-14, atol=0)
    mean = torch.stack([state["0.weight"] for state in chosen]).mean(0)
    torch.testing.assert_close(average.network.state_dict()["0.weight"], mean, rtol=1e-14, atol=0)


def test_stochastic_weight_averaging(begin: Callable, tmp_path: Path) -> None:
    overrides = ["train.swa_start=2", "train.precise_norm=3", "train.keep=9", "train.epochs=3"]
    run = begin("run", *overrides)
    measured = []
    evaluate = run.trainer.evaluate
    run.trainer.evaluate = lambda model: measured.append(model is run.trainer.average.network) or evaluate(model)
    with run.trainer.log:
        assert run.trainer.run()
    run.trainer.writer.wait()
    assert measured == [False, True, True]
    state, epochs = run.trainer.state(), []
    for step in (8, 12):
        epochs.append(read_checkpoint(tmp_path / f"run/checkpoints/step-{step:07d}.pt")["model"])
    assert state["averages"] == 2
    for name, parameter in run.trainer.model.named_parameters():
        mean = (epochs[0][name].double() + epochs[1][name]) / 2
        # One subtraction and one addition, rounded to float32.
        torch.testing.assert_close(state["averaged"][name].double(), mean, rtol=2**-22, atol=1e-8, msg=name)
        assert parameter.shape == mean.shape
    again = copy.deepcopy(run.trainer.average.network)
    run.trainer.precise_norm(again, 2)
    assert same_tensors(dict(again.state_dict()), dict(state["averaged"]))
    running = [name for name in state["model"] if "running_var" in name]
    assert not any(torch.equal(state["averaged"][name], state["model"][name]) for name in running)
    assert same_tensors(read_checkpoint(tmp_path / "run/checkpoints/last.pt")["averaged"], dict(state["averaged"]))


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["train.swa_start=1", "train.ema=0.9"], "train.swa_start=1 and ema=0.9 are two averages; set one to 0"),
        (["train.swa_start=1"], "train.swa_start=1 needs precise_norm, such as 200"),
        (["train.swa_start=3", "train.precise_norm=1"], "train.swa_start=3 must be at most 2, the epochs of this"),
        (["train.ema=1"], "train.ema=1.0 must be"),
    ],
)
def test_settings_that_do_not_fit(overrides: list[str], expected: str, begin: Callable) -> None:
    with pytest.raises(InputError) as error:
        begin("wrong", *overrides)
    assert expected in str(error.value)


def test_fine_tuning_starts_from_the_average(begin: Callable, tmp_path: Path) -> None:
    source = take_steps(begin("source", "train.ema=0.9"), 2)
    torch.save(source.trainer.state(), tmp_path / "source.pt")
    tuned = begin("tuned", f"model.pretrained={tmp_path / 'source.pt'}")
    assert same_tensors(tuned.trainer.model.state_dict(), source.trainer.state()["averaged"])
