"""Shared fixtures: a small set of videos, a trained network, and the tools."""

import contextlib
import io
import json
import os
import resource
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]

# Settings of a short training. Without workers, results are the same in every process.
QUICK = [
    "data.workers=0",
    "clip={frames: 4, stride: 2, scale: [32, 36], crop: 32, flip: false}",
    "model.arguments={width: 4, depth: 3}",
    "optim={name: adamw, lr: 2e-3, warmup_epochs: 1, clip_norm: 1.0}",
    "train={epochs: 2, batch: 4, evaluate_every: 1, log_every: 1, device: cpu}",
    "evaluate={clips: 2, crops: 3}",
]


class ToolResult(NamedTuple):
    """The exit code and the output of a tool."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def motion_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of train/ and test/ with 2 and 1 videos of each of the 8 motions."""
    pytest.importorskip("av")
    from videopool.data.synthetic import write_motion_videos

    root = tmp_path_factory.mktemp("motions")
    write_motion_videos(root, train_per_class=2, test_per_class=1, size=(48, 40), frames=10, fps=10, seed=0)
    return root


@pytest.fixture
def tool(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ToolResult]:
    """``tool("train", "--config", ...)`` runs tools/train.py in this process."""

    def run(name: str, *arguments: object) -> ToolResult:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(ROOT / f"tools/{name}.py"), run_name="__main__")
        return ToolResult(int(end.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture
def train(tool: Callable[..., ToolResult], motion_videos: Path, tmp_path: Path) -> Callable[..., ToolResult]:
    """``train("key=value", ...)`` trains on ``motion_videos``, in the folder ``run`` of the test."""

    def run(*settings: str, code: int = 0) -> ToolResult:
        arguments = ["--config", "demo", *QUICK, f"data.root={motion_videos}", f"out={tmp_path / 'run'}", *settings]
        ended = tool("train", *arguments)
        assert ended.code == code, ended.err
        return ended

    return run


@pytest.fixture(autouse=True, scope="session")
def interruptible() -> None:
    """Let SIGINT interrupt child processes; a shell that runs tests in the background has it ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def process() -> Callable[..., subprocess.Popen]:
    """``process("train", "--config", ...)`` starts tools/train.py as another process, with one thread."""
    started: list[subprocess.Popen] = []

    def start(name: str, *arguments: object, launcher: tuple[str, ...] = ()) -> subprocess.Popen:
        command = [sys.executable, *launcher, str(ROOT / f"tools/{name}.py"), *map(str, arguments)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        # A new process group, so that a test can signal all processes of the run as a terminal does.
        started.append(subprocess.Popen(command, env=environment, start_new_session=True, **pipes))
        return started[-1]

    yield start
    for child in started:
        if child.poll() is None:
            child.kill()
        child.communicate()


def finish(running: subprocess.Popen, seconds: float = 180) -> ToolResult:
    """Wait for a process of the fixture ``process``."""
    out, err = running.communicate(timeout=seconds)
    return ToolResult(running.returncode, out, err)


@pytest.fixture(scope="session")
def trained(motion_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run on ``motion_videos``."""
    return train_quickly(motion_videos, tmp_path_factory.mktemp("trained") / "run")


def train_quickly(videos: Path, out: Path) -> Path:
    """Run a short training with one thread, as ``process`` does, and return its folder ``out``."""
    from videopool.cli.main import main

    arguments = ["--config", str(ROOT / "configs/demo.yaml"), *QUICK, f"data.root={videos}", f"out={out}"]
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with contextlib.redirect_stdout(io.StringIO()):
        code = main(["train", *arguments])
    torch.set_num_threads(before)
    assert code == 0
    return out


@contextlib.contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Let writes that make a file longer than ``size`` bytes fail with an OSError, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def same_tensors(one: object, other: object) -> bool:
    """Return whether two nested structures have bit-identical tensors and equal plain values."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return (
            isinstance(other, dict) and one.keys() == other.keys() and all(same_tensors(one[k], other[k]) for k in one)
        )
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same_tensors, one, other))
    return one == other


def logged_losses(folder: Path) -> list[float]:
    """Return the training losses in the log of a run."""
    lines = map(json.loads, (folder / "log.jsonl").read_text(encoding="utf-8").splitlines())
    return [line["loss"] for line in lines if "loss" in line]
