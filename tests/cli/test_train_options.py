"""``videopool train`` without training: --list-configs, --explain, --print-config, --dry-run."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.conftest import QUICK, ROOT
from videopool.config import load
from videopool.config.shipped import shipped_configs, summary_of


def test_list_configs_names_every_shipped_one_with_a_summary(tool: Callable) -> None:
    ended, other = tool("train", "--list-configs"), tool("compare_pooling", "--list-configs")
    assert (ended.code, other.code) == (0, 0)
    trainings, comparisons = listed(ended.out), listed(other.out)
    assert sorted(trainings + comparisons) == list(shipped_configs())
    assert all(name.split("/")[1].startswith("compare_") for name in comparisons)
    assert all(5 < len(summary_of(path)) <= 85 for path in shipped_configs().values())
    assert "kinetics400/x3d_s" in trainings
    assert "kinetics400/x3d_s_soft" in trainings
    folders = [name.rpartition("/")[0] for name in trainings]
    assert len(ended.out.split("\n\n")) == len(set(folders)) + 1  # and the meaning of _soft


def listed(text: str) -> list[str]:
    """Return the names of a list of configurations, those in brackets in full."""
    names = []
    for line in filter(None, text.splitlines()):
        name, suffix = re.match(r"(\S+)(?: \[(\w+)\])?", line).groups()
        names += [name] if suffix is None else [name, name + suffix]
    return [name for name in names if name != "NAME_soft"]


@pytest.mark.parametrize(
    "name", ["small/c3d", "small/c3d.yaml", "configs/small/c3d.yaml", ROOT / "configs/small/c3d.yaml"]
)
def test_print_config_prints_what_loads_back(name: object, tool: Callable, tmp_path: Path) -> None:
    ended = tool("train", "--config", name, "optim.lr=0.5", "--print-config")
    assert ended.code == 0, ended.err
    (tmp_path / "printed.yaml").write_text(ended.out)
    assert load(tmp_path / "printed.yaml") == load(ROOT / "configs/small/c3d.yaml", ["optim.lr=0.5"])


def test_explain_shows_meaning_values_and_default_of_a_key(tool: Callable) -> None:
    ended = tool("train", "--explain", "clip.stride")
    assert ended.code == 0
    assert ended.out.splitlines() == [
        "clip.stride",
        "  With sampling=random: step between consecutive frames of a clip, in frames at the rate fps.",
        "  values: whole number, 1 or more",
        "  default: 4",
    ]
    section = tool("train", "--explain", "clip").out
    assert section.count("default:") == 13
    wrong = tool("train", "--explain", "strid")
    assert wrong.code == 2
    assert "Did you mean 'clip.stride'?" in tool("train", "--explain", "stride").err
    assert "unknown key 'strid'" in wrong.err


def test_the_shipped_name_nearest_to_a_wrong_one(tool: Callable) -> None:
    ended = tool("train", "--config", "small/c3")
    assert ended.code == 2
    assert "Did you mean 'small/c3d'?" in ended.err


@pytest.mark.slow
def test_dry_run_describes_the_run_and_writes_nothing(motion_videos: Path, tmp_path: Path, tool: Callable) -> None:
    out = tmp_path / "run"
    arguments = ["--config", "demo", *QUICK, f"data.root={motion_videos}", f"out={out}"]
    ended = tool("train", *arguments, "--dry-run")
    assert ended.code == 0, ended.err
    assert not out.exists()
    found = {line.split("  ")[0]: line for line in ended.out.splitlines()}
    assert "16, of 8 classes" in found["videos"]
    assert "8 (4 per epoch, 2 epochs), 0 done" in found["steps"]
    assert "uint8 [4, 3, 4, 32, 32]" in found["batch"]
    several = tool("train", *arguments, "train.batch_per_device=2", "--dry-run").out
    assert "4 clips a step, in 2 forward passes; a forward pass has uint8 [2, 3, 4, 32, 32]" in several
    parameters = int(re.sub(r"\D", "", found["parameters"]))
    from videopool.engine.builders.parts import build_model

    model, changes = build_model(load("demo", QUICK), [str(number) for number in range(8)])
    assert f"{sum(change.changed for change in changes)} of {len(changes)} sites changed" in found["pooling"]
    assert parameters == sum(parameter.numel() for parameter in model.parameters())
    saved = re.search(r"([\d.]+) MiB of activations", found["memory"])
    assert saved is not None
    assert 0.05 < float(saved.group(1)) < 50


def test_dry_run_leaves_a_finished_run_as_it_is(trained: Path, tool: Callable) -> None:
    before = {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}
    config = load(trained / "config.yaml")
    ended = tool("train", "--config", trained / "config.yaml", f"out={config.out}", "--dry-run")
    assert ended.code == 0, ended.err
    assert "8 done" in ended.out
    assert {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()} == before


def test_dry_run_counts_activations_of_a_known_network() -> None:
    from types import SimpleNamespace

    from videopool.engine.dry_run import _saved_for_backward

    model = torch.nn.Sequential(torch.nn.Conv3d(3, 4, 1), torch.nn.ReLU())
    clips = torch.zeros(2, 3, 2, 8, 8)
    trainer = SimpleNamespace(
        model=model,
        update=SimpleNamespace(precision="float32", preprocess=lambda clips: clips),
        world=SimpleNamespace(device=torch.device("cpu")),
    )
    # The convolution keeps its input, the ReLU its output: float32.
    assert _saved_for_backward(trainer, clips) == 4 * (2 * 3 * 2 * 64 + 2 * 4 * 2 * 64)


def test_dry_run_counts_gradients_and_moments_of_trained_weights_only() -> None:
    from types import SimpleNamespace

    from videopool.engine.dry_run import _state_bytes

    model = torch.nn.Sequential(torch.nn.Linear(10, 5, bias=False), torch.nn.Linear(5, 2, bias=False))
    model[0].requires_grad_(False)
    adamw, sgd = torch.optim.AdamW(model[1].parameters()), torch.optim.SGD(model[1].parameters(), momentum=0.9)
    assert _state_bytes(SimpleNamespace(model=model, optimizer=adamw, average=None)) == 4 * (60 + 3 * 10)
    assert _state_bytes(SimpleNamespace(model=model, optimizer=sgd, average=object())) == 4 * (2 * 60 + 2 * 10)


def test_config_is_required(tool: Callable) -> None:
    ended = tool("train", "optim.lr=1")
    assert ended.code == 2
    assert "--config is missing" in ended.err
