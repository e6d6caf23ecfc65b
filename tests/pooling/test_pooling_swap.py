"""``swap`` keeps shapes, weights and randomness, and changes all sites or none."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import DenseNet, Inception, ResNet, TimmStyle
from torch import nn
from torch.nn import functional

from videopool import models
from videopool.errors import InputError
from videopool.ops import AdaptiveSoftPool1d, AdaptiveSoftPool2d, AdaptiveSoftPool3d, SoftPool2d
from videopool.pooling import (
    METHODS,
    Cost,
    MaxPool,
    Pool,
    PooledConv2d,
    SoftPool,
    report,
    restore,
    sites,
    swap,
)

ALL = ("pool", "head", "shortcut", "stride")
NOT_GLOBAL = ("pool", "shortcut", "stride")
# Without parameters, by their definition, at their defaults.
PLAIN = {"avg", "max", "lp", "stochastic", "s3", "mixed", "edscw", "em", "blur", "soft"}
VIDEO = {  # T and crop of a clip, and what makes the networks small
    "c3d": {"frames": 8, "crop": 32, "width": 4},
    "r2plus1d": {"frames": 8, "crop": 64, "depth": 14, "width": 4},
    "slowfast": {"frames": 8, "crop": 64, "depth": 18, "width": 16},
    "x3d": {"frames": 4, "crop": 64, "depth": 0.2, "width": 0.5, "head_width": 32},
}


def where_for(method: str) -> tuple[str, ...]:
    """Return every kind of site for the method: gated pooling has a weight for each cell and cannot be global."""
    return NOT_GLOBAL if method == "gated" else ALL


@settings(max_examples=40, deadline=None)
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


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_resnet_keeps_shapes_weights_names_and_randomness(method):
    torch.manual_seed(0)
    model = ResNet()
    before, text = copy.deepcopy(model.state_dict()), repr(model)
    parameters = list(model.parameters())
    state = torch.get_rng_state()
    changes = swap(model, method, where_for(method), example=torch.empty(1, 3, 32, 32, device="meta"))
    assert torch.equal(torch.get_rng_state(), state)
    kinds = where_for(method)
    assert [change.path for change in changes] == [site.path for site in sites(model) if site.kind in kinds]
    after = model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert {id(p) for p in parameters} <= {id(p) for p in model.parameters()}
    assert (len(after) == len(before)) == (method in PLAIN)
    for size in (32, 33, 47):
        out = model(torch.randn(2, 3, size, size + 1))
        assert out.shape == (2, 5)
    out.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert torch.equal(copy.deepcopy(model).eval()(torch.ones(1, 3, 32, 32)), model.eval()(torch.ones(1, 3, 32, 32)))
    restore(model, changes)
    assert repr(model) == text
    assert list(model.state_dict()) == list(before)
    assert [id(p) for p in model.parameters()] == [id(p) for p in parameters]


@pytest.mark.parametrize(
    ("name", "method"),
    [("c3d", "adapool"), ("r2plus1d", "gated"), ("slowfast", "lip"), ("x3d", "em"), ("x3d", "dpp")],
)
def test_video_networks_there_and_back(name, method):
    torch.manual_seed(0)
    model = models.build(name, classes=5, **VIDEO[name]).eval()
    frames, side = VIDEO[name]["frames"], VIDEO[name]["crop"]
    x = torch.randn(1, 3, frames, side, side)
    expected, state, text = model(x), copy.deepcopy(model.state_dict()), repr(model)
    kinds = [kind for kind in where_for(method) if kind in {site.kind for site in sites(model)}]
    changes = swap(model, method, kinds, example=torch.empty(1, 3, frames, side, side, device="meta"))
    added = sum(p.numel() for p in model.parameters()) - sum(p.numel() for p in copy_of(state, model))
    own = sum(p.numel() for pool in model.modules() if isinstance(pool, Pool) for p in pool.parameters())
    assert (added == own == 0) if method in PLAIN else (added == own > 0)
    assert all(torch.equal(model.state_dict()[key], value) for key, value in state.items())
    for larger in (0,) if name == "c3d" else (0, 7):  # the classifier of C3D takes one size
        assert model(torch.randn(1, 3, frames, side + larger, side + larger)).shape == (1, 5)
    restore(model, changes)
    assert repr(model) == text
    assert list(model.state_dict()) == list(state)
    assert torch.equal(model(x), expected)


def copy_of(state: dict[str, torch.Tensor], model: nn.Module) -> list[torch.Tensor]:
    """Return the parameters of ``model`` that are also in ``state``."""
    return [p for key, p in model.named_parameters() if key in state]


@pytest.mark.parametrize(
    ("name", "method"),
    [*(("c3d", method) for method in METHODS), ("r2plus1d", "lip"), ("slowfast", "dpp"), ("x3d", "lip")],
)
def test_every_method_is_built_by_name(name, method):
    model = models.build(name, classes=5, pooling=method, **VIDEO[name])
    assert all(change.changed or change.now.startswith(method) for change in model.changes)
    assert {change.kind for change in model.changes} == set(models.DEFAULT_SITES[name])


@pytest.mark.parametrize("network", [DenseNet, Inception, lambda: TimmStyle(nn.MaxPool2d(3, 2, 1))])
def test_image_networks_keep_shapes_and_parameters(network):
    for method in ("soft", "s3"):
        model = network().eval()
        count = sum(p.numel() for p in model.parameters())
        swap(model, method, ALL[:2], example=torch.zeros(1, 3, 65, 65))
        assert sum(p.numel() for p in model.parameters()) == count
        for side in (65, 66):
            assert model(torch.randn(1, 3, side, side + 3)).shape == (1, 5)


def test_max_in_place_of_max_changes_nothing():
    torch.manual_seed(0)
    model = ResNet().eval()
    pool, x = model.maxpool, torch.randn(2, 3, 32, 32)
    expected = model(x)
    (change,) = swap(model, "max")
    assert not change.changed
    assert model.maxpool is pool
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
    (change,) = swap(model, "soft", arguments={"beta": 2.0, "detach_weights": True})
    assert change.changed
    assert (model.maxpool.beta, model.maxpool.detach_weights) == (2.0, True)
    assert not swap(model, "soft", arguments={"beta": 2.0, "detach_weights": True})[0].changed


def test_another_start_or_generator_is_a_change():
    model = ResNet()
    swap(model, "soft", arguments={"learned": "shared"})
    assert not swap(model, "soft", arguments={"learned": "shared"})[0].changed
    assert swap(model, "soft", arguments={"learned": "shared", "beta": 3.0})[0].changed
    assert model.maxpool.beta.item() == 3.0
    one, other = torch.Generator(), torch.Generator()
    swap(model, "stochastic", ALL, arguments={"generator": one})
    assert not any(change.changed for change in swap(model, "stochastic", ALL, arguments={"generator": one}))
    assert all(change.changed for change in swap(model, "stochastic", ALL, arguments={"generator": other}))
    assert model.maxpool.generator is model.conv1.pool.generator is other


class Scaled(MaxPool):
    method = "scaled"

    def __init__(self, *window, channels=None, factor=2.0):
        super().__init__(*window, channels=channels)
        self.factor = factor

    def forward(self, x):
        return self.factor * super().forward(x)


def test_a_method_of_the_user_is_a_class_or_its_name():
    model, x = ResNet().eval(), torch.randn(1, 3, 32, 32)
    (change,) = swap(model, Scaled, arguments={"factor": 3.0})
    assert change.now == "scaled factor 3.0 3x3 stride 2x2 padding 1x1"
    assert not swap(model, f"{__name__}.Scaled", arguments={"factor": 3.0})[0].changed
    assert swap(model, f"{__name__}.Scaled")[0].now == "scaled 3x3 stride 2x2 padding 1x1"
    scaled = model(x)
    model.maxpool.factor = 1.0
    assert not torch.equal(model(x), scaled)


def test_a_softpool_of_ops_already_is_soft():
    model = nn.Sequential(SoftPool2d(2, beta=2.0), nn.Conv2d(1, 1, 3))
    assert not swap(model, "soft", arguments={"beta": 2.0})[0].changed
    assert swap(model, "soft")[0].was == "soft beta 2.0 2x2 stride 2x2"
    assert isinstance(model[0], SoftPool)


@pytest.mark.parametrize("make", [AdaptiveSoftPool1d, AdaptiveSoftPool2d, AdaptiveSoftPool3d])
def test_an_adaptive_softpool_is_swapped_and_swapped_back(make):
    rank = int(make.__name__[-2])
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[rank - 1](2, 2, 3)
    model = nn.Sequential(conv, make(1, beta=2.0), nn.Flatten())
    head, x = model[1], torch.randn(3, 2, *(7,) * rank)
    expected = model(x)
    assert not swap(model, "soft", "head", arguments={"beta": 2.0})[0].changed
    (change,) = changes = swap(model, "avg", "head")
    assert (change.was, change.now) == ("soft beta 2.0 global", "avg global")
    torch.testing.assert_close(model(x), model[0](x).flatten(2).mean(2))
    swap(model, "soft", "head", arguments={"beta": 2.0})
    torch.testing.assert_close(model(x), expected)
    swap(model, "avg", "head")
    model[1] = change.new
    restore(model, changes)
    assert model[1] is head
    assert torch.equal(model(x), expected)


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


def test_sites_are_given_by_path_by_site_or_by_a_function():
    x = torch.zeros(1, 3, 32, 32)
    model = ResNet()
    known = sites(model, x)
    assert [c.path for c in swap(model, "soft", sites=known)] == [site.path for site in known]
    model = ResNet()
    assert [c.path for c in swap(model, "soft", sites=["avgpool", known[0]])] == ["conv1", "avgpool"]
    assert [c.path for c in swap(model, "lip", lambda s: s.kind == "stride" and s.channels == 8)] == ["layer2.0.conv1"]
    # A site that was listed with an example carries its channels.
    assert swap(ResNet(), "dpp", sites=[site for site in known if site.path == "maxpool"])[0].changed


def test_kinds_paths_and_sites_mix_freely():
    known = {site.path: site for site in sites(ResNet(), torch.zeros(1, 3, 32, 32))}
    chosen = swap(ResNet(), "dpp", (known["maxpool"], "shortcut", "conv1", "pool"))  # the site tells its channels
    assert [change.path for change in chosen] == ["conv1", "maxpool", "layer2.0.downsample.0"]
    assert [change.path for change in swap(ResNet(), "soft", known["avgpool"])] == ["avgpool"]


def test_a_selector_that_chooses_nothing_is_an_error():
    with pytest.raises(InputError, match="sites=narrow matches none of the 5 pooling sites"):
        swap(ResNet(), "soft", type("Narrow", (), {"__call__": lambda self, site: False, "__name__": "narrow"})())
    with pytest.raises(InputError, match=r"sites=\[\] matches none of the 5 pooling sites"):
        swap(ResNet(), "soft", [])


def test_channels_come_from_the_layer_or_from_an_example():
    model = ResNet()
    with pytest.raises(InputError, match=r"Site 'maxpool': 'lip' pooling .* Give example=, an input of the network"):
        swap(model, "lip", ALL)
    assert isinstance(model.conv1, nn.Conv2d)
    assert type(model.conv1) is nn.Conv2d
    swap(model, "lip", ("shortcut", "stride"))
    assert [model.get_submodule(f"{path}.pool").channels for path in ("conv1", "layer2.0.downsample.0")] == [4, 4]
    assert model.layer2[0].conv1.pool.channels == 8
    swap(model, "lip", example=torch.zeros(1, 3, 32, 32))
    assert model.maxpool.channels == 4


def test_parameters_have_the_device_and_dtype_of_the_layers_around():
    model = ResNet().to(torch.bfloat16)
    swap(model, "lip", ALL, example=torch.zeros(1, 3, 32, 32, dtype=torch.bfloat16))
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    mixed = ResNet()
    mixed.layer2.double()
    swap(mixed, "lip", ("shortcut", "stride"))
    assert next(mixed.conv1.pool.parameters()).dtype == torch.float32
    assert next(mixed.layer2[0].conv1.pool.parameters()).dtype == torch.float64
    empty = ResNet().to("meta")
    swap(empty, "lip", ALL, example=torch.zeros(1, 3, 32, 32))
    assert all(p.is_meta for p in empty.parameters())


def test_evaluation_mode_and_channels_last_are_kept():
    model = ResNet().eval().to(memory_format=torch.channels_last)
    swap(model, "soft", ALL)
    assert not any(module.training for module in model.modules())
    assert model.conv1.weight.is_contiguous(memory_format=torch.channels_last)
    x = torch.randn(2, 3, 32, 32).to(memory_format=torch.channels_last)
    torch.testing.assert_close(model(x), model(x.contiguous()), rtol=1e-4, atol=1e-5)


def test_report_is_a_table():
    model = ResNet()
    lines = report(swap(model, "max", ("pool", "shortcut"))).splitlines()
    assert lines[0].split() == ["pooling", "site", "kind", "before", "after"]
    assert lines[1].split("  ")[0] == "maxpool"
    assert lines[1].endswith("unchanged")
    assert lines[2].endswith("max 2x2 stride 2x2 ceil, conv 1x1")
    assert lines[-1] == "1 of 2 sites changed"
    assert report(()) == "pooling: as published, no site changed"


def test_report_with_costs():
    lines = report(swap(ResNet(), "max"), Cost(1000, 20000), Cost(1010, 15000)).splitlines()
    assert lines[-3:] == [
        "0 of 1 sites changed",
        "parameters  1,000 before, 1,010 after (+1.00 %)",
        "FLOPs       20,000 before, 15,000 after (-25.00 %)",
    ]
