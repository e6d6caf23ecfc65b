"""Random numbers of a training step depend on the step alone, not on the pooling, the augmentation or a restart."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.conftest import QUICK, ROOT, same_tensors
from videopool.config import load
from videopool.engine.builders.training import TrainingRun, build_training
from videopool.engine.cluster.distributed import World
from videopool.engine.cluster.stop import StopRequest
from videopool.errors import InputError

AUGMENTED = (
    "augment={color: {brightness: 0.4, hue: 0.1}, rand_augment: {operations: 2}, erase: 0.5, mixup: 0.8, cutmix: 1.0, "
    "target: tests.data.test_custom_augmentation.brighten}"
)


@pytest.fixture
def begin(motion_videos: Path, tmp_path: Path) -> Callable[..., TrainingRun]:
    """``begin("max", "name", ...)`` builds a run in the folder "name" with max pooling and further overrides."""
    built: list[TrainingRun] = []

    def build(pooling: str, name: str, *overrides: str) -> TrainingRun:
        changed = [f"data.root={motion_videos}", f"out={tmp_path / name}", f"model.pooling={pooling}", *overrides]
        config = load(ROOT / "configs/demo.yaml", [*QUICK, *changed, "model.dropout=0.5"])
        built.append(build_training(config, World(0, 1, torch.device("cpu")), StopRequest()))
        return built[-1]

    yield build
    for run in built:
        run.close()


def take_steps(run: TrainingRun, count: int) -> TrainingRun:
    run.trainer.model.train()
    first = run.trainer.step
    for batch in list(run.trainer.loader.batches(0, start=first))[:count]:
        run.trainer.update_weights([batch])
    return run


def generator_states(run: TrainingRun) -> list[torch.Tensor]:
    """Return what dropout, stochastic pooling and other layers draw from."""
    randomness = run.trainer.train_step.randomness
    return [torch.get_rng_state(), randomness.position, randomness.cells.get_state()]


def test_dropout_does_not_depend_on_the_pooling(begin: Callable) -> None:
    states = {}
    for pooling in ("max", "stochastic", "s3"):
        run = take_steps(begin(pooling, pooling), 1)
        states[pooling] = (torch.get_rng_state(), run.trainer.train_step.randomness.position)
        assert "dropout" in str(run.trainer.model).lower()
    assert same_tensors(states["max"], states["stochastic"])
    assert same_tensors(states["max"], states["s3"])


@pytest.mark.parametrize("pooling", ["stochastic", "s3"])
def test_resumed_run_equals_an_uninterrupted_one(pooling: str, begin: Callable) -> None:
    whole = take_steps(begin(pooling, "whole"), 3)
    stopped = take_steps(begin(pooling, "stopped"), 1)
    resumed = begin(pooling, "resumed")
    resumed.trainer.restore(stopped.trainer.state())
    torch.manual_seed(99)
    take_steps(resumed, 2)
    assert same_tensors(resumed.trainer.model.state_dict(), whole.trainer.model.state_dict())
    assert not same_tensors(stopped.trainer.model.state_dict(), whole.trainer.model.state_dict())


def test_dropout_and_pooling_do_not_depend_on_augmentation(begin: Callable) -> None:
    plain = take_steps(begin("stochastic", "plain"), 1)
    states = generator_states(plain)
    augmented = take_steps(begin("stochastic", "augmented", AUGMENTED), 1)
    assert same_tensors(generator_states(augmented), states)
    assert not same_tensors(augmented.trainer.model.state_dict(), plain.trainer.model.state_dict())


def test_resumed_run_with_augmentation_equals_an_uninterrupted_one(begin: Callable) -> None:
    whole = take_steps(begin("max", "whole", AUGMENTED), 3)
    stopped = take_steps(begin("max", "stopped", AUGMENTED), 1)
    resumed = begin("max", "resumed", AUGMENTED)
    resumed.trainer.restore(stopped.trainer.state())
    take_steps(resumed, 2)
    assert same_tensors(resumed.trainer.model.state_dict(), whole.trainer.model.state_dict())


def test_training_on_mixed_clips_logs_finite_values(begin: Callable) -> None:
    run = begin("max", "mixed", AUGMENTED, "optim.label_smoothing=0.1")
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
        begin("max", "wrong", *overrides)
    assert expected in str(error.value)
