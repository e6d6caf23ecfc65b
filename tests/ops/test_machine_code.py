"""The machine code of the CUDA kernels for sm_90, run in an emulator: the calls of test_device_code, without a GPU.

The emulator checks what the host build of the same text cannot: the compiler's code, the real width and alignment of
accesses, the threads of a warp that part and meet, and shared memory as hardware has it.
"""

from __future__ import annotations

import pytest
import test_device_code as device
import torch
from host_library import kept_folder, load
from oracle import Adaptive, Case
from pooled_gradients import INF, NAN, NON_FINITE, reference_gradient
from test_device_code import Options

from tests.machine_code.kernels import MachineCode, compile_kernels

# The first test compiles the kernels, for some minutes where other tests run too.
pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]

OVERLAPPING = {"1x3x3": device.W133, "3x3x3 s2": device.W333_S2, "3x3x3 s1": device.W333_S1}
WINDOWS = {
    "2x2x2": device.W222,
    "1x2x2": device.W122,
    **OVERLAPPING,
    "2x7x7": device.W277,
    "1x1x3": Case((1, 1, 3), (1, 1, 3)),
}
SINGLE = [torch.float32, torch.bfloat16]
layouts = pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels_last"])
dtypes = pytest.mark.parametrize("dtype", SINGLE, ids=str)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def library(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> MachineCode:
    kept = kept_folder(pytestconfig, tmp_path_factory)
    try:
        return MachineCode(load(kept), compile_kernels(kept))
    except FileNotFoundError as error:
        pytest.skip(str(error))


def test_registers_suffice(library):
    """No kernel of 16 or 32 bits keeps anything in local memory; those of float64 may, for the library's exp."""
    stacks = {name: size for name, size in library._compiled.stack.items() if size > 0}
    assert not [name for name in stacks if "IdE" not in name and "Id" not in name], stacks


@layouts
@pytest.mark.parametrize("dtype", [*SINGLE, torch.float16], ids=str)
@pytest.mark.parametrize("name", WINDOWS)
def test_every_family_matches_the_oracle(library, name, dtype, channels_last):
    device.check(library, (1, 4, 3, 9, 12), WINDOWS[name], dtype, channels_last)


@layouts
@dtypes
@pytest.mark.parametrize("name", WINDOWS)
def test_odd_sizes_that_are_not_aligned(library, name, dtype, channels_last):
    device.check(library, (1, 3, 4, 8, 15), WINDOWS[name], dtype, channels_last, offset=1)


@pytest.mark.parametrize("name", ["2x2x2", *OVERLAPPING])
def test_windows_beyond_the_end(library, name):
    device.check(library, (1, 2, 4, 8, 10), WINDOWS[name]._replace(ceil_mode=True), torch.float32, False)


@layouts
@pytest.mark.parametrize("name", ["2x2x2", *OVERLAPPING, "2x7x7"])
def test_options(library, name, channels_last):
    for options in (Options(relu=True), Options(beta=-0.7), Options(beta=0.0), Options(detach_weights=True)):
        device.check(library, (1, 4, 2, 9, 8), WINDOWS[name], torch.float32, channels_last, options)


@layouts
@pytest.mark.parametrize("name", ["2x2x2", "1x3x3", "3x3x3 s1", "2x7x7", "1x1x3"])
def test_weighted_pooling(library, name, channels_last):
    device.check_general_op(library, (1, 4, 2, 9, 8), WINDOWS[name], torch.float32, channels_last)


@layouts
@dtypes
@pytest.mark.parametrize("size", [(1, 1, 1), (3, 1, 1), (1, 4, 5)], ids=str)
def test_adaptive_windows(library, size, dtype, channels_last):
    device.check(library, (1, 8, 3, 9, 12), Adaptive(size), dtype, channels_last)


@layouts
@dtypes
@pytest.mark.parametrize("shape", [(1, 8, 8, 40, 40), (2, 3, 3, 3, 5), (1, 40, 2, 9, 9)], ids=str)
def test_global_pooling(library, shape, dtype, channels_last):
    """Windows that lanes, a warp and a block share, and channels that do not fill the lanes."""
    device.check(library, shape, Adaptive((1, 1, 1)), dtype, channels_last)
    device.check_general_op(library, shape, Case(shape[2:], (1, 1, 1)), dtype, channels_last)


@layouts
@pytest.mark.parametrize("name", [*WINDOWS, "whole"])
def test_cells_that_are_not_finite_or_far_apart(library, name, channels_last):
    shape, case = (1, 8, 2, 7, 8), WINDOWS.get(name, device.WHOLE)
    x = device.random(shape, torch.float32)
    for channel, cells in enumerate(NON_FINITE[:6]):
        for column, cell in enumerate(cells):
            x[0, channel, channel % 2, channel, column + channel] = cell
    x[0, 6] *= 100
    x[0, 7, :, ::2] += 1e6
    grad = device.upstream(x, case)
    got = device.pool(library, x, case, Options(), grad, None, channels_last)
    want_y, want_dx = reference_gradient(x, case, 1.0, grad)
    for found, want in ((got.y, want_y), (got.dx, want_dx)):
        torch.testing.assert_close(found, want, rtol=2e-5, atol=2e-5, equal_nan=True)


@layouts
@pytest.mark.parametrize("name", WINDOWS)
def test_an_infinite_gradient_stays_in_its_window(library, name, channels_last):
    """As a step of mixed precision that overflows has them."""
    shape, case = (1, 4, 2, 7, 8), WINDOWS[name]
    x = device.random(shape, torch.float32)
    grad = device.upstream(x, case)
    grad[0, 1, 0, -1, -1] = INF
    got = device.pool(library, x, case, Options(), grad, None, channels_last).dx
    want = reference_gradient(x, case, 1.0, grad)[1]
    torch.testing.assert_close(got.isfinite(), want.isfinite())
    assert not want.isfinite().all()
    finite = want.isfinite()
    torch.testing.assert_close(got[finite], want[finite], rtol=2e-5, atol=2e-5)


def test_it_would_find_a_mistake_of_the_compiler(library):
    """One instruction changed in the listing: another result, or a fault."""
    x = device.random((1, 4, 2, 8, 8), torch.float32)
    for name, old, new in (("1x3x3", "MUFU.EX2", "MUFU.RCP"), ("3x3x3 s1", "SHFL.UP", "SHFL.DOWN")):
        changed = {kernel: text.replace(old, new) for kernel, text in library._compiled.listings.items()}
        wrong = MachineCode(library._host, library._compiled._replace(listings=changed))
        with pytest.raises(AssertionError):
            device.check(wrong, tuple(x.shape), WINDOWS[name], torch.float32, False)


def test_nan_rules_of_logits(library):
    """A value that is not finite is not lost when its weight underflows."""
    shape = (1, 4, 1, 6, 8)
    values, logits = device.random(shape, torch.float32), device.random(shape, torch.float32)
    for channel, (value, logit) in enumerate([(NAN, -1000.0), (INF, -1000.0), (NAN, -INF), (1.0, -INF)]):
        values[0, channel, 0, 3, 4], logits[0, channel, 0, 3, 4] = value, logit
    for case in (device.W133, device.W122):
        grad = device.upstream(values, case)
        got = device.pool(library, values, case, Options(), grad, logits)
        lost = got.y[0].isfinite().flatten(1).all(1)
        assert lost.tolist() == [False, False, True, True]
