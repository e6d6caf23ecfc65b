"""X3D, built by pytorchvideo.

Feichtenhofer, "X3D: Expanding Architectures for Efficient Video Recognition", CVPR 2020.
"""

from __future__ import annotations

from torch import nn

from videopool.errors import InputError
from videopool.models.third_party import pytorchvideo
from videopool.models.video_model import VideoModel
from videopool.models.windows import head_window, smallest_clip, with_plain_sizes

_STRIDES = (1, 32, 32)


def x3d(
    *,
    classes: int,
    frames: int = 13,
    crop: int = 160,
    dropout: float = 0.5,
    depth: float = 2.2,
    width: float = 2.0,
    bottleneck: float = 2.25,
    head_width: int = 2048,
) -> VideoModel:
    """Return an X3D, by default the published X3D-S.

    XS is ``frames=4``, M ``frames=16, crop=224``, L ``frames=16, crop=312, depth=5.0``.

    Args:
        classes: K.
        frames: frames of a training clip; with ``crop`` it sets the window of the head. Larger clips fit.
        crop: side of a training clip in pixels.
        dropout: probability of dropping a feature before the classifier.
        depth: factor on the blocks 1, 2, 5, 3 of the four stages, rounded up.
        width: factor on the channels 12, 12, 24, 48, 96 of stem and stages, rounded to multiples of 8.
        bottleneck: channels inside a block, for each channel outside.
        head_width: features before the classifier.

    Raises:
        InputError: for impossible numbers.
    """
    if min(depth, width, bottleneck) <= 0 or head_width < 1:
        raise InputError(
            f"x3d cannot be built with depth={depth}, width={width}, bottleneck={bottleneck}, head_width={head_width}. "
            "All must be above 0.",
            setting="arguments",
        )
    window = head_window((frames, crop, crop), _STRIDES)
    net = pytorchvideo("models.x3d").create_x3d(
        input_clip_length=frames,
        # pytorchvideo's builder does not accept a crop below its total stride, though such clips fit.
        input_crop_size=max(crop, _STRIDES[1]),
        model_num_class=classes,
        dropout_rate=dropout,
        depth_factor=depth,
        width_factor=width,
        bottleneck_factor=bottleneck,
        head_dim_out=head_width,
        # pytorchvideo's Swish is the same function, but cannot be fused or exported, and has a costlier backward.
        inner_act=nn.SiLU,
        head_activation=None,
        head_output_with_global_average=False,
    )
    return VideoModel(with_plain_sizes(net.blocks), classes=classes, smallest=smallest_clip(window, _STRIDES))
