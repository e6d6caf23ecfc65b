"""Softmax-weighted pooling of values by logits, learned beta, adaptive and global pooling."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from oracle import CASES, Adaptive, Case, cells_per_window, soft_pool, softmax_pool, tolerance
from pooled_gradients import DTYPES, INF, NAN

from videopool import ops
from videopool.ops import reference
from videopool.ops.window import Window

# Every window of these holds a cell; the others have windows of padding alone, which have no softmax.
FULL = [name for name in CASES if name != "dilation beyond stride"]
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last_3d}


def pair(shape, dtype, layout=torch.contiguous_format):
    values, logits = (torch.randn(shape).mul(2).to(dtype).contiguous(memory_format=layout) for _ in range(2))
    return values.requires_grad_(), logits.requires_grad_()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", FULL)
def test_weighted_pooling_matches_the_oracle(name, dtype, layout):
    case = CASES[name]
    values, logits = pair((2, 3, 6, 9, 11), dtype, LAYOUTS[layout])
    y = ops.softmax_pool3d(values, logits, *case)
    grad = torch.randn_like(y)
    got = (y.detach(), *torch.autograd.grad(y, (values, logits), grad))
    rtol, atol = tolerance(dtype, cells_per_window(case), 16.0)
    for part, want, slack in zip(got, softmax_pool(values, logits, case, grad), (1, 4, 32), strict=True):
        assert part.dtype == dtype
        torch.testing.assert_close(part.double(), want, rtol=rtol, atol=slack * atol)


@pytest.mark.parametrize("name", FULL)
def test_the_reference_of_weighted_pooling_is_the_definition(name):
    values, logits = pair((1, 2, 6, 9, 11), torch.float64)
    y = reference.softmax_pool3d(values, logits, Window(*CASES[name]))
    grad = torch.randn_like(y)
    got = (y.detach(), *torch.autograd.grad(y, (values, logits), grad))
    for part, want in zip(got, softmax_pool(values, logits, CASES[name], grad), strict=True):
        torch.testing.assert_close(part, want, rtol=1e-11, atol=1e-11)


def test_soft_pool_is_weighted_pooling_by_itself():
    x = torch.randn(2, 5, 4, 9, 11, dtype=torch.float64)
    torch.testing.assert_close(ops.softmax_pool3d(x, x, 3, 2, 1), ops.soft_pool3d(x, 3, 2, 1))
    torch.testing.assert_close(ops.softmax_pool2d(x[0], x[0], 3, 2, 1), ops.soft_pool2d(x[0], 3, 2, 1))
    torch.testing.assert_close(ops.softmax_pool1d(x[0, 0], x[0, 0], 2), ops.soft_pool1d(x[0, 0], 2))


@pytest.mark.parametrize("scale", [30.0, 1e4, 1e30])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_logits_of_every_size(layout, scale):
    """Beyond the range of the fast form; values do not change."""
    values, logits = pair((1, 5, 4, 6, 17), torch.float64, LAYOUTS[layout])
    logits = (logits.detach() * scale).requires_grad_()
    y = ops.softmax_pool3d(values, logits, 2)
    grad = torch.randn_like(y)
    got = (y.detach(), *torch.autograd.grad(y, (values, logits), grad))
    for part, want in zip(got, softmax_pool(values, logits, CASES["2x2x2"], grad), strict=True):
        torch.testing.assert_close(part, want, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_values_and_logits_that_are_not_finite(layout, dtype):
    rows = [
        # values, logits, result
        ((1.0, 2.0), (-INF, 0.0), 2.0),
        ((NAN, 2.0), (-INF, 0.0), 2.0),
        ((INF, 2.0), (-INF, 0.0), 2.0),
        ((1.0, 2.0), (-INF, -INF), NAN),
        ((1.0, 2.0), (INF, 0.0), NAN),
        ((1.0, 2.0), (NAN, 0.0), NAN),
        ((NAN, 2.0), (0.0, 0.0), NAN),
        ((INF, 2.0), (0.0, 0.0), INF),
        ((INF, -INF), (0.0, 0.0), NAN),
        ((1.0, 2.0), (-1000.0, 0.0), 2.0),  # the weight of the first cell underflows to 0
        ((NAN, 2.0), (-1000.0, 0.0), NAN),
        ((INF, 2.0), (-1000.0, 0.0), NAN),  # 0 times infinity
    ]
    case = Case((1, 1, 2), (1, 1, 2))
    for cells, weights, want in rows:
        values, logits = (
            torch.tensor([*row, 1.0, 3.0], dtype=dtype)
            .expand(1, 2, 1, 1, 4)
            .contiguous(memory_format=LAYOUTS[layout])
            .requires_grad_()
            for row in (cells, weights)
        )
        y = ops.softmax_pool3d(values, logits, *case)
        gradients = torch.autograd.grad(y, (values, logits), torch.ones_like(y))
        torch.testing.assert_close(y[0, :, 0, 0, 0].float(), torch.tensor([want] * 2), equal_nan=True)
        for gradient in gradients:
            assert torch.isfinite(gradient[..., :2]).all() == math.isfinite(want)
            assert torch.isfinite(gradient[..., 2:]).all()  # the next window is not affected
        expected = reference.softmax_pool3d(values, logits, Window(*case))
        torch.testing.assert_close(y, expected, equal_nan=True)
        wanted = torch.autograd.grad(expected, (values, logits), torch.ones_like(y))
        for gradient, other in zip(gradients, wanted, strict=True):
            torch.testing.assert_close(gradient, other, equal_nan=True)


def test_logits_spread_over_channels_and_dtypes():
    values = torch.randn(2, 4, 4, 6, 6).bfloat16()
    logits = torch.randn(2, 1, 4, 6, 6, requires_grad=True)
    y = ops.softmax_pool3d(values, logits, 2)
    assert y.dtype == torch.float32
    y.sum().backward()
    assert logits.grad.shape == logits.shape
    torch.testing.assert_close(y, ops.softmax_pool3d(values.float(), logits.expand(values.shape), 2))


@pytest.mark.parametrize("detach", [False, True])
def test_learned_beta_for_all_and_for_each_channel(detach):
    x = torch.randn(2, 3, 4, 4, 6, dtype=torch.float64, requires_grad=True)
    for beta in (torch.tensor(0.7, dtype=torch.float64), torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)):
        got = ops.soft_pool3d(x, 2, beta=beta, detach_weights=detach)
        each = beta.expand(3).tolist()
        want = [ops.soft_pool3d(x[:, i : i + 1], 2, beta=b, detach_weights=detach) for i, b in enumerate(each)]
        torch.testing.assert_close(got, torch.cat(want, 1))
        grad = torch.randn_like(got)
        torch.testing.assert_close(torch.autograd.grad(got, x, grad), torch.autograd.grad(torch.cat(want, 1), x, grad))
    beta = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, b: ops.soft_pool3d(x, 3, 2, 1, beta=b), (x, beta))
    module = ops.SoftPool3d(2, beta=torch.nn.Parameter(torch.ones(3)))
    assert [name for name, _ in module.named_parameters()] == ["beta"]
    assert "beta learned" in repr(module)


@pytest.mark.slow
def test_gradients_of_weighted_pooling_of_first_and_second_order():
    values, logits = pair((1, 2, 3, 4, 5), torch.float64)
    for case in (CASES["3x3x3 s2 p1 ceil"], CASES["non-cubic dilated"]):
        assert torch.autograd.gradcheck(lambda v, z, c=case: ops.softmax_pool3d(v, z, *c), (values, logits))
    assert torch.autograd.gradgradcheck(lambda v, z: ops.softmax_pool3d(v, z, 2, 1), (values, logits))


SIZES = [(1, 1, 1), (2, 3, 4), (6, 9, 11), (3, 9, 1), (5, 4, 7), (8, 12, 20)]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_adaptive_pooling_matches_the_oracle(size, dtype, layout):
    x = (torch.randn(2, 3, 6, 9, 11) * 2).to(dtype).contiguous(memory_format=LAYOUTS[layout])
    for beta, detach in ((1.0, False), (-2.0, True)):
        leaf = x.detach().requires_grad_()
        y = ops.adaptive_soft_pool3d(leaf, size, beta=beta, detach_weights=detach)
        assert y.shape[2:] == F.adaptive_avg_pool3d(x.float(), size).shape[2:]
        grad = torch.randn_like(y)
        (dx,) = torch.autograd.grad(y, leaf, grad)
        want_y, want_dx = soft_pool(x, Adaptive(size), beta, grad, detach)
        cells = math.prod(-(-n // m) + 1 for n, m in zip(x.shape[2:], size, strict=True))
        rtol, atol = tolerance(dtype, cells, 16.0, beta)
        torch.testing.assert_close(y.double(), want_y, rtol=rtol, atol=atol)
        # More results than cells: a cell adds up many windows.
        share = math.prod(max(1, -(-m // n) + 1) for n, m in zip(x.shape[2:], size, strict=True))
        torch.testing.assert_close(dx.double(), want_dx, rtol=rtol, atol=4 * share * atol)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_reference_of_adaptive_pooling_is_the_definition(size):
    x = torch.randn(1, 2, 6, 9, 11, dtype=torch.float64, requires_grad=True)
    y = reference.adaptive_soft_pool3d(x, size, 1.5, False)
    grad = torch.randn_like(y)
    want_y, want_dx = soft_pool(x, Adaptive(size), 1.5, grad)
    torch.testing.assert_close(y, want_y, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(torch.autograd.grad(y, x, grad)[0], want_dx, rtol=1e-11, atol=1e-11)


def test_adaptive_windows_are_those_of_torch():
    x = torch.randn(2, 3, 6, 9, 11, dtype=torch.float64)
    for size in SIZES:
        torch.testing.assert_close(ops.adaptive_soft_pool3d(x, size, beta=0.0), F.adaptive_avg_pool3d(x, size))
    torch.testing.assert_close(
        ops.adaptive_soft_pool2d(x[0], (4, None), beta=0.0), F.adaptive_avg_pool2d(x[0], (4, None))
    )
    torch.testing.assert_close(ops.adaptive_soft_pool1d(x[0, 0], 4, beta=0.0), F.adaptive_avg_pool1d(x[0, 0], 4))
    assert ops.AdaptiveSoftPool3d((None, 1, 1))(x).shape == (2, 3, 6, 1, 1)


def test_adaptive_pooling_outside_the_range_of_the_fast_form():
    x = torch.randn(1, 3, 6, 9, 11, dtype=torch.float64) * 100
    x[0, 0, 0, 0, 0], x[0, 1, 3, 3, 3] = -INF, NAN
    for size in SIZES:
        for layout in LAYOUTS.values():
            leaf = x.contiguous(memory_format=layout).requires_grad_()
            y = ops.adaptive_soft_pool3d(leaf, size)
            want = reference.adaptive_soft_pool3d(leaf, size, 1.0, False)
            grad = torch.randn_like(y)
            torch.testing.assert_close(y, want, equal_nan=True)
            torch.testing.assert_close(
                torch.autograd.grad(y, leaf, grad), torch.autograd.grad(want, leaf, grad), equal_nan=True
            )


def test_global_pooling_is_one_window():
    for shape in ((2, 70, 4, 7, 9), (1, 3, 1, 40, 1000)):
        for layout in LAYOUTS.values():
            x = torch.randn(shape).contiguous(memory_format=layout).requires_grad_()
            y = ops.adaptive_soft_pool3d(x, 1)
            want = ops.soft_pool3d(x, shape[2:])
            torch.testing.assert_close(y, want, rtol=0, atol=0)
            exact = (torch.softmax(x.double().flatten(2), -1) * x.double().flatten(2)).sum(-1)
            torch.testing.assert_close(y.double().flatten(1), exact, rtol=1e-6, atol=1e-6)


LONG = [(1, 48, 1, 224, 224), (1, 48, 16, 56, 56), (1, 17, 1, 1, 50_000), (1, 17, 50_000, 1, 1), (1, 16, 5000, 1, 10)]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", LONG, ids=str)
def test_errors_do_not_grow_with_the_length_of_a_window(shape, layout):
    """Sums are of pairs, so 50,000 cells err as 50 do: by a few units of the last place."""
    x = torch.randn(shape).contiguous(memory_format=LAYOUTS[layout]).requires_grad_()
    windows = [(shape[2:], 1), ((shape[2], 1, 1), (1, 1, 1))] if shape[4] == 10 else [(shape[2:], 1)]
    for window, stride in windows:
        y = ops.soft_pool3d(x, window, stride)
        (dx,) = torch.autograd.grad(y.sum(), x)
        z = x.detach().double()
        axes = (2,) if len(windows) > 1 and window[2] == 1 else (2, 3, 4)
        e = z.exp()
        weights = e / e.sum(axes, keepdim=True)
        want = (weights * z).sum(axes, keepdim=True)
        grad = weights * (1 + z - want)
        for found, exact in ((y, want), (dx, grad)):
            error = (found.double() - exact).abs().max() / exact.abs().max()
            assert error < 6 * torch.finfo(torch.float32).eps


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda x: ops.adaptive_soft_pool3d(x, (1, 2)), ValueError, "output_size=(1, 2) must be one int or 3 of them"),
        (lambda x: ops.adaptive_soft_pool3d(x, 0), ValueError, "output_size=0 must be 1 or more"),
        (lambda x: ops.adaptive_soft_pool3d(x, (1, 2.5, 1)), TypeError, "2.5"),
        (lambda x: ops.adaptive_soft_pool3d(x, 1, beta=torch.ones(())), TypeError, "beta is a tensor"),
        (lambda x: ops.soft_pool3d(x, 2, beta=torch.ones(2)), ValueError, "beta of shape [2]"),
        (lambda x: ops.soft_pool3d(x, 2, beta=torch.ones(3, dtype=torch.int32)), TypeError, "torch.int32"),
        (lambda x: ops.softmax_pool3d(x, x[:, :2], 2), ValueError, "do not broadcast"),
        (lambda x: ops.softmax_pool3d(x, x.int(), 2), TypeError, "logits of dtype torch.int32"),
        (lambda x: ops.softmax_pool3d(x, x.to("meta"), 2), ValueError, "Move them to one device"),
        (lambda x: ops.softmax_pool3d(x[0, 0], x[0, 0], 2), ValueError, "values of shape"),
    ],
)
def test_errors_name_the_value_and_the_fix(call, error, says):
    with pytest.raises(error) as caught:
        call(torch.randn(1, 3, 4, 4, 4))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_relu_in_the_same_pass_is_relu_before(dtype, layout):
    for name, scale in (("2x2x2", 1.0), ("1x3x3 s122 p011", 1.0), ("3x3x3 s1 p1", 200.0), ("non-cubic dilated", 1.0)):
        for beta, detach in ((1.0, False), (-2.0, False), (0.0, False), (1.0, True)):
            x = (torch.randn(2, 3, 6, 9, 11) * scale).to(dtype)
            x[0, 0, 0, 0, :3] = torch.tensor([NAN, -INF, INF])
            x[0, 1, 0, 0, :3] = 0.0
            x = x.contiguous(memory_format=LAYOUTS[layout]).requires_grad_()
            options = {"beta": beta, "detach_weights": detach}
            y = ops.soft_pool3d(x, *CASES[name], relu=True, **options)
            want = ops.soft_pool3d(torch.relu(x), *CASES[name], **options)
            grad = torch.randn_like(y)
            torch.testing.assert_close(y, want, rtol=0, atol=0, equal_nan=True)
            dx, want_dx = (torch.autograd.grad(out, x, grad)[0] for out in (y, want))
            torch.testing.assert_close(dx, want_dx, rtol=0, atol=0, equal_nan=True)


@pytest.mark.slow
def test_relu_in_the_same_pass_differentiates_twice_and_compiles():
    x = torch.randn(1, 2, 3, 4, 5, dtype=torch.float64)
    x = torch.where(x.abs() < 0.01, 0.5, x).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda t: ops.soft_pool3d(t, 2, 1, relu=True), x)
    module = ops.SoftPool3d(2, relu=True)
    assert "relu=True" in repr(module)
    torch.testing.assert_close(torch.compile(module, backend="aot_eager", fullgraph=True)(x), module(x))
