"""Weights inside wrappers, and weights that cannot be loaded: the error names the tensor and the reason."""

from __future__ import annotations

import pytest
import torch
from published_shapes import (
    Shapes,
    mmaction2_slowonly,
    pyslowfast,
    pyslowfast_x3d,
    torchvision_image,
    torchvision_video,
)
from published_weights import model_of, weights_of
from torch import nn

from videopool import models
from videopool.errors import InputError
from videopool.models import load_weights


@pytest.mark.parametrize(
    ("container", "prefix"),
    [
        ("state_dict", "model."),  # Lightning
        ("state_dict", "model.backbone."),
        ("state_dict", "net.encoder."),
        ("model_ema", "module."),
        ("model_state_dict", ""),
        (None, "module.model."),
    ],
)
def test_wrapped_weights(container: str | None, prefix: str) -> None:
    shapes = torchvision_video("mc3", 18, 400)
    weights = {prefix + key: value for key, value in weights_of(shapes).items()}
    if container == "model_ema":
        weights["n_averaged"] = torch.tensor(3)
    model = model_of("mc3")
    report = load_weights(model, {container: weights, "epoch": 3} if container else weights)
    assert set(report.loaded) == set(shapes)
    assert torch.equal(model.state_dict()["fc.bias"], weights[f"{prefix}fc.bias"])


def test_two_networks_in_a_file_are_refused() -> None:
    model = model_of("c3d")
    weights = {f"{prefix}.{name}": value for prefix in ("model", "net") for name, value in model.state_dict().items()}
    with pytest.raises(InputError, match=r"The weights model\.(\S+) and net\.\1 are of two networks"):
        load_weights(model, weights)


def test_averaged_weights_come_first() -> None:
    plain, averaged = {"a": torch.zeros(1)}, {"a": torch.ones(1)}
    assert models.state_dict_of({"model": plain, "model_ema": averaged})["a"] == 1


def test_names_of_the_model_keep_their_prefix() -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = nn.Linear(2, 3)

    report = load_weights(Wrapped(), {"model": {"model.weight": torch.ones(3, 2), "model.bias": torch.ones(3)}})
    assert report.loaded == ("model.weight", "model.bias")


def mmaction2_slowfast() -> Shapes:
    return {"backbone.slow_path.conv1.conv.weight": (64, 3, 1, 7, 7), "backbone.fast_path.conv1.bn.weight": (8,)}


@pytest.mark.parametrize(
    ("shapes", "name", "words"),
    [
        (
            mmaction2_slowfast(),
            "slowfast",
            r"mmaction2 SlowFast cannot be loaded \(slow_path.conv1.conv.weight\): SlowFast of mmaction2 has no norm",
        ),
        (
            {**pyslowfast("slow"), "s3.pathway0_nonlocal1.conv_g.weight": (256, 512, 1, 1, 1)},
            "slow",
            r"PySlowFast cannot be loaded \(s3.pathway0_nonlocal1.conv_g.weight\): they have non-local blocks",
        ),
        (
            {**mmaction2_slowonly(), "backbone.conv1.conv.weight": (64, 3, 5, 7, 7)},
            "i3d",
            r"mmaction2 ResNet cannot be loaded \(conv1.conv.weight\): I3D of mmaction2 has strides",
        ),
        (
            pyslowfast("i3d"),
            "slow",
            r"do not fit the model: .*of another shape \(blocks.0.conv.weight is \[64, 3, 5, 7, 7\], the model's "
            r"\[64, 3, 1, 7, 7\], .* and \d+ more\). .* names of PySlowFast, whose weights fit slow, c2d or i3d",
        ),
        (pyslowfast_x3d(), "slow", "another architecture .* names of PySlowFast X3D, whose weights fit x3d"),
        (torchvision_video("r3d", 18, 400), "mc3", r"do not fit.*layer2.0.conv1.0.weight is \[128, 64, 3, 3, 3\]"),
        (torchvision_image(18, 1000), "slow", "torchvision ResNet, whose weights fit resnet; slow"),
        (
            {"patch_embed.proj.weight": (8, 3, 2, 4, 4), "layers.0.attn.qkv.weight": (24, 8), "head.bias": (5,)},
            "slow",
            r"0 of 320 tensors fit.*look like patch_embed.proj.weight, layers.0.attn.qkv.weight, head.bias; those of "
            "videopool, pytorchvideo, PySlowFast, mmaction2 and torchvision are known",
        ),
    ],
)
def test_refused_weights(shapes: Shapes, name: str, words: str) -> None:
    model = model_of(name)
    with pytest.raises(InputError, match=words):
        load_weights(model, weights_of(shapes), strict=False, new_head=True)
    assert not any(value.any() for value in model.state_dict().values())


def test_another_number_of_classes_keeps_the_new_head() -> None:
    model = model_of("r2plus1d", depth=18, classes=51)
    report = load_weights(model, weights_of(torchvision_video("r2plus1d", 18, 400)), strict=False, new_head=True)
    assert report.shape == ("fc.weight", "fc.bias")
    assert not model.fc.weight.any()
    assert model.stem[0].weight.any()
    assert "not loaded: fc.bias is [400] in the file, [51] in the model" in list(report.details())
