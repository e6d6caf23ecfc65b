"""R3D, MC3 and R(2+1)D of basic blocks: published sizes and names, arithmetic against the network written out."""

from __future__ import annotations

import pytest
import torch
from published_shapes import torchvision_video
from torch import nn
from torch.nn import functional as F

from videopool import models
from videopool.models.video_resnet import FORMS, mid_channels
from videopool.pooling import sites

# Parameters with 400 classes, from torchvision's documentation.
PUBLISHED = {"r3d": 33_371_472, "mc3": 11_695_440, "r2plus1d": 31_505_325}


def network(name: str, **arguments: object) -> nn.Module:
    torch.manual_seed(0)
    given = {"classes": 5, "frames": 8, "crop": 32, "dropout": 0.0, "depth": 18, **arguments}
    return models.build(name, **given)


def with_statistics(model: nn.Module) -> nn.Module:
    """Give all normalization layers of ``model`` random parameters and statistics."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_as_published(name: str) -> None:
    with torch.device("meta"):
        model = network(name, classes=400)
    assert sum(parameter.numel() for parameter in model.parameters()) == PUBLISHED[name]


@pytest.mark.parametrize("depth", [18, 34])
@pytest.mark.parametrize("name", PUBLISHED)
def test_names_and_shapes_are_those_of_torchvision(name: str, depth: int) -> None:
    with torch.device("meta"):
        model = network(name, depth=depth, classes=400)
    found = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    assert found == torchvision_video(name, depth, 400)


def plain_forward(weights: dict[str, torch.Tensor], clips: torch.Tensor, eps: float, mid_eps: float) -> torch.Tensor:
    """Compute the network of ``weights`` in evaluation mode; kernels and paths come from the names and shapes."""

    def norm(x: torch.Tensor, path: str, eps: float) -> torch.Tensor:
        mean, variance, scale, shift = (
            weights[f"{path}.{key}"].view(1, -1, 1, 1, 1) for key in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (variance + eps).sqrt() * scale + shift

    def conv(x: torch.Tensor, path: str, stride: tuple[int, int, int]) -> torch.Tensor:
        weight = weights[f"{path}.weight"]
        return F.conv3d(x, weight, stride=stride, padding=tuple(size // 2 for size in weight.shape[2:]))

    def unit(x: torch.Tensor, path: str, stride: int) -> torch.Tensor:
        if f"{path}.0.weight" in weights:
            over_time = weights[f"{path}.0.weight"].shape[2] > 1 or ("downsample" in path and not spatial)
            x = conv(x, f"{path}.0", (stride if over_time else 1, stride, stride))
        else:
            x = conv(x, f"{path}.0.0", (1, stride, stride))
            x = conv(norm(x, f"{path}.0.1", mid_eps).relu(), f"{path}.0.3", (stride, 1, 1))
        return norm(x, f"{path}.1", eps)

    factored = "stem.3.weight" in weights
    x = norm(conv(clips, "stem.0", (1, 2, 2)), "stem.1", mid_eps if factored else eps).relu()
    if factored:
        x = norm(conv(x, "stem.3", (1, 1, 1)), "stem.4", eps).relu()
    if "layer2.0.downsample.0.0.weight" in weights:
        x = F.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1))
    for path in dict.fromkeys(".".join(key.split(".")[:2]) for key in weights if key.startswith("layer")):
        stride = 2 if path.endswith(".0") and not path.startswith("layer1") else 1
        spatial = f"{path}.conv1.0.weight" in weights and weights[f"{path}.conv1.0.weight"].shape[2] == 1
        y = unit(unit(x, f"{path}.conv1", stride).relu(), f"{path}.conv2", 1)
        has_shortcut = any(key.startswith(f"{path}.downsample") for key in weights)
        x = ((unit(x, f"{path}.downsample", stride) if has_shortcut else x) + y).relu()
    return x.mean((2, 3, 4)) @ weights["fc.weight"].T + weights["fc.bias"]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("r3d", {}),
        ("mc3", {}),
        ("r3d", {"depth": 34}),
        *(("r2plus1d", {"depth": depth, "form": form}) for form in FORMS for depth in (18, 34)),
    ],
)
def test_logits_against_the_network_written_out(name: str, arguments: dict) -> None:
    model = with_statistics(network(name, width=4, **arguments)).double().eval()
    clips = torch.randn(2, 3, 9, 30, 34, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    form = FORMS.get(arguments.get("form", ""))
    eps, mid_eps = (form.eps, form.mid_eps) if form else (1e-5, 1e-5)
    expected = plain_forward(model.state_dict(), clips, eps, mid_eps)
    torch.testing.assert_close(model(clips), expected, rtol=1e-10, atol=1e-10 * float(expected.abs().max()))


@pytest.mark.parametrize(
    ("channels", "expected"), [((64, 64), 144), ((64, 128), 230), ((128, 128), 288), ((512, 512), 1152)]
)
def test_middle_channels_keep_the_number_of_parameters(channels: tuple[int, int], expected: int) -> None:
    before, after = channels
    mid = mid_channels(before, after)
    assert mid == expected
    full = 27 * before * after
    assert full - (9 * before + 3 * after) < mid * (9 * before + 3 * after) <= full


def test_forms_differ_in_the_second_convolution_and_the_stem() -> None:
    def shapes(form: str) -> dict[str, tuple[int, ...]]:
        with torch.device("meta"):
            model = network("r2plus1d", depth=34, form=form)
        return {key: tuple(value.shape) for key, value in model.state_dict().items() if value.dim() > 1}

    published, ig65m, mmaction2 = (shapes(form) for form in ("torchvision", "ig65m", "mmaction2"))
    assert {key for key in published if published[key] != ig65m[key]} == {
        f"layer{stage}.0.conv2.0.{index}.weight" for stage in (2, 3, 4) for index in (0, 3)
    }
    assert {key for key in ig65m if mmaction2.get(key) != ig65m[key]} == {
        "stem.0.weight",
        "stem.3.weight",
        *(f"layer{stage}.0.downsample.0.weight" for stage in (2, 3, 4)),
    }


def test_the_pool_of_the_stem_is_a_site_and_takes_the_relu() -> None:
    arguments = {"depth": 18, "form": "mmaction2", "width": 8}
    model = network("r2plus1d", **arguments)
    assert [site.path for site in sites(model) if site.kind == "pool"] == ["stem.pool"]
    torch.manual_seed(0)
    sizes = {"classes": 5, "frames": 8, "crop": 32}
    fused = models.build("r2plus1d", **sizes, **arguments, pooling="soft", pooling_sites=["pool"], fuse_relu=True)
    assert fused.stem.pool.relu
    assert list(fused.state_dict()) == list(model.state_dict())
