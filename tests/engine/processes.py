"""Runs of several processes, as tests start them."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import QUICK, ROOT, ToolResult

MISBEHAVE = str(ROOT / "tests/engine/misbehave.py")
TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node", "2")


def train_arguments(videos: Path, out: Path, *more: str) -> list[str]:
    """Return the command line of a short training after ``tools/train.py``."""
    quick = [item for item in QUICK if not item.startswith("data.workers")]
    return ["--config", str(ROOT / "configs/demo.yaml"), *quick, f"data.root={videos}", f"out={out}", *more]


class Marked:
    """Processes that share a mark in their environment, which their descendants inherit."""

    def __init__(self) -> None:
        self.mark = f"VIDEOPOOL_TEST_MARK={uuid.uuid4().hex}"
        self.environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        name, _, value = self.mark.partition("=")
        self.environment[name] = value

    def start(self, *command: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start ``python COMMAND``."""
        return subprocess.Popen(
            [sys.executable, *command],
            env={**self.environment, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def run(self, *command: str, seconds: float = 100) -> ToolResult:
        """Run ``python COMMAND`` to its end."""
        started = self.start(*command)
        out, err = started.communicate(timeout=seconds)
        return ToolResult(started.returncode, out, err)

    def alive(self) -> list[int]:
        """Return the ids of the marked processes that run."""
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                if self.mark.encode() in path.read_bytes().split(b"\0"):
                    found.append(int(path.parent.name))
            except OSError:
                continue
        return found


@contextmanager
def marked() -> Iterator[Marked]:
    """Yield ``Marked``; kill what is left of its processes at the end."""
    processes = Marked()
    try:
        yield processes
    finally:
        for pid in processes.alive():
            os.kill(pid, 9)


def outputs(results: Iterable[ToolResult]) -> str:
    """Return all that several processes have written, for the message of a failed assertion."""
    return "\n".join(
        f"--- {number}: exit code {code}, standard output:\n{out}\n--- {number}: standard error:\n{err}"
        for number, (code, out, err) in enumerate(results)
    )


def only_error(*results: ToolResult) -> str:
    """Return the line in which the first of ``results`` reports an error; fail with all outputs unless it is one."""
    lines = errors(results[0])
    assert len(lines) == 1, outputs(results)
    return lines[0]


def errors(result: ToolResult) -> list[str]:
    """Return the lines in which videopool reports an error."""
    return [line for line in result.err.splitlines() if line.startswith("error")]
