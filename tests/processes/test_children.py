"""The fork server, the signals of its children, and exit codes in words."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from videopool.processes.children import exit_description
from videopool.processes.cores import threads_per_process, usable_cores


def run_python(*arguments: str, script: str = "") -> subprocess.CompletedProcess:
    """Run Python in another process, because the first call of ``fork_server`` in a process sets the imports."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *arguments]
    return subprocess.run(command, input=script, capture_output=True, text=True, timeout=120, env=environment)


SIGNAL_AT_START = """
import signal
from videopool.data.loading.loader import PRELOAD
from videopool.processes.children import fork_server

if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        worker = fork_server(PRELOAD).Process(target=signal.raise_signal, args=(number,))
        worker.start()
        worker.join(60)
        print(number.name, worker.exitcode)
"""


@pytest.mark.slow
def test_a_signal_does_not_end_a_child_that_has_no_handlers_yet(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SIGNAL_AT_START)
    done = run_python(str(tmp_path / "script.py"))
    assert done.stdout.splitlines() == ["SIGINT 0", "SIGTERM 0", "SIGUSR1 0"], done.stderr


def test_a_script_from_standard_input() -> None:
    """Its children would look for a file named <stdin>, and die."""
    done = run_python("-", script="from videopool.processes.children import fork_server\nfork_server(())\n")
    assert "A script from standard input cannot start worker processes. Save it to a file" in done.stderr


UNGUARDED = """
from videopool.processes.children import fork_server

worker = fork_server(("__main__",)).Process(target=print)
worker.start()
worker.join(60)
print("exit code", worker.exitcode)
"""


def test_a_script_without_a_main_guard(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(UNGUARDED)
    done = run_python(str(tmp_path / "script.py"))
    assert "exit code 1" in done.stdout
    assert 'Put what it runs under `if __name__ == "__main__":`' in done.stderr


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "exit code 0"),
        (255, "exit code 255"),
        (-9, "signal 9, SIGKILL, possibly out of memory"),
        (-63, "signal 63"),
    ],
)
def test_exit_description(code: int, words: str) -> None:
    assert exit_description(code) == words


def test_processes_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert threads_per_process(1) == 0
    assert threads_per_process(2) == max(1, usable_cores() // 2)
    assert threads_per_process(10_000) == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads_per_process(2) == 0
