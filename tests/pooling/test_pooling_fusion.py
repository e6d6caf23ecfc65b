"""ReLU and SoftPool as one layer: where they are fused, where not, and that results do not change."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from videopool import models, ops
from videopool.errors import InputError
from videopool.pooling import SoftPool, fuse_relu, swap


def conv(channels: int = 4) -> nn.Module:
    return nn.Conv3d(channels, 4, 3, padding=1)


def outcome(model: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """Return the result and all gradients."""
    model.zero_grad()
    y = model(x)
    y.square().sum().backward()
    return [y.detach(), *(parameter.grad.clone() for parameter in model.parameters())]


@pytest.mark.parametrize(
    ("model", "paths"),
    [
        (nn.Sequential(conv(), nn.ReLU(), ops.SoftPool3d(2)), ("2",)),
        (nn.Sequential(nn.Sequential(conv(), nn.ReLU(inplace=True)), SoftPool(3, (1, 2, 2)), conv()), ("1",)),
        (nn.Sequential(conv(), nn.ReLU(), SoftPool(3, None)), ("2",)),
        (nn.Sequential(conv(), nn.ReLU6(), ops.SoftPool3d(2)), ()),
        (nn.Sequential(conv(), nn.ReLU(), nn.Dropout(0.0), ops.SoftPool3d(2)), ()),
        (nn.Sequential(conv(), nn.ReLU(), nn.MaxPool3d(2)), ()),
    ],
    ids=["sequential", "nested", "global", "another activation", "not neighbors", "another pool"],
)
def test_results_and_gradients_stay_bit_for_bit(model, paths):
    x = torch.randn(2, 4, 4, 8, 8)
    before = outcome(copy.deepcopy(model), x)
    keys = list(model.state_dict())
    assert fuse_relu(model) == paths
    assert list(model.state_dict()) == keys
    for got, want in zip(outcome(model, x), before, strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=0)
    assert fuse_relu(model) == ()


def test_layers_that_are_shared_or_have_hooks_are_skipped():
    relu = nn.ReLU()
    assert fuse_relu(nn.Sequential(relu, conv(), relu, ops.SoftPool3d(2))) == ()
    pool = ops.SoftPool3d(2)
    assert fuse_relu(nn.Sequential(conv(), nn.ReLU(), pool, conv(), pool)) == ()
    watched = nn.Sequential(conv(), nn.ReLU(), ops.SoftPool3d(2))
    watched[1].register_forward_hook(lambda *_: None)
    assert fuse_relu(watched) == ()
    watched = nn.Sequential(conv(), nn.ReLU(), ops.SoftPool3d(2))
    watched[2].register_forward_pre_hook(lambda *_: None)  # it sees what the ReLU gives
    assert fuse_relu(watched) == ()


def test_a_fused_pool_is_not_swapped_away_with_its_relu():
    model = nn.Sequential(conv(), nn.ReLU(), SoftPool(3, 2), conv())
    fuse_relu(model)
    with pytest.raises(InputError, match="applies the ReLU"):
        swap(model, "max")
    assert "of relu" in model[2].describe()


@pytest.mark.parametrize("name", ["slowfast", "c3d"])
def test_the_networks_have_such_pools(name):
    arguments = {"depth": 18, "width": 8} if name == "slowfast" else {"width": 4}
    model = models.build(name, classes=3, frames=8, crop=32, pooling="soft", **arguments)
    model.eval()
    x = torch.randn(1, 3, 8, 32, 32)
    with torch.no_grad():
        want = model(x)
        paths = fuse_relu(model)
        assert len(paths) >= (2 if name == "slowfast" else 3)
        torch.testing.assert_close(model(x), want, rtol=0, atol=0)


def test_the_stem_of_a_2d_resnet():
    """The class names the ReLU that feeds the pool; children of these names are not enough."""
    model = models.build("resnet", classes=3, frames=1, crop=32, depth=18, width=8, pooling="soft", dropout=0.0)
    plain = copy.deepcopy(model)
    assert fuse_relu(model) == ("maxpool",)
    x = torch.randn(2, 3, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    for old, new in zip(outcome(plain, x), outcome(model, x), strict=True):
        assert torch.equal(old, new)
    plain.__class__ = type("ResNet", (nn.Module,), {"forward": type(plain).forward})
    assert fuse_relu(plain) == ()
