"""Optimizers, schedules, losses and freezing, by their keys, in short trainings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.conftest import logged_losses, same_tensors

pytestmark = pytest.mark.long


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["model"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "optim",
    [
        "{name: lamb, lr: 0.01, layer_decay: 0.7, schedule: one_cycle, warmup_epochs: 0.5, loss: bce, focal_gamma: 2}",
        "{name: lars, lr: 0.5, trust: 0.01, schedule: polynomial, warmup_epochs: 0, class_weights: balanced}",
        "{target: torch.optim.RAdam, arguments: {betas: [0.8, 0.9]}, warmup_epochs: 0, clip_norm: 0, clip_value: 0.1}",
    ],
)
def test_methods_train_and_resume_bit_for_bit(optim: str, train: Callable, tmp_path: Path) -> None:
    settings = [f"optim={optim}", "train.save_every=1", "train.keep=20", "optim.no_decay=['*proj*']"]
    train(*settings)
    straight = torch.load(tmp_path / "run/checkpoints/last.pt", weights_only=True)
    assert all(loss == loss for loss in logged_losses(tmp_path / "run"))
    files = sorted((tmp_path / "run/checkpoints").glob("step-*.pt"))
    middle = files[len(files) // 2 - 1]
    train(*settings, f"train.resume={middle}")
    resumed = torch.load(tmp_path / "run/checkpoints/last.pt", weights_only=True)
    assert same_tensors(straight["model"], resumed["model"])
    assert same_tensors(straight["optimizer"], resumed["optimizer"])


@pytest.mark.slow
def test_fine_tuning_of_a_part(train: Callable, trained: Path, tmp_path: Path) -> None:
    pretrained = trained / "checkpoints/last.pt"
    ended = train(f"model.pretrained={pretrained}", "model.freeze=[blocks.0, blocks.1]", "optim.layer_decay=0.5")
    assert "of the model's" in ended.out
    assert "frozen: 6 of" in ended.out
    before, after = weights(pretrained), weights(tmp_path / "run/checkpoints/last.pt")
    for name, value in after.items():
        if "num_batches" not in name:
            assert torch.equal(value, before[name]) == name.startswith(("blocks.0.", "blocks.1.")), name


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("optim.target=torch.optim.RAdamm", "optim.target='torch.optim.RAdamm': torch.optim has no attribute"),
        (
            "optim={target: torch.optim.RAdam, arguments: {beta: 1}}",
            "optim.arguments: torch.optim.RAdam cannot be built",
        ),
        ("optim={target: torch.optim.Rprop, weight_decay: 0.1}", "Set optim.weight_decay to 0"),
        ("optim.no_decay=[block]", "optim.no_decay: 'block' matches no name in the model. Did you mean"),
        ("model.freeze=[bloks.0]", "model.freeze: 'bloks.0' matches no name in the model. Did you mean 'blocks.0"),
        ("optim.class_weights=none.txt", "optim.class_weights: "),
        ("optim={clip_norm: 1, clip_value: 1}", "optim.clip_value=1 and clip_norm=1 exclude each other"),
        ("optim={schedule: one_cycle, warmup_epochs: 0}", "optim.warmup_epochs=0 must be above 0"),
        ("optim={warmup_epochs: 1, cooldown_epochs: 1}", "optim.cooldown_epochs=1 and warmup_epochs=1 must be shorter"),
        ("optim.arguments={beta: 1}", "optim.arguments has no effect without target"),
    ],
)
def test_errors_name_the_key(setting: str, expected: str, train: Callable, tmp_path: Path) -> None:
    ended = train(setting, code=2)
    assert expected in ended.err
    assert not (tmp_path / "run").exists() or not list((tmp_path / "run").glob("*.yaml"))
