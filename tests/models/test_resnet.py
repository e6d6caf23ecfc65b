"""ResNet: published sizes and names, arithmetic against a plain implementation, image networks of other packages."""

from __future__ import annotations

import copy

import pytest
import torch
from published_shapes import torchvision_image
from torch import nn
from torch.nn import functional as F

from videopool import models
from videopool.config import Config, from_plain
from videopool.engine.builders.parts import build_model, preprocessing
from videopool.engine.step.memory_order import channels_last
from videopool.errors import InputError
from videopool.models.video_model import frames_as_images

PUBLISHED = {18: 11_689_512, 34: 21_797_672, 50: 25_557_032, 101: 44_549_160, 152: 60_192_808}  # 1000 classes
BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def resnet(**arguments: object) -> nn.Module:
    return models.build("resnet", **{"classes": 5, "frames": 1, "crop": 32, "dropout": 0.0, "width": 8, **arguments})


def clips(batch: int = 2, side: int = 32) -> torch.Tensor:
    return torch.randn(batch, 3, 1, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("depth", PUBLISHED)
def test_parameters_as_published(depth: int) -> None:
    with torch.device("meta"):
        model = resnet(depth=depth, width=64, classes=1000)
    assert sum(parameter.numel() for parameter in model.parameters()) == PUBLISHED[depth]


@pytest.mark.parametrize(("depth", "published"), [(18, 1.81e9), (50, 4.09e9)])
def test_arithmetic_as_published(depth: int, published: float) -> None:
    """Multiply-adds of convolutions and classifier at 224 pixels; v1, with strided 1x1 ones, has 3.8 instead of 4.1."""
    from fvcore.nn import FlopCountAnalysis

    model = resnet(depth=depth, width=64, classes=1000, crop=224).eval()
    counts = FlopCountAnalysis(model, torch.zeros(1, 3, 1, 224, 224))
    counts.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    by_operator = counts.by_operator()
    assert by_operator["conv"] + by_operator["linear"] == pytest.approx(published, rel=0.005)


@pytest.mark.parametrize("depth", [18, 34, 50])
def test_names_and_shapes_are_those_of_torchvision(depth: int) -> None:
    with torch.device("meta"):
        model = resnet(depth=depth, width=64, classes=1000)
    assert {name: tuple(value.shape) for name, value in model.state_dict().items()} == torchvision_image(depth, 1000)


def plain_forward(weights: dict[str, torch.Tensor], depth: int, images: torch.Tensor) -> torch.Tensor:
    """Compute the network in evaluation mode from a dictionary of float64 tensors."""

    def conv(x: torch.Tensor, path: str, name: str, stride: int = 1) -> torch.Tensor:
        weight = weights[f"{path}conv{name}.weight"]
        x = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
        return norm(x, f"{path}bn{name}")

    def norm(x: torch.Tensor, path: str) -> torch.Tensor:
        mean, variance, scale, shift = (
            weights[f"{path}.{key}"].view(1, -1, 1, 1) for key in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (variance + 1e-5).sqrt() * scale + shift

    x = F.max_pool2d(conv(images, "", "1", 2).relu(), 3, 2, 1)
    for stage, count in enumerate(BLOCKS[depth], start=1):
        for block in range(count):
            path, stride = f"layer{stage}.{block}.", 2 if stage > 1 and block == 0 else 1
            if depth < 50:
                y = conv(conv(x, path, "1", stride).relu(), path, "2")
            else:
                y = conv(conv(conv(x, path, "1").relu(), path, "2", stride).relu(), path, "3")
            if f"{path}downsample.0.weight" in weights:
                x = norm(F.conv2d(x, weights[f"{path}downsample.0.weight"], stride=stride), f"{path}downsample.1")
            x = (x + y).relu()
    return x.mean((2, 3)) @ weights["fc.weight"].T + weights["fc.bias"]


@pytest.mark.parametrize("depth", [18, 50])
def test_logits_against_the_network_written_out(depth: int) -> None:
    torch.manual_seed(0)
    model = resnet(depth=depth).double()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean):
                nn.init.normal_(tensor)
            nn.init.uniform_(module.running_var, 0.5, 2)
    found = model.eval()(clips().double())
    expected = plain_forward(model.state_dict(), depth, clips().double()[:, :, 0])
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))


def test_weights_of_1000_classes_load_for_others() -> None:
    published = resnet(classes=10).state_dict()
    model = resnet(classes=5)
    report = models.load_weights(model, published, strict=False, new_head=True)
    assert report.shape == ("fc.weight", "fc.bias")
    assert not report.missing
    assert not report.unexpected
    assert torch.equal(model.state_dict()["layer4.1.conv2.weight"], published["layer4.1.conv2.weight"])


@pytest.mark.parametrize(
    ("arguments", "window"),
    [
        ({}, "3x3 stride 2x2 padding 1x1"),
        ({"stem_pool": [2, 2, 0]}, "2x2 stride 2x2"),
        ({"stem": "small"}, "2x2 stride 2x2"),
        ({"stem": "small", "stem_pool": (3, 2, 1)}, "3x3 stride 2x2 padding 1x1"),
    ],
)
def test_only_the_stem_pools_by_default(arguments: dict, window: str) -> None:
    published, soft = resnet(**arguments), resnet(**arguments, pooling="soft")
    assert [(change.path, change.was, change.now) for change in soft.changes] == [
        ("maxpool", f"max {window}", f"soft {window}")
    ]
    assert soft.state_dict().keys() == published.state_dict().keys()
    soft.load_state_dict(published.state_dict())
    assert soft.eval()(clips()).shape == (2, 5)
    assert not torch.equal(soft(clips()), published.eval()(clips()))


def test_both_windows_of_the_stem_leave_the_same_cells() -> None:
    for arguments in ({}, {"stem_pool": [2, 2, 0]}):
        sizes = []
        model = resnet(**arguments).eval()
        model.maxpool.register_forward_hook(lambda module, inputs, output, sizes=sizes: sizes.append(output.shape))
        model(clips(1, 224))
        assert sizes == [(1, 8, 56, 56)]


def test_zero_init_residual_begins_as_the_shortcuts() -> None:
    model = resnet(depth=50, zero_init_residual=True).eval()
    x = torch.rand(2, 8 * 4, 4, 4)
    assert torch.equal(model.layer1[1](x), x)
    assert not torch.equal(resnet(depth=50).eval().layer1[1](x), x)


@pytest.mark.parametrize("shape", [(2, 3, 2, 32, 32), (2, 3, 32, 32), (2, 1, 1, 32, 32)])
def test_clips_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"takes images as clips of one frame \[B,3,1,H,W\].*Set frames=1"):
        resnet()(torch.zeros(shape))


@pytest.mark.parametrize(
    "arguments",
    [
        {"depth": 20},
        {"width": 0},
        {"stem": "large"},
        {"frames": 8},
        {"stem_pool": [2, 2]},
        {"stem_pool": [2, 2, 2]},
        {"stem_pool": [0, 1, 0]},
        {"stem_pool": [2.5, 2, 0]},
    ],
)
def test_impossible_numbers(arguments: dict) -> None:
    with pytest.raises(InputError, match="resnet"):
        resnet(**arguments)


def test_a_normalized_image_is_channels_last_without_a_copy() -> None:
    prepared = preprocessing(Config())(torch.zeros(2, 3, 1, 8, 8, dtype=torch.uint8))
    images = frames_as_images(prepared)
    assert images.data_ptr() == prepared.data_ptr()
    assert images.is_contiguous(memory_format=torch.channels_last)
    model = channels_last(resnet(depth=50, pooling="soft")).eval()
    assert model.layer1[0].conv2.weight.is_contiguous(memory_format=torch.channels_last)
    orders = []
    for module in (model.maxpool, model.layer4):
        module.register_forward_hook(
            lambda module, inputs, output: orders.append(output.is_contiguous(memory_format=torch.channels_last))
        )
    contiguous = copy.deepcopy(model)
    expected = contiguous(clips(2, 64))
    orders.clear()
    torch.testing.assert_close(model(clips(2, 64).contiguous(memory_format=torch.channels_last_3d)), expected)
    assert orders == [True, True]


# --- networks of other packages ------------------------------------------------------------------------------------


def image_network(*, classes: int, frames: int, crop: int) -> nn.Module:
    """A network of another package, from images [B,3,H,W] to logits [B,K]."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes)
    )


def plain_network(*, classes: int, frames: int, crop: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * frames * crop * crop, classes))


def clip_network(*, classes: int, frames: int, crop: int) -> nn.Module:
    """A 2D network in one that takes clips and averages over frames."""

    class PerFrame(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = image_network(classes=classes, frames=1, crop=crop)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            scores = self.inner(x.transpose(1, 2).flatten(0, 1))
            return scores.unflatten(0, (len(x), -1)).mean(1)

    return PerFrame()


def built(target: str, frames: int, **model: object) -> nn.Module:
    plain = {
        "clip": {"frames": frames, "crop": 16, "scale": [16, 16]},
        "model": {"target": f"{__name__}.{target}", "pooling": "none", **model},
    }
    return build_model(from_plain(plain, "the test"), ["a", "b"])[0]


def test_a_network_of_2d_convolutions_gets_images() -> None:
    torch.manual_seed(Config().train.seed)
    alone = image_network(classes=2, frames=1, crop=16)
    model = built("image_network", 1)
    assert model.state_dict().keys() == alone.state_dict().keys()
    assert torch.equal(model(clips(2, 16)), alone(clips(2, 16)[:, :, 0]))
    soft = built("image_network", 1, pooling="soft", pooling_sites=["2"])
    assert soft(clips(2, 16)).shape == (2, 2)
    with pytest.raises(InputError, match="clips of one frame"):
        model(torch.zeros(2, 3, 4, 16, 16))


def test_takes_decides_what_a_network_gets() -> None:
    seen = []
    for target, takes, frames in [
        ("plain_network", "images", 1),
        ("plain_network", "auto", 1),
        ("clip_network", "clips", 1),
        ("clip_network", "auto", 4),
    ]:
        model = built(target, frames, takes=takes)
        model.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0].dim()))
        assert model(torch.zeros(2, 3, frames, 16, 16)).shape == (2, 2)
    assert seen == [4, 5, 5, 5]
    with pytest.raises(InputError, match=r"takes='images' needs frames=1"):
        built("image_network", 4, takes="images")
    with pytest.raises(InputError, match=r"model\.takes=images is for target only"):
        from_plain({"model": {"takes": "images"}}, "the test")


def test_image_networks_copy_compile_and_export() -> None:
    model = built("image_network", 1).eval()
    expected = model(clips(2, 16))
    assert torch.equal(copy.deepcopy(model)(clips(2, 16)), expected)
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(model, (clips(2, 16),), dynamic_shapes=({0: batch},)).module()
    torch.testing.assert_close(program(clips(2, 16)), expected)
    assert program(clips(3, 16)).shape == (3, 2)
