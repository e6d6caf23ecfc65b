"""Slow, C2D and I3D: ResNets of bottleneck blocks on one pathway, built by pytorchvideo.

Slow: the slow pathway of Feichtenhofer, Fan, Malik, He, "SlowFast Networks for Video Recognition", ICCV 2019.
C2D and I3D: the baselines of Wang, Girshick, Gupta, He, "Non-local Neural Networks", CVPR 2018; I3D is the ResNet form
of Carreira, Zisserman, "Quo Vadis, Action Recognition?", CVPR 2017.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from videopool.errors import InputError
from videopool.models.depths import check_depth, cut_stages, published_depth
from videopool.models.third_party import pytorchvideo
from videopool.models.video_model import VideoModel
from videopool.models.windows import head_window, smallest_clip, with_plain_sizes


class _Design(NamedTuple):
    """What the networks differ in: frames that convolutions see, and a pool of 2 frames after the first stage.

    Attributes:
        name: of the model.
        stem: frames that the stem sees.
        kernels: frames that the first convolution of a block sees, for each stage; its blocks repeat the row.
        halved: whether there is the pool.
    """

    name: str
    stem: int
    kernels: tuple[tuple[int, ...], ...]
    halved: bool


_SLOW = _Design("slow", 1, ((1,), (1,), (3,), (3,)), halved=False)
_C2D = _Design("c2d", 1, ((1,), (1,), (1,), (1,)), halved=True)
_I3D = _Design("i3d", 5, ((3,), (3, 1), (3, 1), (1, 3)), halved=True)


def slow(
    *, classes: int, frames: int = 8, crop: int = 224, dropout: float = 0.5, depth: int = 50, width: int = 64
) -> VideoModel:
    """Return a Slow network, by default the published one (8x8, R50). It has no stride in time.

    Args:
        classes: K.
        frames: frames of a training clip; with ``crop`` it sets the window of the head. Larger clips fit.
        crop: side of a training clip in pixels.
        dropout: probability of dropping a feature before the classifier.
        depth: 14, 26, 50, 101 or 152 layers.
        width: channels of the stem; the stages have 4, 8, 16 and 32 times as many.

    Raises:
        InputError: for an unknown depth or a width below 1.
    """
    return _build(_SLOW, classes, frames, crop, dropout, depth, width)


def c2d(
    *,
    classes: int,
    frames: int = 8,
    crop: int = 224,
    dropout: float = 0.5,
    depth: int = 50,
    width: int = 64,
    time_pool: bool = True,
) -> VideoModel:
    """Return a C2D, by default the published one (8x8, R50): a 2D ResNet on frames, with one pool of 2 frames.

    The arguments are those of ``slow`` and ``time_pool``: whether there is the pool, for which ``frames`` must be 2 or
    more. Without it, the network is a 2D ResNet whose features are averaged over the frames.

    Raises:
        InputError: for an unknown depth, a width below 1, or one frame.
    """
    return _build(_C2D._replace(halved=time_pool), classes, frames, crop, dropout, depth, width)


def i3d(
    *,
    classes: int,
    frames: int = 8,
    crop: int = 224,
    dropout: float = 0.5,
    depth: int = 50,
    width: int = 64,
    time_pool: bool = True,
) -> VideoModel:
    """Return an I3D, by default the published one (8x8, R50), with one pool of 2 frames.

    The arguments are those of ``slow`` and ``time_pool``: whether there is the pool, for which ``frames`` must be 2 or
    more.

    Raises:
        InputError: for an unknown depth, a width below 1, or one frame.
    """
    return _build(_I3D._replace(halved=time_pool), classes, frames, crop, dropout, depth, width)


def _build(design: _Design, classes: int, frames: int, crop: int, dropout: float, depth: int, width: int) -> VideoModel:
    check_depth(design.name, depth, width)
    if design.halved and frames < 2:
        raise InputError(
            f"frames={frames} of {design.name} must be 2 or more, because it pools 2 frames", setting="frames"
        )
    strides = (2 if design.halved else 1, 32, 32)
    whole = frames - frames % strides[0]  # the pool leaves out an odd last frame
    window = head_window((whole, crop, crop), strides)
    net = pytorchvideo("models.resnet").create_resnet(
        model_depth=published_depth(depth),
        model_num_class=classes,
        dropout_rate=dropout,
        stem_dim_out=width,
        stem_conv_kernel_size=(design.stem, 7, 7),
        stage1_pool=nn.MaxPool3d if design.halved else None,
        stage_conv_a_kernel_size=tuple([(size, 1, 1) for size in row] for row in design.kernels),
        head_pool_kernel_size=window,
        head_output_with_global_average=False,
    )
    cut_stages(net.blocks, depth)
    smallest = (window[0] * strides[0], *smallest_clip(window, strides)[1:])
    return VideoModel(with_plain_sizes(net.blocks), classes=classes, smallest=smallest, least_frames=strides[0])
