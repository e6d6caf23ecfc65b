"""Groups of parameters: weight decay, stages and their learning rates."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from videopool import models
from videopool.engine.optimization.name_patterns import matching
from videopool.engine.optimization.parameter_groups import parameter_groups, stages
from videopool.errors import InputError


def named(model: nn.Module, **arguments: object) -> dict[str, tuple[float, float, str]]:
    """Return weight decay, factor and group name of every parameter."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        names[id(parameter)]: (group["weight_decay"], group["lr_factor"], group["name"])
        for group in parameter_groups(model, weight_decay=0.1, **arguments)
        for parameter in group["params"]
    }


def test_the_default_has_two_groups_in_the_order_of_the_model() -> None:
    model = models.build("c3d", classes=3, frames=4, crop=32, width=4, depth=2)
    decay, rest = parameter_groups(model, weight_decay=0.1)
    assert [id(p) for p in decay["params"]] == [id(p) for p in model.parameters() if p.dim() > 1]
    assert [id(p) for p in rest["params"]] == [id(p) for p in model.parameters() if p.dim() <= 1]
    assert (decay["weight_decay"], rest["weight_decay"]) == (0.1, 0.0)
    assert (decay["lr_factor"], rest["lr_factor"]) == (1.0, 1.0)
    assert (decay["name"], rest["name"]) == ("decay", "no_decay")


def test_patterns_exempt_further_parameters_from_decay() -> None:
    model = models.build("c3d", classes=3, frames=4, crop=32, width=4, depth=2)
    found = named(model, no_decay=("blocks.0.*", "*proj.weight"))
    assert found["blocks.0.conv0.weight"][0] == 0
    assert found["blocks.2.proj.weight"][0] == 0
    assert found["blocks.1.conv0.weight"][0] == 0.1


def test_decay_of_all_parameters_but_exempt_ones() -> None:
    model = models.build("c3d", classes=3, frames=4, crop=32, width=4, depth=2)
    found = named(model, decay_all=True, no_decay=("*proj.bias",))
    assert {name for name, (decay, *_) in found.items() if decay == 0} == {"blocks.2.proj.bias"}
    assert {decay for decay, *_ in found.values()} == {0.0, 0.1}


def test_frozen_parameters_are_in_no_group() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    assert set(named(model, layer_decay=0.5)) == {"1.weight", "1.bias"}
    assert named(model, layer_decay=0.5)["1.weight"][1] == 1.0


STAGES = {
    "c3d": ["blocks.0", "blocks.1", "blocks.2", "blocks.3"],
    "r2plus1d": ["blocks.0", "blocks.1", "blocks.2", "blocks.3", "blocks.4", "blocks.5"],
    "x3d": ["blocks.0", "blocks.1", "blocks.2", "blocks.3", "blocks.4", "blocks.5"],
    # blocks.5 of slowfast joins the pathways and has no parameters.
    "slowfast": ["blocks.0", "blocks.1", "blocks.2", "blocks.3", "blocks.4", "blocks.6"],
    "resnet": ["conv1", "layer1", "layer2", "layer3", "layer4", "fc"],
}
SMALL = {
    "c3d": {"frames": 4, "depth": 3},
    "r2plus1d": {"frames": 4, "depth": 14, "width": 8},
    "x3d": {"frames": 4, "depth": 0.5, "width": 0.5},
    "slowfast": {"frames": 8, "depth": 18, "width": 16},
    "resnet": {"frames": 1, "width": 8},
}


@pytest.mark.parametrize("name", STAGES)
def test_stages_of_the_built_in_networks(name: str) -> None:
    model = models.build(name, classes=3, crop=32, **SMALL[name])
    found = stages(model)
    assert list(found) == STAGES[name]
    assert sorted(parameter for members in found.values() for parameter in members) == sorted(
        parameter for parameter, _ in model.named_parameters()
    )
    last = len(found) - 1
    factors = named(model, layer_decay=0.75)
    for depth, (stage, members) in enumerate(found.items()):
        for member in members:
            assert factors[member][1] == 0.75 ** (last - depth)
            assert factors[member][2].startswith(f"{stage}/")


def test_normalization_belongs_to_the_stage_before_it() -> None:
    model = models.build("resnet", classes=3, frames=1, crop=32, width=8)
    assert stages(model)["conv1"] == ["conv1.weight", "bn1.weight", "bn1.bias"]


class Transformer(nn.Module):
    """The modules of a vision transformer of three blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 4))
        self.patch_embed = nn.Conv3d(3, 4, 2)
        self.blocks = nn.Sequential(*(nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 4)) for _ in range(3)))
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 2)


def test_blocks_of_a_transformer_are_stages() -> None:
    """These are the depths of BEiT: embeddings 0, blocks 1 to N, head N + 1."""
    expected = {"patch_embed": 0, "blocks.0": 1, "blocks.1": 2, "blocks.2": 3, "norm": 3, "head": 4, "cls_token": 0}
    factors = named(Transformer(), layer_decay=0.5)
    for name, (_, factor, _) in factors.items():
        depth = next(depth for prefix, depth in expected.items() if name.startswith(prefix))
        assert factor == 0.5 ** (4 - depth), name


class Wrapper(nn.Module):
    """A network as the only child of another."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.inner = nn.ModuleDict({"stem": nn.Conv3d(3, 4, 1), "head": nn.Linear(4, 2)})


def test_an_only_child_is_replaced_by_its_children() -> None:
    assert list(stages(Wrapper())) == ["inner.stem", "inner.head"]
    assert stages(Wrapper())["inner.stem"] == ["scale", "inner.stem.weight", "inner.stem.bias"]
    assert stages(nn.Linear(2, 2)) == {"": ["weight", "bias"]}


def test_a_pattern_that_matches_nothing_suggests_the_nearest_name() -> None:
    names = ["blocks.0.conv0.weight", "blocks.1.proj.weight"]
    assert matching(["*.proj.*"], names, setting="freeze") == {"blocks.1.proj.weight"}
    with pytest.raises(InputError, match=r"'block.0.conv0' matches no name .* mean 'blocks.0.conv0.weight'"):
        matching(["block.0.conv0"], names, setting="no_decay")
