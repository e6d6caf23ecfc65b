"""Properties of SoftPool for every input: bounds, shifts, limits, permutations, sums of gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from pooled_gradients import DTYPES

from videopool import ops

hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed; CI has it")
st = hypothesis.strategies

inputs = st.builds(
    lambda seed, scale, width, channels: (
        torch.randn(1, channels, 4, 6, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        * scale
    ),
    st.integers(0, 2**31),
    st.sampled_from([1e-6, 1.0, 30.0, 1e4]),
    st.integers(4, 19),
    st.integers(1, 9),
)
quick = hypothesis.settings(max_examples=40, deadline=None)


@quick
@hypothesis.given(inputs, st.sampled_from(DTYPES), st.floats(-20, 20))
def test_result_is_between_minimum_and_maximum(x, dtype, beta):
    x = x.to(dtype)
    y = ops.soft_pool3d(x, 2, beta=beta)
    slack = 4 * torch.finfo(torch.float64 if dtype == torch.float64 else torch.float32).eps * float(x.abs().max())
    assert (y <= F.max_pool3d(x, 2) + slack).all()
    assert (y >= -F.max_pool3d(-x, 2) - slack).all()


@pytest.mark.slow
@quick
@hypothesis.given(st.integers(0, 2**31), st.sampled_from(DTYPES), st.sampled_from([0.0, 20.0, -300.0]), st.booleans())
def test_no_rounding_leads_out_of_a_window(seed, dtype, shift, channels_last):
    """Not even by one ulp: windows of zeros stay zeros, constant windows keep their number, maxima are not exceeded."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(1, 7, 4, 8, 22, generator=generator).relu() + shift * torch.rand(1, 7, 1, 1, 1, generator=generator)
    x[..., 2:4, 4:8, 6:16] = torch.randn(1, 7, 1, 1, 1, generator=generator)
    x[..., :2, :4, :6] = 0.0
    x = x.to(dtype).contiguous(memory_format=torch.channels_last_3d if channels_last else torch.contiguous_format)
    for window in ((2, 2, 0), (3, 1, 1), ((2, 4, 6), (2, 4, 2), 0)):
        y = ops.soft_pool3d(x, *window)
        assert (y <= F.max_pool3d(x, *window)).all()
        assert (y >= -F.max_pool3d(-x, *window)).all()
    assert (ops.soft_pool3d(x, 2)[..., :1, :2, :3] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("channels_last", [False, True])
def test_half_types_keep_small_windows_beside_large_cells(dtype, channels_last):
    """The reference is the first cell, 20; numbers relative to it are coarser than a half type near 0."""
    size = torch.logspace(-7, 1, 4096).repeat(5, 1)
    x = (size * torch.rand(5, 4096).clamp(0.5)).reshape(1, 5, 8, 16, 32)
    x[..., 0, 0, 0] = 20.0
    x = x.to(dtype).contiguous(memory_format=torch.channels_last_3d if channels_last else torch.contiguous_format)
    for window in ((2, 2, 0), (3, 2, 1)):
        y = ops.soft_pool3d(x, *window)
        assert (y <= F.max_pool3d(x, *window)).all()
        assert (y >= -F.max_pool3d(-x, *window)).all()


@quick
@hypothesis.given(inputs, st.integers(-1000, 1000))
def test_shift_moves_the_result_and_keeps_the_gradient(x, shift):
    results = []
    for moved in (x, x + shift):
        moved = moved.detach().requires_grad_()
        y = ops.soft_pool3d(moved, 2)
        y.square().sum().backward() if shift == 0 else y.sum().backward()
        results.append((y.detach(), moved.grad))
    torch.testing.assert_close(results[1][0], results[0][0] + shift, rtol=1e-12, atol=1e-9)
    torch.testing.assert_close(results[1][1], results[0][1], rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_constant_windows_are_exact(dtype):
    for value in (0.0, 1.0, -3.3, 1e4, 6e4):
        x = torch.full((1, 9, 4, 4, 20), value, dtype=dtype)
        for layout in (torch.contiguous_format, torch.channels_last_3d):
            y = ops.soft_pool3d(x.contiguous(memory_format=layout), 3, 1, 1)
            torch.testing.assert_close(y, x, rtol=0, atol=0)


@quick
@hypothesis.given(inputs)
def test_limits_of_beta(x):
    x = x / x.abs().max()
    torch.testing.assert_close(ops.soft_pool3d(x, 2, beta=0.0), F.avg_pool3d(x, 2))
    torch.testing.assert_close(ops.soft_pool3d(x, 2, beta=1e-9), F.avg_pool3d(x, 2), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(ops.soft_pool3d(x, 2, beta=1e12), F.max_pool3d(x, 2), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(ops.soft_pool3d(x, 2, beta=-1e12), -F.max_pool3d(-x, 2), rtol=1e-9, atol=1e-9)


@quick
@hypothesis.given(inputs, st.permutations(range(8)))
def test_order_within_a_window_does_not_matter(x, order):
    x = x[..., : x.shape[-1] // 2 * 2]
    cells = x.unfold(2, 2, 2).unfold(3, 2, 2).unfold(4, 2, 2).flatten(-3)[..., list(order)]
    flat = cells.flatten(2, 4).flatten(2)  # windows of 8 neighbors along one axis
    y = ops.soft_pool1d(flat, 8).reshape(cells.shape[:-1])
    torch.testing.assert_close(y, ops.soft_pool3d(x, 2), rtol=1e-12, atol=1e-12)


@quick
@hypothesis.given(inputs, st.booleans(), st.floats(-5, 5))
def test_gradients_of_a_window_add_up_to_what_came_in(x, detach, beta):
    x = (x / x.abs().max() * 8).requires_grad_()
    y = ops.soft_pool3d(x, (2, 2, 2), beta=beta, detach_weights=detach)
    grad = torch.randn_like(y)
    y.backward(grad)
    total = F.avg_pool3d(x.grad, 2, divisor_override=1)
    torch.testing.assert_close(total, grad, rtol=1e-9, atol=1e-9)


def test_negative_beta_mirrors():
    x = torch.randn(2, 3, 4, 5, 6, dtype=torch.float64)
    torch.testing.assert_close(ops.soft_pool3d(x, 2, beta=-1.5), -ops.soft_pool3d(-x, 2, beta=1.5), rtol=0, atol=0)
