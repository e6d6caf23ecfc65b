"""The CUDA device code, compiled for the host: the same text that nvcc compiles, checked where there is no GPU.

The stand-in for CUDA (cuda_host_shim.h) runs every launch as the GPU would cut it, and reports accesses outside of the
tensors, unaligned accesses, races, missing barriers and results that stay unwritten.
"""

from __future__ import annotations

import ctypes
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from host_library import Call, kept_folder, load
from oracle import CASES, Adaptive, Case, groups, most_cells, soft_pool, softmax_pool, tolerance
from pooled_gradients import DTYPES, INF, NAN, NON_FINITE, reference_gradient

from videopool.ops import reference
from videopool.ops.window import Window

# The first test compiles the device code.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

FAMILIES = ("general", "owned", "overlapping", "large")
HALVES = [torch.float16, torch.bfloat16]

W222 = CASES["2x2x2"]
W122 = Case((1, 2, 2), (1, 2, 2))
W133 = CASES["1x3x3 s122 p011"]
W333_S2 = Case((3, 3, 3), (2, 2, 2), (1, 1, 1))
W333_S1 = CASES["3x3x3 s1 p1"]
W277 = Case((2, 7, 7), (2, 7, 7))
WHOLE = Case((2, 7, 8), (2, 7, 8))  # of the shape in some tests


class Results(NamedTuple):
    """The outputs of one call of the forward and one of the backward kernels, and the names of those kernels."""

    y: torch.Tensor
    dx: torch.Tensor
    dlogits: torch.Tensor | None
    kernels: tuple[str, str]


class Options(NamedTuple):
    """The arguments other than the window."""

    beta: float = 1.0
    detach_weights: bool = False
    relu: bool = False


DEFAULTS = Options()


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def library(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    try:
        return load(kept_folder(pytestconfig, tmp_path_factory))
    except FileNotFoundError as error:
        pytest.skip(str(error))


def placed(tensor: torch.Tensor, layout: torch.memory_format, offset: int = 0) -> torch.Tensor:
    """A copy in ``layout`` that starts ``offset`` elements after a multiple of 16 bytes."""
    dense = tensor.contiguous(memory_format=layout)
    memory = torch.empty(tensor.numel() + offset + 16, dtype=tensor.dtype)
    first = (-memory.data_ptr() % 16) // memory.element_size() + offset
    return memory.as_strided(dense.shape, dense.stride(), first).copy_(dense)


def pool(
    library: ctypes.CDLL,
    x: torch.Tensor,
    case: Case | Adaptive,
    options: Options,
    grad: torch.Tensor,
    logits: torch.Tensor | None = None,
    channels_last: bool = False,
    offset: int = 0,
) -> Results:
    """Run forward and backward of the device code."""
    layout = torch.channels_last_3d if channels_last else torch.contiguous_format
    tensors = {"x": x, "grad": grad, "y": torch.full_like(grad, 77), "dx": torch.full_like(x, 77)}
    if logits is not None:
        tensors |= {"logits": logits, "dlogits": torch.full_like(x, 77)}
    tensors = {name: placed(tensor, layout, offset) for name, tensor in tensors.items()}
    window = (case.output_size, (1,) * 3, (0,) * 3, (1,) * 3) if isinstance(case, Adaptive) else case[:4]
    call = Call(tuple(x.shape), *window)
    call.adaptive = isinstance(case, Adaptive)
    call.ceil_mode = isinstance(case, Case) and case.ceil_mode
    call.channels_last = channels_last
    call.beta, call.detach_weights, call.relu = options
    call.type = DTYPES.index(x.dtype)
    for name, tensor in tensors.items():
        setattr(call, name, tensor.data_ptr())
    kernels = []
    for direction in ("forward", "backward"):
        problem = getattr(library, direction)(ctypes.byref(call)).decode()
        assert not problem, f"{direction}: {problem}"
        chosen = getattr(library, f"choose_{direction}")(ctypes.byref(call))
        kernels.append(FAMILIES[chosen // 2] + " vectors" * (chosen % 2))
    return Results(tensors["y"], tensors["dx"], tensors.get("dlogits"), (kernels[0], kernels[1]))


def random(shape: tuple[int, ...], dtype: torch.dtype, spread: float = 2.0) -> torch.Tensor:
    return (torch.randn(shape) * spread).to(dtype)


def upstream(x: torch.Tensor, case: Case | Adaptive) -> torch.Tensor:
    """Return a gradient of the shape of the results."""
    return torch.randn(*x.shape[:2], *groups(tuple(x.shape[2:]), case)[0]).to(x.dtype)


def check(
    library: ctypes.CDLL,
    shape: tuple[int, ...],
    case: Case | Adaptive,
    dtype: torch.dtype,
    channels_last: bool,
    options: Options = DEFAULTS,
    offset: int = 0,
) -> tuple[str, str]:
    """Compare SoftPool of random cells with the oracle; return the kernels that ran."""
    x = random(shape, dtype)
    grad = upstream(x, case)
    got = pool(library, x, case, options, grad, None, channels_last, offset)
    cells = x.relu() if options.relu else x
    want_y, want_dx = soft_pool(cells, case, options.beta, grad, options.detach_weights)
    if options.relu:
        want_dx = torch.where(x > 0, want_dx, 0.0)
    rtol, atol = tolerance(dtype, most_cells(shape[2:], case), 16.0, options.beta)
    torch.testing.assert_close(got.y.double(), want_y, rtol=rtol, atol=atol)
    torch.testing.assert_close(got.dx.double(), want_dx, rtol=rtol, atol=4 * atol)
    return got.kernels


def check_general_op(
    library: ctypes.CDLL, shape: tuple[int, ...], case: Case, dtype: torch.dtype, channels_last: bool, offset: int = 0
) -> tuple[str, str]:
    """Compare the general op of random values and logits with the oracle; return the kernels that ran."""
    values, logits = random(shape, dtype), random(shape, dtype)
    grad = upstream(values, case)
    got = pool(library, values, case, Options(), grad, logits, channels_last, offset)
    want = softmax_pool(values, logits, case, grad)
    rtol, atol = tolerance(dtype, most_cells(shape[2:], case), 16.0)
    for result, expected, factor in zip((got.y, got.dx, got.dlogits), want, (1, 4, 4), strict=True):
        torch.testing.assert_close(result.double(), expected, rtol=rtol, atol=factor * atol)
    return got.kernels


layouts = pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels_last"])
dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)


@layouts
@dtypes
@pytest.mark.parametrize("name", CASES)
def test_every_window_matches_the_oracle(library, name, dtype, channels_last):
    for options in (Options(), Options(detach_weights=True), Options(beta=-2.0), Options(beta=0.0), Options(relu=True)):
        check(library, (2, 3, 6, 9, 11), CASES[name], dtype, channels_last, options)
    if name not in ("stride and dilation share a factor", "dilation beyond stride"):  # they have windows without cells
        check_general_op(library, (2, 3, 6, 9, 11), CASES[name], dtype, channels_last)


@layouts
@dtypes
@pytest.mark.parametrize("size", [(1, 1, 1), (2, 3, 4), (1, 2, 2), (6, 9, 11), (7, 10, 12), (4, 1, 5)], ids=str)
def test_adaptive_windows(library, size, dtype, channels_last):
    kernels = check(library, (2, 3, 6, 9, 11), Adaptive(size), dtype, channels_last)
    if size == (1, 1, 1) and dtype != torch.float64:
        assert [kernel.removesuffix(" vectors") for kernel in kernels] == ["large", "large"]


class Tuned(NamedTuple):
    """A call that has its own kernels."""

    kernels: str
    case: Case
    shape: tuple[int, int, int, int, int]
    channels_last: bool
    offset: int = 0


# Sizes around what a thread and a block do: odd ones, less than one, one and more than one of them.
TUNED = [
    Tuned("owned vectors", W222, (2, 3, 5, 7, 16), False),
    Tuned("owned vectors", W122, (1, 2, 3, 6, 40), False),
    Tuned("owned", W222, (2, 3, 5, 7, 9), False),
    Tuned("owned", W222, (1, 2, 4, 6, 16), False, 1),
    Tuned("owned", Case(*W222[:4], True), (1, 3, 5, 7, 9), False),
    Tuned("owned vectors", Case(*W122[:4], True), (2, 3, 5, 7, 16), False),
    Tuned("owned vectors", W222, (2, 16, 5, 5, 7), True),
    Tuned("owned vectors", W122, (1, 40, 2, 3, 5), True),
    Tuned("owned vectors", Case(*W222[:4], True), (1, 8, 5, 5, 7), True),
    Tuned("owned", W222, (2, 3, 5, 5, 7), True),
    Tuned("owned", W122, (1, 8, 3, 4, 6), True, 1),
    *(Tuned("overlapping vectors", case, (2, 2, 5, 8, 12), False) for case in (W133, W333_S2, W333_S1)),
    *(Tuned("overlapping", case, (1, 2, 3, 5, 7), False) for case in (W133, W333_S2, W333_S1)),
    *(Tuned("overlapping", case, (1, 1, 2, 4, 8), False, 1) for case in (W133, W333_S2, W333_S1)),
    *(Tuned("overlapping", Case(*case[:4], True), (1, 1, 4, 6, 7), False) for case in (W133, W333_S2)),
    *(Tuned("overlapping", Case(*case[:4], True), (1, 1, 4, 6, 8), False) for case in (W133, W333_S2)),
    *(Tuned("overlapping vectors", case, (1, 2, 1, 1, 4), False) for case in (W133, W333_S2, W333_S1)),
    *(Tuned("overlapping vectors", case, (1, 1, 1, 3, 140), False) for case in (W133, W333_S2, W333_S1)),
    *(Tuned("overlapping vectors", case, (1, 1, 2, 45, 40), False) for case in (W133, W333_S2, W333_S1)),
    *(Tuned("overlapping", case, (1, 1, 23, 3, 5), False) for case in (W333_S2, W333_S1)),
    *(Tuned("overlapping", case, (2, 6, 3, 5, 7), True) for case in (W133, W333_S2, W333_S1)),
    *(Tuned("overlapping", case, (1, 2, 2, 37, 41), True) for case in (W133, W333_S2, W333_S1)),
    *(Tuned("overlapping", case, (1, 34, 1, 3, 4), True) for case in (W133, W333_S2, W333_S1)),
    *(Tuned("overlapping", Case(*case[:4], True), (1, 4, 4, 6, 6), True) for case in (W133, W333_S2)),
    *(Tuned("overlapping", case, (1, 3, 2, 4, 5), True) for case in (W133, W333_S2, W333_S1)),
    Tuned("large", W277, (2, 3, 5, 15, 17), False),
    Tuned("large", Case(*W277[:4], True), (1, 2, 5, 15, 17), False),
    Tuned("large", Case((1, 3, 300), (1, 3, 300)), (1, 2, 2, 7, 301), False),
    Tuned("large", Case((2, 4, 6), (2, 4, 6)), (1, 2, 5, 4, 6), False),
    Tuned("large", Case((3, 1, 5), (3, 1, 5)), (1, 2, 3, 4, 5), False),
    Tuned("large vectors", W277, (1, 8, 5, 8, 15), True),
    Tuned("large vectors", Case(*W277[:4], True), (1, 8, 3, 8, 8), True),
    Tuned("large", W277, (2, 3, 2, 8, 15), True),
    Tuned("large vectors", Case((2, 4, 10), (1, 1, 1)), (2, 3, 2, 4, 10), False),
    Tuned("large vectors", Case((1, 3, 8), (1, 3, 8)), (2, 3, 2, 9, 8), False),
    Tuned("large vectors", Case((1, 1, 16), (1, 1, 16)), (1, 2, 2, 3, 48), False),
    Tuned("large vectors", Case((8, 40, 40), (1, 1, 1)), (1, 2, 8, 40, 40), False),
    Tuned("large", Case((3, 3, 5), (3, 3, 5)), (2, 3, 6, 3, 5), False),
    Tuned("large", Case((2, 4, 10), (1, 1, 1)), (2, 3, 2, 4, 10), False, 1),
    Tuned("large", Case((3, 5, 701), (3, 5, 701)), (1, 1, 3, 5, 701), False),
    Tuned("large vectors", Case((4, 9, 9), (1, 1, 1)), (2, 40, 4, 9, 9), True),
    Tuned("large vectors", Case((1, 3, 8), (1, 3, 8)), (1, 16, 2, 6, 8), True),
    Tuned("large vectors", Case((8, 40, 40), (1, 1, 1)), (1, 8, 8, 40, 40), True),
    Tuned("large", Case((2, 9, 9), (1, 1, 1)), (2, 11, 2, 9, 9), True),
]


def name_of(tuned: Tuned) -> str:
    return f"{tuned.kernels} {tuned.case.kernel_size} {tuned.shape} {tuned.channels_last}"


# float16 and bfloat16 differ in their conversions alone, so each is tested with every other call.
@pytest.mark.parametrize("tuned", TUNED, ids=name_of)
@pytest.mark.parametrize("half", [False, True])
def test_tuned_kernels(library, tuned, half):
    check_tuned(library, tuned, HALVES[TUNED.index(tuned) % 2] if half else torch.float32, tuned.kernels)


@pytest.mark.parametrize("tuned", TUNED[::8], ids=name_of)
def test_float64_has_the_general_kernels(library, tuned):
    check_tuned(library, tuned, torch.float64, "general")


def check_tuned(library: ctypes.CDLL, tuned: Tuned, dtype: torch.dtype, kernels: str) -> None:
    """Compare a call with the oracle, and the kernels that run with ``kernels``."""
    for options in (Options(), Options(beta=-0.5, relu=True), Options(detach_weights=True)):
        found = check(library, tuned.shape, tuned.case, dtype, tuned.channels_last, options, tuned.offset)
        assert found == (kernels, kernels)
    found = check_general_op(library, tuned.shape, tuned.case, dtype, tuned.channels_last, tuned.offset)
    assert found == (kernels, kernels)


@layouts
@dtypes
@pytest.mark.parametrize("case", [W222, W122, W133, W333_S2, W333_S1, W277, WHOLE, Case((1, 1, 3), (1, 1, 3))], ids=str)
def test_cells_that_are_not_finite(library, case, dtype, channels_last):
    """Single cells that are NaN or infinite, at every place of a small input, by the rules of the reference."""
    shape = (1, 16, 2, 7, 8)
    x = random(shape, dtype)
    for channel, (first, second) in enumerate(NON_FINITE):
        x[0, channel, channel % 2, channel % 7, (3 * channel) % 8] = first
        x[0, channel, channel % 2, channel % 7, (3 * channel + 1) % 8] = second
    grad = upstream(x, case)
    for options in (Options(), Options(beta=0.0), Options(beta=-1.0), Options(relu=True)):
        got = pool(library, x, case, options, grad, None, channels_last)
        cells = x.relu() if options.relu else x
        want_y, want_dx = reference_gradient(cells, case, options.beta, grad)
        if options.relu:
            want_dx = torch.where(x <= 0, 0.0, want_dx)
        rtol, atol = tolerance(dtype, 27, 16.0, options.beta)
        rtol = max(rtol, 2 * torch.finfo(dtype).eps)  # the reference rounds too
        torch.testing.assert_close(got.y, want_y, rtol=rtol, atol=atol, equal_nan=True)
        torch.testing.assert_close(got.dx, want_dx, rtol=rtol, atol=4 * atol, equal_nan=True)


@layouts
@dtypes
@pytest.mark.parametrize("case", [W222, W133, W333_S1, W277, WHOLE, Case((1, 1, 3), (1, 1, 3))], ids=str)
def test_logits_and_values_that_are_not_finite(library, case, dtype, channels_last):
    shape = (1, 16, 2, 7, 8)
    values, logits = random(shape, dtype), random(shape, dtype)
    logits[0, :2] = -INF  # windows that only hold absent cells
    logits[0, 2:8:2, ..., ::2] = -INF
    values[0, 2:8:2, ..., ::2] = NAN  # of absent cells: of no account
    for channel, cell in enumerate([NAN, INF, -INF]):
        logits[0, 8 + channel, 1, 3, 4] = cell
        values[0, 12 + channel, 1, 3, 4] = cell
    for channel, cell in ((11, INF), (15, NAN)):  # whose weight underflows to 0
        logits[0, channel, 1, 3, 4], values[0, channel, 1, 3, 4] = -1000, cell
    grad = upstream(values, case)
    got = pool(library, values, case, Options(), grad, logits, channels_last)
    inputs = [t.clone().requires_grad_() for t in (values, logits)]
    want_y = reference.softmax_pool3d(*inputs, Window(*case))
    want = (want_y.detach(), *torch.autograd.grad(want_y, inputs, grad))
    rtol, atol = tolerance(dtype, 27, 16.0)
    rtol = max(rtol, 2 * torch.finfo(dtype).eps)
    for result, expected in zip((got.y, got.dx, got.dlogits), want, strict=True):
        torch.testing.assert_close(result, expected, rtol=rtol, atol=4 * atol, equal_nan=True)


@layouts
@pytest.mark.parametrize("case", [W222, W133, W333_S2, W333_S1, W277, Case((4, 9, 16), (1, 1, 1))], ids=str)
def test_values_far_apart(library, case, channels_last):
    """Spreads and levels at which exponentials relative to a common level overflow and vanish."""
    shape = (1, 4, 4, 9, 16)
    for spread, level in ((30.0, 0.0), (300.0, 0.0), (1.0, 1e4), (1.0, -1e6), (1e37, 0.0)):
        x = random(shape, torch.float32, spread) + level
        grad = upstream(x, case)
        got = pool(library, x, case, Options(), grad, None, channels_last)
        want_y, want_dx = soft_pool(x, case, 1.0, grad)
        rtol, atol = tolerance(torch.float32, 98, 16.0)
        torch.testing.assert_close(got.y.double(), want_y, rtol=rtol, atol=atol)
        torch.testing.assert_close(got.dx.double(), want_dx, rtol=rtol, atol=4 * atol)


def test_sharp_and_blunt_weights(library):
    for case in (W222, W133, W333_S2, W333_S1, W277):
        for beta in (1e30, 40.0, 1e-6, 1e-35, -1e30):
            x = random((1, 2, 4, 7, 8), torch.float32)
            grad = upstream(x, case)
            got = pool(library, x, case, Options(beta), grad)
            want_y, want_dx = soft_pool(x, case, beta, grad)
            torch.testing.assert_close(got.y.double(), want_y, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(got.dx.double(), want_dx, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("spread", [1.0, 3.0])
@pytest.mark.parametrize("case", [W222, W122, W133, W333_S2, W333_S1, W277], ids=str)
def test_errors_are_at_most_twice_those_of_the_composed_form(library, case, spread):
    """In float32, root mean square; with the largest error of the special-function unit."""
    x = random((2, 4, 6, 14, 28), torch.float32, spread)
    grad = upstream(x, case)
    got = pool(library, x, case, Options(), grad)
    cells = x.clone().requires_grad_()
    e = cells.exp()
    top, bottom = (F.avg_pool3d(t, *case[:3], case.ceil_mode) for t in (e * cells, e))
    composed_y = top / bottom
    (composed_dx,) = torch.autograd.grad(composed_y, cells, grad)
    want = soft_pool(x, case, 1.0, grad)
    for ours, composed, exact in zip((got.y, got.dx), (composed_y.detach(), composed_dx), want, strict=True):
        error, bound = ((result - exact).square().mean().sqrt() for result in (ours, composed))
        assert error <= 2 * bound


@pytest.mark.parametrize("case", [W222, W133, W333_S2, W333_S1, W277], ids=str)
def test_half_precision_rounds_once(library, case):
    """float16 and bfloat16 give the float32 results of the same cells, rounded."""
    for dtype in HALVES:
        x = random((1, 4, 4, 8, 16), dtype)
        grad = upstream(x, case)
        for channels_last in (False, True):
            got = pool(library, x, case, Options(), grad, None, channels_last)
            wide = pool(library, x.float(), case, Options(), grad.float(), None, channels_last)
            for result, expected in ((got.y, wide.y), (got.dx, wide.dx)):
                step = torch.finfo(dtype).eps * expected.abs() + 1e-6
                assert ((result.float() - expected).abs() <= step).all()
