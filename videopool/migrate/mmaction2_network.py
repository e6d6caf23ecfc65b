"""Networks of mmaction2. The defaults are those of mmaction/models at commit 4d6c934."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from videopool.errors import InputError
from videopool.migrate.draft import Draft
from videopool.migrate.keys import Keys

_BACKBONE = "model.backbone."
_ONE_OF_TWO = [[1, 1, 1], [1, 0, 1, 0], [1, 0, 1, 0, 1, 0], [0, 1, 0]]
# Keys of a backbone: the default, the value that the network has here, and why another one cannot be carried over.
_Fixed = dict[str, tuple[Any, Any, str]]
_RESNET: _Fixed = {
    "act_cfg.type": ("ReLU", "ReLU", "blocks have a ReLU here"),
    "base_channels": (64, 64, "set model.arguments.width"),
    "dilations": ([1, 1, 1, 1], [1, 1, 1, 1], "convolutions here are not dilated"),
    "non_local": ([0, 0, 0, 0], [0, 0, 0, 0], "there are no non-local blocks here"),
    "num_stages": (4, 4, "networks have four stages here"),
    "spatial_strides": ([1, 2, 2, 2], [1, 2, 2, 2], "the spatial strides of the stages are 1, 2, 2, 2"),
    "style": ("pytorch", "pytorch", "the stride of a block is in its 3x3 convolution"),
    "zero_init_residual": (True, True, "the last normalization of a block starts at zero here"),
}
_IMAGES: _Fixed = {
    **{key: _RESNET[key] for key in ("act_cfg.type", "dilations", "num_stages", "style")},
    "partial_bn": (False, False, "see model.freeze and model.freeze_norms"),
    "strides": ([1, 2, 2, 2], [1, 2, 2, 2], "the spatial strides of the stages are 1, 2, 2, 2"),
}
_NO_TIME: _Fixed = {"temporal_strides": ([1, 1, 1, 1], [1, 1, 1, 1], "the stages have no stride in time here")}
_SLOW: _Fixed = {
    **_RESNET,
    **_NO_TIME,
    "conv1_kernel": ([1, 7, 7], [1, 7, 7], "the stem of slow sees one frame"),
    "conv1_stride_t": (1, 1, "the stem has no stride in time here"),
    "inflate": ([0, 0, 1, 1], [0, 0, 1, 1], "the last two stages of slow have convolutions in time"),
    "pool1_stride_t": (1, 1, "the stem has no stride in time here"),
    "with_pool2": (False, False, "slow has no pool in time"),
}
_I3D: _Fixed = {
    **_RESNET,
    **_NO_TIME,
    "conv1_kernel": ([3, 7, 7], [5, 7, 7], "the stem of i3d sees five frames"),
    "conv1_stride_t": (1, 1, "the stem of i3d has no stride in time here"),
    "inflate": ([1, 1, 1, 1], _ONE_OF_TWO, "every second block of i3d has a convolution in time"),
    "inflate_style": ("3x1x1", "3x1x1", "the convolution in time of a block is its first one"),
    "pool1_stride_t": (1, 1, "the stem of i3d has no stride in time here"),
    "with_pool2": (True, True, "i3d has a pool in time after the first stage"),
}
_R2PLUS1D: _Fixed = {
    **_RESNET,
    "conv1_kernel": ([3, 7, 7], [3, 7, 7], "the stem of r2plus1d sees three frames"),
    "conv1_stride_t": (1, 1, "the stem has no stride in time here"),
    "inflate": ([1, 1, 1, 1], [1, 1, 1, 1], "all blocks of r2plus1d have convolutions in time"),
    "pool1_stride_t": (1, 1, "the stem has no stride in time here"),
    "temporal_strides": ([1, 1, 1, 1], [1, 2, 2, 2], "the stages of r2plus1d have the strides 1, 2, 2, 2 in time"),
    "zero_init_residual": (True, False, "normalization starts at one here"),
}
_CSN: _Fixed = {
    **_RESNET,
    "bottleneck_mode": ("ir", "ir", "csn is the interaction-reduced form"),
    "conv1_kernel": ([3, 7, 7], [3, 7, 7], "the stem of csn sees three frames"),
    "conv1_stride_t": (1, 1, "the stem has no stride in time here"),
    "norm_cfg.eps": (1e-3, 1e-5, "batch normalization of csn has eps=1e-5 here"),
    "pool1_stride_t": (1, 1, "the stem has no stride in time here"),
    "temporal_strides": ([1, 2, 2, 2], [1, 2, 2, 2], "the stages of csn have the strides 1, 2, 2, 2 in time"),
    "with_pool2": (True, False, "csn has no pool in time"),
}
_X3D: _Fixed = {
    "num_stages": (4, 4, "networks have four stages here"),
    "se_ratio": (1 / 16, 1 / 16, "squeeze and excitation of X3D has the ratio 1/16"),
    "se_style": ("half", "half", "every second block of X3D has squeeze and excitation"),
    "spatial_strides": ([2, 2, 2, 2], [2, 2, 2, 2], "the spatial strides of X3D are 2, 2, 2, 2"),
    "use_swish": (True, True, "X3D has swish"),
    "zero_init_residual": (True, True, "the last normalization of a block starts at zero here"),
}
_HEADS = ("I3DHead", "SlowFastHead", "TSNHead", "X3DHead")
_ELSEWHERE = (
    "norm_cfg.*",
    "conv_cfg.*",
    "act_cfg.*",
    "non_local_cfg.*",
    "pretrained2d",
    "out_indices",
    "init_cfg.*",
    "torchvision_pretrain",
)


def set_network(keys: Keys, draft: Draft) -> None:
    """Set the keys of the network.

    Raises:
        InputError: if videopool has no such network.
    """
    kind, recognizer = keys.take(f"{_BACKBONE}type", ""), keys.take("model.type", "")
    head, neck = keys.take("model.cls_head.type", "I3DHead"), keys.take("model.neck.type", "")
    known = recognizer in ("Recognizer3D", "Recognizer2D") and kind in BACKBONES and head in _HEADS and not neck
    if not known:
        parts = ", ".join(str(part) for part in (recognizer, kind, neck, head) if part)
        raise InputError(
            f"{draft.path}: videopool does not have the network {parts}; it has those of {', '.join(BACKBONES)} with "
            f"{', '.join(_HEADS)}"
        )
    if keys.take(f"{_BACKBONE}in_channels", 3) != 3:
        raise InputError(f"{draft.path}: model.backbone.in_channels is not 3; videopool takes frames in color, no flow")
    name, arguments = BACKBONES[kind](keys, draft)
    draft.set("model.name", name, "model.backbone.type")
    draft.set("model.pooling", "none", "the published network; soft: SoftPool")
    draft.set("model.arguments", arguments, "model.backbone")
    _set_head(keys, draft)
    _set_backbone_options(keys, draft)


def _set_head(keys: Keys, draft: Draft) -> None:
    draft.set("model.dropout", keys.take("model.cls_head.dropout_ratio", 0.5), "model.cls_head.dropout_ratio")
    loss = keys.take("model.cls_head.loss_cls.type", "CrossEntropyLoss")
    losses = {"CrossEntropyLoss": "cross_entropy", "BCELossWithLogits": "bce"}
    if loss in losses:
        draft.set("optim.loss", losses[loss], "model.cls_head.loss_cls")
    else:
        draft.lose("model.cls_head.loss_cls", f"{loss} does not exist here; set optim.loss")
    keys.take("model.cls_head.multi_class", default=False)
    smoothing = keys.take("model.cls_head.label_smooth_eps", 0.0)
    if smoothing:
        draft.set("optim.label_smoothing", smoothing, "model.cls_head.label_smooth_eps")
    if keys.take("model.cls_head.average_clips", "prob") != "prob":
        draft.lose("model.cls_head.average_clips", "the score of a video is the mean of the probabilities of its views")
    if keys.take("model.cls_head.spatial_type", "avg") != "avg":
        draft.lose("model.cls_head.spatial_type", "heads average over all positions")
    if keys.below("model.cls_head.consensus.").get("type", "AvgConsensus") != "AvgConsensus":
        draft.lose("model.cls_head.consensus", "frames are averaged here")


def _set_backbone_options(keys: Keys, draft: Draft) -> None:
    for key in (f"{_BACKBONE}pretrained", f"{_BACKBONE}init_cfg.checkpoint", "load_from"):
        weights = keys.take(key)
        if isinstance(weights, str) and "://" in weights:
            draft.lose(key, f"download {weights}, then set model.pretrained=FILE")
        elif weights:
            draft.set("model.pretrained", str(weights), key)
    frozen = [keys.take(f"{_BACKBONE}{name}", default=False) for name in ("norm_eval", "bn_frozen")]
    if any(frozen):
        draft.set("model.freeze_norms", "all", "model.backbone.norm_eval")
    if keys.take(f"{_BACKBONE}with_cp", default=False):
        draft.set("model.checkpoint_activations", ["*"], "model.backbone.with_cp")
    stages = keys.take(f"{_BACKBONE}frozen_stages", -1)
    if stages >= 0:
        draft.lose("model.backbone.frozen_stages", f"set model.freeze for the stem and {stages} stages")
    for pattern in _ELSEWHERE:
        keys.below(_BACKBONE + pattern.removesuffix("*"))


def _check(keys: Keys, draft: Draft, fixed: _Fixed, prefix: str = _BACKBONE) -> None:
    """Record the keys with another value than the network has here."""
    for key, (default, here, reason) in fixed.items():
        if _listed(keys.take(prefix + key, default)) != here:
            draft.lose(prefix + key, reason)


def _listed(value: Any) -> Any:
    return [_listed(item) for item in value] if isinstance(value, (list, tuple)) else value


def _depth(keys: Keys, key: str = f"{_BACKBONE}depth", allowed: tuple[int, ...] = (50, 101, 152)) -> int:
    depth: int = keys.take(key, 50)
    if depth not in allowed:
        raise InputError(f"{key}={depth} is not a depth of this network here; they are {', '.join(map(str, allowed))}")
    return depth


def _slow(keys: Keys, draft: Draft) -> tuple[str, dict[str, Any]]:
    _check(keys, draft, _SLOW)
    keys.take(f"{_BACKBONE}lateral", default=False)
    return "slow", {"depth": _depth(keys)}


def _csn(keys: Keys, draft: Draft) -> tuple[str, dict[str, Any]]:
    _check(keys, draft, _CSN)
    return "csn", {"depth": _depth(keys)}


def _i3d(keys: Keys, draft: Draft) -> tuple[str, dict[str, Any]]:
    _check(keys, draft, _I3D)
    return "i3d", {"depth": _depth(keys)}


def _r2plus1d(keys: Keys, draft: Draft) -> tuple[str, dict[str, Any]]:
    depth = _depth(keys, allowed=(18, 34, 50, 101, 152))
    _check(keys, draft, _R2PLUS1D)
    return "r2plus1d", {"depth": depth} | ({"form": "mmaction2"} if depth in (18, 34) else {})


def _x3d(keys: Keys, draft: Draft) -> tuple[str, dict[str, Any]]:
    _check(keys, draft, _X3D)
    return "x3d", {
        "width": 2.0 * keys.take(f"{_BACKBONE}gamma_w", 1.0),  # of 12 channels here, of 24 in mmaction2
        "depth": keys.take(f"{_BACKBONE}gamma_d", 1.0),
        "bottleneck": keys.take(f"{_BACKBONE}gamma_b", 1.0),
        "head_width": keys.take("model.cls_head.mid_channels", 2048),
    }


def _c2d(keys: Keys, draft: Draft) -> tuple[str, dict[str, Any]]:
    _check(keys, draft, _IMAGES)
    draft.lose("model.backbone.type", "the stem pads before its pool here, and does not in C2D of mmaction2")
    return "c2d", {"depth": _depth(keys)}


def _frames(keys: Keys, draft: Draft) -> tuple[str, dict[str, Any]]:
    """Return the network of a 2D ResNet on frames, whose scores are averaged."""
    _check(keys, draft, _IMAGES)
    return "c2d", {"depth": _depth(keys), "time_pool": False}


def _slowfast(keys: Keys, draft: Draft) -> tuple[str, dict[str, Any]]:
    slow, fast = f"{_BACKBONE}slow_pathway.", f"{_BACKBONE}fast_pathway."
    alpha, rate = keys.take(f"{_BACKBONE}speed_ratio", 8), keys.take(f"{_BACKBONE}resample_rate", 8)
    ratio, depth = keys.take(f"{_BACKBONE}channel_ratio", 8), _depth(keys, f"{slow}depth")
    _check(keys, draft, {key: value for key, value in _SLOW.items() if key != "with_pool2"}, slow)
    fixed = _SLOW | {
        "base_channels": (8, 64 // ratio, "the fast pathway has width / channel_ratio channels"),
        "conv1_kernel": ([5, 7, 7], [5, 7, 7], "the stem of the fast pathway sees five frames"),
        "inflate": ([1, 1, 1, 1], [1, 1, 1, 1], "all blocks of the fast pathway have convolutions in time"),
    }
    _check(keys, draft, {key: value for key, value in fixed.items() if key != "with_pool2"}, fast)
    if alpha != rate:
        draft.lose("model.backbone.resample_rate", f"the slow pathway has every alpha-th frame, alpha={alpha}")
    if keys.take(f"{fast}depth", 50) != depth:
        draft.lose(f"{fast}depth", f"both pathways have the same depth here, {depth}")
    if not keys.take(f"{slow}lateral_norm", default=False):
        draft.lose(f"{slow}lateral_norm", "lateral connections have normalization and a ReLU here")
    for rest in ("type", "lateral", "norm_eval", "pretrained"):
        keys.take(slow + rest), keys.take(fast + rest)
    kernel = keys.take(f"{slow}fusion_kernel", 5)
    return "slowfast", {"depth": depth, "alpha": alpha, "channel_ratio": ratio, "fusion_kernel": kernel}


BACKBONES: dict[str, Callable[[Keys, Draft], tuple[str, dict[str, Any]]]] = {
    "C2D": _c2d,
    "ResNet": _frames,
    "ResNet2Plus1d": _r2plus1d,
    "ResNet3d": _i3d,
    "ResNet3dCSN": _csn,
    "ResNet3dSlowFast": _slowfast,
    "ResNet3dSlowOnly": _slow,
    "X3D": _x3d,
}
