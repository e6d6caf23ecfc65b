"""Faults of two hosts: network namespaces with one training process each, joined by a virtual cable.

Creating them needs the rights of the superuser and the command ``ip``.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.train_faults.disk import private_tmpfs
from benchmarks.train_faults.run import Start, TrainRun, UnexpectedError, send
from benchmarks.train_faults.training import (
    compare_loss_curves,
    compare_runs,
    environment,
    finish,
    torchrun,
    train_command,
    write_videos,
)
from videopool.files import strip_local_paths
from videopool.report.tables import Row, markdown

_LIBC = ctypes.CDLL(None, use_errno=True)
_NEW_NAMES, _NEW_NETWORK = 0x04000000, 0x40000000
EPOCHS, _PORT, _SECONDS = 250, 29512, 240.0
EARLY, EARLY_TOLERANCE = 20, 1e-5  # steps, and the largest relative difference of their loss
COLUMNS = (
    "event", "at step", "steps repeated", "torchrun started again", "continued after, s", "processes then", "message"
)  # fmt: skip


class Hosts:
    """Two network namespaces, ``faults0`` and ``faults1``, each with its host name and address."""

    addresses = ("10.77.0.1", "10.77.0.2")

    def __init__(self) -> None:
        for number in range(2):
            _ip("netns", "add", f"faults{number}")
        _ip("link", "add", "cable0", "netns", "faults0", "type", "veth", "peer", "name", "cable1", "netns", "faults1")
        for number, address in enumerate(self.addresses):
            _ip("-n", f"faults{number}", "address", "add", f"{address}/24", "dev", f"cable{number}")
            _ip("-n", f"faults{number}", "link", "set", "lo", "up")
            self.connect(number)

    def connect(self, number: int) -> None:
        """Switch the network interface of a host on."""
        _ip("-n", f"faults{number}", "link", "set", f"cable{number}", "up")

    def disconnect(self, number: int) -> None:
        """Switch the network interface of a host off."""
        _ip("-n", f"faults{number}", "link", "set", f"cable{number}", "down")

    def enter(self, number: int) -> Callable[[], None]:
        """Return a function that moves a new process to a host."""
        name = f"faults{number}".encode()

        def move() -> None:
            namespace = os.open(f"/run/netns/faults{number}", os.O_RDONLY)
            if _LIBC.setns(namespace, _NEW_NETWORK) or _LIBC.unshare(_NEW_NAMES) or _LIBC.sethostname(name, len(name)):
                raise OSError(ctypes.get_errno(), "the namespace of the host")
            os.close(namespace)

        return move

    def close(self) -> None:
        """Remove the namespaces."""
        for number in range(2):
            _ip("netns", "delete", f"faults{number}")


def hosts_problem() -> str:
    """Hide the namespaces of this machine from this process; return the reason if no hosts can be made, else ""."""
    if shutil.which("ip") is None:
        return "the command ip is missing"
    folder = Path("/run/netns")
    if os.geteuid():
        return "only the superuser may make network namespaces"
    folder.mkdir(exist_ok=True)
    return "" if private_tmpfs(folder) else "this user may not mount file systems"


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UnexpectedError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


# --- events --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Event:
    """Something that happens to a host.

    Attributes:
        name: its name in the table.
        strike: causes the event; training may need ``repair`` to continue.
        repair: undoes the event.
        wait: seconds before ``repair``.
        restarts: whether training should start again.
    """

    name: str
    strike: Callable[[TrainRun, Hosts], None]
    repair: Callable[[TrainRun, Hosts], None] | None = None
    wait: float = 0.0
    restarts: bool = True


def _kill_process(run: TrainRun, hosts: Hosts) -> None:
    (pid,) = set(run.ranks().values()) & set(run.on_host(1))
    send(pid, signal.SIGKILL)


def _kill_host(run: TrainRun, hosts: Hosts) -> None:
    """Kill everything on host 1, whose kernel then closes its connections."""
    for pid in run.on_host(1):
        send(pid, signal.SIGKILL)


def _power_cut(run: TrainRun, hosts: Hosts) -> None:
    """Kill everything on host 1 after its network is off, so that no connection is closed."""
    hosts.disconnect(1)
    _kill_host(run, hosts)


def _power_on(run: TrainRun, hosts: Hosts) -> None:
    hosts.connect(1)
    run.start(1)


def _restart_all(run: TrainRun, hosts: Hosts) -> None:
    """Connect the hosts, wait until torchrun has ended on both, and start it again."""
    hosts.connect(1)
    run.wait(lambda: run.ended, _SECONDS, "the end of torchrun on both hosts")
    run.start()


def _restart_ended(run: TrainRun, hosts: Hosts) -> None:
    hosts.connect(1)
    run.start()


FIXED = (
    Event("SIGKILL of the training process on host 1", _kill_process),
    Event("network of host 1 off for 3 s", lambda run, hosts: hosts.disconnect(1), _restart_ended, 3, restarts=False),
    Event("SIGKILL of torchrun on host 1, started again after 5 s",
          lambda run, hosts: send(run.agent(1), signal.SIGKILL), lambda run, hosts: run.start(1), 5),
    Event("network of host 1 off for 60 s", lambda run, hosts: hosts.disconnect(1), _restart_ended, 60),
    Event("power cut of host 1, on again after 30 s", _power_cut, _power_on, 30),
    Event("SIGKILL of torchrun on host 0, where the store is; both started again",
          lambda run, hosts: send(run.agent(0), signal.SIGKILL), _restart_all),
)  # fmt: skip
ELASTIC = (
    Event("host 1 is killed", _kill_host),
    Event("host 1 comes back", lambda run, hosts: run.start(1)),
    Event("SIGTERM to torchrun on host 1", lambda run, hosts: send(run.agent(1), signal.SIGTERM)),
    Event("host 1 comes back", lambda run, hosts: run.start(1)),
)


def happen(event: Event, run: TrainRun, hosts: Hosts, folder: Path) -> Row:
    """Let an event happen after a few steps, and wait until training continues.

    Raises:
        UnexpectedError: if it does not.
    """
    run.wait_steps(7)
    if run.ended:
        raise UnexpectedError(f"training ended before: {event.name}")
    begin, starts_before = time.monotonic(), run.count
    event.strike(run, hosts)
    time.sleep(event.wait)
    repaired = time.monotonic()
    if event.repair is not None:
        event.repair(run, hosts)
    if event.restarts:
        _wait_for_restart(event, run, begin)
        first, (last, size) = run.restarted(begin)[0], run.last_start()
    else:
        run.wait(lambda: run.steps(repaired), _SECONDS, f"a step after: {event.name}")
        first, (_, size) = run.steps(repaired)[0], run.last_start()
        last = (first.step or 1) - 1
    return {
        "event": event.name,
        "at step": last,
        "steps repeated": last - (first.step or 0) + 1,
        "torchrun started again": run.count - starts_before,
        "continued after, s": f"{first.seconds - begin:.1f}",
        "processes then": size,
        "message": strip_local_paths(next(iter(run.sentences(begin)), "-"), folder),
    }


# --- the report ----------------------------------------------------------------------------------------------------


def measure_hosts(folder: Path) -> tuple[str, bool]:
    """Return the report on two hosts, and whether every check holds."""
    problem = hosts_problem()
    if problem:
        return f"## Two hosts\n\nNot tried: {problem}.\n", True
    folder.mkdir(parents=True, exist_ok=True)
    videos, settings = write_videos(folder / "videos"), environment(folder / "tmp")
    hosts = Hosts()

    def run_at(out: str, nodes: str) -> TrainRun:
        command = train_command(videos, folder / out, EPOCHS)
        return TrainRun(starts(hosts, nodes, out, command), settings, folder / f"{out}.log")

    runs = {"whole": run_at("whole", "2"), "fixed": run_at("fixed", "2"), "elastic": run_at("elastic", "1:2")}
    events = {"whole": (), "fixed": FIXED, "elastic": ELASTIC}
    rows: dict[str, list[Row]] = {}
    try:
        for name, run in runs.items():
            rows[name] = train_through(events[name], run, hosts, folder)
            run.kill()
    finally:
        for run in runs.values():
            run.kill()
        hosts.close()
    differences = compare_runs(folder / "fixed", folder / "whole")
    return _page(rows, differences, compare_loss_curves(folder / "elastic", folder / "whole", EARLY))


def _wait_for_restart(event: Event, run: TrainRun, begin: float) -> None:
    """Wait for a step after a new start; if the event is repaired, start torchrun again wherever it ends."""

    def restarted() -> bool:
        if event.repair is not None:
            run.start()
        return bool(run.restarted(begin)) or run.ended

    run.wait(restarted, _SECONDS, f"a step after: {event.name}")
    if not run.restarted(begin):
        raise UnexpectedError(f"training ended after: {event.name}: {run.sentences(begin)}")


def train_through(events: Sequence[Event], run: TrainRun, hosts: Hosts, folder: Path) -> list[Row]:
    """Train to the end while the events happen."""
    rows = []
    run.start()
    for event in events:
        rows.append(happen(event, run, hosts, folder))
        print(rows[-1], flush=True)
    finish(run)
    return rows


def starts(hosts: Hosts, nodes: str, name: str, command: Sequence[str]) -> list[Start]:
    """Return how torchrun is started on each host, for ``nodes`` hosts and a run of this ``name``.

    torchrun shares the store of its rendezvous with the processes. Then torch 2.13 publishes the address of that store
    in the first round of the rendezvous only, and a torchrun that is started later waits for it in vain. So this is
    turned off.
    """
    meet = ("--rdzv-backend", "c10d", "--rdzv-endpoint", f"{hosts.addresses[0]}:{_PORT}", "--rdzv-id", name)
    return [
        Start(
            torchrun(
                *("--nnodes", nodes, "--nproc-per-node", "1", "--max-restarts", "5", "--local-addr", address, *meet),
                *("--rdzv-conf", f"is_host={int(number == 0)},last_call_timeout=5", *command),
            ),
            hosts.enter(number),
            {"GLOO_SOCKET_IFNAME": f"cable{number}", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"},
        )
        for number, address in enumerate(hosts.addresses)
    ]


def _page(
    rows: dict[str, list[Row]], differences: dict[str, float], losses: tuple[float, float, float]
) -> tuple[str, bool]:
    same = not any(differences.values())
    early, elastic, whole = losses
    text = "\n".join(
        [
            "## Two hosts, one process each",
            "",
            "Network namespaces with a virtual cable; `torchrun --nnodes 2 --max-restarts 5 --rdzv-backend c10d`, and "
            "`--rdzv-conf is_host=1` on host 0, where the store is. torchrun restarts the processes. Where it ends, "
            "it is started again, as a scheduler would do. `TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1` is set: without "
            "it, a torchrun that is started while the other one runs cannot join (torch 2.13).",
            "",
            markdown(rows["fixed"], COLUMNS),
            "",
            f"Final weights, their average, optimizer and best score are bit for bit those of an uninterrupted run: "
            f"{'yes' if same else f'**NO** ({differences})'}.",
            "",
            "## One or two hosts",
            "",
            "`torchrun --nnodes 1:2 --max-restarts 5` with `--rdzv-conf is_host=1,last_call_timeout=5` on host 0. The "
            "batch of a step stays the same, so one process computes all of it while it is alone.",
            "",
            markdown(rows["elastic"], COLUMNS),
            "",
            "One process adds gradients in another order than two, and such differences grow from step to step. The "
            f"loss of the first {EARLY} steps differs from that of an uninterrupted run of two processes by at most "
            f"{early:.0e} (relative); its mean over the last 100 steps is {elastic:.3f}, and {whole:.3f} there.",
            "",
        ]
    )
    return text, same and early < EARLY_TOLERANCE
