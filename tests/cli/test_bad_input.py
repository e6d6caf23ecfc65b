"""Invalid input: one line with the value and the fix, exit code 2, no traceback, nothing written."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.conftest import QUICK, ROOT
from videopool.cli.main import main

DEMO = ["--config", str(ROOT / "configs/demo.yaml"), *QUICK]


def check(ended: tuple, *expected: str) -> None:
    assert ended.code == 2, ended
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
    assert "Traceback" not in ended.err
    for part in expected:
        assert part in ended.err


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["optim.lrr=3"], ["optim.lr"]),
        (["data.root=/no/such/folder"], ["/no/such/folder", "data.root=/no/such/folder is not a folder"]),
        (["data.train=nowhere"], ["nowhere"]),
        (["model.name=x4d"], ["x4d", "x3d"]),
        (["model.pooling_sites=[stem]"], ["stem"]),
        (["model.arguments={deep: 3}"], ["deep", "depth"]),
        (["model.arguments={classes: 3}"], ["model.arguments.classes"]),
        (["model.target=no.such.function"], ["no.such"]),
        (["optim.warmup_epochs=5"], ["warmup_epochs"]),
        (["optim.betas=[0.9, 1.5]"], ["betas", "1.5"]),
        (["data.train="], ["data.train"]),
        (["optim.gamma=-3"], ["gamma", "-3"]),
        (["train.resume=/no/checkpoint.pt"], ["/no/checkpoint.pt"]),
        (["model.pretrained=/no/weights.pt"], ["/no/weights.pt"]),
    ],
)
def test_invalid_training(
    overrides: list[str], expected: list[str], motion_videos: Path, tmp_path: Path, tool: Callable
) -> None:
    out = tmp_path / "run"
    check(tool("train", *DEMO, f"data.root={motion_videos}", f"out={out}", *overrides), *expected)
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("train --dryrun", "unknown argument --dryrun. Did you mean '--dry-run'?"),
        ("doctor --frobnicate 3", "unknown argument --frobnicate; see videopool doctor --help"),
        ("doctor now", "unknown argument now; see videopool doctor --help"),
        ("evaluate", "checkpoint is missing; see videopool evaluate --help"),
        ("predict", "checkpoint, VIDEO are missing; see videopool predict --help"),
        ("predict x y --top 0", "--top: expected a whole number of 1 or more, got 0; see videopool predict --help"),
        ("compare --methods", "--methods: expected one argument; see videopool compare --help"),
        ("prepare scan a.csv", "--to is missing; see videopool prepare scan --help"),
        ("prepare", "the command is missing; choose one of scan, split, stats, transcode, verify, export"),
        ("prepare scna a.csv", "unknown command 'scna'. Did you mean 'scan'?"),
        ("benchmark", "subject is missing; see videopool benchmark --help"),
        ("benchmark gpu", "unknown command 'gpu'; choose one of ops, loader, train, infer, plan"),
    ],
)
def test_wrong_arguments(arguments: str, expected: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments.split())
    assert end.value.code == 2
    assert capsys.readouterr().err == f"error: {expected}\n"


@pytest.mark.skipif(torch.cuda.is_available(), reason="runs on machines without CUDA")
def test_cuda_without_a_gpu(motion_videos: Path, tmp_path: Path, tool: Callable) -> None:
    overrides = [f"data.root={motion_videos}", f"out={tmp_path / 'run'}", "train.device=cuda"]
    check(tool("train", *DEMO, *overrides), "train.device=cuda", "train.device=cpu")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_output_folder_that_is_a_file(motion_videos: Path, trained: Path, tmp_path: Path, tool: Callable) -> None:
    occupied = tmp_path / "occupied"
    occupied.write_text("precious")
    check(
        tool("train", *DEMO, f"data.root={motion_videos}", f"out={occupied}"),
        "occupied is a file, but a folder is needed. Give another path.",
    )
    check(tool("evaluate", trained / "checkpoints/last.pt", "--to", occupied), "occupied")
    check(tool("export", trained / "checkpoints/last.pt", "--to", occupied), "occupied")
    check(tool("make_demo_videos", "--to", occupied), "occupied")
    assert occupied.read_text() == "precious"


def test_invalid_lists(motion_videos: Path, tmp_path: Path, tool: Callable) -> None:
    video = next((motion_videos / "train").rglob("*.mp4"))
    lists = {"empty": "", "label": f"path,label\n{video},jump\n", "missing": "/no/video.mp4 0\n"}
    for name, text in lists.items():
        (tmp_path / f"{name}.csv").write_text(text)
    run = ["train", *DEMO, f"data.root={motion_videos}", f"out={tmp_path / 'run'}"]
    check(tool(*run, f"data.train={tmp_path / 'empty.csv'}"), "empty.csv")
    check(tool(*run, f"data.test={tmp_path / 'label.csv'}"), "label.csv", "jump")
    check(tool(*run, f"data.train={tmp_path / 'missing.csv'}"), "/no/video.mp4")
    (tmp_path / "one.csv").write_text(f"path,label\n{video},jump\n")
    check(tool(*run, f"data.train={tmp_path / 'one.csv'}"), "one.csv", "one class, 'jump'")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_no_readable_video(workers: int, tmp_path: Path, tool: Callable) -> None:
    for split in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / split / name).mkdir(parents=True)
            (tmp_path / split / name / "x.mp4").write_bytes(b"not a video")
    overrides = [f"data.root={tmp_path}", f"out={tmp_path / 'run'}", "data.max_bad_fraction=1"]
    overrides.append(f"data.workers={workers}")
    check(tool("train", *DEMO, *overrides), "could not be decoded", "x.mp4")


@pytest.mark.slow
def test_invalid_checkpoints(trained: Path, tmp_path: Path, tool: Callable) -> None:
    whole = trained / "checkpoints/last.pt"
    half = tmp_path / "half.pt"
    half.write_bytes(whole.read_bytes()[:1000])
    other = tmp_path / "other.pt"
    state = torch.load(whole, weights_only=True)
    state["config"]["model"]["arguments"] = {"width": 8, "depth": 3}
    torch.save(state, other)
    unnamed = tmp_path / "unnamed.pt"
    torch.save({**state, "classes": None}, unnamed)
    for name in ("evaluate", "export"):
        check(tool(name, tmp_path / "none.pt"), "none.pt", "No such file")
        check(tool(name, half), "half.pt", "truncated")
        check(tool(name, other), "other.pt", "another architecture")
        check(tool(name, unnamed), "unnamed.pt", "another program")
    check(tool("evaluate", whole, "evaluate.clisp=2"), "evaluate.clips")
    check(tool("predict", whole, "evaluate.clips=2"), "no video is given")
    ended = tool("predict", whole, "x.mp4", "--top", "-1")
    assert ended.code == 2
    assert "expected a whole number of 1 or more, got -1" in ended.err


def test_debug_shows_the_traceback(tool: Callable, tmp_path: Path) -> None:
    ended = tool("evaluate", tmp_path / "none.pt", "--debug")
    assert ended.code == 2
    assert "Traceback" in ended.err
