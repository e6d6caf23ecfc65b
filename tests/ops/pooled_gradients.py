"""The reference and the public function with their gradients, and inputs that several test files use."""

from __future__ import annotations

import math

import torch
from oracle import Case

from videopool import ops
from videopool.ops import reference
from videopool.ops.window import Window

INF, NAN = math.inf, math.nan
DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
NON_FINITE = [
    (a, b) for a in (1.0, INF, -INF, NAN) for b in (2.0, INF, -INF, NAN) if not (math.isfinite(a) and math.isfinite(b))
]


def reference_gradient(
    x: torch.Tensor, case: Case, beta: float, grad: torch.Tensor, detach_weights: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return y and dx of the reference."""
    x = x.detach().clone().requires_grad_()
    y = reference.soft_pool3d(x, Window(*case), beta, detach_weights)
    return y.detach(), torch.autograd.grad(y, x, grad)[0]


def public_gradient(
    x: torch.Tensor, case: Case, beta: float, grad: torch.Tensor | None = None, detach_weights: bool = False
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return y, the upstream gradient (random by default), and dx of the public function, in the layout of ``x``."""
    x = x.detach().requires_grad_()
    y = ops.soft_pool3d(x, *case, beta=beta, detach_weights=detach_weights)
    grad = torch.randn_like(y) if grad is None else grad
    return y.detach(), grad, torch.autograd.grad(y, x, grad)[0]
