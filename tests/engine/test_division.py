"""A step does not depend on how many processes share its clips, nor on the number of forward passes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.conftest import QUICK, ROOT
from videopool.config import load
from videopool.engine.builders.batches import describe_batch
from videopool.engine.cluster.distributed import World
from videopool.engine.step.batch_statistics import buffers_agree, collect_statistics
from videopool.engine.step.split import Split, split_batch
from videopool.errors import InputError
from videopool.pooling import BlurPool

pytestmark = pytest.mark.long

small = st.integers(1, 12)


@given(small, small, st.integers(0, 12), st.integers(0, 4))
def test_every_clip_is_in_one_forward_pass(share: int, processes: int, most: int, group: int) -> None:
    batch = share * processes
    try:
        split = split_batch(batch, processes=processes, most=most, group=group)
    except InputError:
        assert group
        assert share % group or group > most > 0
        return
    places = [split.place(rank, number) for rank in range(processes) for number in range(split.passes)]
    clips = [clip for place in places for clip in range(batch)[place.clips]]
    assert clips == list(range(batch))
    assert split.size <= (most or share)
    assert split.size % split.group == 0
    assert split.group == (group or split.size)
    fewer = [n for n in range(1, split.passes) if share % n == 0 and share // n <= (most or share)]
    assert not [n for n in fewer if share // n % split.group == 0] or not group  # as few passes as possible


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"batch": 10, "processes": 4}, "batch=10 cannot be shared equally by 4 processes; use 8 or 12"),
        ({"batch": 2, "processes": 4}, "batch=2 cannot be shared equally by 4 processes; use 4"),
        ({"batch": 12, "processes": 2, "group": 4}, "norm_batch=4 must divide the 6 clips of a process"),
        ({"batch": 16, "processes": 2, "most": 4, "group": 8}, "norm_batch=8 is more than batch_per_device=4"),
    ],
)
def test_divisions_that_do_not_exist(given: dict[str, int], expected: str) -> None:
    with pytest.raises(InputError, match=re.escape(expected)):
        split_batch(**given)


def test_description() -> None:
    assert str(split_batch(8, processes=1)) == "8 clips a step"
    assert str(split_batch(64, processes=2, most=8)) == (
        "64 clips a step, 32 on each of 2 processes, in 4 forward passes"
    )


def test_only_separate_statistics_of_single_clips_are_a_warning() -> None:
    config, model = load("demo", [*QUICK, "train.batch=4"]), torch.nn.BatchNorm3d(1)
    for device, expected in (("cpu", True), ("cuda", False)):  # where the statistics are those of all processes
        about = describe_batch(config, config, model, World(0, 4, torch.device(device)), None)
        assert ("warning: batch norm uses the statistics of single clips" in about) == expected


def test_statistics_that_depend_on_the_division_are_mentioned() -> None:
    config, norm = load("demo", [*QUICK, "train.batch=8"]), torch.nn.BatchNorm3d(1)
    grouped = load("demo", [*QUICK, "train.batch=8", "train.norm_batch=2"])
    two, one = World(0, 2, torch.device("cpu")), World(0, 1, torch.device("cpu"))
    sentence = "batch norm: statistics of the 4 clips of a forward pass; set train.norm_batch=4 to keep them on any"
    assert sentence in describe_batch(config, config, norm, two, None)
    for settings, model, world in ((config, norm, one), (grouped, norm, two), (config, nn.Linear(1, 1), two)):
        assert "batch norm" not in describe_batch(settings, settings, model, world, None)


def test_one_group_keeps_the_layers_of_torch() -> None:
    layer = torch.nn.BatchNorm3d(4)
    assert collect_statistics(layer, [Split(batch=8, processes=1, passes=1, group=8)]) == []
    assert type(layer) is torch.nn.BatchNorm3d


def test_which_buffers_stay_the_same_on_all_processes() -> None:
    split = Split(batch=8, processes=2, passes=1, group=4)
    known = nn.Sequential(nn.BatchNorm3d(4), nn.SyncBatchNorm(4), BlurPool(3, 2, channels=4), nn.Linear(4, 4))
    known[0].eval()
    collect_statistics(known, [split])
    assert buffers_agree(known)
    for other in (nn.InstanceNorm3d(4, track_running_stats=True), OwnNorm(4), nn.Embedding(4, 4)):
        model = nn.Sequential(nn.BatchNorm3d(4), other)
        collect_statistics(model, [split])
        assert buffers_agree(model) == isinstance(other, nn.Embedding)


class OwnNorm(nn.BatchNorm3d):
    """A batch normalization of another package, which updates its statistics on each process."""


def train(out: Path, processes: int, most: int, group: int, *backend: str) -> dict:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    script = [str(ROOT / "tests/engine/divided_steps.py"), str(out), "16", str(most), str(group), *backend]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *(launcher if processes > 1 else []), *script]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return torch.load(out)


@pytest.mark.slow
def test_any_division_gives_the_same_weights_and_statistics(tmp_path: Path) -> None:
    reference = train(tmp_path / "1", 1, 0, 4)
    for processes, most in ((1, 4), (1, 8), (2, 0), (2, 4), (4, 0)):
        found = train(tmp_path / f"{processes}-{most}", processes, most, 4)
        torch.testing.assert_close(found["model"], reference["model"], rtol=1e-10, atol=1e-12)
        # The losses of forward passes are float32 means, so their mean has the rounding of 16 additions.
        torch.testing.assert_close(found["sums"], reference["sums"], rtol=16 * 2**-24, atol=0)


@pytest.mark.slow
def test_compiled_processes_give_the_same_weights(tmp_path: Path) -> None:
    reference, compiled = train(tmp_path / "1", 1, 0, 4), train(tmp_path / "2", 2, 4, 4, "aot_eager")
    # The loss is computed in float32, in sums of 5 classes and 4 clips.
    for name, value in reference["model"].items():
        assert (compiled["model"][name] - value).double().norm() <= 1e-5 * value.double().norm(), name


@pytest.mark.slow
def test_without_groups_batch_norm_depends_on_the_forward_pass(tmp_path: Path) -> None:
    reference, divided = train(tmp_path / "1", 1, 0, 0), train(tmp_path / "2", 1, 8, 0)
    difference = (reference["model"]["0.weight"] - divided["model"]["0.weight"]).abs().max()
    assert difference > 1e-4  # the tolerance of the test above is far below real differences
