"""The trace of a profiler has the steps after the warm-up."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.conftest import QUICK, ROOT, file_size_limit
from videopool.engine.watching.profile import StepProfiler
from videopool.engine.watching.step_times import StepTimes

CPU = torch.device("cpu")


def train(profiler: StepProfiler, first: int, last: int) -> None:
    times, weight = StepTimes(CPU), torch.ones(8, 8, requires_grad=True)
    for step in range(first, last + 1):
        with times.part("data"):
            pass
        profiler.before_step(step)
        with times.part("compute"), torch.profiler.record_function(f"number {step}"):
            (weight @ weight).sum().backward()
        profiler.after_step(step)


def test_the_trace_has_the_steps_after_the_warm_up(tmp_path: Path) -> None:
    said: list[str] = []
    profiler = StepProfiler(tmp_path / "profile", 3, rank=1, device=CPU, say=said.append, warm_up=2)
    train(profiler, 41, 50)  # a resumed run
    (path,) = (tmp_path / "profile").iterdir()
    assert path.name == "steps-43-45-rank1.json.gz"
    assert said == [f"profile written: {path}; open it in https://ui.perfetto.dev"]
    names = [event.get("name") for event in json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]]
    assert sorted(name for name in names if name and name.startswith("number")) == [f"number {n}" for n in (43, 44, 45)]
    assert names.count("step: compute") == 3
    assert names.count("step: data") == 2  # between the three
    assert "aten::mm" in names


def test_a_full_disk_is_a_warning(tmp_path: Path) -> None:
    said: list[str] = []
    profiler = StepProfiler(tmp_path / "profile", 2, rank=0, device=CPU, say=said.append, warm_up=0)
    (tmp_path / "profile").write_text("a file in the way")
    train(profiler, 1, 4)
    assert len(said) == 1
    assert said[0].startswith("warning: the profile")
    assert "training continues" in said[0]


@pytest.mark.slow
def test_a_trace_that_does_not_fit_on_the_disk_is_a_warning(tmp_path: Path) -> None:
    said: list[str] = []
    profiler = StepProfiler(tmp_path, 2, rank=0, device=CPU, say=said.append, warm_up=0)
    with file_size_limit(100):
        train(profiler, 1, 4)
    assert len(said) == 1
    assert said[0].startswith("warning: the profile")


def test_a_short_run_is_profiled_at_its_end(motion_videos: Path, tmp_path: Path, tool: Callable) -> None:
    out = tmp_path / "run"
    arguments = [*QUICK, f"data.root={motion_videos}", f"out={out}", "train.profile=2", "train.evaluate_every=0"]
    ended = tool("train", "--config", ROOT / "configs/demo.yaml", *arguments)
    assert ended.code == 0, ended.err
    assert [path.name for path in (out / "profile").iterdir()] == ["steps-7-8-rank0.json.gz"]
    assert f"profile written: {out / 'profile/steps-7-8-rank0.json.gz'}; open it in" in ended.out
