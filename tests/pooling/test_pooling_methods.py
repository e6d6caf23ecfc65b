"""The pooling modules against a slow reference that walks over every window."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from videopool.errors import InputError
from videopool.pooling import METHODS, AvgPool, MaxPool, SoftPool


def average_of(cells: torch.Tensor) -> torch.Tensor:
    return cells.sum() / len(cells)


def soft_of(cells: torch.Tensor) -> torch.Tensor:
    exponentials = [math.exp(cell) for cell in cells.tolist()]
    return torch.tensor(
        sum(e * c for e, c in zip(exponentials, cells.tolist(), strict=True)) / sum(exponentials), dtype=cells.dtype
    )


FORMULAS = {"avg": average_of, "max": torch.max, "soft": soft_of}


def starts(size: int, kernel: int, stride: int, padding: int, ceil_mode: bool) -> list[int]:
    """Where windows begin on one axis, by torch's rule: a last one must begin within the input or its left padding."""
    room = size + 2 * padding - kernel
    count = (-(-room // stride) if ceil_mode else room // stride) + 1
    if ceil_mode and (count - 1) * stride >= size + padding:
        count -= 1
    return [index * stride - padding for index in range(count)]


def pooled_slowly(x: torch.Tensor, method: str, kernel, stride, padding, ceil_mode: bool) -> torch.Tensor:
    """[C,...] pooled window by window; cells outside of the input are in no window."""
    axes = [
        [range(max(start, 0), min(start + k, size)) for start in starts(size, k, s, p, ceil_mode)]
        for size, k, s, p in zip(x.shape[1:], kernel, stride, padding, strict=True)
    ]
    out = torch.empty(x.shape[0], *(len(axis) for axis in axes), dtype=x.dtype)
    for channel in range(x.shape[0]):
        for place in itertools.product(*(range(len(axis)) for axis in axes)):
            cells = itertools.product(*(axis[index] for axis, index in zip(axes, place, strict=True)))
            out[(channel, *place)] = FORMULAS[method](torch.stack([x[(channel, *cell)] for cell in cells]))
    return out


WINDOWS = [
    ((2,), (2,), (0,), False),
    ((3,), (2,), (1,), True),
    ((2, 2), (2, 2), (0, 0), True),
    ((3, 2), (2, 1), (1, 0), False),
    ((1, 3, 3), (1, 2, 2), (0, 1, 1), False),
    ((3, 2, 3), (2, 2, 1), (1, 1, 0), True),
    ((7, 2), (3, 2), (0, 0), True),  # longer than the axis: one window, all of its cells
]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("kernel", "stride", "padding", "ceil_mode"), WINDOWS)
def test_formula(method, kernel, stride, padding, ceil_mode):
    x = torch.randn(2, *(5, 7, 6)[: len(kernel)], generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    pool = METHODS[method](len(kernel), kernel, stride, padding, ceil_mode=ceil_mode)
    expected = pooled_slowly(x, method, kernel, stride, padding, ceil_mode)
    torch.testing.assert_close(pool(x), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(pool(x[None])[0], expected, rtol=1e-12, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    kernel=st.integers(1, 4), stride=st.integers(1, 4), half=st.booleans(), ceil=st.booleans(), size=st.integers(4, 11)
)
def test_every_method_pools_the_same_cells(kernel, stride, half, ceil, size):
    """A constant stays constant, border windows included: no method counts a padded cell. Shapes are max_pool's."""
    padding = kernel // 2 if half else 0
    x = torch.full((1, 1, size, size), 3.0, dtype=torch.float64)
    shape = functional.max_pool2d(x, kernel, stride, padding, 1, ceil).shape
    for method in METHODS.values():
        out = method(2, kernel, stride, padding, ceil_mode=ceil)(x)
        torch.testing.assert_close(out, torch.full(shape, 3.0, dtype=torch.float64))


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("method", METHODS)
def test_global_pool(method, rank):
    x = torch.randn(2, 3, *(4, 5, 6)[:rank], generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    out = METHODS[method](rank, None)(x)
    assert out.shape == (2, 3, *(1,) * rank)
    expected = torch.stack([FORMULAS[method](row) for row in x.flatten(2).flatten(0, 1)]).view(2, 3)
    torch.testing.assert_close(out.flatten(1), expected, rtol=1e-12, atol=1e-12)


def test_beta_moves_from_average_to_maximum():
    x = torch.randn(1, 2, 6, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    torch.testing.assert_close(SoftPool(2, 2, beta=0.0)(x), AvgPool(2, 2)(x))
    torch.testing.assert_close(SoftPool(2, 2, beta=1e6)(x), MaxPool(2, 2)(x))


def test_detached_weights_change_the_gradient_alone():
    x = torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    exact, detached = x.clone().requires_grad_(), x.clone().requires_grad_()
    out, same = SoftPool(2, 4)(exact), SoftPool(2, 4, detach_weights=True)(detached)
    assert torch.equal(out, same)
    out.sum().backward()
    same.sum().backward()
    weights = torch.softmax(x.flatten(), 0).view_as(x)
    torch.testing.assert_close(detached.grad, weights)
    torch.testing.assert_close(exact.grad, weights * (1 + x - out.detach()))


def test_stride_defaults_to_the_kernel():
    pool = SoftPool(3, (1, 2, 3))
    assert pool.stride == (1, 2, 3)
    assert (pool.padding, pool.dilation) == ((0, 0, 0), (1, 1, 1))


def test_repr_names_window_and_arguments():
    assert repr(MaxPool(3, (1, 3, 3), (1, 2, 2), (0, 1, 1))) == "MaxPool(1x3x3 stride 1x2x2 padding 0x1x1)"
    assert SoftPool(2, 2, ceil_mode=True, beta=2, detach_weights=True).describe() == (
        "soft beta 2.0 detached 2x2 stride 2x2 ceil"
    )


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: MaxPool(4, 2), "rank 4"),
        (lambda: MaxPool(3, (2, 2)), "has 2 numbers; a rank-3 pool"),
        (lambda: MaxPool(2, 0), "size below 1"),
        (lambda: MaxPool(2, 2, padding=-1), "negative padding"),
        (lambda: MaxPool(2, 2, padding=2), "more than half"),
        (lambda: AvgPool(2, 2, dilation=2), "no dilation"),
        (lambda: SoftPool(2, None, padding=1), "global pool"),
        (lambda: SoftPool(2, 2, beta=math.nan), "not a finite number"),
    ],
)
def test_impossible_pools_are_refused_in_words(make, words):
    with pytest.raises(InputError, match=words):
        make()
