"""Runs built in this process, and steps of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from tests.conftest import QUICK, ROOT
from videopool.config import load
from videopool.engine.builders.training import TrainingRun, build_training
from videopool.engine.cluster.distributed import World
from videopool.engine.cluster.stop import StopRequest


@pytest.fixture
def begin(motion_videos: Path, tmp_path: Path) -> Iterator[Callable[..., TrainingRun]]:
    """``begin("name", ...)`` builds a run in the folder "name" with further overrides."""
    built: list[TrainingRun] = []

    def build(name: str, *overrides: str) -> TrainingRun:
        changed = [f"data.root={motion_videos}", f"out={tmp_path / name}", *overrides]
        config = load(ROOT / "configs/demo.yaml", [*QUICK, *changed])
        built.append(build_training(config, World(0, 1, torch.device("cpu")), StopRequest()))
        return built[-1]

    yield build
    for run in built:
        run.close()


def take_steps(run: TrainingRun, count: int) -> TrainingRun:
    """Take ``count`` steps of the first epoch, and return ``run``."""
    run.trainer.model.train()
    for batch in list(run.trainer.loader.batches(0, start=run.trainer.step))[:count]:
        run.trainer.update_weights([batch])
    return run
