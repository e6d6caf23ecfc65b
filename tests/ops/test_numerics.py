"""Values and gradients: reference against the oracle, native against the oracle, extremes, infinities and NaN."""

from __future__ import annotations

import math

import pytest
import torch
from oracle import CASES, Case, cells_per_window, soft_pool, tolerance
from pooled_gradients import DTYPES, INF, NAN, NON_FINITE, public_gradient, reference_gradient

from videopool import ops
from videopool.ops import native, reference
from videopool.ops.window import Window

BETAS = [1.0, 0.0, 0.5, -1.0, 8.0]

needs_native = pytest.mark.skipif(ops.backend() == "reference", reason="no native library was built; CI builds it")


def check_against_oracle(x, case, beta, detach_weights=False, spread=None):
    y, grad, dx = public_gradient(x, case, beta, detach_weights=detach_weights)
    want_y, want_dx = soft_pool(x, case, beta, grad, detach_weights)
    spread = float(x.double().max() - x.double().min()) if spread is None else spread
    rtol, atol = tolerance(x.dtype, cells_per_window(case), spread, beta)
    assert y.dtype == dx.dtype == x.dtype
    torch.testing.assert_close(y.double(), want_y, rtol=rtol, atol=atol)
    torch.testing.assert_close(dx.double(), want_dx, rtol=rtol, atol=4 * atol)


@pytest.mark.parametrize("detach", [False, True], ids=["exact", "detached"])
@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("name", CASES)
def test_reference_is_the_definition(name, beta, detach):
    case = CASES[name]
    x = torch.randn(2, 2, 6, 9, 11, dtype=torch.float64) * 2
    grad = torch.randn_like(reference.soft_pool3d(x, Window(*case), beta, detach))
    y, dx = reference_gradient(x, case, beta, grad, detach)
    want_y, want_dx = soft_pool(x, case, beta, grad, detach)
    torch.testing.assert_close(y, want_y, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(dx, want_dx, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("channels", [1, 3, 8, 21])
@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_native_matches_the_oracle(name, dtype, channels_last, channels):
    x = (torch.randn(2, channels, 6, 9, 11) * 2).to(dtype)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last_3d)
    check_against_oracle(x, CASES[name], 1.0, detach_weights=channels == 3)


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_native_matches_the_oracle_for_every_beta(dtype, beta):
    for name in ("2x2x2", "3x3x3 s2 p1 ceil", "non-cubic dilated"):
        check_against_oracle((torch.randn(1, 5, 6, 9, 11) * 2).to(dtype), CASES[name], beta)


@pytest.mark.parametrize("width", [1, 2, 7, 8, 9, 16, 17, 31, 33, 70, 300])
@pytest.mark.parametrize("case", [Case((1, 2, 3), (1, 2, s), (0, 1, 1)) for s in (1, 2, 3, 5)], ids=str)
def test_rows_of_every_width(width, case):
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        check_against_oracle(torch.randn(1, 2, 2, 3, max(width, 1)).to(dtype), case, 1.0)


def test_row_wider_than_any_buffer():
    x = torch.randn(1, 1, 1, 2, 40000)
    y, grad, dx = public_gradient(x, Case((1, 2, 2), (1, 2, 2)), 1.0)
    want_y, want_dx = reference_gradient(x, Case((1, 2, 2), (1, 2, 2)), 1.0, grad)
    torch.testing.assert_close(y, want_y)
    torch.testing.assert_close(dx, want_dx)


def test_planes_too_large_for_the_row_cache():
    case = Case((2, 3, 3), (1, 2, 2), (1, 1, 1))
    x = torch.randn(1, 1, 3, 500, 512)
    y, grad, dx = public_gradient(x, case, 1.0)
    want_y, want_dx = reference_gradient(x, case, 1.0, grad)
    torch.testing.assert_close(y, want_y)
    torch.testing.assert_close(dx, want_dx, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("detach", [False, True], ids=["exact", "detached"])
@pytest.mark.parametrize("beta", [1.0, -8.0, 0.0, 1e-33])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_magnitude(dtype, beta, detach):
    """Neighboring numbers of the dtype around powers of ten up to its limit: many cells share the weight there."""
    limit = torch.finfo(dtype).max
    for exponent in range(-4, 39, 2):
        size = min(10.0**exponent, limit / 1.1)
        if 10.0**exponent > limit * 10:
            break
        base = torch.full((1, 2, 4, 4, 6), size, dtype=dtype)
        steps = torch.randint(-3, 4, base.shape)
        x = (base.double() * (1 + steps * torch.finfo(dtype).eps)).to(dtype)
        x = x * torch.where(torch.rand(base.shape) < 0.2, -1, 1)
        grad = torch.randn(1, 2, 2, 2, 3).to(dtype)
        y, _, dx = public_gradient(x, CASES["2x2x2"], beta, grad, detach)
        want_y, want_dx = soft_pool(x, CASES["2x2x2"], beta, grad, detach)
        rtol, atol = tolerance(dtype, 8, 1.0)
        assert torch.isfinite(y).all()
        torch.testing.assert_close(
            y.double(), want_y, rtol=8 * rtol, atol=size * atol + 6e-8 * (dtype == torch.float16)
        )
        near = float(torch.finfo(dtype).eps) * size * abs(beta) * 8  # how far apart logits of like cells can be
        slack = (1 + min(near, 30.0)) ** 2 * max(torch.finfo(dtype).eps, 16 * atol)
        torch.testing.assert_close(dx.double(), want_dx, rtol=4 * rtol, atol=slack * float(grad.abs().max()))


@pytest.mark.parametrize("shift", [1e5, 1e7])
def test_gradient_far_from_zero_keeps_its_digits(shift):
    """The rounding of y itself (0.5 at 1e7 in float32) must not enter the gradient."""
    x = shift + torch.tensor([0.0, 1.0, 2.0, 1.0, 0.0, 3.0, 1.0, 2.0]).reshape(1, 1, 2, 2, 2)
    _, grad, dx = public_gradient(x, CASES["2x2x2"], 1.0)
    _, want = soft_pool(x, CASES["2x2x2"], 1.0, grad)
    torch.testing.assert_close(dx.double(), want, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(dx.sum(), grad.sum(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("beta", [1e30, -1e300, 1.7e308, 5e-324, 1e-310, 1e-40])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_finite_beta(dtype, beta):
    x = torch.randn(1, 3, 4, 4, 6).to(dtype)
    y, grad, dx = public_gradient(x, CASES["2x2x2"], beta)
    want_y, want_dx = soft_pool(x, CASES["2x2x2"], math.copysign(min(abs(beta), 1e15), beta), grad)
    rtol, atol = tolerance(dtype, 8, 8.0)
    torch.testing.assert_close(y.double(), want_y, rtol=rtol, atol=atol)
    torch.testing.assert_close(dx.double(), want_dx, rtol=rtol, atol=4 * atol)


@needs_native
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("cells", NON_FINITE, ids=str)
def test_native_agrees_with_the_reference_where_not_finite(cells, dtype):
    case = Case((1, 1, 2), (1, 1, 2))
    for beta in (1.0, 0.0, 1e-36, -1.0):
        for detach in (False, True):
            for layout in (torch.contiguous_format, torch.channels_last_3d):
                x = torch.tensor([*cells, 1.0, 2.0], dtype=dtype).expand(1, 2, 1, 1, 4).contiguous(memory_format=layout)
                grad = torch.ones(1, 2, 1, 1, 2, dtype=dtype)
                y, _, dx = public_gradient(x, case, beta, grad, detach)
                want_y, want_dx = reference_gradient(x, case, beta, grad, detach)
                torch.testing.assert_close(y, want_y, equal_nan=True)
                torch.testing.assert_close(dx, want_dx, equal_nan=True)
                assert torch.isfinite(dx[..., 2:]).all()  # the next window is not affected


def rule(cells: tuple[float, ...], beta: float) -> float:
    """Return the result by the four rules of reference.py."""
    if beta < 0:
        return -rule(tuple(-cell for cell in cells), -beta)
    if any(math.isnan(cell) for cell in cells):
        return NAN
    if INF in cells:
        return INF
    finite = [cell for cell in cells if cell != -INF]
    return finite[0] if finite else -INF


@pytest.mark.parametrize("cells", NON_FINITE, ids=str)
def test_rules_for_inputs_that_are_not_finite(cells):
    for beta in (1.0, 0.0, -1.0):
        x = torch.tensor(cells, dtype=torch.float64).reshape(1, 1, 1, 1, 2)
        for y, dx in (
            reference_gradient(x, Case((1, 1, 2), (1, 1, 2)), beta, torch.ones(1, 1, 1, 1, 1, dtype=torch.float64)),
            public_gradient(x, Case((1, 1, 2), (1, 1, 2)), beta)[::2],
        ):
            want = torch.tensor(rule(cells, beta), dtype=torch.float64)
            torch.testing.assert_close(y.reshape(()), want, equal_nan=True)
            if not math.isfinite(want):
                assert torch.isnan(dx).all()
            else:
                dead = torch.isinf(x)
                assert (dx[dead] == 0).all()
                assert torch.isfinite(dx).all()


def test_window_of_padding_only():
    case = Case((1, 1, 2), (1, 1, 1), (0, 0, 1), (1, 1, 3))
    x = torch.tensor([5.0, 6.0]).reshape(1, 1, 1, 1, 2)
    for beta, edge in ((1.0, -INF), (-1.0, INF)):
        y = ops.soft_pool3d(x, *case, beta=beta)
        want = torch.nn.functional.max_pool3d(beta * x, *case) * beta
        torch.testing.assert_close(y, want)
        assert edge in y.flatten().tolist()


def test_cells_no_window_covers_have_no_gradient():
    x = torch.full((1, 1, 1, 1, 9), NAN)
    x[..., 0::4] = 1.0
    x[..., 1::4] = 2.0
    _, _, dx = public_gradient(x, Case((1, 1, 2), (1, 1, 4)), 1.0)
    assert torch.isfinite(dx).all()
    assert (dx[..., 2:4] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_every_16_bit_number_survives(dtype):
    """Conversions in and out: windows of one cell are the identity, subnormals and infinities included."""
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
    x = bits.view(dtype).reshape(1, 64, 1, 1, 1024)
    x = torch.where(torch.isnan(x), 1.0, x)
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        y = ops.soft_pool3d(x.contiguous(memory_format=layout), 1)
        torch.testing.assert_close(y, x, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_rounding_to_16_bits_is_to_nearest_even(dtype):
    """beta = 0 over two cells gives midpoints between neighbors."""
    finite = torch.arange(0, 2**15, dtype=torch.int32).to(torch.int16).view(dtype)
    # Near beta = 0 the computation is scaled by 2^-40 against overflow: numbers below 1e-26 lose digits there.
    finite = finite[torch.isfinite(finite) & ((finite > 1e-24) | (dtype == torch.float16))]
    pairs = torch.stack([finite[:-1], finite[1:]], -1).reshape(1, 1, 1, 1, -1)
    y = ops.soft_pool3d(pairs, (1, 1, 2), beta=0.0)
    want = pairs.double().unflatten(-1, (-1, 2)).mean(-1).float().to(dtype)
    torch.testing.assert_close(y.flatten(), want.flatten(), rtol=0, atol=0)


@needs_native
def test_reference_and_native_use_the_same_slope():
    """beta near zero is scaled in the same way, so that huge inputs neither overflow nor lose their weights."""
    for dtype, beta in ((torch.float32, 1e-31), (torch.float32, 2e-30), (torch.float64, 1e-292)):
        limit = torch.finfo(dtype).max
        x = torch.tensor([limit, -limit, limit / 3, limit], dtype=dtype).reshape(1, 1, 1, 1, 4)
        y = ops.soft_pool3d(x, (1, 1, 4), beta=beta)
        want = reference.soft_pool3d(x, Window((1, 1, 4), (1, 1, 4), (0, 0, 0), (1, 1, 1), False), beta, False)
        torch.testing.assert_close(y, want)
        assert torch.isfinite(y).all()


def test_native_is_active():
    """The suite tests kernels, not the fallback: it fails if the build was silently skipped."""
    if not native._LOADED.cpu:
        pytest.skip(f"no native library ({native._LOADED.problem}); CI builds it")
    assert ops.backend().startswith("native-cpu")
