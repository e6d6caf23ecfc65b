"""Networks by name, of this package or any other, with their pooling in place, and loading of pretrained weights.

Every network takes one clip tensor [B,3,T,H,W] and gives logits [B,K]; those for images take clips of one frame.
"""

from videopool.models.build import DEFAULT_SITES, MODELS, build
from videopool.models.drop_path import add_drop_path
from videopool.models.resnet import ResNet
from videopool.models.video_model import VideoModel
from videopool.models.video_resnet import VideoResNet
from videopool.models.weights import LoadReport, load_weights, state_dict_of

__all__ = [
    "DEFAULT_SITES",
    "MODELS",
    "LoadReport",
    "ResNet",
    "VideoModel",
    "VideoResNet",
    "add_drop_path",
    "build",
    "load_weights",
    "state_dict_of",
]
