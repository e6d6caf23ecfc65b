"""The CUDA kernels on a GPU. Skipped without one; with VIDEOPOOL_REQUIRE_CUDA=1 a missing GPU is a failure."""

from __future__ import annotations

import os

import pytest
import torch
from oracle import CASES, Case, cells_per_window, soft_pool, tolerance
from runs import DTYPES, NON_FINITE, public_gradient, reference_gradient

from videopool import ops
from videopool.ops import native

REQUIRED = os.environ.get("VIDEOPOOL_REQUIRE_CUDA") == "1"


@pytest.fixture(autouse=True)
def gpu() -> torch.device:
    if not torch.cuda.is_available():
        if REQUIRED:
            pytest.fail("VIDEOPOOL_REQUIRE_CUDA=1 and torch sees no GPU")
        pytest.skip("no GPU; benchmarks/gpu.sh runs this on a machine that has one")
    if not native.runs_on(torch.device("cuda")):
        pytest.fail(f"there is a GPU but no CUDA library: {native._LOADED.problem}")
    return torch.device("cuda")


@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_kernels_match_the_oracle(name, dtype, channels_last, gpu):
    layout = torch.channels_last_3d if channels_last else torch.contiguous_format
    x = (torch.randn(2, 5, 6, 9, 11, device=gpu) * 2).to(dtype).contiguous(memory_format=layout)
    for beta, detach in ((1.0, False), (1.0, True), (-2.0, False), (0.0, False)):
        y, grad, dx = public_gradient(x, CASES[name], beta, detach_weights=detach)
        assert y.is_cuda
        assert y.is_contiguous(memory_format=layout)
        assert dx.is_contiguous(memory_format=layout)
        want_y, want_dx = soft_pool(x, CASES[name], beta, grad, detach)
        rtol, atol = tolerance(dtype, cells_per_window(CASES[name]), 16.0, beta)
        torch.testing.assert_close(y.double().cpu(), want_y, rtol=rtol, atol=atol)
        torch.testing.assert_close(dx.double().cpu(), want_dx, rtol=rtol, atol=4 * atol)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_inputs_that_are_not_finite(dtype, gpu):
    case = Case((1, 1, 2), (1, 1, 2))
    for cells in NON_FINITE:
        for beta in (1.0, 0.0, -1.0):
            x = torch.tensor(cells, dtype=dtype).reshape(1, 1, 1, 1, 2)
            grad = torch.ones(1, 1, 1, 1, 1, dtype=dtype)
            y, _, dx = public_gradient(x.to(gpu), case, beta, grad.to(gpu))
            want_y, want_dx = reference_gradient(x, case, beta, grad)
            torch.testing.assert_close(y.cpu(), want_y, equal_nan=True)
            torch.testing.assert_close(dx.cpu(), want_dx, equal_nan=True)


@pytest.mark.parametrize("rows", [2**20, 3 * 2**20])
def test_more_windows_than_threads_and_bit_for_bit_again(rows, gpu):
    x = torch.randn(1, 1, 1, rows, 64, device=gpu)
    case = Case((1, 2, 2), (1, 2, 2))
    first = public_gradient(x, case, 1.0)
    again = public_gradient(x, case, 1.0, first[1])
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[2], again[2])
    tail = x[..., -64:, :]
    want_y, want_dx = soft_pool(tail, case, 1.0, first[1][..., -32:, :])
    torch.testing.assert_close(first[0][..., -32:, :].double().cpu(), want_y, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(first[2][..., -64:, :].double().cpu(), want_dx, rtol=1e-5, atol=1e-5)


def test_indices_beyond_32_bits(gpu):
    if torch.cuda.get_device_properties(gpu).total_memory < 24 * 2**30:
        pytest.skip("needs 24 GiB of device memory")
    x = torch.zeros(1, 1, 1, 2**17, 2**14 + 2, device=gpu, dtype=torch.float16)
    x[..., -2:, -2:] = torch.tensor([[1.0, 2.0], [3.0, 4.0]], device=gpu)
    y, grad, dx = public_gradient(x, Case((1, 2, 2), (1, 2, 2)), 1.0)
    want_y, want_dx = soft_pool(x[..., -2:, -2:], Case((1, 2, 2), (1, 2, 2)), 1.0, grad[..., -1:, -1:])
    torch.testing.assert_close(y[..., -1:, -1:].double().cpu(), want_y, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(dx[..., -2:, -2:].double().cpu(), want_dx, rtol=1e-3, atol=1e-3)
    assert (y[..., :-1, :] == 0).all()


def test_runs_on_the_current_stream(gpu):
    x = torch.zeros(4, 8, 8, 64, 64, device=gpu)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)
        x.add_(1)
        y = ops.soft_pool3d(x, 2)
    stream.synchronize()
    assert (y == 1).all()


def test_graph_capture_and_replay(gpu):
    x = torch.randn(2, 4, 4, 16, 16, device=gpu, requires_grad=True)
    warm_up = torch.cuda.Stream()
    with torch.cuda.stream(warm_up):
        torch.autograd.grad(ops.soft_pool3d(x, 3, 2, 1).sum(), x)
    torch.cuda.current_stream().wait_stream(warm_up)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = ops.soft_pool3d(x, 3, 2, 1)
        (dx,) = torch.autograd.grad(y.sum(), x)
    with torch.no_grad():
        x.copy_(torch.randn_like(x))
    graph.replay()
    want = ops.soft_pool3d(x, 3, 2, 1)
    (want_dx,) = torch.autograd.grad(want.sum(), x)
    torch.testing.assert_close(y, want, rtol=0, atol=0)
    torch.testing.assert_close(dx, want_dx, rtol=0, atol=0)


def test_compile_and_opcheck(gpu):
    torch._dynamo.reset()
    module = torch.nn.Sequential(ops.SoftPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)), torch.nn.ReLU(inplace=True))
    x = torch.randn(2, 4, 4, 16, 16, device=gpu, requires_grad=True)
    compiled = torch.compile(module, fullgraph=True)
    torch.testing.assert_close(compiled(x), module(x))
    (got,) = torch.autograd.grad(compiled(x).square().sum(), x)
    (want,) = torch.autograd.grad(module(x).square().sum(), x)
    torch.testing.assert_close(got, want)
    torch.library.opcheck(torch.ops.videopool.soft_pool3d.default, (x, *CASES["2x2x2"], 1.0, False, True))


def test_second_gpu_gets_its_own_device(gpu):
    if torch.cuda.device_count() < 2:
        pytest.skip("one GPU; a machine with two runs this")
    x = torch.randn(1, 2, 4, 4, 4, device="cuda:1", requires_grad=True)
    y = ops.soft_pool3d(x, 2)
    y.sum().backward()
    assert y.device == x.grad.device == x.device
    torch.testing.assert_close(y.cpu(), ops.soft_pool3d(x.cpu(), 2))


def test_gradcheck(gpu):
    x = torch.randn(1, 2, 3, 4, 5, dtype=torch.float64, device=gpu, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: ops.soft_pool3d(t, 3, 2, 1), x, nondet_tol=0.0)
    assert torch.autograd.gradgradcheck(lambda t: ops.soft_pool3d(t, 3, 2, 1), x)
