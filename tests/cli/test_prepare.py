"""``videopool prepare``: all subcommands, training from manifests, errors, and interruption."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.test_bad_input import check
from tests.conftest import QUICK, ROOT, finish
from videopool.data.lists.manifest import read_manifest


@pytest.fixture
def videos(motion_videos: Path, tmp_path: Path) -> Path:
    """A folder of train/ and test/ with links to ``motion_videos`` and a broken file in each."""
    root = tmp_path / "videos"
    for path in motion_videos.rglob("*.mp4"):
        place = root / path.relative_to(motion_videos)
        place.parent.mkdir(parents=True, exist_ok=True)
        os.link(path, place)
    for split in ("train", "test"):
        (root / split / "left/broken.mp4").write_bytes(b"not a video")
    return root


@pytest.mark.slow
def test_from_folders_to_a_trained_network(videos: Path, tmp_path: Path, tool: Callable) -> None:
    for split in ("train", "test"):
        scanned = tool("prepare", "scan", split, "--root", videos, "--to", videos / f"{split}.manifest")
        count = {"train": 17, "test": 9}[split]
        assert scanned.code == 0
        assert f"{split}.manifest: {count} videos, 8 classes, 1 unreadable\n" in scanned.out
        assert "see " in scanned.out
    assert read_manifest(videos / "test.manifest").made.startswith("python tools/prepare.py scan test --root")
    data = [f"data.root={videos}", "data.train=train.manifest", "data.test=test.manifest", "data.max_bad_fraction=1"]
    out = tmp_path / "run"
    trained = tool("train", "--config", ROOT / "configs/demo.yaml", *QUICK, *data, f"out={out}")
    assert trained.code == 0, trained.err
    unscored = tool("evaluate", out / "checkpoints/last.pt", "data.workers=0", "evaluate.allow_missing=true")
    assert unscored.code == 0, unscored.err
    metrics = json.loads((out / "evaluation/metrics.json").read_text())
    assert (metrics["videos"], metrics["unscored"]) == (9, 1)


def test_strict_scans_fail(videos: Path, tmp_path: Path, tool: Callable) -> None:
    assert tool("prepare", "scan", videos / "test", "--to", tmp_path / "m", "--strict").code == 2
    assert (tmp_path / "m").exists()


@pytest.mark.slow
def test_stats(videos: Path, tool: Callable) -> None:
    assert tool("prepare", "scan", videos / "test", "--to", videos / "m", "--quick").code == 0
    described = tool("prepare", "stats", videos / "m")
    assert described.code == 0
    assert (videos / "m.stats.md").read_text() in described.out
    assert (videos / "m.stats.png").stat().st_size > 10_000


def test_export(videos: Path, tool: Callable) -> None:
    assert tool("prepare", "scan", videos / "test", "--to", videos / "m", "--quick").code == 0
    exported = tool("prepare", "export", videos / "m", "--to", videos / "m.csv")
    assert exported.code == 0
    assert f"{videos / 'm.csv'}: columns id, path, label, class, codec, " in exported.out
    assert len((videos / "m.csv").read_text().splitlines()) == 1 + 9
    check(tool("prepare", "export", videos / "m", "--to", videos / "m.csv"), "m.csv already exists", "--to")
    check(tool("prepare", "export", videos / "m", "--to", videos / "m.txt"), "m.txt must end in .csv or .parquet")
    check(tool("prepare", "export", videos / "m.csv", "--to", videos / "n.csv"), "m.csv", "manifest")


@pytest.mark.parametrize("subcommand", ["", "scan", "split", "stats", "transcode", "verify", "export"])
def test_help_has_examples(subcommand: str, tool: Callable) -> None:
    shown = tool("prepare", *[subcommand][: len(subcommand)], "--help")
    assert shown.code == 0
    assert f"  videopool prepare {subcommand}" in shown.out.split("example", 1)[1]


def test_help_does_not_import_torch() -> None:
    code = "import sys; from videopool.cli import prepare; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_split(videos: Path, tmp_path: Path, tool: Callable) -> None:
    done = tool("prepare", "split", "train", "--root", videos, "--to", tmp_path / "lists", "--parts", "a=0.5", "b=0.5")
    assert done.code == 0
    assert "a: 9 videos\n" in done.out
    assert "b: 8 videos\n" in done.out
    grouped = ["prepare", "split", "train", "--root", videos, "--to", tmp_path / "grouped", "--group", "^[a-z-]+"]
    done = tool(*grouped, "--parts", "a=0.5", "b=0.5")
    assert done.code == 0, done.err
    assert "a: 9 videos, 4 groups, without 4 of 8 classes (" in done.out
    assert "b: 8 videos, 4 groups, without 4 of 8 classes (" in done.out


def test_transcode(videos: Path, tmp_path: Path, tool: Callable) -> None:
    arguments = ["prepare", "transcode", videos / "test", "--to", tmp_path / "small", "--short-side", "20"]
    for _ in range(2):
        done = tool(*arguments)
        assert done.code == 0, done.err
        assert "videos.csv: 8 files, " in done.out
        assert "files that could not be encoded: 1; see" in done.out
    check(tool(*arguments[:-1], "24"), "transcoded.jsonl", "short_side 20", "short_side 24")


@pytest.mark.slow
def test_verify(videos: Path, tmp_path: Path, tool: Callable) -> None:
    report = tmp_path / "report.jsonl"
    wrong = tool("prepare", "verify", "train", "--root", videos, "--test", "test", "--to", report)
    assert wrong.code == 2
    assert "| unreadable | 2 | left/broken.mp4 |" in wrong.out
    assert len(report.read_text().splitlines()) == 2
    for broken in videos.rglob("broken.mp4"):
        broken.unlink()
    clean = tool("prepare", "verify", "train", "--root", videos, "--test", "test", "--decode", "--classes", 8)
    assert clean.code == 0
    assert "no problems" in clean.out
    assert tool("prepare", "verify", "train", "--root", videos, "--classes", 7).code == 2
    numbers = videos / "numbers.csv"
    first, second = sorted((videos / "train/left").glob("*.mp4"))
    numbers.write_text(f"path,label\n{first},0\n{second},2\n")
    assert tool("prepare", "verify", numbers, "--classes", 3).code == 0
    assert "| label out of range | 1 | 2 |" in tool("prepare", "verify", numbers, "--classes", 2).out


def test_mistakes(videos: Path, tmp_path: Path, tool: Callable) -> None:
    check(tool("prepare", "scan", tmp_path / "none", "--to", tmp_path / "m"), "none", "no such file or folder")
    check(tool("prepare", "scan", "x", "--root", tmp_path / "gone", "--to", tmp_path / "m"), "--root", "gone")
    check(tool("prepare", "stats", tmp_path / "none"), "none does not exist", "videopool prepare scan")
    check(
        tool("prepare", "split", videos / "train", "--to", tmp_path, "--parts", "a=0.5", "a=0.5"),
        "have the same name",
        "--parts",
    )
    check(tool("prepare", "split", videos / "train", "--to", tmp_path, "--group", "("), "group='('", "--group=")
    check(tool("prepare", "verify", videos / "train", "--classes", tmp_path / "none.txt"), "none.txt")
    (tmp_path / "file").touch()
    check(tool("prepare", "transcode", videos / "train", "--to", tmp_path / "file"), "file")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["scan", "x", "--to", "y", "--timeout", "0"], "expected seconds above 0, got 0"),
        (["scan", "x", "--to", "y", "--processes", "0"], "expected a whole number of 1 or more, got 0"),
        (["transcode", "x", "--to", "y", "--crf", "52"], "--crf=52 must be from 0 to 51"),
        (["transcode", "x", "--to", "y", "--keyframes", "0"], "--keyframes=0 must be 1 or more"),
        (["transcode", "x", "--to", "y", "--preset", "slo"], "Unknown preset 'slo'. Choose one of ultrafast, "),
        (["split", "x", "--to", "y", "--parts", "train"], "expected NAME=FRACTION"),
        (["split", "x", "--to", "y", "--parts", "../x=0.5"], "expected NAME=FRACTION"),
        (["split", "x", "--to", "y", "--group", "a", "--group-column", "b"], "not allowed with"),
        ([], "choose one of scan, split, stats, transcode, verify, export"),
    ],
)
def test_invalid_options(arguments: list[str], expected: str, tool: Callable) -> None:
    ended = tool("prepare", *arguments)
    assert ended.code == 2
    assert expected in ended.err


@pytest.mark.slow
def test_ctrl_c_while_processes_start(videos: Path, tmp_path: Path, process: Callable) -> None:
    running = process("prepare", "scan", videos / "train", "--to", tmp_path / "m", "--processes", 2)
    while not (tmp_path / "m.partial.jsonl").exists():
        assert running.poll() is None, running.communicate()
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGINT)
    ended = finish(running)
    assert (ended.code, ended.err.count("\n")) == (75, 1), ended


@pytest.mark.slow
def test_ctrl_c_keeps_finished_files(videos: Path, tmp_path: Path, process: Callable, tool: Callable) -> None:
    source = next((videos / "train/left").glob("*.mp4"))
    for number in range(200):
        place = tmp_path / f"many/{number % 4}/{number}.mp4"
        place.parent.mkdir(parents=True, exist_ok=True)
        os.link(source, place)
    to = tmp_path / "many.manifest"
    partial = tmp_path / "many.manifest.partial.jsonl"
    running = process("prepare", "scan", tmp_path / "many", "--to", to, "--processes", 2)
    while not partial.exists() or len(partial.read_bytes().splitlines()) < 10:
        assert running.poll() is None, running.communicate()
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does, to the workers too
    begun = time.monotonic()
    ended = finish(running)
    assert time.monotonic() - begun < 30
    assert ended.code == 75, ended
    assert ended.err == "stopped on request. Results are kept; run the same command again to resume.\n"
    kept = len(partial.read_text().splitlines()) - 1
    assert 9 <= kept < 200
    ended = tool("prepare", "scan", tmp_path / "many", "--to", to, "--processes", 2)
    assert ended.code == 0, ended
    assert f"resuming: {kept} of 200 files are already measured" in ended.out
    assert not partial.exists()
    assert read_manifest(to).good.all()


def test_a_copy_without_a_single_video_fails(tmp_path: Path, tool: Callable) -> None:
    (tmp_path / "videos/run").mkdir(parents=True)
    (tmp_path / "videos/run/broken.mp4").write_bytes(b"no video")
    ended = tool("prepare", "transcode", tmp_path / "videos", "--to", tmp_path / "copy", "--processes", 1)
    assert ended.code == 2
    assert "files that could not be encoded: 1" in ended.out
