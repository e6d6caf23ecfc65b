"""Errors about unknown models, arguments and targets."""

import pytest
import torch
from torch import nn

from videopool.errors import InputError
from videopool.models import MODELS, build
from videopool.models.target import build_target

SIZE = {"classes": 5, "frames": 8, "crop": 32}


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("slofast", {}, "Unknown model 'slofast'. Did you mean 'slowfast'"),
        (
            "vit",
            {},
            "Unknown model 'vit'. Known models: c2d, c3d, csn, i3d, mc3, r2plus1d, r3d, resnet, slow, slowfast, x3d",
        ),
        ("c3d", {"widht": 8}, "Model 'c3d' cannot be built: .*'widht'. Its arguments: .*width"),
        ("c3d", {"width": "8"}, "Model 'c3d' cannot be built with .*width='8'.*: TypeError"),
        ("c3d", {"convs": 3}, "convs=3: TypeError"),
        ("c3d", {"classes": 0}, "classes=0"),
        ("c3d", {"dropout": 1.0}, "dropout=1.0 must be"),
        ("c3d", {"depth": 0}, "depth=0"),
        ("c3d", {"convs": (1, 1)}, r"convs=\[1, 1\]"),
        ("c3d", {"pooling": "median"}, "Unknown pooling method 'median'"),
        (
            "c3d",
            {"pooling": "soft", "pooling_sites": ("shortcut",)},
            "of kind 'shortcut'. Its kinds: pool, head",
        ),
        ("c2d", {"frames": 1}, "frames=1 of c2d must be 2 or more"),
        ("slow", {"depth": 18}, "slow cannot be built with depth=18, width=64. depth must be one of 14, 26, 50"),
        ("r3d", {"depth": 50}, "r3d cannot be built with depth=50, width=64. depth must be one of 18, 34"),
        ("mc3", {"width": 0}, "mc3 cannot be built with depth=18, width=0"),
        ("r2plus1d", {"depth": 20}, "depth=20, width=64. depth must be one of 14, 18, 26, 34, 50, 101, 152"),
        ("r2plus1d", {"form": "ig65m"}, "form='ig65m' of r2plus1d is for depth 18 and 34. Remove it"),
        ("r2plus1d", {"depth": 34, "form": "vmz"}, "form='vmz' of r2plus1d must be one of torchvision, ig65m, mmac"),
        ("slowfast", {"depth": 34}, "depth=34 of slowfast must be one of"),
        ("slowfast", {"frames": 30}, "frames=30 of slowfast must be a multiple of alpha=4"),
        ("slowfast", {"width": 20}, "width=20 of slowfast must be a multiple of channel_ratio=8"),
        ("slowfast", {"temporal_blocks": 7}, "temporal_blocks=7 of slowfast must be from 0 to 6, the blocks of its"),
        ("slowfast", {"fusion_kernel": 4}, "fusion_kernel=4 of slowfast must be odd"),
        ("x3d", {"width": 0.0}, "width=0.0"),
    ],
)
def test_refusals_name_the_value(name, arguments, words):
    with pytest.raises(InputError, match=words):
        build(name, **{**SIZE, **arguments})


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_dropout_reaches_the_network(name):
    size = {**SIZE, "frames": 1 if name == "resnet" else 8, "crop": 64}
    with torch.device("meta"):
        dropped = build(name, **size, dropout=0.3)
        kept = build(name, **size, dropout=0.0)
    assert [m.p for m in dropped.modules() if isinstance(m, nn.Dropout)] == [0.3]
    assert not any(m.p for m in kept.modules() if isinstance(m, nn.Dropout))


@pytest.mark.parametrize(
    ("target", "arguments", "words"),
    [
        ("resnet", {}, "must have the form package.module.function"),
        ("a..b", {}, "must have the form package.module.function"),
        ("nowhere.models.net", {}, "cannot import nowhere.models: .* Install nowhere, or add"),
        ("torch.nn.Lineer", {}, "torch.nn has no attribute 'Lineer'. Did you mean 'Linear'?"),
        ("torch.nn.__name__", {}, "is a str, not a function or class"),
        ("torch.nn.Linear", {"in_features": 2, "classes": 3}, "Its arguments: in_features"),
        ("torch.nn.Linear", {"in_features": "two", "out_features": 3}, "in_features='two', out_features=3: TypeError"),
        ("builtins.dict", {}, "returned a dict. It must return a torch.nn.Module"),
    ],
)
def test_targets_that_cannot_be_built(target, arguments, words):
    with pytest.raises(InputError, match=words):
        build_target(target, arguments)


def test_target_is_called_with_its_arguments():
    linear = build_target("torch.nn.Linear", {"in_features": 2, "out_features": 3})
    assert isinstance(linear, nn.Linear)
    assert linear.weight.shape == (3, 2)


def test_target_in_pytorchvideo_needs_no_torchvision():
    with torch.device("meta"):
        network = build_target("pytorchvideo.models.resnet.create_resnet", {"model_num_class": 5})
    assert network.blocks[-1].proj.out_features == 5
