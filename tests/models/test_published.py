"""The networks against published figures: parameters, arithmetic, and pytorchvideo's own output."""

import logging

import pytest
import torch
from fvcore.nn import FlopCountAnalysis
from small_models import CLASSES, EVERY, SMALL, clips_for, small
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from videopool.models import build
from videopool.models.third_party import pytorchvideo

# name, arguments, test clip (T, side), parameters in millions and GFLOPs a view of the pytorchvideo model zoo, and what
# a normalized cell counts in that figure: 5 in most of them, nothing in SlowFast 8x8.
PUBLISHED = [
    ("slowfast", {"frames": 32, "crop": 224, "alpha": 8, "fusion_kernel": 5}, (32, 256), 34.5, 36.69, 5),
    ("slowfast", {"frames": 32, "crop": 224}, (32, 256), 34.6, 65.71, 0),
    ("x3d", {"frames": 4, "crop": 160}, (4, 182), 3.8, 0.91, 5),
    ("x3d", {"frames": 13, "crop": 160}, (13, 182), 3.8, 2.96, 5),
    ("x3d", {"frames": 16, "crop": 224}, (16, 256), 3.8, 6.72, 5),
    ("x3d", {"frames": 16, "crop": 312, "depth": 5.0}, (16, 356), 6.2, 26.64, 5),
    ("r2plus1d", {"frames": 16, "crop": 224}, (16, 256), 28.1, 76.45, 5),
]
IDS = ["slowfast-4x16", "slowfast-8x8", "x3d-xs", "x3d-s", "x3d-m", "x3d-l", "r2plus1d-r50"]


def giga_multiply_adds(model: nn.Module, clips: torch.Tensor, per_cell: int) -> float:
    """Return multiply-adds of convolutions and linear layers, and ``per_cell`` for each normalized cell, in 1e9."""
    cells = []
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.register_forward_hook(lambda _module, inputs, _out: cells.append(inputs[0].numel()))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(clips)
    return (counter.get_total_flops() / 2 + per_cell * sum(cells)) / 1e9


@pytest.mark.slow
@pytest.mark.parametrize(("name", "arguments", "clip", "parameters", "giga", "per_cell"), PUBLISHED, ids=IDS)
def test_parameters_and_arithmetic(name, arguments, clip, parameters, giga, per_cell):
    with torch.device("meta"):
        model = build(name, classes=400, **arguments)
        clips = torch.empty(1, 3, clip[0], clip[1], clip[1])
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 1) == parameters
    assert giga_multiply_adds(model, clips, per_cell) == pytest.approx(giga, abs=0.01)


@pytest.mark.slow
def test_fvcore_counts_x3d_s_as_published():
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    model = build("x3d", classes=400, frames=13, crop=160)
    total = FlopCountAnalysis(model, torch.zeros(1, 3, 13, 182, 182)).total() / 1e9
    assert total == pytest.approx(2.96, rel=0.005)


@pytest.mark.parametrize("name", ["csn", "r2plus1d", "slowfast", "x3d"])
def test_same_output_as_pytorchvideo(name):
    """pytorchvideo's network, with its own head, loads our weights by name and gives our probabilities."""
    ours = small(name, **({"depth": 50} if name in ("csn", "r2plus1d") else {})).eval()
    with torch.no_grad():
        for module in ours.modules():
            if isinstance(module, nn.BatchNorm3d):  # the last of each block starts at zero and would hide the branch
                module.weight.uniform_(0.5, 1.5)
                module.running_mean.normal_(std=0.1)
    theirs = _theirs(name).eval()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    clips = clips_for(name)
    slow = clips[:, :, torch.linspace(0, 7, 2).long()] if name == "slowfast" else None
    expected = theirs(clips) if slow is None else theirs([slow, clips])
    actual = ours(clips) if name == "slowfast" else ours(clips).softmax(1)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
    assert expected.std() > 1e-4


def _theirs(name: str) -> nn.Module:
    if name == "csn":  # the form of PySlowFast: create_csn has no pool in the stem by default
        return pytorchvideo("models.csn").create_csn(
            model_num_class=CLASSES,
            stem_dim_out=EVERY[name]["width"],
            stem_pool=nn.MaxPool3d,
            head_pool_kernel_size=(1, 2, 2),
            head_activation=nn.Softmax,
        )
    size = SMALL[name]
    if name == "r2plus1d":
        return pytorchvideo("models.r2plus1d").create_r2plus1d(
            model_num_class=CLASSES, stem_dim_out=size["width"], head_pool_kernel_size=(2, 2, 2)
        )
    if name == "slowfast":
        return pytorchvideo("models.slowfast").create_slowfast(
            model_depth=18,
            model_num_class=CLASSES,
            stem_dim_outs=(16, 2),
            head_pool_kernel_sizes=((2, 2, 2), (8, 2, 2)),
        )
    return pytorchvideo("models.x3d").create_x3d(
        input_clip_length=4,
        input_crop_size=64,
        model_num_class=CLASSES,
        depth_factor=size["depth"],
        width_factor=size["width"],
        head_dim_out=size["head_width"],
    )
