"""What is a pooling site, and of which kind."""

import copy
import threading

import pytest
import torch
from small_networks import CalledGate, Gate, MaxPool2dSame, ResNet, TimmStyle
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from videopool.errors import InputError
from videopool.ops import AdaptiveSoftPool1d, AdaptiveSoftPool2d, AdaptiveSoftPool3d, SoftPool3d
from videopool.pooling import SoftPool, sites, swap


def kinds(model: nn.Module) -> dict[str, str]:
    return {site.path: site.kind for site in sites(model)}


def test_torchvision_style_resnet():
    assert kinds(ResNet()) == {
        "conv1": "stride",
        "maxpool": "pool",
        "layer2.0.conv1": "stride",
        "layer2.0.downsample.0": "shortcut",
        "avgpool": "head",
    }


def test_a_site_describes_its_window():
    site = next(site for site in sites(ResNet()) if site.path == "maxpool")
    assert (site.method, site.rank, site.kernel_size, site.stride) == ("max", 2, (3, 3), (2, 2))
    assert (site.padding, site.dilation, site.ceil_mode) == ((1, 1), (1, 1), False)
    head = next(site for site in sites(ResNet()) if site.kind == "head")
    assert (head.method, head.kernel_size) == ("avg", None)


@pytest.mark.parametrize(
    ("pool", "method"),
    [
        (nn.MaxPool3d(2), "max"),
        (nn.AvgPool3d(2), "avg"),
        (nn.AvgPool3d(3, padding=1), "avg (padding counted)"),
        (nn.AvgPool3d(3, padding=1, count_include_pad=False), "avg"),
        (nn.AvgPool3d(2, divisor_override=3), "avg (divisor 3)"),
        (SoftPool3d(2), "soft"),
        (SoftPool(3, 2), "soft"),
    ],
)
def test_pools_of_torch_and_ours(pool, method):
    found = sites(nn.Sequential(pool, nn.Conv3d(3, 3, 3)))
    assert [(site.kind, site.method) for site in found] == [("pool", method)]


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_head_of_an_adaptive_softpool_is_a_site_if_it_gives_one_cell(rank):
    make = (AdaptiveSoftPool1d, AdaptiveSoftPool2d, AdaptiveSoftPool3d)[rank - 1]
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[rank - 1](3, 3, 3)
    (site,) = sites(nn.Sequential(conv, make((1,) * rank), nn.Flatten()))
    assert (site.kind, site.method, site.rank, site.kernel_size) == ("head", "soft", rank, None)
    for size in (2, None):
        assert sites(nn.Sequential(conv, make(size), nn.Flatten())) == ()


def test_sliding_window_that_no_spatial_convolution_follows_is_the_head():
    features = [nn.AvgPool3d(2), nn.Conv3d(3, 3, 3)]
    head = [nn.AvgPool3d((4, 7, 7), stride=1), nn.Conv3d(3, 8, 1), nn.Flatten(), nn.Linear(8, 5)]
    assert kinds(nn.Sequential(*features, *head)) == {"0": "pool", "2": "head"}
    small = nn.AvgPool3d((4, 2, 2), stride=1)
    assert kinds(nn.Sequential(*features, small, *head[1:])) == {"0": "pool", "2": "head"}


def test_last_pool_of_a_vgg_or_c3d_is_not_a_head():
    model = nn.Sequential(nn.Conv3d(3, 3, 3), nn.MaxPool3d(2), nn.Flatten(), nn.Linear(8, 5))
    assert kinds(model) == {"1": "pool"}


def test_cifar_style_window_over_the_whole_map_is_the_head():
    model = nn.Sequential(nn.Conv2d(3, 3, 3), nn.AvgPool2d(8), nn.Flatten(), nn.Linear(3, 5))
    assert kinds(model) == {"1": "head"}


def test_squeeze_and_excitation_is_not_a_head():
    early = nn.Sequential(Gate(4), nn.Conv2d(4, 4, 3), nn.AdaptiveAvgPool2d(1))
    late = nn.Sequential(nn.Conv2d(4, 4, 3), Gate(4), nn.AdaptiveAvgPool2d(1))
    functional_head = nn.Sequential(nn.Conv2d(4, 4, 3), Gate(4))
    assert [kinds(model) for model in (early, late, functional_head)] == [{"2": "head"}, {"2": "head"}, {}]
    small_map = nn.Sequential(nn.Conv2d(3, 8, 3), CalledGate(8), nn.Conv2d(8, 8, 3))
    assert sites(small_map, torch.zeros(1, 3, 5, 5)) == ()


def test_a_classifier_with_a_sigmoid_is_not_a_gate():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5), nn.Sigmoid())
    assert kinds(model) == {"1": "head"}


def test_average_of_predictions_is_not_a_head():
    head = nn.Sequential(nn.AvgPool3d((4, 7, 7), stride=1), nn.Linear(8, 5), nn.AdaptiveAvgPool3d(1))
    assert kinds(nn.Sequential(nn.Conv3d(3, 8, 3), head)) == {"1.0": "head"}


@pytest.mark.parametrize(
    "module",
    [
        nn.MaxPool2d(2, return_indices=True),
        nn.AdaptiveAvgPool2d(7),
        nn.Conv2d(3, 3, 3),
        nn.ConvTranspose2d(3, 3, 2, 2),
        parametrizations.weight_norm(nn.Conv2d(3, 3, 3, 2)),
        type("OwnConv", (nn.Conv2d,), {})(3, 3, 3, 2),
    ],
    ids=["indices", "adaptive-7", "unstrided", "transposed", "weight-norm", "subclass"],
)
def test_layers_that_a_window_pool_cannot_replace_are_not_sites(module):
    assert sites(nn.Sequential(module, nn.Conv2d(3, 3, 3))) == ()


def test_the_model_itself_is_not_a_site():
    assert sites(nn.MaxPool2d(2)) == ()


def test_strided_pointwise_convolutions_are_shortcuts_and_other_strided_ones_strides():
    model = nn.Sequential(nn.Conv3d(1, 1, 1, 2), nn.Conv3d(1, 1, (1, 3, 3), (2, 1, 1)), nn.Conv3d(1, 1, 2, (1, 2, 2)))
    assert kinds(model) == {"0": "shortcut", "1": "stride", "2": "stride"}


def test_sites_are_the_same_after_a_swap():
    model = ResNet()
    before = kinds(model)
    shown = [(site.path, site.kind, site.channels) for site in sites(model, torch.zeros(1, 3, 32, 32))]
    swap(model, "soft", ("pool", "head", "shortcut", "stride"))
    assert kinds(model) == before
    assert {site.method for site in sites(model)} == {"soft"}
    assert [(site.path, site.kind, site.channels) for site in sites(model, torch.zeros(1, 3, 32, 32))] == shown


class Stateful(nn.Module):
    """A layer whose forward changes a buffer, an attribute and the random generator, also in evaluation mode."""

    def __init__(self, pool, *, reads_values=False, copies=True):
        super().__init__()
        self.conv, self.pool, self.norm = nn.Conv2d(3, 4, 3), pool, nn.BatchNorm2d(4)
        self.register_buffer("runs", torch.zeros(()))
        self.reads_values = reads_values
        self.lock = None if copies else threading.Lock()

    def forward(self, x):
        self.runs += 1
        torch.rand(3)
        x = self.pool(self.conv(x))
        if self.reads_values and x.sum().item() == float("inf"):
            return x
        return self.norm(functional.dropout(x, 0.5, training=True)).flatten(1)


def test_an_example_gives_shapes_and_channels():
    shapes = {site.path: (site.input_shape, site.channels) for site in sites(ResNet(), torch.zeros(2, 3, 33, 64))}
    assert shapes == {
        "conv1": ((2, 3, 33, 64), 4),
        "maxpool": ((2, 4, 17, 32), 4),
        "layer2.0.conv1": ((2, 4, 9, 16), 8),
        "layer2.0.downsample.0": ((2, 4, 9, 16), 4),
        "avgpool": ((2, 8, 5, 8), 8),
    }


def test_without_an_example_convolutions_give_channels():
    shapes = {site.path: site.channels for site in sites(ResNet())}
    assert shapes == {"conv1": 4, "maxpool": None, "layer2.0.conv1": 8, "layer2.0.downsample.0": 4, "avgpool": None}
    assert all(site.input_shape is None for site in sites(ResNet()))


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(
    "arguments", [{}, {"reads_values": True}, {"reads_values": True, "copies": False}], ids=["meta", "copy", "in-place"]
)
def test_listing_leaves_the_model_as_it_is(arguments, device):
    model = nn.Sequential(Stateful(nn.MaxPool2d(2), **arguments), nn.Dropout(0.5))
    model[0].norm.eval()
    state, modes = copy.deepcopy(model.state_dict()), [module.training for module in model.modules()]
    pointers, generator = [p.data_ptr() for p in model.parameters()], torch.get_rng_state()
    (site,) = sites(model, torch.zeros(2, 3, 9, 9, device=device))
    assert (site.input_shape, site.channels) == ((2, 4, 7, 7), 4)
    with pytest.raises(InputError):
        sites(model, torch.zeros(2, 3, 1, 1, device=device))
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in state.items())
    assert [p.data_ptr() for p in model.parameters()] == pointers
    assert [module.training for module in model.modules()] == modes
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_an_example_that_does_not_fit_is_one_sentence():
    with pytest.raises(
        InputError, match=r"not run on an example of shape \[1, 4, 9, 9\], at 'conv1': .*channels"
    ) as caught:
        sites(ResNet(), torch.zeros(1, 4, 9, 9))
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"shape \[1, 3, 7, 7\], at '1': .*[Oo]utput size is too small"):
        sites(nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(9)), torch.zeros(1, 3, 7, 7))
    with pytest.raises(InputError, match=r"shape \(\[1, 3\], \[2\]\): .*positional"):
        sites(nn.Sequential(nn.ReLU()), (torch.zeros(1, 3), torch.zeros(2)))
    with pytest.raises(InputError, match="lazy layers"):
        sites(nn.Sequential(nn.LazyConv2d(3, 3)), torch.zeros(1, 3, 7, 7))


def test_examples_of_several_inputs_and_of_lists():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.pool = nn.MaxPool2d(2)

        def forward(self, paths, scale):
            return [self.pool(paths.pop()) * scale for _ in range(2)]

    paths = [torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 8, 8)]
    (site,) = sites(Two(), (paths, 2.0))
    assert (site.input_shape, site.channels, len(paths)) == ((1, 3, 8, 8), 3, 2)


def test_a_layer_used_at_several_widths_has_no_channels():
    pool = nn.MaxPool2d(2)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), pool, nn.Conv2d(4, 5, 1), pool, nn.Conv2d(5, 5, 3))
    (site,) = sites(model, torch.zeros(1, 3, 32, 32))
    assert (site.input_shape, site.channels) == ((1, 4, 32, 32), None)
    with pytest.raises(InputError, match=r"Site '1': 'dpp' pooling .* runs on inputs of different channels"):
        swap(model, "dpp", example=torch.zeros(1, 3, 32, 32))


def test_heads_of_timm():
    assert kinds(TimmStyle(nn.MaxPool2d(3, 2)))["global_pool.pool"] == "head"
    found = {site.path: site.kind for site in sites(TimmStyle(nn.MaxPool2d(3, 2)), torch.zeros(1, 3, 32, 32))}
    assert found == {"conv_stem": "stride", "maxpool": "pool", "blocks.0": "stride", "global_pool.pool": "head"}


def test_a_subclass_is_what_its_forward_is():
    model = TimmStyle(MaxPool2dSame(3, 2))
    site = next(site for site in sites(model, torch.zeros(1, 3, 33, 33)) if site.path == "maxpool")
    assert site.describe() == "max in MaxPool2dSame 3x3 stride 2x2"
    with pytest.raises(InputError, match="Site 'maxpool' is a MaxPool2dSame, whose own forward may do more"):
        swap(model, "soft")
    plain = type("Named", (nn.MaxPool2d,), {})(2)
    assert swap(nn.Sequential(plain, nn.Conv2d(3, 3, 3)), "soft")[0].was == "max 2x2 stride 2x2"


def test_parts_of_a_pool_are_not_sites():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3), nn.AdaptiveAvgPool2d(1))
    x = torch.zeros(1, 3, 16, 16)
    for method in ("adapool", "lip", "blur"):
        swap(model, method, ("pool", "head"), example=x)
        assert kinds(model) == {"1": "pool", "3": "head"}
        assert {site.path: site.kind for site in sites(model, x)} == {"1": "pool", "3": "head"}
