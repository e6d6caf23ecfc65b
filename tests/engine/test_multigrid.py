"""Multigrid training: the published schedule, networks that take all shapes, and runs that resume and divide."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from tests.conftest import QUICK, ROOT, same_tensors
from tests.engine.multigrid_steps import network
from videopool.config import Config, load, to_plain
from videopool.data.steps import Steps
from videopool.engine import TrainStep, Update, World, build_optimizer, split_batch
from videopool.engine.builders.multigrid import check_shapes, smaller_clips
from videopool.engine.builders.optimization import schedule_of
from videopool.engine.builders.parts import build_model
from videopool.engine.builders.schedule_table import describe_schedule
from videopool.engine.builders.teacher import teacher_of
from videopool.engine.builders.training import _on_device
from videopool.engine.checkpoints.files import read_checkpoint, write_checkpoint
from videopool.engine.optimization.loss import choose_loss
from videopool.engine.optimization.multigrid import Shape, plan_multigrid
from videopool.engine.trainer import Trainer
from videopool.errors import InputError
from videopool.models import build
from videopool.types import Batch

pytestmark = pytest.mark.long

CPU = torch.device("cpu")

# The schedule that PySlowFast prints for configs/Kinetics/SLOWFAST_8x8_R50_stepwise_multigrid.yaml (issue 231 of
# facebookresearch/SlowFast shows the first ten lines): times the base batch of 64, frames, crop, end epoch.
PUBLISHED = [
    (8, 8, 158, 73), (4, 16, 158, 110), (2, 16, 224, 142), (1, 32, 224, 158),
    (8, 8, 158, 205), (4, 16, 158, 228), (2, 16, 224, 248), (1, 32, 224, 259),
    (8, 8, 158, 291), (4, 16, 158, 308), (2, 16, 224, 322), (1, 32, 224, 329),
    (1, 32, 224, 358),
]  # fmt: skip
KINETICS = {"epochs": 239, "milestones": (94, 154, 196)}
RECIPE = [
    "clip={frames: 32, stride: 2, scale: [256, 320], crop: 224}",
    "optim={name: sgd, lr: 0.1, schedule: multistep, milestones: [94, 154, 196], warmup_epochs: 34, "
    "warmup_start: 0.0125}",
    "train={epochs: 239, batch: 64, norm_batch: 8, multigrid: both}",
]


def recipe(*overrides: str) -> Config:
    return load(ROOT / "configs/kinetics400/slowfast_r50_8x8.yaml", [*RECIPE, *overrides])


def test_long_and_short_cycle_of_the_paper() -> None:
    plan = plan_multigrid("both", **KINETICS)
    found = [(p.shape.times, 32 // p.shape.frames, round(224 / p.shape.area**0.5), p.end) for p in plan.phases]
    assert found == PUBLISHED
    assert plan.epochs == 358  # 1.5 * 239
    # Within a phase: H/2 and H/sqrt(2) of the full crop, then the crop of the phase; the batch keeps B*T*H*W.
    crops = [[round(224 / shape.area**0.5) for shape in phase.cycle] for phase in plan.phases[:4]]
    assert crops == [[112, 158, 158], [112, 158, 158], [112, 158, 224], [112, 158, 224]]
    batches = [[64 * shape.times for shape in phase.cycle] for phase in plan.phases[:4]]
    assert batches == [[1024, 512, 512], [512, 256, 256], [512, 256, 128], [256, 128, 64]]


def test_learning_rates_of_the_published_code() -> None:
    # multigrid.py of PySlowFast: gamma ** stage * times; in the last stage first the rate of the stage before.
    rates = [8, 4, 2, 1, 0.8, 0.4, 0.2, 0.1, 0.08, 0.04, 0.02, 0.01]
    ends = [end for *_, end in PUBLISHED]
    expected = {end - 1: 0.1 * rate for end, rate in zip(ends, rates, strict=False)}
    expected |= {329: 0.1 * 0.01, (329 + 358) // 2 - 1: 0.1 * 0.01, (329 + 358) // 2: 0.1 * 0.001, 357: 0.1 * 0.001}
    # Warm-up of 34 epochs, from 0.01 to 0.1 * 8.
    expected |= {0: 0.01, 17: (0.01 + 0.8) / 2, 34: 0.8}
    schedule = schedule_of(recipe())
    for epoch, rate in expected.items():
        assert 0.1 * schedule(epoch / 358) == pytest.approx(rate, rel=1e-12), epoch


def test_all_shapes_of_a_long_cycle_have_as_many_steps() -> None:
    # 240,000 videos: the epochs are rounded, by at most half an epoch at either end of a phase
    for cycles in ("long", "both"):
        plan = plan_multigrid(cycles, **KINETICS)
        steps = Steps(clips=240_000, batch=64, stages=plan.stages)
        for first in range(0, 12, 4):
            phases = plan.phases[first : first + 4]
            counts = [steps.first(phase.end) - steps.first(phase.first) for phase in phases]
            slack = [steps.count(phase.first) for phase in phases]
            assert max(counts) - min(counts) <= max(slack) + min(slack)


def test_batches_and_shapes_keep_the_arithmetic() -> None:
    for cycles in ("short", "long", "both"):
        plan = plan_multigrid(cycles, **KINETICS)
        for size in plan.sizes:
            shape = plan.shapes[size.shape]
            assert Fraction(size.times, shape.frames * shape.area) == 1
            assert size.times % size.group == 0
        assert plan.shapes[0] == Shape()
        assert sum(stage.epochs for stage in plan.stages) == plan.epochs


def test_short_cycle_alone_keeps_the_schedule() -> None:
    plan = plan_multigrid("short", **KINETICS)
    assert plan.epochs == 358  # int(1.5 * 239)
    assert plan.milestones == (141, 231, 294)
    assert [(shape.times, shape.frames) for shape in plan.phases[0].cycle] == [(4, 1), (2, 1), (1, 1)]
    assert {plan.rate(progress / 10) for progress in range(10)} == {1}
    config = recipe("train.multigrid=short", "optim={schedule: cosine, milestones: [], warmup_epochs: 0}")
    assert schedule_of(config)(0.5) == pytest.approx(0.5)


def test_a_phase_of_the_full_shape_without_an_epoch_is_left_out() -> None:
    """The published recipe for Something-Something V2 has 22 epochs and drops at 14 and 18."""
    plan = plan_multigrid("both", epochs=22, milestones=[14, 18])
    phases = [(phase.first, phase.end, phase.shape.times) for phase in plan.phases]
    assert phases == [
        *[(0, 11, 8), (11, 16, 4), (16, 21, 2), (21, 24, 1)],
        *[(24, 27, 8), (27, 28, 4), (28, 30, 2)],
        (30, 33, 1),
    ]
    assert plan.milestones == (24, 31)  # the first half of the last stage has the rate of the stage before


def test_schedules_that_do_not_exist() -> None:
    with pytest.raises(InputError, match="epochs=4 is too short for the 5 phases"):
        plan_multigrid("long", epochs=4, milestones=[2], epoch_factor=1)
    with pytest.raises(InputError, match="epochs=1 is too short for the 1 phases"):
        plan_multigrid("short", epochs=1, milestones=[], epoch_factor=0.5)
    for cycles in ("short", "long", "both"):
        with pytest.raises(InputError, match=r"milestones=\[20, 40\] must be smaller than epochs=40"):
            plan_multigrid(cycles, epochs=40, milestones=[20, 40])
    with pytest.raises(InputError, match="must have at least one epoch for the long cycle"):
        plan_multigrid("both", epochs=40, milestones=[])
    with pytest.raises(InputError, match=r"multigrid=both needs optim\.schedule=multistep"):
        recipe("optim.schedule=cosine")
    with pytest.raises(InputError, match=r"needs a multiple of 4 as clip\.frames"):
        recipe("clip.frames=30")


def test_printed_schedule(tool: Callable) -> None:
    lines = describe_schedule(recipe()).splitlines()
    assert [line.split()[0] for line in lines] == [
        *("epochs", "0-34", "34-73", "73-110", "110-142", "142-158", "158-205", "205-228", "228-248", "248-259"),
        *("259-291", "291-308", "308-322", "322-329", "329-343", "343-358"),
    ]
    columns = [re.split(r"  +", line) for line in lines[1:]]
    assert columns[0] == ["0-34", "1024x8x112, 512x8x158, 512x8x158", "16, 8, 8", "0.01 to 0.8"]
    assert columns[-1] == ["343-358", "256x32x112, 128x32x158, 64x32x224", "32, 16, 8", "0.0001"]
    shown = tool("train", "--config", "kinetics400/slowfast_r50_8x8", *RECIPE, "--print-schedule")
    assert shown.code == 0
    assert shown.out.splitlines() == lines


# --- networks ------------------------------------------------------------------------------------------------------

NETWORKS = {
    "slowfast": {"depth": 18, "width": 8, "frames": 16},
    "x3d": {"depth": 0.5, "width": 0.5, "head_width": 32, "frames": 8},
    "r2plus1d": {"depth": 14, "width": 8, "frames": 8},
    "c3d": {"width": 4, "frames": 8},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_take_all_shapes(name: str) -> None:
    arguments = {"classes": 3, "crop": 64, "pooling": "none", **NETWORKS[name]}
    frames = arguments["frames"]
    torch.manual_seed(0)
    model = build(name, **arguments, any_size=True).eval().double()
    torch.manual_seed(0)
    fixed = build(name, **arguments).eval().double()
    full = torch.rand(2, 3, frames, 64, 64, dtype=torch.float64)
    # Both average the same numbers, in another order.
    torch.testing.assert_close(model(full), fixed(full), rtol=1e-12, atol=1e-12)
    assert list(model.state_dict()) == list(fixed.state_dict())
    for shape in plan_multigrid("both", **KINETICS).shapes:
        side = round(64 / shape.area**0.5)
        assert model(full[:, :, : frames // shape.frames, :side, :side]).shape == (2, 3)


def test_frames_of_slowfast_are_multiples_of_alpha() -> None:
    model = build("slowfast", classes=3, crop=64, any_size=True, **NETWORKS["slowfast"])
    with pytest.raises(InputError, match="a multiple of alpha=4 frames, not 6"):
        model(torch.zeros(1, 3, 6, 64, 64))


def test_shapes_that_a_network_does_not_take() -> None:
    config = recipe("clip.frames=8", "model.arguments={depth: 18, alpha: 4, width: 8}", "model.pooling=none")
    assert [(clip.frames, clip.crop) for clip in smaller_clips(config)] == [
        *((8, 158), (8, 112), (4, 224), (4, 158), (4, 112), (2, 158), (2, 112))
    ]
    with pytest.raises(InputError, match="clips of 2 frames of 112x112 pixels, which the network does not take"):
        check_shapes(config, build_model(config, ("a", "b"))[0])


def test_a_teacher_takes_all_shapes(tmp_path: Path) -> None:
    small = [
        "clip={frames: 16, scale: [64, 72], crop: 64}",
        "model={pooling: none, pooling_sites: [], arguments: {depth: 18, width: 8}}",
    ]
    taught = recipe(*small, "train.multigrid=none")
    state = {"format": 1, "step": 1, "config": to_plain(taught), "classes": ["a", "b"], "several_labels": False}
    path = tmp_path / "teacher.pt"
    write_checkpoint(path, {**state, "model": build_model(taught, ("a", "b"))[0].state_dict()})
    teacher = teacher_of(recipe(*small, f"train.distill={path}"), ("a", "b"), several_labels=False, device=CPU)
    assert teacher is not None
    assert teacher.model(torch.zeros(2, 3, 4, 32, 32)).shape == (2, 2)


# --- training ------------------------------------------------------------------------------------------------------

STEPS = 14  # 16 videos, 2 clips in a step of full shape; 4, 2, 2, 1 and 1 epochs of 1, 1, 1, 3 and 3 steps


def arguments(videos: Path, out: Path) -> list[str]:
    return [
        *("--config", str(ROOT / "configs/demo.yaml"), *QUICK, f"data.root={videos}", f"out={out}"),
        "optim={name: sgd, lr: 0.01, schedule: multistep, milestones: [8], warmup_epochs: 1}",
        "train={epochs: 10, batch: 2, evaluate_every: 0, multigrid: both, multigrid_epochs: 1, norm_batch: 1}",
    ]


@pytest.mark.slow
def test_a_run_resumes_in_the_middle_of_an_epoch(motion_videos: Path, tmp_path: Path, tool: Callable) -> None:
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    ended = tool("train", *arguments(motion_videos, straight))
    assert ended.code == 0, ended.err
    for step in (3, 9):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Trainer, "stop_step", lambda self, at=step: self.step == at and (self.save(False) or True))
            assert tool("train", *arguments(motion_videos, stopped)).code == 75
    assert tool("train", *arguments(motion_videos, stopped), "data.workers=1").code == 0
    one, other = (read_checkpoint(out / "checkpoints/last.pt") for out in (straight, stopped))
    assert one["step"] == other["step"] == STEPS
    for part in ("model", "optimizer"):
        assert same_tensors(one[part], other[part]), part
    lines = [list(map(json.loads, (out / "log.jsonl").open())) for out in (straight, stopped)]
    for name in ("step", "epoch", "lr", "loss", "top1"):
        assert [line[name] for line in lines[0]] == [line[name] for line in lines[1]], name
    assert [line["epoch"] for line in lines[0]] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 8, 9, 9, 9]
    rates = [line["lr"] / 0.01 for line in lines[0]]
    assert rates[1:] == pytest.approx([8, 8, 8, 4, 4, 2, 2, 1, 1, 1, 0.1, 0.1, 0.1])


@pytest.mark.slow
def test_dry_run_describes_every_size_of_a_step(motion_videos: Path, tmp_path: Path, tool: Callable) -> None:
    ended = tool("train", *arguments(motion_videos, tmp_path / "run"), "--dry-run")
    assert ended.code == 0, ended.err
    lines = [line for line in ended.out.splitlines() if line.startswith("step size")]
    assert len(lines) == len(plan_multigrid("both", epochs=10, milestones=(8,), epoch_factor=1).sizes) == 10
    for line in lines:  # smaller clips come in larger batches
        clips, frames, rows, columns = map(int, re.findall(r"uint8 \[(\d+), 3, (\d+), (\d+), (\d+)\]", line)[0])
        assert line.startswith(f"step size {lines.index(line) + 1}")
        assert f"{clips} clips a step" in line
        assert rows == columns
        assert "GFLOPs a clip" in line
        assert float(re.findall(r"([\d.]+) MiB of activations", line)[0]) > 0
        assert 0.5 < clips * frames * rows * columns / (2 * 4 * 32 * 32) < 2
    assert len({re.findall(r"uint8 \[.*?\]", line)[0] for line in lines}) > 5


def train(out: Path, videos: Path, processes: int, most: int) -> dict:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    script = [str(ROOT / "tests/engine/multigrid_steps.py"), str(out), str(videos), str(most)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, *(launcher if processes > 1 else []), *script], check=True, env=environment)
    return torch.load(out)


@pytest.mark.slow
def test_any_division_gives_the_same_weights(motion_videos: Path, tmp_path: Path) -> None:
    reference = train(tmp_path / "1", motion_videos, 1, 0)
    for processes, most in ((1, 2), (2, 1)):
        found = train(tmp_path / f"{processes}-{most}", motion_videos, processes, most)
        torch.testing.assert_close(found["model"], reference["model"], rtol=1e-10, atol=1e-12)
    assert reference["batches"] == [64, 32, 16, 16, 8, 4, 16]  # 48 clips in an epoch


def test_every_size_of_a_step_has_its_own_compiled_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_multigrid("both", **KINETICS)
    compile_module = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self, **options: compile_module(self, backend="eager", **options))
    update = Update(
        split=split_batch(1, processes=1, group=1),
        augment=lambda batch, seed, place: batch,
        preprocess=lambda clips: clips.double(),
        lr=0.1,
        schedule=plan.rate,
        loss=choose_loss(several_labels=False),
        clip_norm=0.0,
        precision="float32",
        seed=0,
        compile="require",
        sizes=plan.sizes,
    )
    model = network().train()
    take = TrainStep(model, build_optimizer(model, "sgd", lr=0.1, weight_decay=0.0), update, World(0, 1, CPU))
    torch._dynamo.reset()
    counters.clear()
    for step, size in enumerate(2 * plan.sizes):
        shape, numbers = plan.shapes[size.shape], torch.arange(size.times)
        clips = torch.zeros(size.times, 3, 4 // shape.frames, 16 // shape.area, 16, dtype=torch.uint8)
        take([Batch(clips, numbers % 5, numbers, numbers, numbers < 0)], step, 0.0, size)
    assert counters["stats"]["unique_graphs"] == len(plan.sizes) == 10
    torch._dynamo.reset()


@pytest.mark.parametrize(("norm_batch", "expected"), [(0, nn.SyncBatchNorm), (8, nn.BatchNorm3d)])
def test_groups_replace_synchronized_batch_norm(
    norm_batch: int, expected: type[nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nn.Module, "to", lambda self, device: self)  # there may be no GPU
    world = World(0, 2, torch.device("cuda"))
    found = _on_device(network(), recipe(f"train.norm_batch={norm_batch}"), world)
    assert type(found[1]) is expected
