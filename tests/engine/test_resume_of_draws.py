"""Pooling that draws is a function of (seed, step): a stopped run goes on with the draws it would have made."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import QUICK, ROOT, same_tensors
from videopool.engine.checkpoint import read_checkpoint
from videopool.engine.trainer import Trainer


@pytest.mark.parametrize("method", ["stochastic", "s3"])
def test_a_resumed_run_draws_as_an_uninterrupted_one(
    method: str, motion_videos: Path, tmp_path: Path, tool: Callable
) -> None:
    def train(name: str) -> int:
        paths = [f"data.root={motion_videos}", f"out={tmp_path / name}"]
        settings = ["train.epochs=1", "optim.warmup_epochs=0", f"model.pooling={method}", "evaluate.clips=1"]
        return tool("train", "--config", ROOT / "configs/demo.yaml", *QUICK, *settings, *paths).code

    assert train("straight") == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "stop_step", lambda self: self.step == 2 and (self.save(False) or True))
        assert train("stopped") == 75
    assert read_checkpoint(tmp_path / "stopped/checkpoints/last.pt")["step"] == 2
    assert train("stopped") == 0
    straight, resumed = (read_checkpoint(tmp_path / f"{name}/checkpoints/last.pt") for name in ("straight", "stopped"))
    assert straight["step"] == resumed["step"] == 4
    assert same_tensors(resumed["model"], straight["model"])
