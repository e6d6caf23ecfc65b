"""Pooling kernels: SoftPool over one, two and three axes, native on CPU and CUDA. The only dependency is torch."""

from videopool.ops.functional import (
    adaptive_soft_pool1d,
    adaptive_soft_pool2d,
    adaptive_soft_pool3d,
    soft_pool1d,
    soft_pool2d,
    soft_pool3d,
    softmax_pool1d,
    softmax_pool2d,
    softmax_pool3d,
)
from videopool.ops.modules import (
    AdaptiveSoftPool1d,
    AdaptiveSoftPool2d,
    AdaptiveSoftPool3d,
    SoftPool1d,
    SoftPool2d,
    SoftPool3d,
)
from videopool.ops.native import backend

__all__ = [
    "AdaptiveSoftPool1d",
    "AdaptiveSoftPool2d",
    "AdaptiveSoftPool3d",
    "SoftPool1d",
    "SoftPool2d",
    "SoftPool3d",
    "adaptive_soft_pool1d",
    "adaptive_soft_pool2d",
    "adaptive_soft_pool3d",
    "backend",
    "soft_pool1d",
    "soft_pool2d",
    "soft_pool3d",
    "softmax_pool1d",
    "softmax_pool2d",
    "softmax_pool3d",
]
