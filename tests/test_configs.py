"""Every shipped configuration loads, its model runs on a clip of its size, and its schedule is possible."""

import functools
from pathlib import Path

import pytest
import torch

from benchmarks.model_costs import CLASSES
from videopool.config import Config
from videopool.config import load as read_config
from videopool.engine.builders.parts import build_model, clip_sampling
from videopool.engine.builders.schedule_table import describe_schedule

load = functools.cache(read_config)
ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted(
    path
    for path in (ROOT / "configs").rglob("*.yaml")
    if path.parent.name != "base" and not path.name.startswith("compare_")  # see tests/compare
)
# tests/benchmarks/test_model_page.py runs the networks of all recipes on their clips. Here, of these only some run.
TRIED = ("kinetics400/slow_r50_8x8", "kinetics400/slowfast_r50_8x8_soft", "kinetics400/x3d_s_soft")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT / "configs").with_suffix("").as_posix()


def is_run_elsewhere(path: Path) -> bool:
    return path.parent.name in CLASSES and name_of(path) not in TRIED


PARAMETERS = [
    pytest.param(path, id=name_of(path), marks=[pytest.mark.slow] if is_run_elsewhere(path) else []) for path in CONFIGS
]


def same_network(config: Config) -> tuple[object, ...]:
    """Return what the network of ``config`` and its clips depend on."""
    model, clip = config.model, config.clip
    sites = (model.pooling, model.pooling_sites, repr(model.pooling_arguments))
    network = (model.target or model.name, repr(model.arguments), *sites, config.train.multigrid)
    return (*network, clip.frames, clip.crop, config.test_crop)


@functools.cache
def _kinds_of_changes(run: bool, *network: object) -> frozenset[str]:
    """Return the kinds of sites that the pooling of the first configuration with this network changes.

    With ``run``, its network has run on clips of the sizes of training and testing.
    """
    config = next(each for each in map(load, CONFIGS) if same_network(each) == network)
    with torch.device("meta"):  # no arithmetic, because some networks are large
        model, changes = build_model(config, [str(k) for k in range(10)])
        for batch, side in ((2, config.clip.crop), (1, config.test_crop)) if run else ():
            assert model.eval()(torch.empty(batch, 3, config.clip.frames, side, side)).shape == (batch, 10)
    return frozenset(change.kind for change in changes)


def test_expected_configs_exist() -> None:
    names = {name_of(path) for path in CONFIGS}
    assert {"demo", "small/c3d"} <= names
    for model in ("r2plus1d", "slowfast", "x3d"):
        assert f"small/{model}" in names
        assert any(name.startswith(f"kinetics400/{model}") for name in names)


@pytest.mark.slow
@pytest.mark.parametrize("path", PARAMETERS)
def test_config_loads_and_its_model_runs(path: Path) -> None:
    config = load(path)
    clip_sampling(config)
    kinds = _kinds_of_changes(not is_run_elsewhere(path), *same_network(config))
    assert bool(kinds) == (config.model.pooling != "none")
    assert kinds <= {"pool", "head", "shortcut", "stride"}


@pytest.mark.parametrize("path", CONFIGS, ids=name_of)
def test_schedule_and_batch_are_possible(path: Path) -> None:
    config = load(path)
    assert describe_schedule(config).count("\n") >= 1
    assert config.optim.warmup_epochs < config.train.epochs
    if config.optim.schedule == "multistep":
        assert config.optim.milestones[-1] < config.train.epochs


@pytest.mark.parametrize("path", [path for path in CONFIGS if path.stem.endswith("_soft")], ids=name_of)
def test_the_form_with_soft_pooling_differs_in_pooling_only(path: Path) -> None:
    plain = path.with_name(f"{path.stem.removesuffix('_soft')}.yaml")
    if not plain.exists():  # a recipe that has always had SoftPool
        assert load(path).model.pooling == "soft"
        return
    name = name_of(plain)
    assert load(plain).model.pooling == "none"
    assert load(plain).out == f"runs/{name}"
    assert load(path) == read_config(plain, ["model.pooling=soft", f"out=runs/{name}_soft"])
