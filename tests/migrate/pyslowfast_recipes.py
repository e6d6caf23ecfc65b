"""The recipes of PySlowFast for Kinetics, Something-Something V2 and Charades, as facts: keys that matter to training.

From configs/ at commit 287ec00. A recipe is a file name and the values in which it differs from ``COMMON``. Pathways
that agree are written once.
"""

from __future__ import annotations

from typing import Any

Keys = dict[str, Any]

COMMON: Keys = {
    "TRAIN.DATASET": "kinetics",
    "TRAIN.BATCH_SIZE": 64,
    "TRAIN.EVAL_PERIOD": 10,
    "NUM_GPUS": 8,
    "RNG_SEED": 0,
    "DATA.TRAIN_JITTER_SCALES": [256, 320],
    "DATA.TRAIN_CROP_SIZE": 224,
    "DATA.TEST_CROP_SIZE": 256,
    "DATA_LOADER.PIN_MEMORY": True,
    "RESNET.ZERO_INIT_FINAL_BN": True,
    "BN.USE_PRECISE_STATS": True,
    "BN.NUM_BATCHES_PRECISE": 200,
    "SOLVER.BASE_LR": 0.1,
    "SOLVER.LR_POLICY": "cosine",
    "SOLVER.MAX_EPOCH": 196,
    "SOLVER.WEIGHT_DECAY": "1e-4",  # which YAML reads as text
    "SOLVER.WARMUP_EPOCHS": 34.0,
    "SOLVER.WARMUP_START_LR": 0.01,
    "MODEL.NUM_CLASSES": 400,
    "MODEL.LOSS_FUNC": "cross_entropy",
}
_BLOCKS = {50: [[3], [4], [6], [3]], 101: [[3], [4], [23], [3]]}
_RELATIVE = [1, 0.1, 0.01, 0.001, 0.0001, 0.00001]


def _resnet(arch: str, frames: int = 8, rate: int = 8, depth: int = 50, name: str = "ResNet") -> Keys:
    return {
        "MODEL.ARCH": arch,
        "MODEL.MODEL_NAME": name,
        "DATA.NUM_FRAMES": frames,
        "DATA.SAMPLING_RATE": rate,
        "RESNET.DEPTH": depth,
        "RESNET.NUM_BLOCK_TEMP_KERNEL": _BLOCKS[depth],
    }


def _slowfast(alpha: int = 4, kernel: int = 5, frames: int = 32, depth: int = 50, name: str = "SlowFast") -> Keys:
    return {
        **_resnet("slowfast", frames, 2, depth, name),
        "SLOWFAST.ALPHA": alpha,
        "SLOWFAST.FUSION_KERNEL_SZ": kernel,
    }


def _x3d(frames: int, rate: int, depth: float = 2.2, sides: tuple[int, int, int, int] = (256, 320, 224, 256)) -> Keys:
    large = depth == 5.0
    return {
        "MODEL.ARCH": "x3d",
        "MODEL.MODEL_NAME": "X3D",
        "X3D.DEPTH_FACTOR": depth,
        "X3D.WIDTH_FACTOR": 2.0,
        "X3D.BOTTLENECK_FACTOR": 2.25,
        "RESNET.TRANS_FUNC": "x3d_transform",
        "DATA.NUM_FRAMES": frames,
        "DATA.SAMPLING_RATE": rate,
        "DATA.TRAIN_JITTER_SCALES": [*sides[:2]],
        "DATA.TRAIN_CROP_SIZE": sides[2],
        "DATA.TEST_CROP_SIZE": sides[3],
        "TRAIN.BATCH_SIZE": 64 if large else 128,
        "SOLVER.BASE_LR": 0.05 if large else 0.1,
        "SOLVER.MAX_EPOCH": 256 if large else 300,
        "SOLVER.WEIGHT_DECAY": "5e-5",
        "SOLVER.WARMUP_EPOCHS": 35.0,
        "SOLVER.BASE_LR_SCALE_NUM_SHARDS": True,
    }


_TESTED = {"TRAIN.ENABLE": False, "TRAIN.CHECKPOINT_TYPE": "caffe2"}
_NONLOCAL = {"NONLOCAL.LOCATION": [[[]], [[1, 3]], [[1, 3, 5]], [[]]]}
_NONLOCAL_SLOW = {"NONLOCAL.LOCATION": [[[], []], [[1, 3], []], [[1, 3, 5], []], [[], []]]}
_NONLOCAL_101 = {"NONLOCAL.LOCATION": [[[], []], [[], []], [[6, 13, 20], []], [[], []]]}
_SIX = {"RESNET.NUM_BLOCK_TEMP_KERNEL": _BLOCKS[50]}
_SMALL = (182, 228, 160, 182)
_SIZES = {
    "XS": _x3d(4, 12, sides=_SMALL),
    "S": _x3d(13, 6, sides=_SMALL),
    "M": _x3d(16, 5),
    "L": _x3d(16, 5, 5.0, (356, 446, 312, 356)),
}


def _steps(rate: float, steps: list[int], epochs: int, factors: list[float] = _RELATIVE) -> Keys:
    return {
        "SOLVER.BASE_LR": rate,
        "SOLVER.LR_POLICY": "steps_with_relative_lrs",
        "SOLVER.STEPS": steps,
        "SOLVER.LRS": factors,
        "SOLVER.MAX_EPOCH": epochs,
    }


_FROM_IMAGES = {
    **_steps(0.01, [0, 44, 88, 118], 118, _RELATIVE[:4]),
    "SOLVER.WARMUP_EPOCHS": 0.0,
    "TRAIN.CHECKPOINT_INFLATE": True,
}
_STEPWISE = _steps(0.1, [0, 94, 154, 196], 239)
_MULTIGRID = {"MULTIGRID.SHORT_CYCLE": True, "MULTIGRID.LONG_CYCLE": True}
_BGR = {"DATA.INV_UNIFORM_SAMPLE": True, "DATA.REVERSE_INPUT_CHANNEL": True}
_FINE_TUNED = {
    **_BGR,
    "TRAIN.CHECKPOINT_FILE_PATH": "SLOWFAST_8x8_R50.pkl",
    "TRAIN.CHECKPOINT_TYPE": "caffe2",
    "TRAIN.BATCH_SIZE": 16,
    "BN.NORM_TYPE": "sync_batchnorm",
    "BN.NUM_SYNC_DEVICES": 4,
    "SOLVER.WARMUP_START_LR": 0.0001,
}
_SEVERAL_LABELS = {
    "DATA.MULTI_LABEL": True,
    "DATA.ENSEMBLE_METHOD": "max",
    "MODEL.NUM_CLASSES": 157,
    "MODEL.LOSS_FUNC": "bce_logit",
    "MODEL.HEAD_ACT": "sigmoid",
    "TRAIN.EVAL_PERIOD": 6,
}
_CHARADES = {
    **_slowfast(4, 7, 64),
    **_FINE_TUNED,
    **_SEVERAL_LABELS,
    **_steps(0.0375, [0, 41, 49], 57),
    "TRAIN.DATASET": "charades",
    "DATA.TRAIN_JITTER_SCALES": [256, 340],
    "SOLVER.WARMUP_EPOCHS": 4.0,
}
_CHARADES_COSINE = {
    **_BGR,
    **_SEVERAL_LABELS,
    "TRAIN.DATASET": "ptvcharades",
    "BN.USE_PRECISE_STATS": False,
    "SOLVER.BASE_LR": 0.25,
    "SOLVER.COSINE_END_LR": "1e-6",
    "SOLVER.MAX_EPOCH": 60,
    "SOLVER.WARMUP_EPOCHS": 5.0,
    "SOLVER.WARMUP_START_LR": 0.0001,
    "SOLVER.BASE_LR_SCALE_NUM_SHARDS": True,
}
_NO_FLIP = {
    **_BGR,
    "DATA.RANDOM_FLIP": False,
    "MODEL.NUM_CLASSES": 174,
    "TEST.NUM_ENSEMBLE_VIEWS": 1,
    "TRAIN.EVAL_PERIOD": 2,
}
_SSV2 = {
    **_slowfast(4, 7, 64),
    **_FINE_TUNED,
    **_NO_FLIP,
    **_steps(0.03, [0, 14, 18], 22),
    "TRAIN.DATASET": "ssv2",
    "SOLVER.WEIGHT_DECAY": "1e-6",
    "SOLVER.WARMUP_EPOCHS": 0.19,
    "TEST.NUM_SPATIAL_CROPS": 1,
}
_SSV2_COSINE = {
    **_NO_FLIP,
    "TRAIN.DATASET": "ptvssv2",
    "SOLVER.MAX_EPOCH": 30,
    "SOLVER.WARMUP_EPOCHS": 3.0,
    "SOLVER.WARMUP_START_LR": 0.08,
}
_PTV = {"TRAIN.DATASET": "ptvkinetics"}
_PTVX3D = _PTV | {"MODEL.MODEL_NAME": "PTVX3D"}
_OFTEN = {"TRAIN.EVAL_PERIOD": 2}

DIFFERENCES: dict[str, Keys] = {
    "Kinetics/C2D_8x8_R50": _resnet("c2d"),
    "Kinetics/C2D_8x8_R50_IN1K": _resnet("c2d") | _FROM_IMAGES,
    "Kinetics/C2D_NLN_8x8_R50": _resnet("c2d") | _NONLOCAL,
    "Kinetics/C2D_NLN_8x8_R50_IN1K": _resnet("c2d") | _NONLOCAL | _FROM_IMAGES,
    "Kinetics/I3D_8x8_R50": _resnet("i3d"),
    "Kinetics/I3D_8x8_R50_IN1K": _resnet("i3d") | _FROM_IMAGES,
    "Kinetics/I3D_8x8_R101": _resnet("i3d", depth=101),
    "Kinetics/I3D_NLN_8x8_R50": _resnet("i3d") | _NONLOCAL,
    "Kinetics/I3D_NLN_8x8_R50_IN1K": _resnet("i3d") | _NONLOCAL | _FROM_IMAGES,
    "Kinetics/I3D_NLN_8x8_R101": _resnet("i3d", depth=101) | _NONLOCAL,
    "Kinetics/SLOWFAST_4x16_R50": _slowfast(8),
    "Kinetics/SLOWFAST_8x8_R50": _slowfast(4, 7),
    "Kinetics/SLOWFAST_8x8_R50_stepwise": _slowfast(4, 7) | _STEPWISE,
    "Kinetics/SLOWFAST_8x8_R50_stepwise_multigrid": (
        _slowfast(4, 7) | _STEPWISE | _MULTIGRID | {"DATA.TEST_CROP_SIZE": 224}
    ),
    "Kinetics/SLOWFAST_NLN_4x16_R50": _slowfast(8) | _NONLOCAL_SLOW,
    "Kinetics/SLOWFAST_NLN_8x8_R50": _slowfast(4) | _NONLOCAL_SLOW,
    "Kinetics/SLOW_4x16_R50": _resnet("slow", 4, 16),
    "Kinetics/SLOW_8x8_R50": _resnet("slow"),
    "Kinetics/SLOW_NLN_4x16_R50": _resnet("slow", 4, 16) | _NONLOCAL,
    "Kinetics/SLOW_NLN_8x8_R50": _resnet("slow") | _NONLOCAL,
    **{f"Kinetics/X3D_{size}": keys for size, keys in _SIZES.items()},
    "Kinetics/c2/C2D_NOPOOL_8x8_R50": _resnet("c2d", name="ResNet_nopool") | _TESTED,
    "Kinetics/c2/I3D_8x8_R50": _resnet("i3d") | _TESTED,
    "Kinetics/c2/I3D_NLN_8x8_R50": _resnet("i3d") | _NONLOCAL | _TESTED,
    "Kinetics/c2/SLOWFAST_16x8_R101_50_50": _slowfast(4, 5, 64, 101) | _SIX | _TESTED,
    "Kinetics/c2/SLOWFAST_4x16_R50": _slowfast(8) | _TESTED,
    "Kinetics/c2/SLOWFAST_8x8_R101_101_101": _slowfast(depth=101) | _TESTED,
    "Kinetics/c2/SLOWFAST_8x8_R101_50_101": (
        _slowfast(depth=101) | _TESTED | {"RESNET.NUM_BLOCK_TEMP_KERNEL": [[3, 3], [4, 4], [6, 23], [3, 3]]}
    ),
    "Kinetics/c2/SLOWFAST_8x8_R101_50_50": _slowfast(depth=101) | _SIX | _TESTED,
    "Kinetics/c2/SLOWFAST_8x8_R50": _slowfast(4, 7) | _TESTED,
    "Kinetics/c2/SLOWFAST_NLN_16x8_R101_50_50": _slowfast(4, 5, 64, 101) | _SIX | _NONLOCAL_101 | _TESTED,
    "Kinetics/c2/SLOW_4x16_R50": _resnet("slow", 4, 16) | _TESTED,
    "Kinetics/c2/SLOW_8x8_R50": _resnet("slow") | _TESTED,
    "Kinetics/pytorchvideo/C2D_8x8_R50": _resnet("c2d", name="PTVResNet") | _PTV,
    "Kinetics/pytorchvideo/CSN_32x2_R101": _resnet("csn", 32, 2, 101, "PTVCSN") | _PTV,
    "Kinetics/pytorchvideo/I3D_8x8_R50": _resnet("i3d", name="PTVResNet") | _PTV,
    "Kinetics/pytorchvideo/R2PLUS1D_16x4_R50": _resnet("r2plus1d", 16, 4, name="PTVR2plus1D") | _PTV,
    "Kinetics/pytorchvideo/SLOWFAST_16x8_R101_50_50": (
        _slowfast(4, 5, 64, 101, "PTVSlowFast") | _SIX | _PTV | _OFTEN | {"DATA.TRAIN_JITTER_SCALES": [256, 360]}
    ),
    "Kinetics/pytorchvideo/SLOWFAST_4x16_R50": _slowfast(8, name="PTVSlowFast") | _PTV,
    "Kinetics/pytorchvideo/SLOWFAST_8x8_R101": _slowfast(depth=101, name="PTVSlowFast") | _PTV | _OFTEN,
    "Kinetics/pytorchvideo/SLOWFAST_8x8_R50": _slowfast(4, 7, name="PTVSlowFast") | _PTV,
    "Kinetics/pytorchvideo/SLOW_4x16_R50": _resnet("slow", 4, 16, name="PTVResNet") | _PTV,
    "Kinetics/pytorchvideo/SLOW_8x8_R50": _resnet("slow", name="PTVResNet") | _PTV,
    **{f"Kinetics/pytorchvideo/X3D_{size}": keys | _PTVX3D for size, keys in _SIZES.items()},
    "SSv2/SLOWFAST_16x8_R50": _SSV2,
    "SSv2/SLOWFAST_16x8_R50_multigrid": _SSV2 | _MULTIGRID | {"DATA.TEST_CROP_SIZE": 224},
    "SSv2/pytorchvideo/SLOWFAST_8x8_R50": (
        _slowfast(4, 7, name="PTVSlowFast") | _SSV2_COSINE | {"BN.NUM_BATCHES_PRECISE": 150}
    ),
    "SSv2/pytorchvideo/SLOW_8x8_R50": _resnet("slow", name="PTVResNet") | _SSV2_COSINE,
    "Charades/SLOWFAST_16x8_R50": _CHARADES,
    "Charades/SLOWFAST_16x8_R50_multigrid": _CHARADES | _MULTIGRID,
    "Charades/pytorchvideo/SLOWFAST_8x8_R50": _slowfast(4, 7, name="PTVSlowFast") | _CHARADES_COSINE,
    "Charades/pytorchvideo/SLOW_8x8_R50": (
        _resnet("slow", name="PTVResNet") | _CHARADES_COSINE | {"DATA.TRAIN_JITTER_SCALES": [256, 340]}
    ),
}
RECIPES: dict[str, Keys] = {name: COMMON | keys for name, keys in DIFFERENCES.items()}


def as_yaml(keys: Keys) -> str:
    """Return the text of a file with ``keys``."""
    import yaml

    tree: dict[str, Any] = {}
    for key, value in keys.items():
        section, _, name = key.rpartition(".")
        (tree.setdefault(section, {}) if section else tree)[name] = value
    return yaml.safe_dump(tree)
