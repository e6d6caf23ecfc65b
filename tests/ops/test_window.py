"""Output sizes and argument errors, as in torch's max pooling; messages say how to fix them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from videopool import ops

hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed; CI has it")
st = hypothesis.strategies

POOLS = {1: (ops.soft_pool1d, F.max_pool1d), 2: (ops.soft_pool2d, F.max_pool2d), 3: (ops.soft_pool3d, F.max_pool3d)}


@st.composite
def calls(draw):
    rank = draw(st.integers(1, 3))

    def numbers(low, high):
        either = st.integers(low, high) | st.tuples(*[st.integers(low, high)] * rank)
        return draw(either)

    shape = [draw(st.integers(1, 2)) for _ in range(draw(st.integers(1, 2)))]
    shape += [draw(st.integers(1, 12)) for _ in range(rank)]
    arguments = {
        "kernel_size": numbers(1, 5),
        "stride": draw(st.none()) if draw(st.booleans()) else numbers(1, 6),
        "padding": numbers(0, 3),
        "dilation": numbers(1, 4),
        "ceil_mode": draw(st.booleans()),
    }
    return rank, shape, arguments


@pytest.mark.slow
@hypothesis.given(calls())
@hypothesis.settings(max_examples=300, deadline=None)
def test_shapes_and_refusals_are_those_of_max_pooling(call):
    rank, shape, arguments = call
    soft_pool, max_pool = POOLS[rank]
    x = torch.randn(shape)
    try:
        want = max_pool(x, **arguments)
    except RuntimeError:
        with pytest.raises(ValueError):
            soft_pool(x, **arguments)
        return
    y = soft_pool(x, **arguments)
    assert y.shape == want.shape
    # beta towards infinity is max pooling, cell for cell
    torch.testing.assert_close(soft_pool(x, **arguments, beta=1e30), want)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"kernel_size": 0}, ValueError, "kernel_size=0 must be 1 or more"),
        ({"kernel_size": (2, 2)}, ValueError, "must be one int or 3 of them, not 2"),
        ({"kernel_size": 2.0}, TypeError, "must be an int or a tuple of ints"),
        ({"kernel_size": True}, TypeError, "must be an int or a tuple of ints"),
        ({"kernel_size": "2"}, TypeError, "must be an int or a tuple of ints"),
        ({"stride": 0}, ValueError, "stride=0"),
        ({"stride": (1, 0, 1)}, ValueError, "stride=(1, 0, 1) must be 1 or more"),
        ({"padding": -1}, ValueError, "padding=-1"),
        ({"padding": 2}, ValueError, "at most half of kernel_size=2"),
        ({"dilation": 0}, ValueError, "dilation=0"),
        ({"dilation": 9}, ValueError, "does not fit"),
        ({"ceil_mode": 1}, TypeError, "ceil_mode=1 must be True or False"),
        ({"beta": float("nan")}, ValueError, "beta=nan must be finite"),
        ({"beta": float("inf")}, ValueError, "max pooling"),
        ({"beta": torch.tensor(1)}, TypeError, "torch.int64"),
        ({"x": torch.ones(1, 1, 4, 4, 4, dtype=torch.int64)}, TypeError, "x.float()"),
        ({"x": torch.ones(1, 1, 4, 4, 4, dtype=torch.complex64)}, TypeError, "complex64"),
        ({"x": [1.0]}, TypeError, "list"),
        ({"x": torch.ones(4, 4, 4)}, ValueError, "[N,C,D,H,W]"),
        ({"x": torch.ones(1, 0, 4, 4, 4)}, ValueError, "no channel"),
        ({"x": torch.ones(1, 1, 0, 4, 4)}, ValueError, "does not fit"),
    ],
    ids=str,
)
def test_errors_name_the_value_and_the_fix(change, error, says):
    arguments = {"x": torch.ones(1, 1, 4, 4, 4), "kernel_size": 2, **change}
    with pytest.raises(error) as caught:
        ops.soft_pool3d(**arguments)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_modules_check_on_construction_and_print_their_arguments():
    with pytest.raises(ValueError, match="at most half"):
        ops.SoftPool2d(2, padding=2)
    with pytest.raises(TypeError):
        ops.SoftPool3d(2, beta="1")
    module = ops.SoftPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1), beta=2, ceil_mode=True, detach_weights=True)
    text = repr(module)
    for part in ("kernel_size=(1, 3, 3)", "stride=(1, 2, 2)", "padding=(0, 1, 1)", "beta=2", "ceil_mode", "detach"):
        assert part in text
    assert ops.SoftPool1d(3).stride == (3,)


@pytest.mark.parametrize(
    ("module", "function", "shape"),
    [
        (ops.SoftPool1d, ops.soft_pool1d, (2, 3, 9)),
        (ops.SoftPool2d, ops.soft_pool2d, (2, 3, 9, 8)),
        (ops.SoftPool3d, ops.soft_pool3d, (2, 3, 9, 8, 7)),
    ],
)
def test_modules_compute_their_functions(module, function, shape):
    x = torch.randn(shape)
    arguments = (3, 2, 1, 1, True)
    made = module(*arguments, beta=0.5)
    torch.testing.assert_close(made(x), function(x, *arguments, beta=0.5), rtol=0, atol=0)
    torch.testing.assert_close(made(x[0]), made(x)[0], rtol=0, atol=0)


def test_direct_calls_of_the_op_are_checked_too():
    if ops.backend() == "reference":
        pytest.skip("no native library was built; CI builds it")
    ones, zeros = [1, 1, 1], [0, 0, 0]
    op = torch.ops.videopool.soft_pool3d
    x = torch.ones(1, 1, 4, 4, 4)
    for arguments in (
        (x[0], ones, ones, zeros, ones),
        (x, [5, 1, 1], ones, zeros, ones),
        (x, ones, [0, 1, 1], zeros, ones),
        (x, ones, ones, ones, ones),
        (x.int(), ones, ones, zeros, ones),
    ):
        with pytest.raises(RuntimeError, match="videopool:"):
            op(*arguments, False, 1.0, False, False)
    y = op(x, ones, ones, zeros, ones, False, 1.0, False, False)
    with pytest.raises(RuntimeError, match="shape of the output"):
        torch.ops.videopool.soft_pool3d_backward(y[..., :2], x, ones, ones, zeros, ones, False, 1.0, False, False)
    with pytest.raises(RuntimeError, match="dtype of the input"):
        torch.ops.videopool.soft_pool3d_backward(y.double(), x, ones, ones, zeros, ones, False, 1.0, False, False)
    with pytest.raises(RuntimeError, match="cannot pool"):
        torch.ops.videopool.adaptive_soft_pool3d(x, [1, 0, 1], 1.0, False, False)
    with pytest.raises(RuntimeError, match="shape of values"):
        torch.ops.videopool.softmax_pool3d(x, x[..., :2], ones, ones, zeros, ones, False)
