"""All tools with a class folder whose name is not UTF-8 (``caf\\xe9`` in Latin-1)."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from tests.conftest import QUICK, ROOT, train_quickly
from videopool.engine.checkpoints.files import read_checkpoint
from videopool.errors import InputError
from videopool.prepare.write_list import keep_order

NAME = os.fsdecode(b"caf\xe9")
ESCAPED = "caf\\udce9"
CLASSES = (NAME, "né $5 or $6")


@pytest.fixture(scope="module")
def videos(motion_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of train/ and test/ with two classes of ``motion_videos`` under other names."""
    root = tmp_path_factory.mktemp("names")
    for split in ("train", "test"):
        for folder, name in zip(sorted((motion_videos / split).iterdir()), CLASSES, strict=False):
            shutil.copytree(folder, root / split / name)
    return root


@pytest.fixture(scope="module")
def out(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run on ``videos``."""
    return train_quickly(videos, tmp_path_factory.mktemp("out") / "run")


@pytest.mark.slow
def test_train_evaluate_export_predict(videos: Path, out: Path, tool: Callable) -> None:
    checkpoint = out / "checkpoints/last.pt"
    assert read_checkpoint(checkpoint)["classes"] == sorted(CLASSES)
    ended = tool("evaluate", checkpoint)
    assert ended.code == 0, ended.err
    assert f"  {ESCAPED} " in ended.out
    assert json.loads((out / "evaluation/metrics.json").read_text(encoding="utf-8"))["per_class"].keys() == set(CLASSES)
    ended = tool("export", checkpoint)
    assert ended.code == 0, ended.err
    assert json.loads((out / "export/classes.json").read_text(encoding="utf-8")) == sorted(CLASSES)
    assert "né" in (out / "export/classes.json").read_text(encoding="utf-8")
    assert len(list((out / "export").iterdir())) == 5
    video = next((videos / "test" / NAME).iterdir())
    ended = tool("predict", checkpoint, video)
    assert ended.code == 0, ended.err
    assert f"test/{ESCAPED}/{video.name}" in ended.out
    assert f"%  {ESCAPED}\n" in ended.out


def test_broken_video_is_listed(videos: Path, out: Path, tool: Callable, tmp_path: Path) -> None:
    broken = tmp_path / NAME / f"{NAME}.mp4"
    broken.parent.mkdir()
    broken.write_bytes(b"no video")
    ended = tool("predict", out / "checkpoints/last.pt", broken)
    assert ended.code == 2
    assert f"{ESCAPED}/{ESCAPED}.mp4" in ended.err
    shutil.copytree(videos / "test", tmp_path / "test")
    shutil.copy(broken, tmp_path / "test" / NAME)
    ended = tool("evaluate", out / "checkpoints/last.pt", f"data.root={tmp_path}", "--to", tmp_path / "evaluation")
    assert ended.code == 2
    listed = [json.loads(line) for line in (tmp_path / "evaluation/unscored.jsonl").open()]
    assert [Path(line["path"]) for line in listed] == [tmp_path / "test" / NAME / broken.name]


@pytest.mark.slow
def test_output_folders(videos: Path, out: Path, tool: Callable, tmp_path: Path) -> None:
    run, checkpoint = tmp_path / NAME / "run", out / "checkpoints/last.pt"
    arguments = ["--config", ROOT / "configs/demo.yaml", *QUICK, f"data.root={videos}", f"out={run}"]
    ended = tool("train", *arguments)
    assert ended.code == 2
    assert f"out={tmp_path}/{ESCAPED}/run" in ended.err
    assert not run.exists()
    video = next((videos / "test" / NAME).iterdir())
    (tmp_path / NAME).mkdir()
    shutil.copytree(videos / "test", tmp_path / NAME / "test")
    ended = tool("evaluate", checkpoint, f"data.root={tmp_path / NAME}", "--to", tmp_path / "evaluation")
    assert ended.code == 0, ended.err
    named = shutil.copy(video, tmp_path / f"{NAME} $x$.mp4")
    for command in (["evaluate", checkpoint], ["export", checkpoint], ["feature_maps", checkpoint, named]):
        ended = tool(*command, "--to", run / command[0])
        assert ended.code == 0, ended.err
        assert list((run / command[0]).iterdir())
    assert yaml.safe_load((run / "export/config.yaml").read_text(encoding="utf-8"))["out"] == f".../{out.name}"
    program = torch.export.load((run / "export/program.pt2").open("rb")).module()
    assert program(torch.zeros(1, 3, 4, 32, 32, dtype=torch.uint8)).shape == (1, 2)


@pytest.mark.slow
def test_compare_pooling(videos: Path, tool: Callable, tmp_path: Path) -> None:
    comparison = {
        "train": str(ROOT / "configs/demo.yaml"),
        "out": str(tmp_path / "out"),
        "seeds": [0],
        "settings": {
            "data": {"workers": 0},
            "clip": {"frames": 4, "stride": 2, "scale": [24, 26], "crop": 24, "flip": False},
            "model": {"arguments": {"width": 2, "depth": 2}},
            "optim": {"warmup_epochs": 0},
            "train": {"epochs": 1, "batch": 4, "device": "cpu"},
        },
        "methods": {"soft": {"pooling": "soft"}, "max": {"pooling": "max"}},
    }
    (tmp_path / "comparison.yaml").write_text(yaml.safe_dump(comparison))
    ended = tool("compare_pooling", "--config", tmp_path / "comparison.yaml", f"data.root={videos}")
    assert ended.code == 0, ended.out + ended.err
    assert json.loads((tmp_path / "out/results.json").read_text(encoding="utf-8"))["runs_done"] == 2


def test_class_that_no_list_can_contain(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written as UTF-8"):
        keep_order(tmp_path, CLASSES)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_prepare(videos: Path, tool: Callable, tmp_path: Path) -> None:
    manifest = tmp_path / "all.vpm"
    ended = tool("prepare", "scan", videos / "train", "--to", manifest)
    assert ended.code == 0, ended.err
    ended = tool("prepare", "stats", manifest)
    assert ended.code == 0, ended.err
    assert ESCAPED in ended.out
    assert ESCAPED in (tmp_path / "all.vpm.stats.md").read_text(encoding="utf-8")
    assert (tmp_path / "all.vpm.stats.png").stat().st_size
    for command in (["split", videos / "train"], ["transcode", videos / "train"]):
        ended = tool("prepare", *command, "--to", tmp_path / command[0])
        assert ended.code == 2, command
        assert ESCAPED in ended.err
        assert "a list cannot hold the name" in ended.err
