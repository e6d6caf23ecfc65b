"""The CUDA device code, compiled for the host: the same text that nvcc compiles, checked where there is no GPU."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from oracle import CASES, Case, cells_per_window, soft_pool, tolerance
from runs import DTYPES, NON_FINITE, reference_gradient

from videopool.ops.window import Window, output_sizes

HERE = Path(__file__).parent


class Call(ctypes.Structure):
    """The twin of Call in host_kernels.cpp."""

    _fields_ = (
        ("sizes", ctypes.c_int64 * 5),
        *((name, ctypes.c_int64 * 3) for name in ("kernel", "stride", "padding", "dilation")),
        *((name, ctypes.c_int64) for name in ("ceil_mode", "channels_last", "detach_weights", "blocks", "threads")),
        ("beta", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in ("grad", "x", "y", "center", "center_low", "lse", "dx")),
    )


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        pytest.skip("no C++ compiler to build the device code for the host; CI has one")
    target = tmp_path_factory.mktemp("device_code") / "host_kernels.so"
    folders = [HERE, HERE.parents[1] / "csrc", Path(torch.__file__).parent / "include"]
    command = [compiler, "-std=c++20", "-O1", "-shared", "-fPIC", *(f"-I{folder}" for folder in folders)]
    subprocess.run([*command, str(HERE / "host_kernels.cpp"), "-o", str(target)], check=True)
    return ctypes.CDLL(str(target))


def run(
    library: ctypes.CDLL,
    x: torch.Tensor,
    case: Case,
    beta: float,
    make_grad: Callable[[torch.Tensor], torch.Tensor],
    detach_weights: bool = False,
    wide_index: bool = False,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Forward and backward of the device code; -> y, grad, dx."""
    layout = torch.contiguous_format if x.is_contiguous() else torch.channels_last_3d
    sizes = output_sizes(x.shape[2:], Window(*case))
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    y, center, center_low, lse = (
        torch.full((*x.shape[:2], *sizes), 77.0, dtype=dtype).contiguous(memory_format=layout)
        for dtype in (x.dtype, wide, wide, wide)
    )
    dx = torch.full_like(x, 77.0)
    grad = make_grad(y).contiguous(memory_format=layout)
    call = Call(
        tuple(x.shape), *case[:4], case.ceil_mode, layout == torch.channels_last_3d, detach_weights, 3, 64, beta
    )
    call.grad, call.x, call.y, call.dx = (tensor.data_ptr() for tensor in (grad, x, y, dx))
    call.center, call.center_low, call.lse = (tensor.data_ptr() for tensor in (center, center_low, lse))
    dtype = str(x.dtype).removeprefix("torch.")
    getattr(library, f"forward_{dtype}")(ctypes.byref(call), wide_index)
    getattr(library, f"backward_{dtype}")(ctypes.byref(call), wide_index)
    return y, grad, dx


def example(dtype: torch.dtype, channels_last: bool) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    x = (torch.randn(2, 3, 6, 9, 11, generator=generator) * 2).to(dtype)
    return x.contiguous(memory_format=torch.channels_last_3d) if channels_last else x


@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_device_code_matches_the_oracle(library, name, dtype, channels_last):
    case = CASES[name]
    x = example(dtype, channels_last)
    for beta, detach in ((1.0, False), (1.0, True), (-2.0, False), (0.0, False)):
        y, grad, dx = run(library, x, case, beta, torch.randn_like, detach, wide_index=beta < 0)
        want_y, want_dx = soft_pool(x, case, beta, grad, detach)
        n = cells_per_window(case)
        rtol, atol = tolerance(dtype, n, 16.0, beta)
        torch.testing.assert_close(y.double(), want_y, rtol=rtol, atol=atol)
        torch.testing.assert_close(dx.double(), want_dx, rtol=rtol, atol=4 * atol)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_device_code_agrees_with_the_reference_where_not_finite(library, dtype):
    case = Case((1, 1, 2), (1, 1, 2))
    for cells in NON_FINITE:
        for beta in (1.0, 0.0, -1.0):
            x = torch.tensor(cells, dtype=dtype).reshape(1, 1, 1, 1, 2)
            y, grad, dx = run(library, x, case, beta, torch.ones_like)
            want_y, want_dx = reference_gradient(x, case, beta, grad)
            torch.testing.assert_close(y, want_y, equal_nan=True)
            torch.testing.assert_close(dx, want_dx, equal_nan=True)
