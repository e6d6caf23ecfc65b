"""A process that hangs, is killed or fails: who is named, and that all processes end."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from torch.distributed import DistError, HashStore, Store

from tests.conftest import ToolResult
from tests.engine.processes import MISBEHAVE, TORCHRUN, marked, only_error, train_arguments
from videopool.engine.cluster.bounded import bounded
from videopool.engine.cluster.hang import (
    Position,
    Watch,
    describe,
    find_culprits,
    read_positions,
    where,
    write_stacks,
)
from videopool.engine.cluster.launch import Launch
from videopool.engine.cluster.rendezvous import Peers

pytestmark = pytest.mark.long

HOST = socket.gethostname()


def position(beats: int, step: int, order: int = 2, waits: bool = True) -> Position:
    stage = f"computing step {step}" if order == 2 else f"before step {step}"
    return Position(beats, step, stage, order, "videopool/engine/step/train_step.py:1, run", waits)


@pytest.mark.parametrize(
    ("before", "after", "culprits"),
    [
        # Process 1 publishes nothing, though process 2 is behind.
        ([(1, 5), (1, 5), (1, 4)], [(2, 5), (1, 5), (2, 4)], {1}),
        # Process 1 has never published.
        ([(1, 5), (0, 0, 0, False), (1, 5)], [(2, 5), (0, 0, 0, False), (2, 5)], {1}),
        # Process 2 is a step behind.
        ([(1, 5), (1, 5), (1, 4)], [(2, 5), (2, 5), (2, 4)], {2}),
        # Process 0 still reads the clips of the step that the others compute.
        ([(1, 5, 1), (1, 5), (1, 5)], [(2, 5, 1), (2, 5), (2, 5)], {0}),
        # All compute the same step; process 1 does not wait for others.
        ([(1, 5), (1, 5, 2, False), (1, 5)], [(2, 5), (2, 5, 2, False), (2, 5)], {1}),
        # Nothing tells them apart.
        ([(1, 5), (1, 5), (1, 5)], [(2, 5), (2, 5), (2, 5)], {0, 1, 2}),
    ],
)
def test_culprits(before: list[tuple], after: list[tuple], culprits: set[int]) -> None:
    then, now = ({rank: position(*values) for rank, values in enumerate(group)} for group in (before, after))
    assert set(find_culprits(then, now)) == culprits


def test_description() -> None:
    peers = Peers(Launch(0, 3, 0, 3, "a", 1, "torchrun"), None, ("a", "b", "c"), ({}, {}, {}))
    named = describe(peers, {1: position(1, 5), 2: None})
    place = "videopool/engine/step/train_step.py:1, run"
    assert named == f"process 1 (b) is computing step 5 ({place}); process 2 (c) does not respond"


def test_where_a_thread_is() -> None:
    seen: list[tuple[str, bool]] = []
    watch = Watch(None, Path(), 60.0)
    watch._note = lambda *_: seen.append(where(sys._getframe()))  # type: ignore[method-assign]
    watch.evaluated(3)
    ((line, waits),) = seen
    assert line.startswith("videopool/engine/cluster/hang.py:")
    assert line.endswith(", evaluated")
    assert not waits
    assert where(sys._getframe())[0] == ""


def test_the_stage_of_an_evaluation() -> None:
    watch = Watch(None, Path(), 60.0)
    watch.evaluated(3)
    assert watch._stage == "evaluating, 3 videos done"
    watch.after_step(5)
    watch.evaluated(3)
    assert watch._stage == "evaluating after step 5, 3 videos done"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc; runs on Linux")
def test_only_silent_processes_of_this_machine_are_killed() -> None:
    sleep = [sys.executable, "-c", "import time; print(1, flush=True); time.sleep(100)"]
    siblings = [subprocess.Popen(sleep, stdout=subprocess.PIPE) for _ in range(2)]
    pids = [os.getpid(), *(sibling.pid for sibling in siblings), os.getppid()]
    code = (
        "from videopool.engine.cluster import hang\n"
        "from videopool.engine.cluster.launch import Launch\n"
        "from videopool.engine.cluster.rendezvous import Peers\n"
        f"about = tuple({{'pid': str(pid)}} for pid in {pids})\n"
        "peers = Peers(Launch(0, 4, 0, 4, 'a', 1, 'torchrun'), None, ('a', 'a', 'b', 'a'), about)\n"
        "hang.kill_silent(peers, [1, 2, 3])\n"
    )
    try:
        subprocess.run([sys.executable, "-c", code], check=True)
        assert siblings[0].wait(10) == -signal.SIGKILL
        assert siblings[1].poll() is None  # of another machine; the parent of this process lives, too
    finally:
        siblings[1].kill()
        siblings[1].wait()
        for sibling in siblings:
            assert sibling.stdout is not None
            sibling.stdout.close()


def test_stacks_of_all_threads(tmp_path: Path) -> None:
    entered, leave = threading.Event(), threading.Event()

    def wait_here() -> None:
        entered.set()
        leave.wait()

    thread = threading.Thread(target=wait_here)
    thread.start()
    entered.wait()
    write_stacks(tmp_path / "new" / "hang-rank3.txt", "process 3 (b): before step 5 for 60 s")
    leave.set()
    thread.join()
    text = (tmp_path / "new" / "hang-rank3.txt").read_text()
    assert "process 3 (b): before step 5 for 60 s" in text.splitlines()[0]
    assert "wait_here" in text
    assert "test_stacks_of_all_threads" in text


def test_bounded_calls() -> None:
    assert bounded(lambda: 3, 10.0) == 3
    with pytest.raises(ZeroDivisionError):
        bounded(lambda: 1 // 0, 10.0)
    leave = threading.Event()
    with pytest.raises(TimeoutError, match=r"no answer within 0\.1 s"):
        bounded(leave.wait, 0.1)
    leave.set()


def watch_of_two(peers: Peers) -> Watch:
    """The watch of process 0 of two, which observes for half a second."""
    watch = Watch(peers, Path(), 5.0)
    watch._publish(peers)
    return watch


def two_peers(store: Store) -> Peers:
    return Peers(Launch(0, 2, 0, 1, "a", 1, "torchrun"), store, ("a", "b"), ({}, {}))


def test_a_process_that_ended_before_it_published_is_named() -> None:
    peers = two_peers(HashStore())
    assert watch_of_two(peers)._find_ended(peers) == (1, [1])


def test_a_publication_that_arrives_after_the_end_of_its_process() -> None:
    late = json.dumps(dataclasses.asdict(position(7, 3)))

    class Delayed(HashStore):
        """Has the last publication of process 1 after the first observation has begun."""

        asked = 0

        def check(self, keys: list[str]) -> bool:
            self.asked += keys == ["ended/1"]
            if self.asked == 1:
                self.set("position/1", late)
            return super().check(keys)

    store = Delayed()
    store.set("position/1", json.dumps(dataclasses.asdict(position(6, 3))))
    peers = two_peers(store)
    assert watch_of_two(peers)._find_ended(peers) == (1, [1])
    assert store.asked > 1


def test_a_process_that_failed_is_not_silent() -> None:
    peers = two_peers(HashStore())
    peers.store.set("ended/1", "2")
    assert watch_of_two(peers)._find_ended(peers) == (2, [])


def test_the_position_is_published_before_the_work_begins() -> None:
    class Slow(HashStore):
        """Gives no connection to the thread of the watch, as on a busy machine."""

        def clone(self) -> None:
            raise DistError

    peers = two_peers(Slow())
    with Watch(peers, Path(), 5.0):
        assert read_positions(peers)[0].beats == 1
    assert read_positions(peers)[1].beats == 0


def test_a_process_that_ends_at_once_takes_its_descendants_with_it() -> None:
    code = (
        "import subprocess, sys, time\n"
        'child = \'import subprocess, sys, time; subprocess.Popen([sys.executable, "-c", "import time; '
        "time.sleep(100)\"], start_new_session=True); print(1, flush=True); time.sleep(100)'\n"
        "subprocess.Popen([sys.executable, '-c', child], stdout=subprocess.PIPE).stdout.readline()\n"
        "from videopool.engine.cluster.hang import end_now\n"
        "end_now(7)\n"
    )
    with marked() as processes:
        assert processes.run("-c", code).code == 7
        assert not processes.alive()


def run_misbehaving(action: str, videos: Path, out: Path, *more: str) -> ToolResult:
    """Train in two processes, of which one misbehaves before step 3; check that both end, and return their output."""
    arguments = train_arguments(videos, out, "train.timeout=16", *more)
    with marked() as processes:
        ended = processes.run(*TORCHRUN, MISBEHAVE, "1", "3", action, "tools/train.py", *arguments)
        assert not processes.alive()
    assert ended.code == 1
    return ended


@pytest.mark.slow
def test_a_process_that_hangs_is_named_and_all_end(motion_videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    ended = run_misbehaving("sleep", motion_videos, out, "data.workers=1")
    message = only_error(ended)
    assert f"no progress for 12 s: process 1 ({HOST}) is before step 3 (videopool/engine/trainer.py:" in message
    assert "train.timeout (now 16)" in message
    assert "update_weights" in (out / "hang-rank1.txt").read_text()
    assert "backward" in (out / "hang-rank0.txt").read_text()
    assert re.search(r"Root Cause.*no progress for 12 s", ended.err, re.DOTALL)


@pytest.mark.slow
def test_a_process_that_does_not_respond_is_killed(motion_videos: Path, tmp_path: Path) -> None:
    ended = run_misbehaving("SIGSTOP", motion_videos, tmp_path / "run", "data.workers=0")
    message = only_error(ended)
    assert f"no progress for 12 s: process 1 ({HOST}) does not respond" in message
    assert re.search(r"exitcode +: -9", ended.err)  # not among the failures if torchrun kills it after them
    assert re.search(r"Root Cause.*no progress for 12 s", ended.err, re.DOTALL)


@pytest.mark.slow
def test_a_killed_process_is_named_and_all_end(motion_videos: Path, tmp_path: Path) -> None:
    ended = run_misbehaving("SIGKILL", motion_videos, tmp_path / "run", "data.workers=1")
    message = only_error(ended)
    assert message.startswith(f"error: process 1 ({HOST}) does not respond. It was killed")
    assert "[rank0]: Traceback" not in ended.err
    assert re.search(r"Root Cause.*exitcode +: -9", ended.err, re.DOTALL)


@pytest.mark.slow
def test_an_exception_in_one_process_is_the_root_cause(motion_videos: Path, tmp_path: Path) -> None:
    ended = run_misbehaving("raise", motion_videos, tmp_path / "run", "data.workers=0")
    assert ended.err.count("ZeroDivisionError: at a step") == 2  # by the process, and in torchrun's table
    assert re.search(r"Root Cause.*rank +: 1 .*ZeroDivisionError: at a step", ended.err, re.DOTALL)
    assert "Connection closed" not in ended.err  # process 0 ends quietly
