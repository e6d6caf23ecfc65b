"""SlowFast, built by pytorchvideo, on one clip tensor.

Feichtenhofer, Fan, Malik, He, "SlowFast Networks for Video Recognition", ICCV 2019.
"""

from __future__ import annotations

import torch
from torch import nn

from videopool.errors import InputError
from videopool.models.depths import BOTTLENECKS
from videopool.models.third_party import pytorchvideo
from videopool.models.video_model import VideoModel
from videopool.models.windows import head_window, smallest_clip, with_plain_sizes

_STRIDES = (1, 32, 32)
# Blocks of the third stage of each pathway.
_THIRD_STAGE = {18: 1, **{depth: BOTTLENECKS[depth][2] for depth in (50, 101, 152)}}


class SlowFast(VideoModel):
    """SlowFast on one clip [B,3,T,H,W]: the fast pathway sees all T frames, the slow one T / alpha of them.

    The slow frames are ``i * (T - 1) // (T / alpha - 1)`` for i = 0, 1, ...: spread from the first frame to the last by
    integer arithmetic, the rule (a linspace rounded down) that the published weights were trained with.
    """

    def __init__(self, blocks: nn.ModuleList, *, classes: int, smallest: tuple[int, int, int], alpha: int) -> None:
        super().__init__(blocks, classes=classes, smallest=smallest, least_frames=alpha)
        self.alpha = alpha
        self.fixed_frames = True

    def take_any_size(self) -> None:
        """Let the head average over all positions, so that any number of frames fits that is a multiple of alpha."""
        super().take_any_size()
        self.fixed_frames = False

    def check_clips(self, clips: torch.Tensor) -> None:
        """Raise ``InputError`` also for another number of frames than the network was built for.

        After ``take_any_size``, the number of frames must be a multiple of alpha instead.

        The two pathways have head windows of ``frames`` and ``frames / alpha``. On longer clips these would slide to
        different numbers of positions, which do not concatenate. The spatial size has no such limit.
        """
        super().check_clips(clips)
        frames = self.smallest[0]
        if not self.fixed_frames and clips.shape[2] % self.alpha:
            raise InputError(
                f"This SlowFast takes clips of a multiple of alpha={self.alpha} frames, not {clips.shape[2]}.",
                setting="frames",
            )
        if self.fixed_frames and clips.shape[2] != frames:
            raise InputError(
                f"This SlowFast takes clips of {frames} frames, not {clips.shape[2]}. Build it with "
                f"frames={clips.shape[2]} (a multiple of alpha={self.alpha}); the weights do not depend on it.",
                setting="frames",
            )

    def features(self, clips: torch.Tensor) -> torch.Tensor:
        """Return predictions [B,K,t,h,w] of checked clips."""
        pathways: torch.Tensor | list[torch.Tensor] = [clips.index_select(2, self.slow_frames(clips)), clips]
        for block in self.blocks:
            pathways = block(pathways)
        assert isinstance(pathways, torch.Tensor)
        return pathways

    def slow_frames(self, clips: torch.Tensor) -> torch.Tensor:
        """Return the frames of the slow pathway: int64 [T / alpha], on the device of ``clips``."""
        frames = clips.shape[2]
        count = frames // self.alpha
        return torch.arange(count, device=clips.device) * (frames - 1) // max(count - 1, 1)


def slowfast(
    *,
    classes: int,
    frames: int = 32,
    crop: int = 224,
    dropout: float = 0.5,
    depth: int = 50,
    alpha: int = 4,
    channel_ratio: int = 8,
    width: int = 64,
    fusion_kernel: int = 7,
    temporal_blocks: int = 0,
) -> SlowFast:
    """Return a SlowFast, by default the published 8x8 R50.

    4x16 R50 is ``alpha=8, fusion_kernel=5``; 8x8 R101 is ``depth=101, fusion_kernel=5``; 16x8 R101 is ``frames=64,
    depth=101, fusion_kernel=5, temporal_blocks=6``.

    The lateral connections are convolutions of ``fusion_kernel`` frames with stride ``alpha`` in time. Like any strided
    convolution, they are pooling sites of kind ``stride``.

    Args:
        classes: K.
        frames: frames of a training clip, a multiple of ``alpha``; with ``crop`` it sets the windows of the head.
        crop: side of a training clip in pixels.
        dropout: probability of dropping a feature before the classifier.
        depth: 18 (one bottleneck block a stage), 50, 101 or 152 layers in either pathway.
        alpha: frames of the fast pathway for each frame of the slow one.
        channel_ratio: channels of the slow pathway for each channel of the fast one (1 / beta in the paper).
        width: channels of the slow stem, a multiple of ``channel_ratio``.
        fusion_kernel: frames that a lateral connection sees; odd.
        temporal_blocks: first blocks of the third stage whose first convolution sees 3 frames, in both pathways; the
            others see one. 0: all.

    Raises:
        InputError: for impossible numbers.
    """
    _check(frames, depth, alpha, channel_ratio, width, fusion_kernel, temporal_blocks)
    fast = head_window((frames, crop, crop), _STRIDES)
    slow = (frames // alpha, *fast[1:])
    net = pytorchvideo("models.slowfast").create_slowfast(
        slowfast_channel_reduction_ratio=(channel_ratio,),
        slowfast_fusion_conv_kernel_size=(fusion_kernel, 1, 1),
        slowfast_fusion_conv_stride=(alpha, 1, 1),
        model_depth=depth,
        model_num_class=classes,
        dropout_rate=dropout,
        stem_dim_outs=(width, width // channel_ratio),
        stage_conv_a_kernel_sizes=_kernels(temporal_blocks or _THIRD_STAGE[depth], _THIRD_STAGE[depth]),
        head_pool_kernel_sizes=(slow, fast),
        head_activation=None,
        head_output_with_global_average=False,
    )
    smallest = smallest_clip(fast, _STRIDES)
    return SlowFast(with_plain_sizes(net.blocks), classes=classes, smallest=smallest, alpha=alpha)


def _kernels(temporal: int, blocks: int) -> tuple[tuple[object, ...], ...]:
    """Return the kernels of first convolutions of the four stages of both pathways.

    ``temporal`` of the ``blocks`` of the third stage see 3 frames.
    """
    one, three = (1, 1, 1), (3, 1, 1)
    third = (three,) * temporal + (one,) * (blocks - temporal)
    return (one, one, third, three), (three, three, third, three)


def _check(
    frames: int, depth: int, alpha: int, channel_ratio: int, width: int, fusion_kernel: int, temporal_blocks: int
) -> None:
    if depth not in _THIRD_STAGE:
        raise InputError(
            f"depth={depth} of slowfast must be one of {', '.join(map(str, _THIRD_STAGE))}", setting="arguments"
        )
    if not 0 <= temporal_blocks <= _THIRD_STAGE[depth]:
        raise InputError(
            f"temporal_blocks={temporal_blocks} of slowfast must be from 0 to {_THIRD_STAGE[depth]}, the blocks of its "
            f"third stage at depth={depth}",
            setting="arguments",
        )
    if alpha < 1 or frames % alpha:
        raise InputError(f"frames={frames} of slowfast must be a multiple of alpha={alpha}", setting="frames")
    if channel_ratio < 1 or width < 1 or width % channel_ratio:
        raise InputError(
            f"width={width} of slowfast must be a multiple of channel_ratio={channel_ratio}", setting="arguments"
        )
    if fusion_kernel < 1 or fusion_kernel % 2 == 0:
        raise InputError(
            f"fusion_kernel={fusion_kernel} of slowfast must be odd, to be centered on a frame", setting="arguments"
        )
