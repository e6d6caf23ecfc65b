"""What is random in a training step: the same for every pooling, and a function of the step alone."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.conftest import QUICK, ROOT, same_tensors
from videopool.config import load
from videopool.engine.build import TrainingRun, build_training
from videopool.engine.distributed import World
from videopool.engine.stop import StopRequest


@pytest.fixture
def begin(motion_videos: Path, tmp_path: Path) -> Callable[..., TrainingRun]:
    """``begin("max", "name")`` builds a run with that pooling in a folder of that name."""
    built: list[TrainingRun] = []

    def build(pooling: str, name: str) -> TrainingRun:
        changed = [f"data.root={motion_videos}", f"out={tmp_path / name}", f"model.pooling={pooling}"]
        config = load(ROOT / "configs/demo.yaml", [*QUICK, *changed, "model.dropout=0.5"])
        built.append(build_training(config, World(0, 1, torch.device("cpu")), StopRequest()))
        return built[-1]

    yield build
    for run in built:
        run.close()


def steps(run: TrainingRun, count: int) -> TrainingRun:
    run.trainer.model.train()
    first = run.trainer.step
    for batch in list(run.trainer.loader.batches(0, start=first))[:count]:
        run.trainer.train_step(batch)
    return run


def test_dropout_is_the_same_whatever_the_pooling_draws(begin: Callable) -> None:
    states = {}
    for pooling in ("max", "stochastic", "s3"):
        run = steps(begin(pooling, pooling), 1)
        states[pooling] = torch.get_rng_state()  # moved on by dropout alone
        assert "dropout" in str(run.trainer.model).lower()
    assert torch.equal(states["max"], states["stochastic"])
    assert torch.equal(states["max"], states["s3"])


@pytest.mark.parametrize("pooling", ["stochastic", "s3"])
def test_a_resumed_run_draws_as_one_that_was_not_stopped(pooling: str, begin: Callable) -> None:
    whole = steps(begin(pooling, "whole"), 3)
    stopped = steps(begin(pooling, "stopped"), 1)
    resumed = begin(pooling, "resumed")
    resumed.trainer.restore(stopped.trainer.state())
    torch.manual_seed(99)
    steps(resumed, 2)
    assert same_tensors(resumed.trainer.model.state_dict(), whole.trainer.model.state_dict())
    assert not same_tensors(stopped.trainer.model.state_dict(), whole.trainer.model.state_dict())
