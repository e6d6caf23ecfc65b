"""Train, evaluate and deploy 3D-CNN video classifiers with native SoftPool kernels.

``videopool.load`` returns a trained classifier. Submodules: ``ops``, ``pooling``, ``models``, ``data``, ``engine``.
Importing ``videopool`` does not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from videopool.lazy import lazy_names

if TYPE_CHECKING:
    from videopool.inference import Classifier as Classifier
    from videopool.inference import load as load

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_names(__name__)
