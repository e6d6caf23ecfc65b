"""Train, evaluate and deploy 3D-CNN video classifiers with native SoftPool kernels.

``videopool.load`` returns a trained classifier. Submodules: ``ops``, ``pooling``, ``models``, ``data``, ``engine``.
Importing ``videopool`` does not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from videopool.lazy import lazy_names

if TYPE_CHECKING:
    from videopool.inference import Classifier, load

__version__ = "0.1.0"
__all__ = ["Classifier", "load"]

__getattr__, __dir__ = lazy_names(__name__, {"videopool.inference": ("Classifier", "load")})
