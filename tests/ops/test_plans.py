"""Sizes at which the CPU kernels divide the work differently: blocks, groups of channels, weights kept or computed."""

from __future__ import annotations

import os

import pytest
import torch
from oracle import Case
from pooled_gradients import public_gradient, reference_gradient

from videopool import ops
from videopool.ops import reference
from videopool.ops.window import Window

LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last_3d}
# Planes are turned, 16 at a time, where that leaves work for all processors; 37 channels are three groups that overlap.
BATCH = max(2, -(-(os.cpu_count() or 1) // 3))
PLANS = {
    "several blocks along H": ((1, 2, 3, 500, 130), Case((3, 3, 3), (2, 2, 2), (1, 1, 1))),
    "several blocks along H, dilated": ((1, 2, 3, 400, 130), Case((2, 3, 2), (1, 1, 1), (1, 1, 1), (1, 3, 2))),
    "several blocks along D": ((1, 2, 40, 6, 6), Case((3, 3, 3), (1, 1, 1), (1, 1, 1))),
    "several blocks along D, with gaps": ((1, 1, 40, 6, 6), Case((2, 2, 2), (3, 3, 3))),
    "groups of channels that overlap": ((1, 70, 4, 12, 300), Case((2, 2, 2), (2, 2, 2))),
    "groups of channels, shared cells": ((1, 45, 4, 12, 600), Case((3, 3, 3), (2, 2, 2), (1, 1, 1))),
    "too large to keep": ((1, 2, 2, 200, 400), Case((2, 200, 400), (1, 1, 1))),
    "too large to keep, shared cells": ((1, 2, 4, 150, 160), Case((4, 140, 100), (1, 10, 30))),
    "rows too long for the cache": ((1, 1, 2, 4, 70000), Case((2, 2, 3), (2, 2, 2), (0, 0, 1))),
    "narrow rows": ((2, 3, 4, 7, 5), Case((2, 2, 2), (2, 2, 2), (0, 0, 0), (1, 1, 1), True)),
    "turned": ((BATCH, 37, 4, 7, 9), Case((3, 3, 3), (2, 2, 2), (1, 1, 1))),
    "turned, windows that tile": ((BATCH, 37, 5, 7, 9), Case((2, 2, 2), (2, 2, 2))),
    "turned, few results": ((BATCH, 37, 3, 4, 5), Case((3, 4, 5), (1, 1, 1))),
    "tiling windows of many cells": ((1, 19, 4, 15, 22), Case((2, 7, 7), (2, 7, 7))),
    "tiling windows of more cells than are kept": ((1, 19, 8, 14, 7), Case((8, 7, 7), (8, 7, 7))),
    "tiling along D alone": ((1, 19, 5, 6, 9), Case((2, 1, 1), (2, 1, 1))),
    "tiling with partial windows": ((1, 32, 5, 7, 40), Case((2, 2, 2), (2, 2, 2), (0, 0, 0), (1, 1, 1), True)),
    "stride beyond two": ((1, 3, 2, 30, 62), Case((1, 3, 5), (1, 3, 4), (0, 1, 2))),
}


@pytest.mark.slow
@pytest.mark.parametrize("spread", [1.0, 40.0], ids=["fast form", "each window"])
@pytest.mark.parametrize("name", PLANS)
def test_every_plan_matches_the_reference(name, spread):
    shape, case = PLANS[name]
    x = torch.randn(shape, dtype=torch.float64) * spread
    _, grad, _ = public_gradient(x, case, 1.0)
    want_y, want_dx = reference_gradient(x, case, 1.0, grad)  # the slow part, once for both layouts
    for layout, memory_format in LAYOUTS.items():
        placed, upstream = (tensor.contiguous(memory_format=memory_format) for tensor in (x, grad))
        y, _, dx = public_gradient(placed, case, 1.0, upstream)
        torch.testing.assert_close(y, want_y, rtol=1e-10, atol=1e-10, msg=lambda words, at=layout: f"{at}: {words}")
        torch.testing.assert_close(dx, want_dx, rtol=1e-9, atol=1e-10, msg=lambda words, at=layout: f"{at}: {words}")


@pytest.mark.parametrize("case", ["turned", "turned, windows that tile", "tiling along D alone"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_form_of_the_op_in_these_plans(layout, case):
    shape, window = PLANS[case]
    values, logits = (
        torch.randn(shape, dtype=torch.float64).contiguous(memory_format=LAYOUTS[layout]).requires_grad_()
        for _ in range(2)
    )
    pairs = [
        (ops.softmax_pool3d(values, logits, *window), reference.softmax_pool3d(values, logits, Window(*window))),
        (
            ops.soft_pool3d(values, *window, beta=2.0, relu=True) + 0 * logits.sum(),
            reference.soft_pool3d(values, Window(*window), 2.0, False, True) + 0 * logits.sum(),
        ),
    ]
    for got, want in pairs:
        grad = torch.randn_like(want)
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(
            torch.autograd.grad(got, (values, logits), grad),
            torch.autograd.grad(want, (values, logits), grad),
            rtol=1e-9,
            atol=1e-12,
        )
