"""The plan of a training on a cluster: its arithmetic, and its answers to wrong numbers."""

import dataclasses

import pytest

from benchmarks.plan import Plan, main

PLAN = Plan(
    videos=10_000, epochs=10, batch=100, gpus=4, gpus_per_machine=2, step_seconds=0.5, decode_ms=20, read_mb=0.4,
    parameters=25, network_gb=1, disk_mb=100, states=2, test_videos=1000, views=30, classes=50, test_decode_ms=4,
    test_clip_seconds=0.01,
)  # fmt: skip


def test_arithmetic() -> None:
    assert PLAN.share == 25
    assert PLAN.steps_per_epoch == 100
    assert PLAN.allreduce_seconds == pytest.approx(0.1)  # 100 MB, half of them twice over 1 GB/s
    assert PLAN.step_range == pytest.approx((0.5, 0.6))
    assert PLAN.epoch_seconds == pytest.approx(60)
    assert PLAN.cores_per_gpu == pytest.approx(1.0)  # 25 clips in 0.5 s, 20 ms each
    assert PLAN.read_mb_per_machine == pytest.approx(40)  # 2 GPUs, 50 clips a second each
    assert PLAN.checkpoint_mb == 200
    assert PLAN.test_seconds == pytest.approx((30, 75))
    assert PLAN.scores_mb == pytest.approx(12)


def test_one_machine_sends_nothing() -> None:
    alone = dataclasses.replace(PLAN, gpus_per_machine=4)
    assert alone.allreduce_seconds == 0
    assert alone.step_range == (0.5, 0.5)


NEEDED = ["--videos", "1000", "--epochs", "2", "--batch", "8", "--step-seconds", "1", "--decode-ms", "10"]


def test_command(capsys: pytest.CaptureFixture) -> None:
    assert main([*NEEDED, "--gpus", "4"]) == 0
    printed = capsys.readouterr().out
    assert "steps of an epoch         125" in printed
    assert "whole training            0.00 days, 0 GPU hours" in printed


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (["--gpus", "3"], "--batch 8 cannot be shared equally by --gpus 3"),
        (["--gpus", "0"], "argument --gpus: 0 must be 1 or more"),
        (["--gpus", "4", "--network-gb", "-1"], "argument --network-gb: -1 must be above 0"),
        (["--gpus", "4", "--network-gb", "nan"], "argument --network-gb: nan must be above 0"),
        (["--gpus", "x"], "argument --gpus: invalid int value: 'x'"),
        ([], "the following arguments are required: --gpus"),
    ],
)
def test_wrong_numbers(wrong: list[str], expected: str, capsys: pytest.CaptureFixture) -> None:
    try:
        code = main([*NEEDED, *wrong])
    except SystemExit as end:
        code = end.code
    assert code == 2
    assert expected in capsys.readouterr().err
