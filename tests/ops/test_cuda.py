"""The CUDA kernels on a GPU. Skipped without one; with VIDEOPOOL_REQUIRE_CUDA=1 a missing GPU is a failure."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
import torch
from oracle import CASES, Adaptive, Case, most_cells, soft_pool, softmax_pool, tolerance
from pooled_gradients import DTYPES, INF, NAN, NON_FINITE, public_gradient, reference_gradient

from videopool import ops
from videopool.ops import native, reference
from videopool.ops.window import Window

REQUIRED = os.environ.get("VIDEOPOOL_REQUIRE_CUDA") == "1"
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last_3d}

W222 = CASES["2x2x2"]
W122 = Case((1, 2, 2), (1, 2, 2))
W133 = CASES["1x3x3 s122 p011"]
W333_S2 = Case((3, 3, 3), (2, 2, 2), (1, 1, 1))
W333_S1 = CASES["3x3x3 s1 p1"]
W277 = Case((2, 7, 7), (2, 7, 7))
TUNED = {"2x2x2": W222, "1x2x2": W122, "1x3x3": W133, "3x3x3 s2": W333_S2, "3x3x3 s1": W333_S1, "2x7x7": W277}

layouts = pytest.mark.parametrize("layout", LAYOUTS)
dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)
tuned = pytest.mark.parametrize("name", TUNED)


@pytest.fixture(autouse=True)
def gpu() -> torch.device:
    if not torch.cuda.is_available():
        if REQUIRED:
            pytest.fail("VIDEOPOOL_REQUIRE_CUDA=1 and torch sees no GPU")
        pytest.skip("no GPU; benchmarks/gpu.sh runs this on a machine that has one")
    if not native.runs_on(torch.device("cuda")):
        pytest.fail(f"there is a GPU but no CUDA library: {native._LOADED.problem}")
    return torch.device("cuda")


def cells(shape: tuple[int, ...], dtype: torch.dtype, layout: str = "contiguous") -> torch.Tensor:
    return (torch.randn(shape, device="cuda") * 2).to(dtype).contiguous(memory_format=LAYOUTS[layout])


def misaligned(x: torch.Tensor) -> torch.Tensor:
    """``x`` in the same layout, one element after a multiple of 16 bytes."""
    memory = torch.empty(x.numel() + 9, dtype=x.dtype, device=x.device)
    return memory.as_strided(x.shape, x.stride(), 1).copy_(x)


def check(x: torch.Tensor, case: Case, beta: float = 1.0, detach_weights: bool = False) -> None:
    """SoftPool and its gradient against the oracle."""
    y, grad, dx = public_gradient(x, case, beta, detach_weights=detach_weights)
    assert y.is_cuda
    assert y.dtype == dx.dtype == x.dtype
    want_y, want_dx = soft_pool(x, case, beta, grad, detach_weights)
    rtol, atol = tolerance(x.dtype, most_cells(x.shape[2:], case), 16.0, beta)
    torch.testing.assert_close(y.double().cpu(), want_y, rtol=rtol, atol=atol)
    torch.testing.assert_close(dx.double().cpu(), want_dx, rtol=rtol, atol=4 * atol)


def gradients(
    run: Callable[..., torch.Tensor], inputs: list[torch.Tensor], grad: torch.Tensor | None = None
) -> list[torch.Tensor]:
    """Return the result of ``run`` and the gradients of its inputs."""
    inputs = [t.detach().requires_grad_() for t in inputs]
    y = run(*inputs)
    return [y.detach(), *torch.autograd.grad(y, inputs, torch.ones_like(y) if grad is None else grad)]


@layouts
@dtypes
@pytest.mark.parametrize("name", CASES)
def test_every_window_matches_the_oracle(name, dtype, layout):
    x = cells((2, 5, 6, 9, 11), dtype, layout)
    for beta, detach in ((1.0, False), (1.0, True), (-2.0, False), (0.0, False)):
        check(x, CASES[name], beta, detach)
    y = ops.soft_pool3d(x, *CASES[name])
    assert y.is_contiguous(memory_format=LAYOUTS[layout])


@layouts
@dtypes
@tuned
def test_tuned_kernels_at_sizes_around_their_tiles(name, dtype, layout):
    """Aligned and not, less than a block and more than one, odd and even, in both kinds of access."""
    for shape in ((1, 16, 5, 14, 16), (2, 8, 4, 37, 40), (1, 2, 2, 8, 140), (1, 34, 3, 7, 9)):
        x = cells(shape, dtype, layout)
        check(x, TUNED[name])
        check(misaligned(x), TUNED[name])


@layouts
@dtypes
@tuned
def test_weighted_pooling(name, dtype, layout):
    case = TUNED[name]
    for shape in ((1, 8, 4, 14, 16), (1, 3, 3, 9, 11)):
        values, logits = cells(shape, dtype, layout), cells(shape, dtype, layout)
        for inputs in ([values, logits], [misaligned(values), misaligned(logits)]):
            grad = torch.randn_like(ops.softmax_pool3d(*inputs, *case))
            got = gradients(lambda v, z: ops.softmax_pool3d(v, z, *case), inputs, grad)
            rtol, atol = tolerance(dtype, 98, 16.0)
            for result, want, factor in zip(got, softmax_pool(values, logits, case, grad), (1, 4, 4), strict=True):
                torch.testing.assert_close(result.double().cpu(), want, rtol=rtol, atol=factor * atol)


@layouts
@dtypes
@pytest.mark.parametrize("size", [(1, 1, 1), (2, 3, 4), (6, 9, 11), (7, 10, 12), (1, 2, 5)], ids=str)
def test_adaptive_and_global_pooling(size, dtype, layout):
    x = cells((2, 8, 6, 9, 11), dtype, layout)
    grad = torch.randn(2, 8, *size, device="cuda").to(dtype)
    y, dx = gradients(lambda t: ops.adaptive_soft_pool3d(t, size), [x], grad)
    want_y, want_dx = soft_pool(x, Adaptive(size), 1.0, grad)
    rtol, atol = tolerance(dtype, 6 * 9 * 11, 16.0)
    torch.testing.assert_close(y.double().cpu(), want_y, rtol=rtol, atol=atol)
    torch.testing.assert_close(dx.double().cpu(), want_dx, rtol=rtol, atol=4 * atol)


@layouts
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_large_windows_agree_with_the_reference(dtype, layout):
    """Windows of thousands of cells, on more threads than a block has."""
    x = cells((2, 64, 16, 56, 56), dtype, layout)
    for case in (Case((16, 56, 56), (1, 1, 1)), Case((8, 28, 28), (8, 28, 28)), Case((2, 7, 7), (2, 7, 7))):
        y, grad, dx = public_gradient(x, case, 1.0)
        want_y, want_dx = reference_gradient(x.double(), case, 1.0, grad.double())
        eps = torch.finfo(dtype).eps
        torch.testing.assert_close(y.double(), want_y, rtol=eps, atol=2e-5)
        torch.testing.assert_close(dx.double(), want_dx, rtol=max(eps, 1e-3), atol=2e-6)


@layouts
@dtypes
@tuned
def test_cells_that_are_not_finite(name, dtype, layout):
    case = TUNED[name]
    x = cells((1, 16, 2, 7, 8), dtype, layout)
    for channel, (first, second) in enumerate(NON_FINITE):
        x[0, channel, channel % 2, channel % 7, (3 * channel) % 8] = first
        x[0, channel, channel % 2, channel % 7, (3 * channel + 1) % 8] = second
    for beta in (1.0, 0.0, -1.0):
        y, grad, dx = public_gradient(x, case, beta)
        want_y, want_dx = reference_gradient(x.cpu(), case, beta, grad.cpu())
        rtol, atol = tolerance(dtype, 98, 16.0)
        rtol = max(rtol, 2 * torch.finfo(dtype).eps)  # the reference rounds too
        torch.testing.assert_close(y.cpu(), want_y, rtol=rtol, atol=atol, equal_nan=True)
        torch.testing.assert_close(dx.cpu(), want_dx, rtol=rtol, atol=4 * atol, equal_nan=True)


@layouts
@dtypes
@tuned
def test_logits_and_values_that_are_not_finite(name, dtype, layout):
    case = TUNED[name]
    values, logits = cells((1, 16, 2, 7, 8), dtype, layout), cells((1, 16, 2, 7, 8), dtype, layout)
    logits[0, :2] = -INF  # windows that only hold absent cells
    logits[0, 2:8:2, ..., ::2] = -INF
    values[0, 2:8:2, ..., ::2] = NAN  # of absent cells: of no account
    for channel, cell in enumerate([NAN, INF, -INF]):
        logits[0, 8 + channel, 1, 3, 4] = cell
        values[0, 12 + channel, 1, 3, 4] = cell
    got = gradients(lambda v, z: ops.softmax_pool3d(v, z, *case), [values, logits])
    want = gradients(lambda v, z: reference.softmax_pool3d(v, z, Window(*case)), [values.cpu(), logits.cpu()])
    rtol, atol = tolerance(dtype, 98, 16.0)
    rtol = max(rtol, 2 * torch.finfo(dtype).eps)
    for result, expected in zip(got, want, strict=True):
        torch.testing.assert_close(result.cpu(), expected, rtol=rtol, atol=4 * atol, equal_nan=True)


@layouts
@tuned
def test_values_far_apart(name, layout):
    """Spreads and levels at which exponentials relative to a common level overflow and vanish."""
    for spread, level in ((30.0, 0.0), (300.0, 0.0), (1.0, 1e4), (1e37, 0.0)):
        x = cells((1, 4, 4, 9, 16), torch.float32, layout) * spread + level
        y, grad, dx = public_gradient(x, TUNED[name], 1.0)
        want_y, want_dx = soft_pool(x, TUNED[name], 1.0, grad)
        rtol, atol = tolerance(torch.float32, 98, 16.0)
        torch.testing.assert_close(y.double().cpu(), want_y, rtol=rtol, atol=atol)
        torch.testing.assert_close(dx.double().cpu(), want_dx, rtol=rtol, atol=4 * atol)


@layouts
@dtypes
def test_relu_in_the_same_pass(dtype, layout):
    x = cells((2, 8, 4, 9, 16), dtype, layout)
    for case in TUNED.values():
        if case == W277:
            continue
        grad = torch.randn_like(ops.soft_pool3d(x, *case))
        got = gradients(lambda t: ops.soft_pool3d(t, *case, relu=True), [x], grad)  # noqa: B023
        want = gradients(lambda t: ops.soft_pool3d(t.relu(), *case), [x], grad)  # noqa: B023
        for result, expected in zip(got, want, strict=True):
            torch.testing.assert_close(result, expected)


@layouts
@tuned
def test_bit_for_bit_the_same_again(name, layout):
    x = cells((2, 32, 8, 56, 56), torch.float32, layout)
    first = public_gradient(x, TUNED[name], 1.0)
    for _ in range(3):
        again = public_gradient(x, TUNED[name], 1.0, first[1])
        assert torch.equal(first[0], again[0])
        assert torch.equal(first[2], again[2])


@pytest.mark.parametrize("rows", [2**20, 3 * 2**20])
def test_many_windows(rows):
    x = torch.randn(1, 1, 1, rows, 64, device="cuda")
    y, grad, dx = public_gradient(x, W122, 1.0)
    want_y, want_dx = soft_pool(x[..., -64:, :], W122, 1.0, grad[..., -32:, :])
    torch.testing.assert_close(y[..., -32:, :].double().cpu(), want_y, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(dx[..., -64:, :].double().cpu(), want_dx, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("case", "shape"),
    [
        (W122, (1, 1, 1, 2**17, 2**14 + 2)),  # one plane of more than 2^31 cells
        (W122, (2, 2**11, 1, 2**10, 2**9 + 8)),  # planes that are small, and more than 2^31 cells together
        (W133, (2, 2**11, 1, 2**10, 2**9 + 8)),
    ],
    ids=["one plane", "many planes", "many planes, overlapping"],
)
def test_more_than_2_to_the_31_cells(case, shape):
    if torch.cuda.get_device_properties("cuda").total_memory < 24 * 2**30:
        pytest.skip("needs 24 GiB of device memory; a GPU with more runs this")
    x = torch.zeros(shape, device="cuda", dtype=torch.float16)
    x[-1, -1, ..., -4:, -4:] = torch.randn(4, 4, device="cuda")
    y, grad, dx = public_gradient(x, case, 1.0)
    end = x[-1:, -1:, ..., -16:, -16:]
    want_y, want_dx = soft_pool(end, case, 1.0, grad[-1:, -1:, ..., -8:, -8:])
    for got, want in ((y[-1:, -1:, ..., -6:, -6:], want_y), (dx[-1:, -1:, ..., -12:, -12:], want_dx)):
        torch.testing.assert_close(
            got.double().cpu(), want[..., -got.shape[-2] :, -got.shape[-1] :], rtol=2e-3, atol=2e-3
        )
    assert (y[:1, :1, ..., :-4, :-4] == 0).all()


def test_runs_on_the_current_stream():
    x = torch.zeros(4, 8, 8, 64, 64, device="cuda")
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)
        x.add_(1)
        y = ops.soft_pool3d(x, 2)
    stream.synchronize()
    assert (y == 1).all()


@pytest.mark.parametrize("name", [*TUNED, "non-cubic dilated"])
def test_graph_capture_and_replay(name):
    """Forward and backward, also those that allocate scratch memory."""
    case = {**TUNED, **CASES}[name]
    x = torch.randn(2, 4, 4, 16, 16, device="cuda", requires_grad=True)
    warm_up = torch.cuda.Stream()
    warm_up.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(warm_up):
        torch.autograd.grad(ops.soft_pool3d(x, *case).sum(), x)
    torch.cuda.current_stream().wait_stream(warm_up)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = ops.soft_pool3d(x, *case)
        (dx,) = torch.autograd.grad(y.sum(), x)
    with torch.no_grad():
        x.copy_(torch.randn_like(x))
    graph.replay()
    want = ops.soft_pool3d(x, *case)
    (want_dx,) = torch.autograd.grad(want.sum(), x)
    torch.testing.assert_close(y, want, rtol=0, atol=0)
    torch.testing.assert_close(dx, want_dx, rtol=0, atol=0)


def test_compile_and_opcheck():
    torch._dynamo.reset()
    module = torch.nn.Sequential(ops.SoftPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)), torch.nn.ReLU(inplace=True))
    x = torch.randn(2, 4, 4, 16, 16, device="cuda", requires_grad=True)
    compiled = torch.compile(module, fullgraph=True)
    torch.testing.assert_close(compiled(x), module(x))
    (got,) = torch.autograd.grad(compiled(x).square().sum(), x)
    (want,) = torch.autograd.grad(module(x).square().sum(), x)
    torch.testing.assert_close(got, want)
    torch.library.opcheck(torch.ops.videopool.soft_pool3d.default, (x, *W222, 1.0, False, False))
    torch.library.opcheck(torch.ops.videopool.adaptive_soft_pool3d.default, (x, [1, 2, 3], 1.0, False, False))
    logits = torch.randn_like(x).requires_grad_()
    torch.library.opcheck(torch.ops.videopool.softmax_pool3d.default, (x, logits, *W133))


def test_second_gpu_gets_its_own_device():
    if torch.cuda.device_count() < 2:
        pytest.skip("one GPU; a machine with two runs this")
    x = torch.randn(1, 2, 4, 4, 4, device="cuda:1", requires_grad=True)
    y = ops.soft_pool3d(x, 2)
    y.sum().backward()
    assert y.device == x.grad.device == x.device
    torch.testing.assert_close(y.cpu(), ops.soft_pool3d(x.cpu(), 2))


@pytest.mark.parametrize("name", ["2x2x2", "3x3x3 s1 p1", "non-cubic dilated"])
def test_gradcheck(name):
    x = torch.randn(1, 2, 3, 4, 5, dtype=torch.float64, device="cuda", requires_grad=True)
    logits = torch.randn_like(x).requires_grad_()
    case = Case((2, 2, 2), (1, 2, 2), (1, 1, 1), (1, 1, 2), True) if name == "non-cubic dilated" else CASES[name]
    assert torch.autograd.gradcheck(lambda t: ops.soft_pool3d(t, *case), x, nondet_tol=0.0)
    assert torch.autograd.gradgradcheck(lambda t: ops.soft_pool3d(t, *case), x)
    assert torch.autograd.gradcheck(lambda v, z: ops.softmax_pool3d(v, z, *case), (x, logits), nondet_tol=0.0)
