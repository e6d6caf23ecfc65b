"""Early stopping by its key, in a short training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch


@pytest.mark.slow
def test_early_stopping_ends_the_run_and_more_patience_continues_it(train: Callable, tmp_path: Path) -> None:
    settings = ["optim={lr: 1e-12, warmup_epochs: 0, weight_decay: 0}", "model.freeze_norms=all", "train.epochs=6"]
    ended = train(*settings, "train.patience=2")
    assert "early stop after step 12: 2 validations without a better score" in ended.out + ended.err
    state = torch.load(tmp_path / "run/checkpoints/last.pt", weights_only=True)
    assert (state["step"], state["waited"]) == (12, 2)
    again = train(*settings, "train.patience=2")
    assert torch.load(tmp_path / "run/checkpoints/last.pt", weights_only=True)["step"] == 12, again.out
    train(*settings, "train.patience=3")
    assert torch.load(tmp_path / "run/checkpoints/last.pt", weights_only=True)["step"] == 16
