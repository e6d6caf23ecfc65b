"""What a run prints and writes while it trains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from videopool.engine.watching import log as log_module
from videopool.engine.watching.log import RunLog
from videopool.engine.watching.remaining import RemainingTime
from videopool.engine.watching.starvation import StarvationAdvice

LINE = {
    "epoch": 0,
    "loss": 0.5,
    "lr": 0.1,
    "bad_videos": 0,
    "clips_per_second": 160.0,
    "clips_per_second_per_device": 80.0,
}
SLOW = {"step_seconds": 0.1, "data_seconds": 0.02, "longest_data_seconds": 0.05}
VALIDATION = {"epoch": 0, "video_top1": 0.25, "unscored": 0, "videos": 8}


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()

    def remaining(*given: Any, **named: Any) -> RemainingTime:
        return RemainingTime(*given, **named, now=clock)

    monkeypatch.setattr(log_module, "RemainingTime", remaining)
    return clock


def log_of(folder: Path, start_step: int = 0) -> RunLog:
    return RunLog(
        folder,
        100,
        start_step=start_step,
        validations=[50, 100],
        trackers=(),
        config={},
        starvation=StarvationAdvice(2, cores=16),
        main=True,
        writes=True,
    )


def test_lines_with_the_waiting_and_the_time_left(
    tmp_path: Path, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with log_of(tmp_path) as log:
        for step in range(1, 51):
            clock.time += 3.0
            log.advance(step)
            if step % 10 == 0:
                log.training({"step": step, **LINE, **(SLOW if step <= 20 else {})})
        clock.time += 600
        log.evaluation({"step": 50, **VALIDATION}, "video top-1 0.250")
        clock.time += 3.0
        log.advance(51)
        log.training({"step": 51, **LINE})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "step 10/100  epoch 0  loss 0.500  lr 1.00e-01  160.0 clips/s  waiting 50 %  4 min left"
    assert lines[2] == (
        "The device waits for the loader 50 % of the time. A clip takes 0.025 s of a worker. 4 workers per process "
        "would keep up; there are 2. Set data.workers=4."
    )
    assert lines[3] == "step 30/100  epoch 0  loss 0.500  lr 1.00e-01  160.0 clips/s  4 min left"
    assert lines[-1].endswith("160.0 clips/s  12 min left")  # 49 steps of 3 s, and a validation of 600 s
    written = [json.loads(line) for line in (tmp_path / "log.jsonl").open()]
    assert written[1] == {"step": 20, **LINE, **SLOW}
    assert [json.loads(line)["seconds"] for line in (tmp_path / "validation.jsonl").open()] == [600]


def test_numbers_that_json_does_not_have_are_null(tmp_path: Path) -> None:
    def refuse(name: str) -> None:
        raise ValueError(name)

    with log_of(tmp_path) as log:
        log.training({"step": 1, **LINE, "grad_norm/0": float("inf"), "grad_norm/1": float("nan")})
    written = json.loads((tmp_path / "log.jsonl").read_text(), parse_constant=refuse)
    assert written == {"step": 1, **LINE, "grad_norm/0": None, "grad_norm/1": None}


def test_a_resumed_run_knows_how_long_validations_took(
    tmp_path: Path, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [{"step": 50, **VALIDATION}, {"step": 60, **VALIDATION, "seconds": 900}, {"step": 80, "seconds": 1e9}]
    (tmp_path / "validation.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with log_of(tmp_path, start_step=60) as log:
        clock.time += 1.0
        log.advance(61)
        log.training({"step": 61, **LINE})
    assert capsys.readouterr().out.rstrip().endswith("  16 min left")  # 39 s and the validation of step 100
