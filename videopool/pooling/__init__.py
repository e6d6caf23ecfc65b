"""Pooling methods as modules, and functions that put them into any network.

``METHODS`` maps names to modules, ``sites`` lists where a network pools, ``swap`` replaces its pools, ``restore``
undoes that, ``report`` formats the changes, ``cost`` counts parameters and FLOPs, ``fuse_relu`` merges a ReLU with the
SoftPool after it. ``Pool``, ``window_cells`` and ``real_cells`` are for methods of your own (docs/extending.md).
"""

from videopool.pooling.base import Pool
from videopool.pooling.blur import BlurPool
from videopool.pooling.cells import real_cells, window_cells
from videopool.pooling.classic import AvgPool, GatedPool, LpPool, MaxPool, MixedPool
from videopool.pooling.cost import Cost, cost
from videopool.pooling.dpp import DPPPool
from videopool.pooling.find import KINDS, Site, sites
from videopool.pooling.fusion import fuse_relu
from videopool.pooling.lip import LIPPool
from videopool.pooling.methods import METHODS, make_pool
from videopool.pooling.pooled_conv import PooledConv1d, PooledConv2d, PooledConv3d
from videopool.pooling.sampled import S3Pool, StochasticPool
from videopool.pooling.swapping import Change, report, restore, swap
from videopool.pooling.weighted import AdaPool, EDSCWPool, EMPool, SoftPool

__all__ = [
    "KINDS",
    "METHODS",
    "AdaPool",
    "AvgPool",
    "BlurPool",
    "Change",
    "Cost",
    "DPPPool",
    "EDSCWPool",
    "EMPool",
    "GatedPool",
    "LIPPool",
    "LpPool",
    "MaxPool",
    "MixedPool",
    "Pool",
    "PooledConv1d",
    "PooledConv2d",
    "PooledConv3d",
    "S3Pool",
    "Site",
    "SoftPool",
    "StochasticPool",
    "cost",
    "fuse_relu",
    "make_pool",
    "real_cells",
    "report",
    "restore",
    "sites",
    "swap",
    "window_cells",
]
