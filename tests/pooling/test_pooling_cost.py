"""Parameters and FLOPs against figures computed by hand; uncounted operators are named."""

import logging
import warnings

import pytest
import torch
from small_networks import DenseNet, ResNet
from torch import nn
from torch.nn import functional

from videopool.errors import InputError
from videopool.ops import backend, softmax_pool2d
from videopool.pooling import METHODS, Cost, cost, make_pool, report, restore, swap

NATIVE = pytest.mark.skipif(backend() == "reference", reason="runs where the native ops are built: they are counted")


class Net(nn.Module):
    """A convolution, a pool that is called, a layer, and a classifier."""

    def __init__(self):
        super().__init__()
        self.conv, self.pool = nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2)
        self.fc = nn.Linear(4 * 4 * 4, 5)

    def forward(self, x):
        x = functional.avg_pool2d(torch.relu(self.conv(x)), 3, 1, 1)
        return self.fc(self.pool(x).flatten(1))


# Of one image [1,3,8,8]: 8 * 8 positions, 4 channels out of 3 by a 3x3 kernel; 64 features to 5 classes.
CONV, LINEAR = 8 * 8 * 4 * 3 * 9, 64 * 5
AVERAGE = 8 * 8 * 4 * 9  # a window of 9 for each of 8 x 8 x 4 cells
POOL = 4 * 4 * 4 * 4  # 4 x 4 x 4 windows of 4 cells


def test_a_network_by_hand():
    found = cost(Net(), torch.empty(1, 3, 8, 8))
    assert found == Cost((27 + 1) * 4 + (64 + 1) * 5, CONV + AVERAGE + POOL + LINEAR, ())
    assert cost(Net(), torch.empty(3, 3, 8, 8, device="meta")).flops == 3 * found.flops


@NATIVE
def test_soft_pooling_counts_three_for_each_cell():
    model, x = Net(), torch.empty(1, 3, 8, 8)
    changes = swap(model, "soft", example=x)
    assert len(changes) == 2
    assert cost(model, x).flops == CONV + 3 * AVERAGE + 3 * POOL + LINEAR
    restore(model, changes)
    assert cost(model, x).flops == CONV + AVERAGE + POOL + LINEAR


@NATIVE
@pytest.mark.parametrize(
    ("pool", "per_input"),
    [
        (nn.AdaptiveAvgPool2d(1), 1),
        (make_pool("avg", 2, None), 1),
        (make_pool("max", 2, None), 1),
        (make_pool("soft", 2, None), 3),
        (nn.MaxPool2d(2, ceil_mode=True), 36 / 25),  # 3 x 3 windows of 4 cells on 5 x 5
        (nn.AvgPool2d(5, 1, 2), 25),
    ],
)
def test_layers_by_hand(pool, per_input):
    found = cost(pool, torch.empty(2, 3, 5, 5))
    assert found == Cost(0, round(per_input * 2 * 3 * 25), ())


@NATIVE
def test_weights_of_a_learned_beta_are_counted_too():
    pool = make_pool("soft", 2, 2, learned="shared")
    # 3 for each cell of 2x2 windows that cover 4x4, and the product of every cell with beta.
    assert cost(pool, torch.empty(1, 2, 4, 4)) == Cost(1, (3 + 1) * 2 * 16, ())


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_counted_whole(method):
    pool = make_pool(method, 3, 2, channels=3)
    found = cost(pool, torch.empty(1, 3, 4, 4, 4))
    assert found.uncounted == ()
    assert found.flops >= 3 * 64
    assert found.parameters == sum(p.numel() for p in pool.parameters())
    assert cost(pool, torch.empty(2, 3, 4, 4, 4)).flops >= 1.9 * found.flops


@NATIVE
def test_stride_sites_pay_for_the_convolution_without_its_stride():
    model, x = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1)), torch.empty(1, 3, 8, 8)
    before = cost(model, x)
    swap(model, "soft", "stride")
    after = cost(model, x)
    assert (before.flops, after.flops) == (16 * 4 * 27, 64 * 4 * 27 + 3 * 64 * 4)
    assert report((), before, after) == "pooling: as published, no site changed"


def test_uncounted_operators_are_named():
    class Odd(nn.Module):
        def forward(self, x):
            return torch.linalg.det(x) + softmax_pool2d(x, x, 2).mean()

    found = cost(nn.Sequential(nn.ReLU(), Odd()), torch.rand(1, 2, 4, 4))
    assert "aten::add" in found.uncounted
    assert "aten::linalg_det" in found.uncounted


def test_it_is_silent_and_leaves_the_model_as_it_is(caplog):
    model, x = ResNet(), torch.empty(1, 3, 32, 32)
    model.unused = nn.Conv2d(3, 3, 3)
    state, generator = {name: value.clone() for name, value in model.state_dict().items()}, torch.get_rng_state()
    with warnings.catch_warnings(), caplog.at_level(logging.DEBUG):
        warnings.simplefilter("error")
        cost(model, x)
    assert not caplog.records
    assert model.training
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in state.items())


def test_report_of_a_swap():
    model, x = DenseNet(), torch.empty(1, 3, 32, 32, device="meta")
    before = cost(model, x)
    changes = swap(model, "gated", example=x)
    after = cost(model, x)
    own = sum(p.numel() for change in changes for p in change.new.parameters())
    assert own > 0
    lines = report(changes, before, after).splitlines()
    assert lines[-2].startswith(f"parameters  {before.parameters:,} before, {before.parameters + own:,} after (+")
    assert lines[-1].startswith(f"FLOPs       {before.flops:,} before, {after.flops:,} after (+")


def test_an_example_that_does_not_fit():
    with pytest.raises(InputError, match=r"does not run on an example of shape \[1, 4, 8, 8\], at 'conv'"):
        cost(Net(), torch.empty(1, 4, 8, 8))
