"""What is a pooling site, of which kind, and what is not."""

import pytest
from small_networks import Gate, ResNet
from torch import nn
from torch.nn.utils import parametrizations

from videopool.ops import SoftPool3d
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


def test_a_site_tells_its_window():
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


def test_sliding_window_that_no_spatial_convolution_follows_is_the_head():
    features = [nn.AvgPool3d(2), nn.Conv3d(3, 3, 3)]
    head = [nn.AvgPool3d((4, 7, 7), stride=1), nn.Conv3d(3, 8, 1), nn.Flatten(), nn.Linear(8, 5)]
    assert kinds(nn.Sequential(*features, *head)) == {"0": "pool", "2": "head"}


def test_last_pool_of_a_vgg_or_c3d_is_no_head():
    model = nn.Sequential(nn.Conv3d(3, 3, 3), nn.MaxPool3d(2), nn.Flatten(), nn.Linear(8, 5))
    assert kinds(model) == {"1": "pool"}


def test_cifar_style_window_over_the_whole_map_is_the_head():
    model = nn.Sequential(nn.Conv2d(3, 3, 3), nn.AvgPool2d(8), nn.Flatten(), nn.Linear(3, 5))
    assert kinds(model) == {"1": "head"}


def test_squeeze_and_excitation_is_no_head():
    early = nn.Sequential(Gate(4), nn.Conv2d(4, 4, 3), nn.AdaptiveAvgPool2d(1))
    late = nn.Sequential(nn.Conv2d(4, 4, 3), Gate(4), nn.AdaptiveAvgPool2d(1))
    functional_head = nn.Sequential(nn.Conv2d(4, 4, 3), Gate(4))
    assert [kinds(model) for model in (early, late, functional_head)] == [{"2": "head"}, {"2": "head"}, {}]


def test_average_of_predictions_is_no_head():
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
def test_what_no_window_pool_can_replace_is_no_site(module):
    assert sites(nn.Sequential(module, nn.Conv2d(3, 3, 3))) == ()


def test_the_model_itself_is_no_site():
    assert sites(nn.MaxPool2d(2)) == ()


def test_strided_pointwise_convolutions_are_shortcuts_and_other_strided_ones_strides():
    model = nn.Sequential(nn.Conv3d(1, 1, 1, 2), nn.Conv3d(1, 1, (1, 3, 3), (2, 1, 1)), nn.Conv3d(1, 1, 2, (1, 2, 2)))
    assert kinds(model) == {"0": "shortcut", "1": "stride", "2": "stride"}


def test_sites_are_the_same_after_a_swap():
    model = ResNet()
    before = kinds(model)
    swap(model, "soft", ("pool", "head", "shortcut", "stride"))
    assert kinds(model) == before
    assert {site.method for site in sites(model)} == {"soft"}
