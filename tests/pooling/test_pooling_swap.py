"""Surgery: shapes, weights and randomness are kept; what cannot be done is refused whole."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import ResNet
from torch import nn
from torch.nn import functional

from videopool.errors import InputError
from videopool.ops import SoftPool2d
from videopool.pooling import METHODS, MaxPool, PooledConv2d, SoftPool, report, sites, swap

ALL = ("pool", "head", "shortcut", "stride")


@settings(max_examples=60, deadline=None)
@given(
    rank=st.integers(1, 3),
    size=st.integers(1, 12),
    kernel=st.integers(1, 4),
    stride=st.integers(2, 4),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    method=st.sampled_from(sorted(METHODS)),
)
def test_shape_of_a_strided_convolution_is_kept(rank, size, kernel, stride, padding, dilation, method):
    if size + 2 * padding < dilation * (kernel - 1) + 1:
        return
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[rank - 1](2, 4, kernel, stride, padding, dilation, groups=2)
    model = nn.Sequential(conv)
    x = torch.randn(1, 2, *(size + axis for axis in range(rank)))
    shape = model(x).shape
    (change,) = swap(model, method, ("0",))
    assert change.kind == ("shortcut" if kernel == 1 and padding == 0 else "stride")
    assert model(x).shape == shape


@pytest.mark.parametrize("padding_mode", ["zeros", "reflect", "circular"])
def test_stride_convolves_and_then_pools(padding_mode):
    conv = nn.Conv2d(3, 4, 3, (2, 3), 1, padding_mode=padding_mode)
    dense = nn.Conv2d(3, 4, 3, 1, 1, padding_mode=padding_mode)
    dense.load_state_dict(conv.state_dict())
    model = nn.Sequential(conv)
    swap(model, "soft", ("stride",))
    x = torch.randn(2, 3, 9, 11)
    assert torch.equal(model(x), SoftPool(2, (2, 3), ceil_mode=True)(dense(x)))
    # The windows begin at the cells that the stride kept.
    torch.testing.assert_close(conv(x), dense(x)[..., ::2, ::3])


def test_shortcut_pools_and_then_convolves():
    conv = nn.Conv2d(3, 4, 1, 2)
    model = nn.Sequential(conv)
    swap(model, "max", ("shortcut",))
    x = torch.randn(2, 3, 7, 8)
    pooled = functional.max_pool2d(x, 2, 2, ceil_mode=True)
    assert torch.equal(model(x), functional.conv2d(pooled, conv.weight, conv.bias))
    assert isinstance(model[0], PooledConv2d)


@pytest.mark.parametrize("method", METHODS)
def test_resnet_keeps_shapes_weights_names_and_randomness(method):
    torch.manual_seed(0)
    model = ResNet()
    before = copy.deepcopy(model.state_dict())
    parameters = list(model.parameters())
    state = torch.get_rng_state()
    changes = swap(model, method, ALL)
    assert torch.equal(torch.get_rng_state(), state)
    assert [change.path for change in changes] == [site.path for site in sites(model)]
    assert list(model.state_dict()) == list(before)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [id(p) for p in model.parameters()] == [id(p) for p in parameters]
    for size in (32, 33, 47):
        out = model(torch.randn(2, 3, size, size + 1))
        assert out.shape == (2, 5)
    out.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    ResNet().load_state_dict(model.state_dict())
    assert torch.equal(copy.deepcopy(model).eval()(torch.ones(1, 3, 32, 32)), model.eval()(torch.ones(1, 3, 32, 32)))


def test_max_in_place_of_max_changes_nothing():
    torch.manual_seed(0)
    model = ResNet().eval()
    pool, x = model.maxpool, torch.randn(2, 3, 32, 32)
    expected = model(x)
    (change,) = swap(model, "max")
    assert not change.changed
    assert model.maxpool is pool
    assert torch.equal(model(x), expected)


def test_there_and_back_is_the_original_bit_for_bit():
    torch.manual_seed(0)
    model = ResNet().eval()
    x = torch.randn(2, 3, 37, 41)
    expected = model(x)
    swap(model, "soft", ("pool", "head"))
    assert not torch.equal(model(x), expected)
    swap(model, "max", ("pool",))
    swap(model, "avg", ("head",))
    assert torch.equal(model(x), expected)


def test_a_swapped_convolution_takes_another_pool():
    model = ResNet()
    weight = model.conv1.weight
    swap(model, "soft", ("stride",))
    again = swap(model, "soft", ("stride",))
    assert not any(change.changed for change in again)
    changes = swap(model, "max", ("conv1",))
    assert changes[0].was == "conv 7x7, soft 2x2 stride 2x2 ceil"
    assert changes[0].now == "conv 7x7, max 2x2 stride 2x2 ceil"
    assert model.conv1.weight is weight
    assert isinstance(model.conv1.pool, MaxPool)
    assert model(torch.randn(1, 3, 33, 33)).shape == (1, 5)


def test_another_beta_is_a_change():
    model = ResNet()
    swap(model, "soft")
    (change,) = swap(model, "soft", beta=2.0, detach_weights=True)
    assert change.changed
    assert (model.maxpool.beta, model.maxpool.detach_weights) == (2.0, True)
    assert not swap(model, "soft", beta=2.0, detach_weights=True)[0].changed


def test_softpool_of_the_ops_room_is_soft_already():
    model = nn.Sequential(SoftPool2d(2, beta=2.0), nn.Conv2d(1, 1, 3))
    assert not swap(model, "soft", beta=2.0)[0].changed
    assert swap(model, "soft")[0].was == "soft beta 2.0 2x2 stride 2x2"
    assert isinstance(model[0], SoftPool)


def test_average_that_counted_padding_is_made_comparable():
    model = nn.Sequential(nn.AvgPool2d(3, 2, 1), nn.Conv2d(1, 1, 3))
    (change,) = swap(model, "avg")
    assert change.was.startswith("avg (padding counted)")
    ones = torch.ones(1, 1, 7, 7)
    assert torch.equal(model[0](ones), torch.ones(1, 1, 4, 4))


def test_a_layer_used_twice_stays_one_layer():
    pool = nn.MaxPool2d(2)
    model = nn.Sequential(pool, nn.Conv2d(1, 1, 3, padding=1), pool, nn.Conv2d(1, 1, 3, padding=1))
    assert len(swap(model, "soft")) == 1
    assert model[0] is model[2]
    assert isinstance(model[2], SoftPool)


def test_kinds_and_paths_mix_and_a_single_name_is_taken():
    model = ResNet()
    assert [change.path for change in swap(model, "soft", "maxpool")] == ["maxpool"]
    chosen = swap(model, "soft", ("head", "conv1", "maxpool", "pool"))
    assert [change.path for change in chosen] == ["conv1", "maxpool", "avgpool"]


def test_evaluation_mode_and_channels_last_are_kept():
    model = ResNet().eval().to(memory_format=torch.channels_last)
    swap(model, "soft", ALL)
    assert not any(module.training for module in model.modules())
    assert model.conv1.weight.is_contiguous(memory_format=torch.channels_last)
    x = torch.randn(2, 3, 32, 32).to(memory_format=torch.channels_last)
    torch.testing.assert_close(model(x), model(x.contiguous()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("method", "where", "arguments", "words"),
    [
        ("sofd", ("pool",), {}, "unknown pooling method 'sofd', did you mean 'soft'"),
        ("soft", ("maxpol",), {}, "unknown pooling site 'maxpol', did you mean 'maxpool'"),
        ("soft", ("layer9",), {}, "unknown pooling site 'layer9'; expected a kind"),
        ("max", ("pool",), {"beta": 2.0}, "pooling 'max' has no argument 'beta'; it takes none"),
    ],
)
def test_refusals_name_the_value(method, where, arguments, words):
    with pytest.raises(InputError, match=words):
        swap(ResNet(), method, where, **arguments)


def test_a_kind_without_a_site_is_refused():
    model = nn.Sequential(nn.Conv2d(3, 3, 3), nn.AdaptiveAvgPool2d(1))
    with pytest.raises(InputError, match="no pooling site of kind 'pool'; it has: head"):
        swap(model, "soft")


def test_a_refusal_leaves_the_model_alone():
    model = nn.Sequential(nn.AvgPool2d(2), nn.MaxPool2d(2, dilation=2), nn.Conv2d(3, 3, 3))
    with pytest.raises(InputError, match="site '1': 'avg' pooling has no dilation"):
        swap(model, "avg")
    with pytest.raises(InputError, match="unknown pooling site"):
        swap(model, "soft", ("pool", "nowhere"))
    model[1].register_forward_hook(lambda *_: None)
    with pytest.raises(InputError, match="site '1' has hooks"):
        swap(model, "soft")
    assert [type(module) for module in model] == [nn.AvgPool2d, nn.MaxPool2d, nn.Conv2d]


def test_report_is_a_table():
    model = ResNet()
    lines = report(swap(model, "max", ("pool", "shortcut"))).splitlines()
    assert lines[0].split() == ["site", "kind", "was", "is"]
    assert lines[1].split("  ")[0] == "maxpool"
    assert lines[1].endswith("unchanged")
    assert lines[2].endswith("max 2x2 stride 2x2 ceil, conv 1x1")
    assert lines[-1] == "1 of 2 sites changed"
    assert report(()) == "pooling: as published, no site changed"
