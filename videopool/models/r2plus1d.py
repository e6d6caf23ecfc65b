"""R(2+1)D: of 18 and 34 layers as in torchvision (``models.video_resnet``), deeper ones built by pytorchvideo.

Tran, Wang, Torresani, Ray, LeCun, Paluri, "A Closer Look at Spatiotemporal Convolutions for Action Recognition",
CVPR 2018. pytorchvideo's form is the bottleneck ResNet-50 with the stem 1x7x7.
"""

from __future__ import annotations

from videopool.errors import InputError
from videopool.models import video_resnet
from videopool.models.depths import BASIC_BLOCKS, BOTTLENECKS, check_depth, cut_stages, published_depth
from videopool.models.third_party import pytorchvideo
from videopool.models.video_model import VideoModel
from videopool.models.windows import head_window, smallest_clip, with_plain_sizes

_STRIDES = (4, 32, 32)


def r2plus1d(
    *,
    classes: int,
    frames: int = 16,
    crop: int = 224,
    dropout: float = 0.5,
    depth: int = 50,
    width: int = 64,
    form: str = "",
) -> VideoModel | video_resnet.VideoResNet:
    """Return an R(2+1)D, by default the published one (16x4, R50).

    Args:
        classes: K.
        frames: frames of a training clip; with ``crop`` it sets the window of the head. Larger clips fit.
        crop: side of a training clip in pixels.
        dropout: probability of dropping a feature before the classifier.
        depth: 14, 26, 50, 101 or 152 layers of bottleneck blocks, or 18 or 34 of basic blocks.
        width: channels of the stem; the stages have 4, 8, 16 and 32 times as many, at depth 18 and 34 1, 2, 4 and 8.
        form: for depth 18 and 34, whose published network (``video_resnet.FORMS``): ``torchvision`` (the default),
            ``ig65m`` or ``mmaction2``.

    Raises:
        InputError: for an unknown depth or form, or a width below 1.
    """
    _check(depth, width, form)
    if depth in BASIC_BLOCKS:
        chosen = video_resnet.FORMS[form or "torchvision"]
        return video_resnet.VideoResNet(classes, BASIC_BLOCKS[depth], width, dropout, [(3, 3, 3)] * 4, chosen)
    window = head_window((frames, crop, crop), _STRIDES)
    net = pytorchvideo("models.r2plus1d").create_r2plus1d(
        model_depth=published_depth(depth),
        model_num_class=classes,
        dropout_rate=dropout,
        stem_dim_out=width,
        head_pool_kernel_size=window,
        head_activation=None,
        head_output_with_global_average=False,
    )
    cut_stages(net.blocks, depth)
    return VideoModel(with_plain_sizes(net.blocks), classes=classes, smallest=smallest_clip(window, _STRIDES))


def _check(depth: int, width: int, form: str) -> None:
    check_depth("r2plus1d", depth, width, sorted({*BASIC_BLOCKS, *BOTTLENECKS}))
    if form and depth not in BASIC_BLOCKS:
        raise InputError(f"form='{form}' of r2plus1d is for depth 18 and 34. Remove it.", setting="arguments")
    if form and form not in video_resnet.FORMS:
        raise InputError(
            f"form='{form}' of r2plus1d must be one of {', '.join(video_resnet.FORMS)}", setting="arguments"
        )
