"""Networks from plain arguments: ``build`` by name, ``build_target`` from another package, weights in.

Every network takes one clip tensor [B,3,T,H,W] and gives logits [B,K]; those for images take clips of one frame.
"""

from videopool.models.build import DEFAULT_SITES, MODELS, build, with_pooling
from videopool.models.resnet import ResNet
from videopool.models.target import build_target, is_image_network, taking_images
from videopool.models.video_model import VideoModel
from videopool.models.weights import LoadReport, load_weights, state_dict_of

__all__ = [
    "DEFAULT_SITES",
    "MODELS",
    "LoadReport",
    "ResNet",
    "VideoModel",
    "build",
    "build_target",
    "is_image_network",
    "load_weights",
    "state_dict_of",
    "taking_images",
    "with_pooling",
]
