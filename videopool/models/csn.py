"""CSN: a ResNet whose 3x3x3 convolutions see one channel each, built by pytorchvideo.

Tran, Wang, Feiszli, Torresani, "Video Classification with Channel-Separated Convolutional Networks", ICCV 2019. This is
the interaction-reduced form (ir-CSN): the depthwise convolution replaces the one between the 1x1x1 convolutions of a
bottleneck. The interaction-preserved form (ip-CSN) has another 1x1x1 convolution before it.
"""

from __future__ import annotations

from torch import nn

from videopool.models.depths import check_depth, cut_stages, published_depth
from videopool.models.third_party import pytorchvideo
from videopool.models.video_model import VideoModel
from videopool.models.windows import head_window, smallest_clip, with_plain_sizes

_STRIDES = (8, 32, 32)


def csn(
    *, classes: int, frames: int = 32, crop: int = 224, dropout: float = 0.5, depth: int = 101, width: int = 64
) -> VideoModel:
    """Return an ir-CSN, by default the published one (32x2, R101).

    The arguments are those of ``slow``.

    Raises:
        InputError: for an unknown depth or a width below 1.
    """
    check_depth("csn", depth, width)
    window = head_window((frames, crop, crop), _STRIDES)
    net = pytorchvideo("models.csn").create_csn(
        model_depth=published_depth(depth),
        model_num_class=classes,
        dropout_rate=dropout,
        stem_dim_out=width,
        stem_pool=nn.MaxPool3d,
        head_pool_kernel_size=window,
        head_output_with_global_average=False,
    )
    cut_stages(net.blocks, depth)
    return VideoModel(with_plain_sizes(net.blocks), classes=classes, smallest=smallest_clip(window, _STRIDES))
