"""Train, evaluate and deploy 3D-CNN video classifiers with native SoftPool kernels.

``videopool.load`` returns a trained classifier. Submodules: ``ops``, ``pooling``, ``models``, ``data``, ``engine``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from videopool.inference import Classifier, load

__version__ = "0.1.0"
__all__ = ["Classifier", "load"]


def __getattr__(name: str) -> Any:
    """Import ``load`` and ``Classifier`` at their first use, so that ``import videopool`` does not import torch."""
    if name in __all__:
        from videopool import inference

        return getattr(inference, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
