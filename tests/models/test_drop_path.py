"""Residual blocks that are left out at random."""

import copy

import pytest
import torch
from torch import nn

from tests.models.small_models import CLASSES, EVERY, clips_for, small
from videopool import models
from videopool.engine.step.randomness import StepRandomness
from videopool.errors import InputError
from videopool.models import add_drop_path
from videopool.models.drop_path import DropPathSum
from videopool.pooling import cost
from videopool.types import Place

NETWORKS = ["r2plus1d", "slowfast", "x3d", "resnet", "r3d", "i3d"]


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    model = small(name) if name in EVERY else models.build("resnet", classes=CLASSES, frames=1, crop=32, width=4)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm3d):
            nn.init.ones_(layer.weight)  # some branches start with 0
    return model


def clips(name: str, batch: int = 2) -> torch.Tensor:
    return clips_for(name, batch=batch) if name in EVERY else torch.randn(batch, 3, 1, 32, 32)


def sums(model: nn.Module) -> dict[str, DropPathSum]:
    return {path: module for path, module in model.named_modules() if isinstance(module, DropPathSum)}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_evaluation_names_and_cost_are_unchanged(name: str) -> None:
    plain = network(name).eval()
    dropping = copy.deepcopy(plain)
    add_drop_path(dropping, 0.5)
    assert sums(dropping)
    assert [*dropping.state_dict()] == [*plain.state_dict()]
    inputs = clips(name)
    assert torch.equal(dropping(inputs), plain(inputs))
    one = inputs[:1]
    assert cost(dropping, one).flops == cost(plain, one).flops
    assert "branch_fusion" not in "".join(name for name, _ in dropping.named_parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_rates_rise_linearly_to_the_last_block(name: str) -> None:
    model = network(name)
    add_drop_path(model, 0.4)
    rates = {path: module.drop.p for path, module in sums(model).items()}
    if name == "slowfast":
        slow, fast = ([rate for path, rate in rates.items() if f"multipathway_blocks.{n}." in path] for n in (0, 1))
        assert slow == fast
        rates = dict(enumerate(slow))
    assert [*rates.values()] == pytest.approx([0.4 * (n + 1) / len(rates) for n in range(len(rates))])


@pytest.mark.parametrize("name", NETWORKS)
def test_a_dropped_block_is_its_shortcut(name: str) -> None:
    model = network(name).train()
    add_drop_path(model, 0.9)
    block = next(module for module in model.modules() if callable(getattr(module, "branch_fusion", None)))
    block.branch_fusion = DropPathSum(1.0)
    seen = []
    block.branch_fusion.register_forward_hook(lambda layer, given, result: seen.append((given, result)))
    model(clips(name))
    (shortcut, branch), result = seen[0]
    assert branch.any()
    assert torch.equal(result, shortcut)


def test_expectation_and_variance() -> None:
    torch.manual_seed(0)
    layer, count = DropPathSum(0.3), 20_000
    shortcut, branch = torch.randn(count, 2, 1, 1, dtype=torch.float64), torch.ones(count, 2, 1, 1, dtype=torch.float64)
    added = (layer(shortcut, branch) - shortcut)[:, :, 0, 0]
    assert torch.equal(added[:, 0], added[:, 1]) or torch.allclose(added[:, 0], added[:, 1])  # one draw for a clip
    deviation = (0.3 / 0.7) ** 0.5  # of a value that is 1 / 0.7 with probability 0.7, else 0
    assert abs(added[:, 0].mean() - 1) < 5 * deviation / count**0.5
    assert added[:, 0].std() == pytest.approx(deviation, rel=0.03)


def test_masks_belong_to_the_clips_of_a_step() -> None:
    layer = nn.ModuleList([DropPathSum(0.5), DropPathSum(0.5)])
    randomness = StepRandomness(layer, torch.device("cpu"))
    x = torch.ones(16, 3, 1, 1)

    def run(first: int, size: int) -> list[torch.Tensor]:
        randomness.seed(3, 11, Place(first, size, 16, size))
        return [each(0 * x[:size], x[:size]) for each in layer]

    whole = run(0, 16)
    parts = [run(first, 4) for first in range(0, 16, 4)]
    for number in range(2):
        assert torch.equal(torch.cat([part[number] for part in parts]), whole[number])
    assert not torch.equal(whole[0], whole[1])
    assert 0 < (whole[0] == 0).sum() < whole[0].numel()


def test_network_without_residual_blocks_and_wrong_rates() -> None:
    with pytest.raises(InputError, match=r"drop_path=0\.1 needs residual blocks, and this network has none"):
        add_drop_path(small("c3d"), 0.1)
    with pytest.raises(InputError, match=r"drop_path=1\.0 must be from 0 to below 1"):
        add_drop_path(network("resnet"), 1.0)
