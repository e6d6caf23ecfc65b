"""The decompositions of the native ops equal them, in float64 and for every kind of number."""

import itertools
import math

import pytest
import torch

from videopool.export import plain
from videopool.ops import backend
from videopool.ops.window import Window, output_sizes

pytestmark = pytest.mark.skipif(backend() == "reference", reason="needs the native library, as in make build")
native = torch.ops.videopool
RTOL = {torch.float64: 1e-13, torch.float32: 2e-6, torch.bfloat16: 8e-3}  # about 16 roundings; one for bfloat16


def random_window(number: int) -> tuple[Window, tuple[int, ...]]:
    """Return a window that fits, and the sizes of the input."""
    generator = torch.Generator().manual_seed(number)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    while True:
        kernel = tuple(draw(1, 3) for _ in range(3))
        window = Window(
            kernel,
            tuple(draw(1, 3) for _ in range(3)),
            tuple(draw(0, k // 2) for k in kernel),
            tuple(draw(1, 2) for _ in range(3)),
            bool(draw(0, 1)),
        )
        sizes = tuple(draw(1, 7) for _ in range(3))
        try:
            output_sizes(sizes, window)
        except ValueError:
            continue
        return window, sizes


def cells(sizes: tuple[int, ...], seed: int, *, special: bool, scale: float = 3.0) -> torch.Tensor:
    """Return float64 [2,3,*sizes]; with ``special``, a third are NaN, infinite, zero or huge."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, 3, *sizes, generator=generator, dtype=torch.float64) * scale
    if special:
        values = torch.tensor([math.nan, math.inf, -math.inf, -math.inf, 0.0, 1e30, -1e30], dtype=torch.float64)
        chosen = values[torch.randint(0, len(values), x.shape, generator=generator)]
        x = torch.where(torch.rand(x.shape, generator=generator) < 0.3, chosen, x)
    return x


@pytest.mark.parametrize("dtype", RTOL)
@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize("number", range(15))
def test_soft_pool(number: int, special: bool, dtype: torch.dtype) -> None:
    window, sizes = random_window(number)
    x = cells(sizes, number, special=special).to(dtype)
    for beta, relu in itertools.product((1.0, -1.5, 0.0, 2.5, 1e-35, 1e300), (False, True)):
        arguments = (*window, beta, False, relu)
        expected = native.soft_pool3d(x, *arguments)
        found = plain.soft_pool3d(x, *arguments)
        assert found.dtype == dtype
        # A sum of terms that cancel is as exact as its largest term.
        atol = RTOL[dtype] * (1e30 if special else 10.0)
        finite = torch.isfinite(expected)
        torch.testing.assert_close(found[~finite], expected[~finite], equal_nan=True)
        torch.testing.assert_close(found[finite], expected[finite], rtol=RTOL[dtype], atol=atol)


def test_soft_pool_of_large_values() -> None:
    x = cells((4, 6, 6), 0, special=False, scale=1e4)
    arguments = ((2, 2, 2), (2, 2, 2), (0, 0, 0), (1, 1, 1), False, 1.0, False, False)
    torch.testing.assert_close(plain.soft_pool3d(x, *arguments), native.soft_pool3d(x, *arguments), rtol=1e-13, atol=0)
    largest = torch.full((1, 1, 2, 2, 2), torch.finfo(torch.float64).max, dtype=torch.float64)
    largest[..., 0] *= -1
    torch.testing.assert_close(plain.soft_pool3d(largest, *arguments), native.soft_pool3d(largest, *arguments))


@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize("out", [(1, 1, 1), (2, 3, 4), (5, 1, 6), (7, 9, 3)])
def test_adaptive_soft_pool(out: tuple[int, int, int], special: bool) -> None:
    x = cells((5, 7, 6), 3, special=special)
    for beta, relu in itertools.product((1.0, -2.0, 0.0), (False, True)):
        expected = native.adaptive_soft_pool3d(x, out, beta, False, relu)
        found = plain.adaptive_soft_pool3d(x, out, beta, False, relu)
        finite = torch.isfinite(expected)
        torch.testing.assert_close(found[~finite], expected[~finite], equal_nan=True)
        atol = 1e-13 * (1e30 if special else 10.0)
        torch.testing.assert_close(found[finite], expected[finite], rtol=1e-13, atol=atol)


@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize("number", [*range(15), "whole"])
def test_softmax_pool(number: int | str, special: bool) -> None:
    if isinstance(number, str):
        window, sizes = Window((3, 4, 5), (1, 1, 1), (0, 0, 0), (1, 1, 1), False), (3, 4, 5)
    else:
        window, sizes = random_window(number)
    values, logits = cells(sizes, 1, special=special), cells(sizes, 2, special=special)
    expected = native.softmax_pool3d(values, logits, *window)
    found = plain.softmax_pool3d(values, logits, *window)
    atol = 1e-13 * (1e30 if special else 10.0)
    finite = torch.isfinite(expected)
    torch.testing.assert_close(found[~finite], expected[~finite], equal_nan=True)
    torch.testing.assert_close(found[finite], expected[finite], rtol=1e-13, atol=atol)


def test_an_excluded_cell_contributes_nothing() -> None:
    values = torch.tensor([math.nan, 1.0, 3.0], dtype=torch.float64).view(1, 1, 1, 1, 3)
    logits = torch.tensor([-math.inf, 0.0, 0.0], dtype=torch.float64).view(1, 1, 1, 1, 3)
    for kernel in ((1, 1, 3), (1, 1, 2)):
        ones, zeros = (1, 1, 1), (0, 0, 0)
        found = plain.softmax_pool3d(values, logits, kernel, ones, zeros, ones, False)
        expected = native.softmax_pool3d(values, logits, kernel, ones, zeros, ones, False)
        torch.testing.assert_close(found, expected, rtol=1e-15, atol=0)
        assert found.flatten().isfinite().all()
    found = plain.softmax_pool3d(values, logits.clamp(min=-2000), (1, 1, 3), ones, zeros, ones, False)
    assert found.isnan().all()  # a weight that underflows to 0 does not hide a NaN


def test_the_table_has_every_op_of_the_library() -> None:
    forward = {
        name.removeprefix("videopool::")
        for name in torch._C._dispatch_get_all_op_names()
        if name.startswith("videopool::") and not name.endswith("_backward") and name.endswith("pool3d")
    }
    assert {op.name().removeprefix("videopool::") for op in plain.table()} == forward
