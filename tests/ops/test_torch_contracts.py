"""The op with torch's features: autograd, opcheck, fake tensors, compile, export, vmap, layouts."""

from __future__ import annotations

import io

import pytest
import torch
import torch.nn.functional as F
from oracle import CASES
from pooled_gradients import DTYPES
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from videopool import ops
from videopool.ops import native, reference
from videopool.ops.window import Window

pytestmark = pytest.mark.skipif(ops.backend() == "reference", reason="no native library was built; CI builds it")

CASE = CASES["3x3x3 s2 p1 ceil"]


def op_arguments(x, case=CASE, beta=1.0, detach=False):
    return (x, *case, beta, detach, False)


# Every op with inputs like x, and its arguments.
OPS = {
    "soft_pool3d": (1, (*CASE, 1.0, False, False)),
    "adaptive_soft_pool3d": (1, ((2, 3, 4), 1.0, False, False)),
    "softmax_pool3d": (2, CASE),
}


def inputs_like(x, name):
    """Return the tensors that an op takes: x, and others like it."""
    return [x, *(torch.randn_like(x) for _ in range(OPS[name][0] - 1))]


def forward_op(name):
    return getattr(torch.ops.videopool, name).default


def backward_op(name):
    return getattr(torch.ops.videopool, f"{name}_backward").default


def small(**options):
    return torch.randn(1, 2, 3, 4, 5, dtype=torch.float64, **options)


@pytest.mark.parametrize("beta", [1.0, -2.0, 0.0])
@pytest.mark.parametrize("name", ["2x2x2", "3x3x3 s2 p1 ceil", "dilation beyond stride"])
def test_gradcheck(name, beta):
    case = CASES[name]._replace(dilation=(1, 1, 2)) if name == "dilation beyond stride" else CASES[name]
    assert torch.autograd.gradcheck(lambda x: ops.soft_pool3d(x, *case, beta=beta), small(requires_grad=True))


@pytest.mark.slow
@pytest.mark.parametrize("beta", [1.0, -2.0])
def test_gradgradcheck(beta):
    assert torch.autograd.gradgradcheck(lambda x: ops.soft_pool3d(x, *CASE, beta=beta), small(requires_grad=True))


def test_second_and_third_order_are_those_of_the_reference():
    def derivatives(pool, detach):
        x = torch.linspace(-2, 2, 27, dtype=torch.float64).reshape(1, 1, 3, 3, 3).requires_grad_()
        grads = [pool(x, detach).square().sum()]
        for _ in range(3):
            (grad,) = torch.autograd.grad(grads[-1], x, create_graph=True)
            grads.append(grad.square().sum() if len(grads) < 3 else grad)
        return grads

    for detach in (False, True):
        got = derivatives(lambda x, d: ops.soft_pool3d(x, *CASE, detach_weights=d), detach)
        want = derivatives(lambda x, d: reference.soft_pool3d(x, Window(*CASE), 1.0, d), detach)
        for a, b in zip(got, want, strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("name", OPS)
def test_opcheck_forward(name, dtype, channels_last):
    x = torch.randn(2, 3, 4, 5, 6).to(dtype)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last_3d)
    for requires_grad in (False, True):
        tensors = [t.clone().requires_grad_(requires_grad) for t in inputs_like(x, name)]
        torch.library.opcheck(forward_op(name), (*tensors, *OPS[name][1]))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", OPS)
def test_opcheck_backward(name, dtype):
    tensors = inputs_like(torch.randn(2, 3, 4, 5, 6).to(dtype), name)
    grad = torch.randn_like(forward_op(name)(*tensors, *OPS[name][1])).requires_grad_()
    # Second order goes through plain autograd calls, which ahead-of-time tracing does not take.
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    tensors = [t.requires_grad_() for t in tensors]
    torch.library.opcheck(backward_op(name), (grad, *tensors, *OPS[name][1]), test_utils=tests)


STRIDED = {
    "contiguous": lambda: torch.randn(2, 3, 4, 5, 6),
    "channels_last": lambda: torch.randn(2, 3, 4, 5, 6).contiguous(memory_format=torch.channels_last_3d),
    "one channel": lambda: torch.randn(2, 1, 4, 5, 6).contiguous(memory_format=torch.channels_last_3d),
    "one channel as stored by channels": lambda: torch.randn(2, 4, 5, 6, 1).permute(0, 4, 1, 2, 3),
    "one frame": lambda: torch.randn(2, 3, 1, 5, 6).contiguous(memory_format=torch.channels_last_3d),
    "one pixel": lambda: torch.randn(2, 3, 4, 1, 1).contiguous(memory_format=torch.channels_last_3d),
    "one cell": lambda: torch.randn(2, 3, 1, 1, 1).contiguous(memory_format=torch.channels_last_3d),
    "one cell and entry": lambda: torch.randn(1, 3, 1, 1, 1),
    "permuted": lambda: torch.randn(6, 5, 4, 3, 2).permute(4, 3, 2, 1, 0),
    "permuted, channels innermost": lambda: torch.randn(2, 6, 5, 4, 3).permute(0, 4, 3, 2, 1),
    "sliced": lambda: torch.randn(2, 6, 4, 5, 12)[:, ::2, :, :, 1::2],
    "sliced channels_last": lambda: torch.randn(2, 3, 8, 5, 6).contiguous(memory_format=torch.channels_last_3d)[
        :, :, 2:6
    ],
    "some channels of channels_last": lambda: torch.randn(2, 6, 4, 5, 6).contiguous(
        memory_format=torch.channels_last_3d
    )[:, 1:4],
    "expanded batch": lambda: torch.randn(1, 3, 4, 5, 6).expand(2, -1, -1, -1, -1),
    "expanded channels": lambda: torch.randn(2, 1, 4, 5, 6).expand(-1, 3, -1, -1, -1),
    "expanded width": lambda: torch.randn(2, 3, 4, 5, 1).expand(-1, -1, -1, -1, 6),
    "empty batch": lambda: torch.randn(0, 3, 4, 5, 6),
    "empty channels_last batch": lambda: torch.randn(0, 3, 4, 5, 6).contiguous(memory_format=torch.channels_last_3d),
}


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("strides", STRIDED)
def test_any_strides_give_the_same_numbers_and_the_fake_the_same_strides(strides, name):
    x = STRIDED[strides]()
    arguments = (*CASE._replace(padding=(1, 1, 1)), *OPS[name][1][5:]) if "adaptive" not in name else OPS[name][1]
    tensors = inputs_like(x, name)
    y = forward_op(name)(*tensors, *arguments)
    grad = torch.randn(y.shape)
    real = [y, *as_tuple(backward_op(name)(grad, *tensors, *arguments))]
    dense = [t.clone(memory_format=torch.contiguous_format) for t in tensors]
    dense_y = forward_op(name)(*dense, *arguments)
    torch.testing.assert_close(y, dense_y)
    for got, want in zip(real[1:], as_tuple(backward_op(name)(grad, *dense, *arguments)), strict=True):
        torch.testing.assert_close(got, want)
    if name == "soft_pool3d":
        torch.testing.assert_close(y, reference.soft_pool3d(x, Window(*arguments[:5]), 1.0, False))
    with FakeTensorMode() as mode:
        fakes = [mode.from_tensor(t) for t in tensors]
        fake = [forward_op(name)(*fakes, *arguments)]
        fake += as_tuple(backward_op(name)(mode.from_tensor(grad), *fakes, *arguments))
    for a, b in zip(real, fake, strict=True):
        assert (a.shape, a.stride(), a.dtype) == (b.shape, b.stride(), b.dtype)


def as_tuple(outputs):
    return (outputs,) if isinstance(outputs, torch.Tensor) else tuple(outputs)


@pytest.mark.parametrize(
    ("pool", "shape", "layout"),
    [
        (ops.soft_pool3d, (2, 8, 4, 6, 6), torch.channels_last_3d),
        (ops.soft_pool2d, (2, 8, 6, 6), torch.channels_last),
        (ops.soft_pool3d, (2, 8, 4, 6, 6), torch.contiguous_format),
        (ops.soft_pool2d, (2, 8, 6, 6), torch.contiguous_format),
    ],
)
def test_layout_is_kept_forward_and_backward(pool, shape, layout):
    x = torch.randn(shape).contiguous(memory_format=layout).requires_grad_()
    y = pool(x, 2)
    y.sum().backward()
    assert y.is_contiguous(memory_format=layout)
    assert x.grad.is_contiguous(memory_format=layout)


def test_unbatched_channels_last_and_1d_layout_are_kept():
    y = ops.soft_pool3d(torch.randn(4, 6, 6, 8).permute(3, 0, 1, 2), 2)
    assert y.stride(0) == 1
    y = ops.soft_pool1d(torch.randn(2, 10, 8).transpose(1, 2), 2)
    assert y.stride() == (40, 1, 8)


def test_in_place_change_of_the_result_does_not_disturb_the_gradient():
    for pool, shape in ((ops.soft_pool3d, (1, 2, 4, 4, 4)), (ops.soft_pool2d, (2, 4, 4)), (ops.soft_pool1d, (2, 3, 8))):
        grads = []
        for inplace in (False, True):
            x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
            F.relu(pool(x, 2), inplace=inplace).square().sum().backward()
            grads.append(x.grad)
        torch.testing.assert_close(grads[0], grads[1], rtol=0, atol=0)


@pytest.mark.parametrize("name", OPS)
def test_only_the_inputs_are_saved(name):
    tensors = [t.requires_grad_() for t in inputs_like(small(), name)]
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        forward_op(name)(*tensors, *OPS[name][1])
    assert [t.data_ptr() for t in saved] == [t.data_ptr() for t in tensors]
    with torch.inference_mode():
        forward_op(name)(*(t.detach() for t in tensors), *OPS[name][1])


def test_same_result_with_any_number_of_threads():
    x = torch.randn(3, 16, 8, 24, 24)
    before = torch.get_num_threads()
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        for layout in (torch.contiguous_format, torch.channels_last_3d):
            leaf = x.clone(memory_format=layout).requires_grad_()
            y = ops.soft_pool3d(leaf, 3, 2, 1)
            y.sum().backward()
            results.append((layout, y.detach(), leaf.grad))
    torch.set_num_threads(before)
    for layout, y, dx in results[2:]:
        first = next(r for r in results if r[0] == layout)
        assert torch.equal(y, first[1])
        assert torch.equal(dx, first[2])


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv3d(2, 4, 3, padding=1)
        self.pool = ops.SoftPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1), beta=2.0)

    def forward(self, x):
        return torch.relu_(self.pool(self.conv(x))).mean((2, 3, 4))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compile_without_graph_breaks(backend):
    torch._dynamo.reset()
    net, x = Net(), torch.randn(2, 2, 3, 8, 8)
    compiled = torch.compile(net, backend=backend, fullgraph=True)
    want = net(x)
    want.square().sum().backward()
    grads = [p.grad.clone() for p in net.parameters()]
    net.zero_grad()
    got = compiled(x)
    got.square().sum().backward()
    torch.testing.assert_close(got, want)
    for p, grad in zip(net.parameters(), grads, strict=True):
        torch.testing.assert_close(p.grad, grad)


@pytest.mark.slow
def test_compile_with_sizes_that_change():
    torch._dynamo.reset()
    pool = torch.compile(lambda x: ops.soft_pool2d(x, 3, 2, 1), backend="aot_eager", fullgraph=True, dynamic=True)
    for size in (8, 9, 13):
        x = torch.randn(2, 3, size, size + 1)
        torch.testing.assert_close(pool(x), ops.soft_pool2d(x, 3, 2, 1))


def test_export_round_trip():
    net, x = Net().eval(), torch.randn(2, 2, 3, 8, 8)
    program = torch.export.export(net, (x,), dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=16)},))
    stored = io.BytesIO()
    torch.export.save(program, stored)
    stored.seek(0)
    loaded = torch.export.load(stored).module()
    for batch in (2, 5):
        x = torch.randn(batch, 2, 3, 8, 8)
        torch.testing.assert_close(loaded(x), net(x))


def test_vmap():
    x = torch.randn(3, 2, 4, 5, 4, 6, dtype=torch.float64)
    for axis in (0, 2):
        got = torch.vmap(lambda t: ops.soft_pool3d(t, 2), in_dims=axis)(x)
        want = torch.stack([ops.soft_pool3d(t, 2) for t in x.unbind(axis)])
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16], ids=str)
def test_batched_gradients(dtype):
    """autograd's is_grads_batched runs the backward op under vmap."""
    x = torch.randn(2, 3, 4, 4, 6).to(dtype).requires_grad_()
    y = ops.soft_pool3d(x, *CASE)
    grads = torch.randn(5, *y.shape).to(dtype)
    (got,) = torch.autograd.grad(y, x, grads, is_grads_batched=True, retain_graph=True)
    want = torch.stack([torch.autograd.grad(y, x, grad, retain_graph=True)[0] for grad in grads])
    torch.testing.assert_close(got, want, rtol=0, atol=0)


def test_autocast_runs_in_the_dtype_it_gets():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert ops.soft_pool3d(torch.randn(1, 1, 2, 2, 2), 2).dtype == torch.float32
        assert ops.soft_pool3d(torch.randn(1, 1, 2, 2, 2).bfloat16(), 2).dtype == torch.bfloat16


def test_meta_tensors_have_shapes():
    y = ops.soft_pool3d(torch.empty(2, 3, 8, 8, 8, device="meta"), 3, 2, 1)
    assert y.shape == (2, 3, 4, 4, 4)


def test_scripts_know_what_runs():
    assert native.runs_on(torch.device("cpu"))
    assert not native.runs_on(torch.device("mps"))


def test_a_mode_sees_the_ops_and_changes_nothing():
    """Plain tensors skip torch's layers for custom ops; modes that watch operations must still see them."""

    class Names(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            names.append(str(func))
            return func(*args, **(kwargs or {}))

    names: list[str] = []
    x = torch.randn(2, 3, 4, 5, 6, requires_grad=True)
    calls = {
        "soft_pool3d": lambda: ops.soft_pool3d(x, 2),
        "adaptive_soft_pool3d": lambda: ops.adaptive_soft_pool3d(x, 2),
        "softmax_pool3d": lambda: ops.softmax_pool3d(x, x, 2),
    }
    for name, call in calls.items():
        y = call()
        (dx,) = torch.autograd.grad(y.sum(), x)
        names.clear()
        with Names():
            watched = call()
            (watched_dx,) = torch.autograd.grad(watched.sum(), x)
        assert {f"videopool.{name}.default", f"videopool.{name}_backward.default"} <= set(names)
        assert torch.equal(watched, y)
        assert torch.equal(watched_dx, dx)
        with torch.no_grad():
            assert torch.equal(call(), y)
        with torch.inference_mode():
            assert torch.equal(call(), y)
