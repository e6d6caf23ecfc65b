"""Weights of PySlowFast, mmaction2 and torchvision: every tensor finds its place, and the networks compute the same."""

from __future__ import annotations

import pytest
import torch
from published_shapes import (
    PATHWAYS,
    Shapes,
    mmaction2_r2plus1d,
    mmaction2_slowonly,
    mmaction2_x3d,
    pyslowfast,
    pyslowfast_x3d,
    torchvision_image,
    torchvision_video,
)
from published_weights import Weights, model_of, weights_of
from torch.nn import functional as F

from videopool import models
from videopool.models import load_weights

# Shapes of the file, the network here, its arguments, and pairs of names.
CASES: dict[str, tuple[Shapes, str, dict, dict[str, str]]] = {
    "pyslowfast-slow": (
        pyslowfast("slow"),
        "slow",
        {},
        {
            "s1.pathway0_stem.conv.weight": "blocks.0.conv.weight",
            "s1.pathway0_stem.bn.bias": "blocks.0.norm.bias",
            "s2.pathway0_res0.branch1.weight": "blocks.1.res_blocks.0.branch1_conv.weight",
            "s2.pathway0_res0.branch1_bn.running_var": "blocks.1.res_blocks.0.branch1_norm.running_var",
            "s3.pathway0_res3.branch2.b.weight": "blocks.2.res_blocks.3.branch2.conv_b.weight",
            "s5.pathway0_res2.branch2.a_bn.running_mean": "blocks.4.res_blocks.2.branch2.norm_a.running_mean",
            "head.projection.bias": "blocks.5.proj.bias",
        },
    ),
    "pyslowfast-c2d": (
        pyslowfast("c2d"),
        "c2d",
        {},
        {
            "s2.pathway0_res1.branch2.c.weight": "blocks.1.res_blocks.1.branch2.conv_c.weight",
            "s3.pathway0_res0.branch2.c.weight": "blocks.3.res_blocks.0.branch2.conv_c.weight",
            "head.projection.weight": "blocks.6.proj.weight",
        },
    ),
    "pyslowfast-i3d-101": (
        pyslowfast("i3d", depth=101),
        "i3d",
        {"depth": 101},
        {"s4.pathway0_res22.branch2.a.weight": "blocks.4.res_blocks.22.branch2.conv_a.weight"},
    ),
    "pyslowfast-slowfast": (
        pyslowfast("slowfast"),
        "slowfast",
        {"frames": 32},
        {
            "s1.pathway1_stem.conv.weight": "blocks.0.multipathway_blocks.1.conv.weight",
            "s1_fuse.conv_f2s.weight": "blocks.0.multipathway_fusion.conv_fast_to_slow.weight",
            "s4_fuse.bn.weight": "blocks.3.multipathway_fusion.norm.weight",
            "s3.pathway1_res2.branch2.b_bn.bias": "blocks.2.multipathway_blocks.1.res_blocks.2.branch2.norm_b.bias",
            "head.projection.weight": "blocks.6.proj.weight",
        },
    ),
    "pyslowfast-slowfast-101": (
        pyslowfast("slowfast", depth=101, fusion_kernel=5, temporal_blocks=6),
        "slowfast",
        {"frames": 64, "depth": 101, "fusion_kernel": 5, "temporal_blocks": 6},
        {},
    ),
    "pyslowfast-x3d-s": (
        pyslowfast_x3d(),
        "x3d",
        {"frames": 13, "crop": 160},
        {
            "s1.pathway0_stem.conv_xy.weight": "blocks.0.conv.conv_t.weight",
            "s1.pathway0_stem.conv.weight": "blocks.0.conv.conv_xy.weight",
            "s2.pathway0_res0.branch2.b_bn.weight": "blocks.1.res_blocks.0.branch2.norm_b.0.weight",
            "s2.pathway0_res1.branch2.b_bn.bias": "blocks.1.res_blocks.1.branch2.norm_b.0.bias",
            "s4.pathway0_res2.branch2.se.fc1.bias": "blocks.3.res_blocks.2.branch2.norm_b.1.block.0.bias",
            "s4.pathway0_res2.branch2.se.fc2.weight": "blocks.3.res_blocks.2.branch2.norm_b.1.block.2.weight",
            "head.conv_5.weight": "blocks.5.pool.pre_conv.weight",
            "head.conv_5_bn.weight": "blocks.5.pool.pre_norm.weight",
            "head.lin_5.weight": "blocks.5.pool.post_conv.weight",
            "head.projection.bias": "blocks.5.proj.bias",
        },
    ),
    "pyslowfast-x3d-l": (pyslowfast_x3d(size="l"), "x3d", {"frames": 16, "crop": 312, "depth": 5.0}, {}),
    "mmaction2-x3d": (
        mmaction2_x3d(),
        "x3d",
        {"frames": 13, "crop": 160},
        {
            "backbone.conv1_s.conv.weight": "blocks.0.conv.conv_t.weight",
            "backbone.conv1_t.conv.weight": "blocks.0.conv.conv_xy.weight",
            "backbone.conv1_t.bn.weight": "blocks.0.norm.weight",
            "backbone.layer2.0.downsample.bn.bias": "blocks.2.res_blocks.0.branch1_norm.bias",
            "backbone.layer3.4.conv2.bn.weight": "blocks.3.res_blocks.4.branch2.norm_b.0.weight",
            "backbone.layer3.4.conv1.bn.weight": "blocks.3.res_blocks.4.branch2.norm_a.weight",
            "backbone.layer3.4.se_module.fc2.weight": "blocks.3.res_blocks.4.branch2.norm_b.1.block.2.weight",
            "backbone.conv5.bn.weight": "blocks.5.pool.pre_norm.weight",
            "cls_head.fc1.weight": "blocks.5.pool.post_conv.weight",
            "cls_head.fc2.weight": "blocks.5.proj.weight",
        },
    ),
    "mmaction2-r2plus1d": (
        mmaction2_r2plus1d(),
        "r2plus1d",
        {"depth": 34, "form": "mmaction2"},
        {
            "backbone.conv1.conv.conv_s.weight": "stem.0.weight",
            "backbone.conv1.conv.bn_s.weight": "stem.1.weight",
            "backbone.conv1.conv.conv_t.weight": "stem.3.weight",
            "backbone.conv1.bn.running_mean": "stem.4.running_mean",
            "backbone.layer2.0.conv2.conv.conv_s.weight": "layer2.0.conv2.0.0.weight",
            "backbone.layer2.0.conv2.conv.bn_s.bias": "layer2.0.conv2.0.1.bias",
            "backbone.layer2.0.conv2.conv.conv_t.weight": "layer2.0.conv2.0.3.weight",
            "backbone.layer2.0.conv2.bn.bias": "layer2.0.conv2.1.bias",
            "backbone.layer2.0.downsample.conv.conv_t.weight": "layer2.0.downsample.0.3.weight",
            "backbone.layer2.0.downsample.bn.bias": "layer2.0.downsample.1.bias",
            "cls_head.fc_cls.weight": "fc.weight",
        },
    ),
    "mmaction2-slowonly": (
        mmaction2_slowonly(),
        "slow",
        {},
        {
            "backbone.conv1.conv.weight": "blocks.0.conv.weight",
            "backbone.conv1.bn.weight": "blocks.0.norm.weight",
            "backbone.layer3.5.conv3.conv.weight": "blocks.3.res_blocks.5.branch2.conv_c.weight",
            "backbone.layer3.5.conv2.bn.weight": "blocks.3.res_blocks.5.branch2.norm_b.weight",
            "backbone.layer3.0.downsample.conv.weight": "blocks.3.res_blocks.0.branch1_conv.weight",
            "cls_head.fc_cls.weight": "blocks.5.proj.weight",
        },
    ),
    "torchvision-r2plus1d-18": (torchvision_video("r2plus1d", 18, 400), "r2plus1d", {"depth": 18}, {}),
    "torchvision-r3d-18": (torchvision_video("r3d", 18, 400), "r3d", {}, {}),
    "torchvision-mc3-18": (torchvision_video("mc3", 18, 400), "mc3", {}, {}),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_every_tensor_is_loaded(case: str) -> None:
    shapes, name, arguments, pairs = CASES[case]
    weights, model = weights_of(shapes), model_of(name, **arguments)
    report = load_weights(model, weights)
    own = model.state_dict()
    assert set(report.loaded) == set(own)
    assert report.missing == report.unexpected == report.shape == report.inflated == ()
    news = {**{key: key for key in weights}, **dict(report.renamed)}
    used = {key: new for key, new in news.items() if key not in report.folded}
    assert sorted(used.values()) == sorted(own)
    assert {key: used[key] for key in pairs} == pairs
    changed = {key for key, new in used.items() if not torch.equal(own[new].flatten(), weights[key].flatten())}
    folds = {"pyslowfast-x3d-s": "s2.pathway0_res0", "pyslowfast-x3d-l": "s2.pathway0_res0"}
    folds["mmaction2-x3d"] = "backbone.layer1.0"
    assert bool(report.folded) == (case in folds)
    assert all(key.startswith(folds.get(case, "none")) for key in {*changed, *report.folded})
    assert len(changed) == (2 if case in folds else 0)
    assert sum(1 for _ in report.details()) == len(own) + len(report.folded)


# --- the networks written out --------------------------------------------------------------------------------------


def norm(weights: Weights, x: torch.Tensor, path: str) -> torch.Tensor:
    mean, variance, scale, shift = (
        weights[f"{path}.{key}"].view(1, -1, 1, 1, 1) for key in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (variance + 1e-5).sqrt() * scale + shift


def conv(weights: Weights, x: torch.Tensor, path: str, stride: int = 1) -> torch.Tensor:
    weight = weights[f"{path}.weight"]
    padding = tuple(size // 2 for size in weight.shape[2:])
    groups = x.shape[1] // weight.shape[1]
    return F.conv3d(x, weight, stride=(1, stride, stride), padding=padding, groups=groups)


def residual(weights: Weights, x: torch.Tensor, path: str, stride: int) -> torch.Tensor:
    """Compute a block of PySlowFast; those with squeeze-and-excitation and SiLU are of X3D."""
    y = norm(weights, conv(weights, x, f"{path}.branch2.a"), f"{path}.branch2.a_bn").relu()
    y = norm(weights, conv(weights, y, f"{path}.branch2.b", stride), f"{path}.branch2.b_bn")
    if f"{path}.branch2.se.fc1.weight" in weights:
        squeezed = y.mean((2, 3, 4), keepdim=True)
        for name, act in (("fc1", torch.relu), ("fc2", torch.sigmoid)):
            se = f"{path}.branch2.se.{name}"
            squeezed = act(F.conv3d(squeezed, weights[f"{se}.weight"], weights[f"{se}.bias"]))
        y = y * squeezed
    y = F.silu(y) if weights[f"{path}.branch2.b.weight"].shape[1] == 1 else y.relu()
    y = norm(weights, conv(weights, y, f"{path}.branch2.c"), f"{path}.branch2.c_bn")
    if f"{path}.branch1.weight" in weights:
        x = norm(weights, conv(weights, x, f"{path}.branch1", stride), f"{path}.branch1_bn")
    return (x + y).relu()


def stage(weights: Weights, x: torch.Tensor, prefix: str, stride: int) -> torch.Tensor:
    paths = dict.fromkeys(".".join(key.split(".")[:2]) for key in weights if key.startswith(prefix))
    for index, path in enumerate(paths):
        x = residual(weights, x, path, stride if index == 0 else 1)
    return x


def plain_pyslowfast(weights: Weights, pathways: list[torch.Tensor], *, halved: bool, alpha: int = 4) -> torch.Tensor:
    """Compute Slow, C2D, I3D (``halved``) and SlowFast from the tensors of the file."""

    def fuse(index: int) -> None:
        if len(pathways) == 2:
            kernel = weights[f"s{index}_fuse.conv_f2s.weight"]
            lateral = F.conv3d(pathways[1], kernel, stride=(alpha, 1, 1), padding=(kernel.shape[2] // 2, 0, 0))
            lateral = norm(weights, lateral, f"s{index}_fuse.bn").relu()
            pathways[0] = torch.cat([pathways[0], lateral], 1)

    for index, x in enumerate(pathways):
        stem = f"s1.pathway{index}_stem"
        x = norm(weights, conv(weights, x, f"{stem}.conv", 2), f"{stem}.bn").relu()
        pathways[index] = F.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1))
    fuse(1)
    for number in range(2, 6):
        for index, x in enumerate(pathways):
            x = stage(weights, x, f"s{number}.pathway{index}_", 2 if number > 2 else 1)
            pathways[index] = F.max_pool3d(x, (2, 1, 1)) if halved and number == 2 else x
        if number < 5:
            fuse(number)
    features = torch.cat([x.mean((2, 3, 4)) for x in pathways], 1)
    return features @ weights["head.projection.weight"].T + weights["head.projection.bias"]


def plain_x3d(weights: Weights, x: torch.Tensor) -> torch.Tensor:
    """Compute X3D from the tensors of PySlowFast's file."""
    x = conv(weights, x, "s1.pathway0_stem.conv_xy", 2)
    x = norm(weights, conv(weights, x, "s1.pathway0_stem.conv"), "s1.pathway0_stem.bn").relu()
    for number in range(2, 6):
        x = stage(weights, x, f"s{number}.pathway0_", 2)
    x = norm(weights, conv(weights, x, "head.conv_5"), "head.conv_5_bn").relu().mean((2, 3, 4), keepdim=True)
    x = conv(weights, x, "head.lin_5").relu().flatten(1)
    return x @ weights["head.projection.weight"].T + weights["head.projection.bias"]


def clips(frames: int, side: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(1, 3, frames, side, side, dtype=torch.float64, generator=generator)


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Assert equality to rounding in float64."""
    assert expected.std() > 1e-6
    atol = 1e-9 * float(expected.detach().abs().max())
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=atol)


@pytest.mark.slow
@pytest.mark.parametrize("arch", PATHWAYS)
def test_resnets_of_pyslowfast_against_the_network_written_out(arch: str) -> None:
    frames = 16 if arch == "slowfast" else 4
    weights = weights_of(pyslowfast(arch, 7), torch.float64)
    model = model_of(arch, classes=7, frames=frames, crop=64).double()
    load_weights(model, weights)
    x = clips(frames, 64)
    pathways = [x[:, :, [0, 5, 10, 15]], x] if arch == "slowfast" else [x]
    assert_close(model(x), plain_pyslowfast(weights, pathways, halved=arch in ("c2d", "i3d")))


@pytest.mark.slow
def test_x3d_of_pyslowfast_against_the_network_written_out() -> None:
    """The normalization that x3d lacks is merged into others."""
    weights = weights_of(pyslowfast_x3d(7), torch.float64)
    model = model_of("x3d", classes=7, frames=4, crop=64).double()
    assert load_weights(model, weights).folded
    assert_close(model(clips(4, 64)), plain_x3d(weights, clips(4, 64)))


@pytest.mark.slow
def test_x3d_of_mmaction2_gives_the_logits_of_pyslowfast() -> None:
    """The same values under the names of both files."""
    theirs, ours = weights_of(mmaction2_x3d(7), torch.float64), {}
    pairs = {
        "backbone.conv1_s.conv": "s1.pathway0_stem.conv_xy",
        "backbone.conv1_t.conv": "s1.pathway0_stem.conv",
        "backbone.conv1_t.bn": "s1.pathway0_stem.bn",
        "backbone.conv5.conv": "head.conv_5",
        "backbone.conv5.bn": "head.conv_5_bn",
        "cls_head.fc1": "head.lin_5",
        "cls_head.fc2": "head.projection",
    }
    parts = {"downsample.conv": "branch1", "downsample.bn": "branch1_bn", "se_module": "branch2.se"}
    for number, letter in enumerate("abc", start=1):
        parts |= {f"conv{number}.conv": f"branch2.{letter}", f"conv{number}.bn": f"branch2.{letter}_bn"}
    for key, value in theirs.items():
        path, _, tensor = key.rpartition(".")
        if path not in pairs:
            _, layer, block, rest = path.split(".", 3)
            part = next(name for name in parts if rest.startswith(name))
            pairs[path] = f"s{int(layer[-1]) + 1}.pathway0_res{block}.{parts[part]}{rest.removeprefix(part)}"
        ours[f"{pairs[path]}.{tensor}"] = value.reshape(2048, 432, 1, 1, 1) if path == "cls_head.fc1" else value
    assert {key: value.shape for key, value in ours.items()}.keys() <= pyslowfast_x3d(7).keys()
    model = model_of("x3d", classes=7, frames=4, crop=64).double()
    report = load_weights(model, {"meta": {}, "state_dict": theirs})
    assert report.reshaped == ("blocks.5.pool.post_conv.weight",)
    assert_close(model(clips(4, 64)), plain_x3d(ours, clips(4, 64)))


# --- inflation -----------------------------------------------------------------------------------------------------


def still(image: torch.Tensor, frames: int) -> torch.Tensor:
    return image.unsqueeze(2).expand(-1, -1, frames, -1, -1)


@pytest.mark.slow
def test_c2d_with_inflated_weights_is_the_image_network_on_still_clips() -> None:
    weights = weights_of(torchvision_image(50, 9), torch.float64)
    image_model, model = model_of("resnet", classes=9, frames=1, depth=50), model_of("c2d", classes=9, crop=64)
    load_weights(image_model.double(), weights)
    report = load_weights(model.double(), weights)
    assert len(report.inflated) == 53
    image = torch.randn(2, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert_close(model(still(image, 8)), image_model(still(image, 1)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "depth", "arguments"),
    [("slow", 50, {}), ("i3d", 50, {}), ("r3d", 18, {}), ("mc3", 18, {})],
)
def test_inflated_kernels_repeat_those_of_images(name: str, depth: int, arguments: dict) -> None:
    weights, model = weights_of(torchvision_image(depth, 1000)), model_of(name, **arguments)
    report = load_weights(model, weights, strict=False, new_head=True)
    own = model.state_dict()
    before = {new: old for old, new in report.renamed}
    assert report.missing == report.unexpected == ()
    assert len(report.inflated) == sum(1 for value in weights.values() if value.dim() == 4)
    for new in report.inflated:
        image = weights[before.get(new, new)]
        torch.testing.assert_close(own[new].sum(2), image, rtol=1e-6, atol=1e-6)
        assert torch.equal(own[new], own[new][:, :, :1].expand_as(own[new]))
    assert set(report.shape) == {key for key, value in own.items() if value.shape[:1] == (400,)}
    assert "renamed" in str(report)
    assert f"{len(report.inflated)} inflated from 2D" in str(report)


@pytest.mark.slow
def test_image_networks_of_mmaction2_are_inflated() -> None:
    """TSN has the names of SlowOnly, and 2D kernels."""
    shapes = {
        key: shape[:2] + shape[3:] if len(shape) == 5 else shape for key, shape in mmaction2_slowonly(400).items()
    }
    weights, model = weights_of(shapes), model_of("slow")
    report = load_weights(model, {"state_dict": weights})
    assert len(report.inflated) == 53
    found = model.state_dict()["blocks.4.res_blocks.1.branch2.conv_a.weight"]
    torch.testing.assert_close(found[:, :, 1], weights["backbone.layer4.1.conv1.conv.weight"] / 3)


@pytest.mark.slow
def test_the_slow_pathway_begins_as_the_image_network() -> None:
    """Frame by frame, as far as its kernels see one frame; nothing comes from the fast pathway."""
    weights = weights_of(torchvision_image(50, 9), torch.float64)
    image_model = model_of("resnet", classes=9, frames=1, depth=50).double()
    load_weights(image_model, weights)
    torch.manual_seed(0)
    model = models.build("slowfast", classes=9, frames=8, crop=64).double().eval()
    fast = {key: value.clone() for key, value in model.state_dict().items() if "multipathway_blocks.1" in key}
    report = load_weights(model, weights, strict=False, new_head=True)
    assert len(report.inflated) == 53
    assert {key for key in report.missing if "multipathway" not in key} == set()
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in fast.items())
    seen: list[torch.Tensor] = []
    image_model.layer2.register_forward_hook(lambda module, inputs, output: seen.append(output))
    model.blocks[2].multipathway_blocks[0].register_forward_hook(lambda module, inputs, output: seen.append(output))
    video = clips(8, 64)
    image_model(video[:, :, :1])
    model(video)
    assert_close(seen[1][:, :, 0], seen[0])
