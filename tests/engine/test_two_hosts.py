"""Two machines, as two network namespaces with their own host names: errors are printed on both."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import ROOT, ToolResult
from tests.engine.processes import MISBEHAVE, Marked, errors, marked, only_error, outputs, train_arguments

pytestmark = pytest.mark.long

# Names of this process of pytest, as others may run a test of this file at the same time.
HOSTS = {f"vp{os.getpid()}a": "10.79.0.1", f"vp{os.getpid()}b": "10.79.0.2"}
FIRST, SECOND = HOSTS


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module")
def hosts() -> Iterator[dict[str, str]]:
    """Two network namespaces and a link between them; needs root and iproute2."""
    if not shutil.which("ip") or not shutil.which("unshare"):
        pytest.skip("iproute2 and unshare are not installed; runs in the container of the project")
    try:
        for name in HOSTS:
            ip("netns", "add", name)
        ip("link", "add", f"e-{FIRST}", "type", "veth", "peer", "name", f"e-{SECOND}")
        for name, address in HOSTS.items():
            ip("link", "set", f"e-{name}", "netns", name)
            ip("-n", name, "addr", "add", f"{address}/24", "dev", f"e-{name}")
            ip("-n", name, "link", "set", f"e-{name}", "up")
            ip("-n", name, "link", "set", "lo", "up")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here ({error.stderr.decode().strip()}); runs as root")
    try:
        yield HOSTS
    finally:
        for name in HOSTS:
            subprocess.run(["ip", "netns", "del", name])


def run_on_both(processes: Marked, hosts: dict[str, str], *command: str) -> list[ToolResult]:
    """Run a command under torchrun with one process on each host."""

    def run(number: int, name: str) -> ToolResult:
        launch = f"--nnodes 2 --nproc-per-node 1 --node-rank {number} --master-addr {hosts[FIRST]} --master-port 29514"
        torchrun = [sys.executable, "-m", "torch.distributed.run", *launch.split(), *command]
        given = ["ip", "netns", "exec", name, "unshare", "-u", "bash", "-c", 'hostname $0; exec "$@"', f"host-{name}"]
        environment = {**processes.environment, "GLOO_SOCKET_IFNAME": f"e-{name}"}
        ended = subprocess.run(
            [*given, *torchrun], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=100
        )
        return ToolResult(ended.returncode, ended.stdout, ended.stderr)

    with ThreadPoolExecutor() as threads:
        return [*threads.map(run, range(len(hosts)), hosts)]


@pytest.mark.slow
def test_an_error_on_one_host_is_printed_on_both(motion_videos: Path, tmp_path: Path, hosts: dict[str, str]) -> None:
    arguments = train_arguments(motion_videos, tmp_path / "run", "data.workers=0")
    with marked() as processes:
        ended = run_on_both(processes, hosts, MISBEHAVE, "1", "0", "data.root=/nowhere", "tools/train.py", *arguments)
        assert not processes.alive()
    expected = (
        "error: data.root=/nowhere is not a folder. Give the folder that contains the videos. This is on process 1 "
        f"(host-{SECOND})."
    )
    assert [errors(result) for result in ended] == [[expected], [expected]], outputs(ended)
    assert [result.code for result in ended] == [1, 1]  # of torchrun


@pytest.mark.slow
def test_a_process_killed_on_one_host(motion_videos: Path, tmp_path: Path, hosts: dict[str, str]) -> None:
    arguments = train_arguments(motion_videos, tmp_path / "run", "data.workers=0", "train.timeout=20")
    with marked() as processes:
        ended = run_on_both(processes, hosts, MISBEHAVE, "1", "3", "SIGKILL", "tools/train.py", *arguments)
        assert not processes.alive()
    sentence = only_error(*ended)
    assert sentence.startswith(f"error: process 1 (host-{SECOND}) does not respond. It was killed"), outputs(ended)
    assert not errors(ended[1]), outputs(ended)  # torchrun names the signal
    assert "SIGKILL" in ended[1].err, outputs(ended)
