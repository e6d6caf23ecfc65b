"""A training under torchrun on one or two hosts, observed from outside through its output and /proc."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

MARK, HOST = "VIDEOPOOL_FAULTS_MARK", "VIDEOPOOL_FAULTS_HOST"
_STEP = re.compile(r"step (\d+)/\d+ ")
_STARTED = re.compile(r"training on \w+ \((\d+) process")
_SENTENCE = re.compile(r"error.*: .*|warning: .*|.* Using .* instead\.|stopped on request .*")
_POLL_SECONDS = 0.02


class UnexpectedError(RuntimeError):
    """The training does not react to a fault as it should."""


@dataclasses.dataclass(frozen=True)
class Start:
    """How torchrun is started on one host.

    Attributes:
        command: the command line.
        enter: function that moves the new process to the host before the command; None: this machine.
        environment: variables of this host.
    """

    command: Sequence[str]
    enter: Callable[[], None] | None = None
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of output and when it arrived (``time.monotonic``)."""

    seconds: float
    text: str

    @property
    def step(self) -> int | None:
        """The step whose values the line shows; None for other lines."""
        found = _STEP.match(self.text)
        return int(found[1]) if found else None


class TrainRun:
    """The torchrun processes of one training, each of which may be started many times.

    Args:
        starts: one for each host.
        environment: of all processes.
        log: all output is appended to this file.

    Attributes:
        lines: the output.
        count: how often torchrun was started, on all hosts together.
    """

    def __init__(self, starts: Sequence[Start], environment: dict[str, str], log: Path) -> None:
        self._starts, self._log = starts, log
        self.mark = uuid.uuid4().hex
        self._environment = {**environment, MARK: self.mark}
        self._agents: dict[int, subprocess.Popen[str]] = {}
        self.lines: list[Line] = []
        self.count = 0

    # --- output ---

    @property
    def step(self) -> int:
        """The last step in the output."""
        return next((line.step for line in reversed(self.lines) if line.step is not None), 0)

    def since(self, seconds: float) -> list[Line]:
        """Return the lines that arrived after ``seconds``."""
        return [line for line in list(self.lines) if line.seconds > seconds]

    def sentences(self, seconds: float) -> list[str]:
        """Return the errors and warnings that videopool has printed after ``seconds``, each once."""
        found = [line.text for line in self.since(seconds) if _SENTENCE.fullmatch(line.text)]
        return list(dict.fromkeys(found))

    def restarted(self, seconds: float) -> list[Line]:
        """Return the lines of steps after the last start of training that began after ``seconds``; none if none did."""
        lines = self.since(seconds)
        starts = [number for number, line in enumerate(lines) if _STARTED.match(line.text)]
        return [line for line in lines[starts[-1] :] if line.step is not None] if starts else []

    def steps(self, seconds: float) -> list[Line]:
        """Return the lines of steps that arrived after ``seconds``."""
        return [line for line in self.since(seconds) if line.step is not None]

    def last_start(self) -> tuple[int, int]:
        """Return the last step before the last start of training, and how many processes were started."""
        lines = list(self.lines)
        number = max(number for number, line in enumerate(lines) if _STARTED.match(line.text))
        size = _STARTED.match(lines[number].text)
        assert size is not None
        before = [line.step for line in lines[:number] if line.step is not None]
        return before[-1] if before else 0, int(size[1])

    # --- starting and waiting ---

    def start(self, *hosts: int) -> None:
        """Start torchrun on ``hosts``, by default on all on which it does not run."""
        for host in hosts or range(len(self._starts)):
            if not self.runs(host):
                self._start(host)

    def runs(self, host: int) -> bool:
        """Return whether torchrun runs on ``host``."""
        return host in self._agents and self._agents[host].poll() is None

    @property
    def ended(self) -> bool:
        """Whether torchrun runs on no host."""
        return not any(map(self.runs, range(len(self._starts))))

    def exit_codes(self) -> list[int | None]:
        """Return the exit code of the last torchrun on each host; None: it runs."""
        return [self._agents[host].poll() for host in sorted(self._agents)]

    def wait(self, condition: Callable[[], object], seconds: float, what: str) -> None:
        """Wait until ``condition`` holds.

        Raises:
            UnexpectedError: if it does not within ``seconds``; ``what`` names the event in the message.
        """
        until = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > until:
                shown = "\n".join(line.text for line in self.lines[-15:])
                raise UnexpectedError(f"{what} did not happen within {seconds:g} s. The last lines:\n{shown}")
            time.sleep(_POLL_SECONDS)

    def wait_steps(self, count: int, seconds: float = 120) -> None:
        """Wait for ``count`` more steps, or until torchrun has ended."""
        aim = self.step + count
        self.wait(lambda: self.step >= aim or self.ended, seconds, f"step {aim}")

    def _start(self, host: int) -> None:
        start = self._starts[host]
        agent = subprocess.Popen(
            start.command,
            env={**self._environment, **start.environment, HOST: str(host)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=start.enter,
        )
        self._agents[host] = agent
        self.count += 1
        threading.Thread(target=self._read, args=(agent,), daemon=True).start()

    def _read(self, agent: subprocess.Popen[str]) -> None:
        assert agent.stdout is not None
        with self._log.open("a", encoding="utf-8") as log:
            for text in agent.stdout:
                self.lines.append(Line(time.monotonic(), text.rstrip("\n")))
                log.write(text)

    # --- processes ---

    def agent(self, host: int = 0) -> int:
        """Return the process id of torchrun on ``host``."""
        return self._agents[host].pid

    def processes(self) -> dict[int, dict[str, str]]:
        """Return the environment of every process of this training, on all hosts, by process id."""
        found = {}
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                environment = dict(item.split("=", 1) for item in _texts(path) if "=" in item)
                if environment.get(MARK) == self.mark:
                    found[int(path.parent.name)] = environment
        return found

    def on_host(self, host: int) -> list[int]:
        """Return the ids of the processes of this training on a host."""
        return [pid for pid, environment in self.processes().items() if environment.get(HOST) == str(host)]

    def ranks(self) -> dict[int, int]:
        """Return the process ids of the training processes by rank."""
        agents = [agent.pid for agent in self._agents.values()]
        processes = self.processes()
        return {int(env["RANK"]): pid for pid, env in processes.items() if "RANK" in env and parent(pid) in agents}

    def workers(self, rank: int) -> list[int]:
        """Return the process ids of the loader workers of a training process: children of its fork server."""
        servers = [pid for pid in self.processes() if parent(pid) == self.ranks().get(rank)]
        return [pid for pid in self.processes() if parent(pid) in servers]

    def wait_for_no_process(self, seconds: float = 45) -> float:
        """Wait until no process of this training is left; return the seconds that it took.

        Raises:
            UnexpectedError: naming the processes that are left.
        """
        begin = time.monotonic()
        until = begin + seconds
        while self.processes():
            if time.monotonic() > until:
                left = [_command(pid) for pid in self.processes()]
                raise UnexpectedError(f"{len(left)} processes are left after {seconds:g} s: {'; '.join(left)}")
            time.sleep(0.1)
        return time.monotonic() - begin

    def close(self) -> None:
        """Kill what is left of this training."""
        self.kill()

    def kill(self) -> None:
        """Kill every process of this training but the trackers of ``multiprocessing``, which clean up and then end."""
        while left := [pid for pid in self.processes() if "resource_tracker" not in _command(pid)]:
            for pid in left:
                send(pid, signal.SIGKILL)
            time.sleep(0.05)
        for agent in self._agents.values():
            agent.wait()
        self.wait_for_no_process()


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that may have ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def parent(pid: int) -> int:
    """Return the parent of a process; 0 if it has ended."""
    with contextlib.suppress(OSError, ValueError):
        return int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    return 0


def _texts(path: Path) -> list[str]:
    return path.read_bytes().decode(errors="replace").split("\0")


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return " ".join(_texts(Path(f"/proc/{pid}/cmdline"))).strip()[:200]
    return f"process {pid}"
