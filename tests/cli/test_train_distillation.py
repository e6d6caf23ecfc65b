"""Distillation by its keys, in short trainings."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import logged_losses

pytestmark = pytest.mark.long


@pytest.mark.slow
def test_a_network_agrees_with_itself_as_its_teacher(train: Callable, trained: Path, tmp_path: Path) -> None:
    """Without dropout and batch statistics, the part of the teacher is 0, so the loss is half of that with the labels.

    The first step is compared: later ones have other weights.
    """
    pretrained = trained / "checkpoints/last.pt"
    same = [f"model.pretrained={pretrained}", "model.freeze_norms=all", "model.dropout=0", "train.epochs=1"]
    train(*same, "optim.warmup_epochs=0")
    plain = logged_losses(tmp_path / "run")[0]
    train(*same, "optim.warmup_epochs=0", f"train.distill={pretrained}", f"out={tmp_path / 'other' / 'run'}")
    assert logged_losses(tmp_path / "other/run")[0] == pytest.approx(plain / 2, rel=1e-5)


@pytest.mark.slow
def test_a_teacher_of_other_clips_is_refused(train: Callable, trained: Path) -> None:
    ended = train(f"train.distill={trained / 'checkpoints/last.pt'}", "clip.std=[0.5, 0.5, 0.5]", code=2)
    assert "was trained with clip.std=[0.225, 0.225, 0.225], but this run has [0.5, 0.5, 0.5]" in ended.err


@pytest.mark.parametrize("key", ["train.distill", "train.resume"])
def test_other_classes_are_named(key: str, train: Callable, trained: Path, motion_videos: Path, tmp_path: Path) -> None:
    for part in ("train", "test"):
        shutil.copytree(motion_videos / part, tmp_path / "videos" / part)
        first = min((tmp_path / "videos" / part).iterdir())
        first.rename(first.with_name("0-renamed"))
    ended = train(f"{key}={trained / 'checkpoints/last.pt'}", f"data.root={tmp_path / 'videos'}", code=2)
    assert f"was trained on other classes than train has (class 0 is '{first.name}', not '0-renamed')" in ended.err


def test_a_teacher_that_is_missing(train: Callable) -> None:
    assert "none.pt" in train("train.distill=none.pt", code=2).err
