"""``videopool evaluate`` in two processes under torchrun."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.engine.processes import TORCHRUN, marked

pytestmark = pytest.mark.long

# A metric and the bootstrap of the intervals each take longer than the limit, 12 s of a timeout of 16.
SLOW = """
import os, sys, time

def videos(scores, labels):
    time.sleep(14)
    return len(scores)

if __name__ == "__main__":
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
def test_slow_metrics_and_intervals_are_not_taken_for_a_hang(trained: Path, tmp_path: Path) -> None:
    script, to = tmp_path / "slow.py", tmp_path / "to"
    script.write_text(SLOW)
    keys = ("evaluate.clips=1", "data.workers=0", "train.timeout=16", "evaluate.metrics=[slow.videos]")
    with marked() as processes:
        checkpoint = str(trained / "checkpoints/last.pt")
        ended = processes.run(*TORCHRUN, str(script), checkpoint, *keys, "--to", str(to))
        assert not processes.alive()
    assert ended.code == 0, ended.err
    metrics = json.loads((to / "metrics.json").read_text())
    assert metrics["videos"] == 8
    assert metrics["custom"] == {"videos": 8}
    assert metrics["intervals"]
    assert not [*to.glob("*.part"), *to.glob("hang-rank*.txt")]
