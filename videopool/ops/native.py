"""The native libraries: loading them, and telling torch how their op traces, differentiates and batches."""

from __future__ import annotations

import torch

from videopool.ops.window import Window


def backend() -> str:
    """What computes the pooling: "reference"."""
    return "reference"


def runs_on(device: torch.device) -> bool:
    """Whether the native op has a kernel for tensors on ``device``."""
    return False


def warn_once_about_fallback(device: torch.device) -> None:
    """Say, at the first use, that the reference runs instead of a native kernel."""


def soft_pool3d(x: torch.Tensor, window: Window, beta: float, detach_weights: bool) -> torch.Tensor:
    """The native op."""
    raise NotImplementedError
