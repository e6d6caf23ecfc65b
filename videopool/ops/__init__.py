"""Pooling kernels: SoftPool over one, two and three axes, native on CPU and CUDA. Needs torch and nothing else."""

from videopool.ops.functional import soft_pool1d, soft_pool2d, soft_pool3d
from videopool.ops.modules import SoftPool1d, SoftPool2d, SoftPool3d
from videopool.ops.native import backend

__all__ = [
    "SoftPool1d",
    "SoftPool2d",
    "SoftPool3d",
    "backend",
    "soft_pool1d",
    "soft_pool2d",
    "soft_pool3d",
]
