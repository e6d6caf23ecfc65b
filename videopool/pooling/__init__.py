"""Pooling methods as modules, and surgery that puts them into any network.

``METHODS`` maps names to modules, ``sites`` lists where a network pools, ``swap`` replaces, ``report``
prints, ``fuse_relu`` makes a ReLU and the SoftPool behind it one pass.
"""

from videopool.pooling.base import Pool
from videopool.pooling.classic import AvgPool, MaxPool
from videopool.pooling.find import KINDS, Site, sites
from videopool.pooling.fusion import fuse_relu
from videopool.pooling.methods import METHODS, make_pool
from videopool.pooling.pooled_conv import PooledConv1d, PooledConv2d, PooledConv3d
from videopool.pooling.surgery import Change, report, swap
from videopool.pooling.weighted import SoftPool

__all__ = [
    "KINDS",
    "METHODS",
    "AvgPool",
    "Change",
    "MaxPool",
    "Pool",
    "PooledConv1d",
    "PooledConv2d",
    "PooledConv3d",
    "Site",
    "SoftPool",
    "fuse_relu",
    "make_pool",
    "report",
    "sites",
    "swap",
]
