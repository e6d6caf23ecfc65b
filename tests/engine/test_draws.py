"""Random numbers of a training step depend only on the step, not on the pooling, the augmentation or a restart."""

import json
from collections.abc import Callable

import pytest
import torch

from tests.conftest import same_tensors
from tests.engine.conftest import take_steps
from videopool.engine.builders.training import TrainingRun
from videopool.errors import InputError

AUGMENTED = (
    "augment={color: {brightness: 0.4, hue: 0.1}, rand_augment: {operations: 2}, erase: 0.5, mixup: 0.8, cutmix: 1.0, "
    "target: tests.data.test_custom_augmentation.brighten}"
)


def generator_states(run: TrainingRun) -> list[torch.Tensor]:
    """Return what dropout, stochastic pooling and other layers draw from."""
    randomness = run.trainer.train_step.randomness
    return [torch.get_rng_state(), randomness.position, randomness.cells]


def test_dropout_does_not_depend_on_the_pooling(begin: Callable) -> None:
    states = {}
    for pooling in ("max", "stochastic", "s3"):
        run = take_steps(begin(pooling, f"model.pooling={pooling}", "model.dropout=0.5"), 1)
        states[pooling] = (torch.get_rng_state(), run.trainer.train_step.randomness.position)
        assert "dropout" in str(run.trainer.model).lower()
    assert same_tensors(states["max"], states["stochastic"])
    assert same_tensors(states["max"], states["s3"])


@pytest.mark.parametrize("pooling", ["stochastic", "s3"])
def test_resumed_run_equals_an_uninterrupted_one(pooling: str, begin: Callable) -> None:
    whole = take_steps(begin("whole", f"model.pooling={pooling}", "model.dropout=0.5"), 3)
    stopped = take_steps(begin("stopped", f"model.pooling={pooling}", "model.dropout=0.5"), 1)
    resumed = begin("resumed", f"model.pooling={pooling}", "model.dropout=0.5")
    resumed.trainer.restore(stopped.trainer.state())
    torch.manual_seed(99)
    take_steps(resumed, 2)
    assert same_tensors(resumed.trainer.model.state_dict(), whole.trainer.model.state_dict())
    assert not same_tensors(stopped.trainer.model.state_dict(), whole.trainer.model.state_dict())


def test_dropout_and_pooling_do_not_depend_on_augmentation(begin: Callable) -> None:
    plain = take_steps(begin("plain", "model.pooling=stochastic", "model.dropout=0.5"), 1)
    states = generator_states(plain)
    augmented = take_steps(begin("augmented", "model.pooling=stochastic", "model.dropout=0.5", AUGMENTED), 1)
    assert same_tensors(generator_states(augmented), states)
    assert not same_tensors(augmented.trainer.model.state_dict(), plain.trainer.model.state_dict())


def test_resumed_run_with_augmentation_equals_an_uninterrupted_one(begin: Callable) -> None:
    whole = take_steps(begin("whole", "model.pooling=max", "model.dropout=0.5", AUGMENTED), 3)
    stopped = take_steps(begin("stopped", "model.pooling=max", "model.dropout=0.5", AUGMENTED), 1)
    resumed = begin("resumed", "model.pooling=max", "model.dropout=0.5", AUGMENTED)
    resumed.trainer.restore(stopped.trainer.state())
    take_steps(resumed, 2)
    assert same_tensors(resumed.trainer.model.state_dict(), whole.trainer.model.state_dict())


def test_training_on_mixed_clips_logs_finite_values(begin: Callable) -> None:
    run = begin("mixed", "model.pooling=max", "model.dropout=0.5", AUGMENTED, "optim.label_smoothing=0.1")
    with run.trainer.log:
        assert run.trainer.run()
    lines = [json.loads(line) for line in run.trainer.log.training_log.open()]
    assert [line["step"] for line in lines] == list(range(1, 9))
    assert all(0 < line["loss"] < 10 and 0 <= line["top1"] <= 1 for line in lines)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["augment.no_flip=[lft]"], "'lft' is not one of the 8 classes. Did you mean 'left'?"),
        (["augment.mixup=1", "train.batch_per_device=1"], "raise train.batch or train.batch_per_device"),
        (["augment.color.hue=0.7"], "augment.color.hue=0.7 must be from 0 to 0.5 (0: off)"),
        (["augment.rand_augment.magnitude=30"], "augment.rand_augment.magnitude=30.0 must be from 0 to 10"),
        (["augment.erase=-1"], "augment.erase=-1.0 must be from 0 to 1"),
        (["augment.cutmix=-1"], "augment.cutmix=-1.0 must be 0 or more (0: off)"),
    ],
)
def test_invalid_augmentation(overrides: list[str], expected: str, begin: Callable) -> None:
    with pytest.raises(InputError) as error:
        begin("wrong", "model.pooling=max", "model.dropout=0.5", *overrides)
    assert expected in str(error.value)
