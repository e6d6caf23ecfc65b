"""``videopool evaluate`` in two processes under torchrun."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.engine.processes import TORCHRUN, marked

pytestmark = pytest.mark.long

# The bootstrap of the intervals takes longer than the limit, 12 s of a timeout of 16.
SLOW_INTERVALS = """
import sys, time
from videopool.cli.main import main
from videopool.engine.scoring import assessment

original = assessment.bootstrap

def bootstrap(*arguments):
    time.sleep(14)
    return original(*arguments)

assessment.bootstrap = bootstrap
sys.exit(main(["evaluate", *sys.argv[1:]]))
"""


@pytest.mark.slow
def test_slow_intervals_are_not_taken_for_a_hang(trained: Path, tmp_path: Path) -> None:
    script, to = tmp_path / "evaluate.py", tmp_path / "to"
    script.write_text(SLOW_INTERVALS)
    keys = ("evaluate.clips=1", "data.workers=0", "train.timeout=16")
    with marked() as processes:
        checkpoint = str(trained / "checkpoints/last.pt")
        ended = processes.run(*TORCHRUN, str(script), checkpoint, *keys, "--to", str(to))
        assert not processes.alive()
    assert ended.code == 0, ended.err
    assert json.loads((to / "metrics.json").read_text())["videos"] == 8
    assert not [*to.glob("*.part"), *to.glob("hang-rank*.txt")]


SLOW_METRIC = """
import os, sys, time

def videos(scores, labels):
    time.sleep(20)
    return len(scores)

if __name__ == "__main__":
    from videopool.cli.main import main
    sys.exit(main(["evaluate", *sys.argv[1:]]))
"""


@pytest.mark.slow
def test_a_metric_may_take_longer_than_the_timeout(trained: Path, tmp_path: Path) -> None:
    script, to = tmp_path / "slow_metric.py", tmp_path / "to"
    script.write_text(SLOW_METRIC)
    keys = ("evaluate.clips=1", "data.workers=0", "train.timeout=16", "evaluate.metrics=[slow_metric.videos]")
    with marked() as processes:
        checkpoint = str(trained / "checkpoints/last.pt")
        ended = processes.run(*TORCHRUN, str(script), checkpoint, *keys, "--to", str(to))
        assert not processes.alive()
    assert ended.code == 0, ended.err
    assert json.loads((to / "metrics.json").read_text())["custom"] == {"videos": 8}
    assert not [*to.glob("hang-rank*.txt")]
