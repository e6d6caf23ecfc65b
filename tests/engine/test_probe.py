"""What the processes of a run compare before they start, and how they find each other."""

from __future__ import annotations

import dataclasses
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from tests.engine.processes import MISBEHAVE, TORCHRUN, errors, marked, train_arguments
from videopool.data.decoding.decode import Reading
from videopool.data.lists.records import read_videos
from videopool.engine.cluster.distributed import _device, check_devices
from videopool.engine.cluster.launch import Launch, Launcher
from videopool.engine.cluster.probe import Facts, check_facts, collect, hash_of_source, hash_of_table, open_some
from videopool.engine.cluster.rendezvous import Peers, meet, missing_sentence
from videopool.errors import InputError

pytestmark = pytest.mark.long

HOST = socket.gethostname()
GIB = 1 << 30


def facts(host: str = "a", **changes: object) -> Facts:
    equal = {"torch": "2.13", "videopool": "0.1", "training list": "9 videos", "test list": "3 videos"}
    return dataclasses.replace(Facts(host, equal, (), 10, 8 * GIB, 9 * GIB, 1000.0), **changes)


def test_equal_processes() -> None:
    assert check_facts([facts(), facts("b"), facts("c")]) == []


@pytest.mark.parametrize("name", ["torch", "videopool", "training list", "test list"])
def test_what_differs_is_named(name: str) -> None:
    other = facts("b", equal={**facts().equal, name: "other"})
    usual = facts().equal[name]
    expected = f"The {name} of process 1 (b) differs from that of process 0 (a): other instead of {usual}."
    with pytest.raises(InputError, match=re.escape(expected)):
        check_facts([facts(), other, facts("c")])


def test_a_process_that_cannot_read_the_videos_is_named() -> None:
    bad = tuple((f"/data/{number}.mp4", "No such file or directory") for number in range(6))
    assert check_facts([facts(), facts("b", unreadable=bad[:5])]) == []  # half: data.max_bad_fraction decides
    expected = (
        "process 1 (b) cannot read 6 of 10 training videos, such as /data/0.mp4: No such file or directory. Check "
        "data.root on b."
    )
    with pytest.raises(InputError, match=re.escape(expected)):
        check_facts([facts(), facts("b", unreadable=bad)])


def test_warnings() -> None:
    (skew,) = check_facts([facts(), facts("b", clock=1030.0), facts("c", clock=1001.0)])
    assert skew.startswith("the clock of b is 29 s ahead of that of other hosts")
    (memory,) = check_facts([facts(), facts("b", memory=GIB // 2), facts("b", memory=GIB // 2)])
    assert memory == "b has only 512 MiB of free memory"
    (disk,) = check_facts([facts(disk=GIB // 4), facts("b", disk=GIB // 8)])
    assert disk == "the disk of the run's folder has only 256 MiB of free space"


def test_facts_of_this_process(motion_videos: Path, tmp_path: Path) -> None:
    table = read_videos("train", motion_videos).records
    found = collect({"training list": "x"}, table, Reading(), tmp_path / "not" / "there", seed=0)
    assert (found.host, found.unreadable, found.opened) == (HOST, (), 10)
    assert min(found.memory, found.disk) > 0
    assert abs(found.clock - time.time()) < 60
    assert {"torch", "videopool", "training list"} == set(found.equal)


def test_videos_that_cannot_be_opened(motion_videos: Path, tmp_path: Path) -> None:
    root = tmp_path / "videos"
    for place in (motion_videos / "train").iterdir():
        (root / place.name).mkdir(parents=True)
        for video in place.iterdir():
            (root / place.name / video.name).write_bytes(b"not a video")
    table = read_videos(root).records
    bad, opened = open_some(table, Reading(), 0)
    assert (len(bad), opened) == (10, 10)
    assert bad != open_some(table, Reading(), 1)[0]  # each process tries others
    assert all("is not a video" in reason for _, reason in bad)


def test_digests(motion_videos: Path, tmp_path: Path) -> None:
    train, test = (read_videos(name, motion_videos).records for name in ("train", "test"))
    assert hash_of_table(train) == hash_of_table(read_videos("train", motion_videos).records) != hash_of_table(test)
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "a.py").write_text("1")
    before = hash_of_source(tmp_path)
    (tmp_path / "inside" / "a.py").write_text("2")
    assert hash_of_source(tmp_path) != before


def peers(*about: dict[str, str]) -> Peers:
    return Peers(Launch(0, len(about), 0, 1, "a", 1, "slurm"), dist.HashStore(), ("a", "b", "c")[: len(about)], about)


def test_devices_must_fit() -> None:
    cpu, gpu = {"device": "cpu", "gpu": ""}, {"device": "cuda:0", "gpu": "GPU-1"}
    check_devices(peers(cpu, cpu))
    check_devices(peers(gpu, {"device": "cuda:1", "gpu": "GPU-2"}))
    with pytest.raises(InputError, match=re.escape("process 1 (b) uses cpu, but process 0 (a) uses cuda")):
        check_devices(peers(gpu, cpu))
    with pytest.raises(InputError, match=re.escape("process 0 (a) and process 1 (b) use the same GPU")):
        check_devices(peers(gpu, gpu))
    with pytest.raises(InputError, match=re.escape("process 1 (b): no GPU is visible")):
        check_devices(peers(gpu, {"error": "no GPU is visible"}))


@pytest.mark.parametrize(
    ("launch", "gpus", "device"),
    [
        (Launch(), 2, "cuda:0"),
        (Launch(3, 4, 1, 2, "a", 1, "torchrun"), 2, "cuda:1"),
        (Launch(3, 4, 1, 2, "a", 1, "slurm"), 2, "cuda:1"),
        (Launch(3, 4, 1, 2, "a", 1, "slurm"), 1, "cuda:0"),  # SLURM shows each task only its own GPU
        (Launch(3, 4, 1, 2, "a", 1, "slurm"), 0, "cpu"),
    ],
)
def test_device_of_a_process(monkeypatch: pytest.MonkeyPatch, launch: Launch, gpus: int, device: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert str(_device("auto", launch)) == device


@pytest.mark.parametrize(
    ("launcher", "message"),
    [
        ("torchrun", "--nproc-per-node 4 is more than the 2 visible GPUs; use --nproc-per-node 2"),
        ("slurm", "--ntasks-per-node 4 is more than the 2 visible GPUs; use --ntasks-per-node 2"),
        ("openmpi", "4 processes on one machine are more than its 2 visible GPUs; start 2"),
    ],
)
def test_more_processes_than_gpus(monkeypatch: pytest.MonkeyPatch, launcher: Launcher, message: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InputError, match=message):
        _device("cuda", Launch(3, 4, 3, 4, "a", 1, launcher))


def test_missing_processes_are_named_with_the_host_if_torchrun_numbered_them() -> None:
    hosts = {0: "a", 1: "a", 2: "b"}
    launch = Launch(0, 6, 0, 2, "a", 1, "torchrun")
    expected = "Processes 3 (b), 4, 5 of 6 did not start within 60 s; the others are on a, b."
    assert missing_sentence(launch, [3, 4, 5], hosts, 60).startswith(expected)
    launch = dataclasses.replace(launch, launcher="slurm")
    assert missing_sentence(launch, [3], hosts, 60).startswith("Process 3 of 6 did not start within 60 s")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_unreachable_rendezvous() -> None:
    port = free_port()
    expected = f"Process 1 on {HOST} could not reach 127.0.0.1:{port}, where the processes meet, within 0.5 s"
    with pytest.raises(InputError, match=re.escape(expected)):
        meet(Launch(1, 2, 1, 2, "127.0.0.1", port, "environment"), 0.5, {})


def test_port_in_use() -> None:
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(InputError, match=f"Port {port} of {HOST}, where the processes meet, is in use"):
            meet(Launch(0, 2, 0, 2, "127.0.0.1", port, "environment"), 2, {})


@pytest.mark.parametrize("answer", ["HTTP/1.1 400 Bad Request", ""])
def test_another_program_at_the_address(answer: str) -> None:
    """A web server, and one that waits for a request that it understands."""
    server = f"""
import socket
server, connections = socket.create_server(("127.0.0.1", 0)), []
print(server.getsockname()[1], flush=True)
while True:
    connections.append(server.accept()[0])
    connections[-1].sendall({answer!r}.encode())
"""
    with subprocess.Popen([sys.executable, "-c", server], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        port = int(running.stdout.readline())
        try:
            with pytest.raises(
                InputError, match=r"within 0\.5 s \(another program answers there\)\. Check MASTER_ADDR"
            ):
                meet(Launch(1, 2, 1, 2, "127.0.0.1", port, "environment"), 0.5, {})
        finally:
            running.kill()


@pytest.mark.slow
def test_a_process_that_does_not_start_is_named(motion_videos: Path, tmp_path: Path) -> None:
    arguments = train_arguments(motion_videos, tmp_path / "run", "train.start_timeout=5")
    with marked() as processes:
        ended = processes.run(*TORCHRUN, MISBEHAVE, "1", "0", "late", "tools/train.py", *arguments)
        assert not processes.alive()
    expected = f"error: Process 1 ({HOST}) of 2 did not start within 5 s; the others are on {HOST}."
    assert [line[: len(expected)] for line in errors(ended)] == [expected]
    assert re.search(r"Root Cause.*rank +: 0.*exitcode +: 2.*did not start", ended.err, re.DOTALL)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("data.root=/nowhere", f"data.root=/nowhere is not a folder. .* This is on process 1 \\({HOST}\\)."),
        ("optim.lr=0.5", "optim.lr was 0.002, now 0.5"),
    ],
)
def test_one_sentence_if_a_process_differs(motion_videos: Path, tmp_path: Path, change: str, message: str) -> None:
    arguments = train_arguments(motion_videos, tmp_path / "run", "data.workers=0")
    with marked() as processes:
        ended = processes.run(*TORCHRUN, MISBEHAVE, "1", "0", change, "tools/train.py", *arguments)
        assert not processes.alive()
    (sentence,) = errors(ended)
    assert re.search(message, sentence)
    assert re.search(r"Root Cause.*exitcode +: 2", ended.err, re.DOTALL)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_one_sentence_for_an_error_of_all_processes(motion_videos: Path, tmp_path: Path) -> None:
    with marked() as processes:
        arguments = train_arguments(motion_videos, tmp_path / "run", "train.epochs=0")
        ended = processes.run(*TORCHRUN, "tools/train.py", *arguments)
    (sentence,) = errors(ended)
    assert re.match(f"error \\(process [01] on {HOST}\\): .*train.epochs=0 must be 1 or more", sentence)
