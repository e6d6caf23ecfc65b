"""Published figures of the networks of the recipes, with their sources. Nothing here was measured with videopool."""

from __future__ import annotations

from typing import NamedTuple

# What the columns of docs/models.md call a source, and what it is.
SOURCES = {
    "pytorchvideo": "pytorchvideo, docs/source/model_zoo.md",
    "PySlowFast": "PySlowFast, MODEL_ZOO.md",
    "mmaction2": "mmaction2, README.md of the network in configs/recognition",
    "mmaction2 0.x": "mmaction2 0.x, configs/recognition/slowonly/README.md",
    "torchvision": "torchvision 0.13, torchvision/models/video/resnet.py",
    "VMZ": "facebookresearch/VMZ, c2/tutorials/model_zoo.md",
}


class Figure(NamedTuple):
    """Size and arithmetic of a network as published.

    Attributes:
        config: the recipe of the network.
        source: a key of SOURCES.
        crop: side of the clip in pixels that the arithmetic is for.
        parameters: in millions.
        giga: multiply-adds of a clip in 1e9; None if not published.
        per_cell: what the source counts for each cell that a batch normalization normalizes.
        note: how the crop was found, or the reason for ``explained``.
        explained: the field that differs by more than 1 % from what is counted here; "" if there is none.
    """

    config: str
    source: str
    crop: int
    parameters: float
    giga: float | None
    per_cell: int
    note: str = ""
    explained: str = ""


_TEST_CROP = "counted on a test crop of 256, not on the listed 224"
_OTHER_CLASSES = "published with the classifier of 400 classes, not 700"

FIGURES = (
    Figure("kinetics400/c2d_r50_8x8", "pytorchvideo", 256, 24.33, 25.89, 5),
    Figure("kinetics400/i3d_r50_8x8", "pytorchvideo", 256, 28.04, 37.53, 5),
    Figure("kinetics400/slow_r50_4x16", "pytorchvideo", 256, 32.45, 27.55, 5),
    Figure("kinetics400/slow_r50_8x8", "pytorchvideo", 256, 32.45, 54.52, 0),
    Figure("kinetics400/slowfast_r50_4x16", "pytorchvideo", 256, 34.48, 36.69, 5),
    Figure("kinetics400/slowfast_r50_8x8", "pytorchvideo", 256, 34.57, 65.71, 0),
    Figure("kinetics400/slowfast_r101_8x8", "pytorchvideo", 256, 62.83, 127.20, 5),
    Figure("kinetics400/slowfast_r101_16x8", "pytorchvideo", 256, 53.77, 215.61, 5),
    Figure("kinetics400/csn_r101_32x2", "pytorchvideo", 256, 22.21, 75.62, 5),
    Figure("kinetics400/r2plus1d_r50_16x4", "pytorchvideo", 256, 28.11, 76.45, 5),
    Figure("kinetics400/x3d_xs", "pytorchvideo", 182, 3.79, 0.91, 5),
    Figure("kinetics400/x3d_s", "pytorchvideo", 182, 3.79, 2.96, 5),
    Figure("kinetics400/x3d_m", "pytorchvideo", 256, 3.79, 6.72, 5),
    Figure("kinetics400/x3d_l", "pytorchvideo", 356, 6.15, 26.64, 5),
    Figure("ssv2/slow_r50_8x8", "pytorchvideo", 256, 31.96, 55.10, 5),
    Figure("ssv2/slowfast_r50_8x8", "pytorchvideo", 256, 34.04, 66.60, 5),
    Figure("charades/slow_r50_8x8", "pytorchvideo", 256, 31.96, 55.10, 5),
    Figure("charades/slowfast_r50_8x8", "pytorchvideo", 256, 34.00, 66.60, 5),
    Figure("kinetics400/x3d_xs", "PySlowFast", 160, 3.8, 0.60, 0),
    Figure("kinetics400/x3d_s", "PySlowFast", 160, 3.8, 1.96, 0),
    Figure("kinetics400/x3d_m", "PySlowFast", 224, 3.8, 4.73, 0),
    Figure("kinetics400/x3d_l", "PySlowFast", 312, 6.2, 18.37, 0),
    Figure("kinetics400/slow_r50_4x16", "mmaction2", 256, 32.45, 27.38, 2, _TEST_CROP),
    Figure("kinetics400/slow_r50_8x8", "mmaction2", 256, 32.45, 54.75, 2, _TEST_CROP),
    Figure("kinetics700/slow_r50_8x8", "mmaction2", 256, 32.45, 54.75, 2, _OTHER_CLASSES, "parameters"),
    Figure("kinetics400/r2plus1d_34_8x8", "mmaction2", 256, 63.8, 53.1, 2, _TEST_CROP),
    Figure("kinetics400/r2plus1d_34_32x2", "mmaction2", 256, 63.8, 213.0, 2, _TEST_CROP),
    Figure("kinetics400/r2plus1d_18", "torchvision", 112, 31.505325, None, 0),
    Figure(
        "finetune/r2plus1d_34", "VMZ", 128, 63.6, 199.0, 0, "400 classes; counted on frames of 128, not on the crop"
    ),
)


class Accuracy(NamedTuple):
    """The published accuracy of a recipe: the percentage as text, and a key of SOURCES."""

    percent: str
    source: str


# Top-1, or mean average precision for Charades.
ACCURACIES = {
    "kinetics400/c2d_r50_8x8": Accuracy("71.46", "pytorchvideo"),
    "kinetics400/csn_r101_32x2": Accuracy("77.00", "pytorchvideo"),
    "kinetics400/i3d_r50_8x8": Accuracy("73.27", "pytorchvideo"),
    "kinetics400/r2plus1d_18": Accuracy("57.50 (clips)", "torchvision"),
    "kinetics400/r2plus1d_34_32x2": Accuracy("75.46", "mmaction2"),
    "kinetics400/r2plus1d_34_8x8": Accuracy("69.76", "mmaction2"),
    "kinetics400/r2plus1d_r50_16x4": Accuracy("76.01", "pytorchvideo"),
    "kinetics400/slow_r50_4x16": Accuracy("72.40", "pytorchvideo"),
    "kinetics400/slow_r50_8x8": Accuracy("74.58", "pytorchvideo"),
    "kinetics400/slowfast_r101_16x8": Accuracy("78.70", "pytorchvideo"),
    "kinetics400/slowfast_r101_8x8": Accuracy("77.90", "pytorchvideo"),
    "kinetics400/slowfast_r50_4x16": Accuracy("75.34", "pytorchvideo"),
    "kinetics400/slowfast_r50_8x8": Accuracy("76.94", "pytorchvideo"),
    "kinetics400/slowfast_r50_8x8_multigrid": Accuracy("76.6", "PySlowFast"),
    "kinetics400/x3d_l": Accuracy("77.44", "pytorchvideo"),
    "kinetics400/x3d_m": Accuracy("75.94", "pytorchvideo"),
    "kinetics400/x3d_s": Accuracy("73.33", "pytorchvideo"),
    "kinetics400/x3d_xs": Accuracy("69.12", "pytorchvideo"),
    "kinetics600/slow_r50_8x8": Accuracy("77.5", "mmaction2 0.x"),
    "kinetics700/slow_r50_8x8": Accuracy("65.0", "mmaction2 0.x"),
    "ssv2/slow_r50_8x8": Accuracy("60.04", "pytorchvideo"),
    "ssv2/slowfast_r50_16x8": Accuracy("63.0", "PySlowFast"),
    "ssv2/slowfast_r50_8x8": Accuracy("61.68", "pytorchvideo"),
    "charades/slow_r50_8x8": Accuracy("34.72", "pytorchvideo"),
    "charades/slowfast_r50_16x8": Accuracy("38.9", "PySlowFast"),
    "charades/slowfast_r50_8x8": Accuracy("37.24", "pytorchvideo"),
    "ucf101/slow_r50_8x4": Accuracy("92.78", "mmaction2 0.x"),
    "hmdb51/slow_r50_8x4": Accuracy("65.95", "mmaction2 0.x"),
}
