"""Properties of every pooling method: windows, layouts, dtypes, gradients, state, draws. Other files test formulas."""

import copy
import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_windows import WINDOWS, draws, pooled_slowly, sizes_for
from torch import nn
from torch.nn import functional

from videopool.errors import InputError
from videopool.pooling import METHODS, AvgPool, MaxPool, SoftPool, make_pool

CHANNELS = 3
# Own arguments to test in addition to the defaults, for each method that has some.
VARIANTS = {
    "lp": [{"p": 1.0}, {"p": 3.0}, {"p": 40.0}, {"learned": "shared"}, {"learned": "channel", "p": 1.5}],
    "mixed": [{"learned": "shared"}, {"learned": "channel", "alpha": 0.2}],
    "gated": [{"learned": "channel"}],
    "lip": [{"logits": "bottleneck"}],
    "dpp": [{"full": True}],
    "adapool": [{"learned": "channel"}],
    "soft": [{"beta": -3.0}, {"detach_weights": True}, {"learned": "shared"}, {"learned": "channel"}],
}
SAMPLED = ("stochastic", "s3")  # draw in training
CASES = [(method, own) for method in METHODS for own in [{}, *VARIANTS.get(method, [])]]
CASE_IDS = ["-".join([method, *(f"{name}={value}" for name, value in own.items())]) for method, own in CASES]
every_case = pytest.mark.parametrize(("method", "own"), CASES, ids=CASE_IDS)
# Evaluation is looked at apart where it differs: test_only_sampling_methods_differ_in_evaluation.
MODES = [(*case, True) for case in CASES] + [(*case, False) for case in CASES if case[0] in SAMPLED]
MODE_IDS = CASE_IDS + [f"{name}-eval" for name in CASE_IDS if name in SAMPLED]
every_mode = pytest.mark.parametrize(("method", "own", "training"), MODES, ids=MODE_IDS)


def layer(method: str, own: dict, rank: int, *window, training: bool = True, **named) -> nn.Module:
    """Return a layer in float64 whose parameters are not the initial constants."""
    channels = CHANNELS if METHODS[method].needs_channels(**own) else None
    pool = make_pool(method, rank, *window, channels=channels, **named, **own).double().train(training)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in pool.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return pool


def seeded(pool: nn.Module, x: torch.Tensor, seed: int = 11) -> torch.Tensor:
    """Return the layer's result with torch's generator at ``seed``, and restore the generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return pool(x)


def value_and_gradient(pool: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Return the result, and the gradients of its sum by the input and the parameters, in that order."""
    pool.zero_grad()
    x = x.clone().requires_grad_()
    out = seeded(pool, x)
    out.sum().backward()
    return out.detach(), [x.grad, *(parameter.grad for parameter in pool.parameters())]


def average_of(cells, channel, numbers):
    return cells.sum() / len(cells)


def largest_of(cells, channel, numbers):
    return max(cells.tolist())


def soft_of(cells, channel, numbers):
    exponentials = [math.exp(cell) for cell in cells.tolist()]
    return sum(e * c for e, c in zip(exponentials, cells.tolist(), strict=True)) / sum(exponentials)


FORMULAS = {"avg": average_of, "max": largest_of, "soft": soft_of}


@pytest.mark.parametrize("method", FORMULAS)
@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_formula(method, window):
    x = draws(2, *sizes_for(window[0]))
    kernel, stride, padding, ceil_mode = window
    pool = METHODS[method](len(kernel), kernel, stride, padding, ceil_mode=ceil_mode)
    expected = pooled_slowly(x, FORMULAS[method], *window)
    torch.testing.assert_close(pool(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    kernel=st.integers(1, 4), stride=st.integers(1, 4), half=st.booleans(), ceil=st.booleans(), size=st.integers(4, 11)
)
def test_every_method_pools_the_same_cells(kernel, stride, half, ceil, size):
    """A constant stays constant, also in border windows: no method counts padding. Shapes are those of max_pool."""
    padding = kernel // 2 if half else 0
    x = torch.full((1, CHANNELS, size, size), 3.0, dtype=torch.float64)
    shape = functional.max_pool2d(x, kernel, stride, padding, 1, ceil).shape
    for method, training in itertools.product(METHODS, (True, False)):
        pool = layer(method, {}, 2, kernel, stride, padding, ceil_mode=ceil, training=training)
        torch.testing.assert_close(pool(x), torch.full(shape, 3.0, dtype=torch.float64), msg=method)


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@every_case
def test_a_sample_gives_the_same_alone_and_in_a_batch(method, own, window):
    kernel, stride, padding, ceil_mode = window
    pool = layer(method, own, len(kernel), kernel, stride, padding, ceil_mode=ceil_mode)
    x = draws(CHANNELS, *sizes_for(kernel))
    torch.testing.assert_close(seeded(pool, x), seeded(pool, x[None])[0], rtol=1e-13, atol=1e-13)
    assert pool(x[None][:0]).shape == seeded(pool, x[None])[:0].shape


@pytest.mark.parametrize("dilated", [False, True])
@every_case
def test_shape_of_max_pool(method, own, dilated):
    window = (2, 2, 1, 2, True) if dilated else (3, 2, 1, 1, True)
    if dilated and not METHODS[method].dilatable:
        with pytest.raises(InputError, match="does not allow dilation"):
            layer(method, own, 3, *window)
        return
    x = draws(1, CHANNELS, 4, 5, 6)
    out = layer(method, own, 3, *window)(x)
    assert out.shape == functional.max_pool3d(x, *window).shape
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("rank", [1, 2, 3])
@every_mode
def test_global_pool_is_the_pool_of_one_large_window(method, own, rank, training):
    if method == "gated":
        with pytest.raises(InputError, match="cannot be global"):
            layer(method, own, rank, None)
        return
    x = draws(2, CHANNELS, *(4, 5, 6)[:rank])
    pool = layer(method, own, rank, None, training=training)
    stride = 1 if method == "s3" else None  # a stride would make it look for windows that begin further on
    window = layer(method, own, rank, x.shape[2:], stride, training=training)
    out = seeded(pool, x)
    assert out.shape == (2, CHANNELS, *(1,) * rank)
    torch.testing.assert_close(out, seeded(window, x), rtol=1e-12, atol=1e-12)


@every_case
def test_only_sampling_methods_differ_in_evaluation(method, own):
    x = draws(2, CHANNELS, 6, 6)
    pool = layer(method, own, 2, 3, 2, 1)
    trained, evaluated = seeded(pool, x), pool.eval()(x)
    assert torch.equal(trained, evaluated) == (method not in SAMPLED)
    before = torch.get_rng_state()
    assert torch.equal(pool(x), evaluated)
    pool.train(method not in SAMPLED)(x)
    assert torch.equal(torch.get_rng_state(), before)


@every_mode
def test_gradients(method, own, training):
    """Gradients are exact for the input and the parameters, with overlapping windows and both signs."""
    if own.get("detach_weights"):
        return  # not the exact gradient, on purpose: test_detached_weights_change_only_the_gradient
    pool = layer(method, own, 2, (3, 2), 2, (1, 0), ceil_mode=True, training=training)
    x = draws(1, CHANNELS, 4, 5).requires_grad_()
    names = [name for name, _ in pool.named_parameters()]

    def pooled(x, *parameters):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            return torch.func.functional_call(pool, dict(zip(names, parameters, strict=True)), (x,))

    assert torch.autograd.gradcheck(pooled, (x, *pool.parameters()), fast_mode=True)


@every_mode
def test_windows_of_zeros_have_finite_results_and_gradients(method, own, training):
    x = draws(1, CHANNELS, 8, 8)
    x[:, 0], x[..., :4, :] = 0, 0
    out, gradients = value_and_gradient(layer(method, own, 2, 2, training=training), x)
    assert torch.isfinite(out).all()
    assert torch.equal(out[:, 0], torch.zeros_like(out[:, 0]))
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize(
    ("dtype", "size"), [(torch.float16, 6e4), (torch.bfloat16, 1e30), (torch.float32, 1e30), (torch.float64, 1e200)]
)
@every_mode
def test_large_finite_inputs_have_finite_results_and_gradients(method, own, training, dtype, size):
    if method == "lip":
        return  # its logits are a network of convolutions and norms, which overflow where any other would
    x = draws(2, CHANNELS, 4, 4).clamp(-1, 1)
    x[1] = 1
    out, gradients = value_and_gradient(layer(method, own, 2, 2, training=training).to(dtype), (size * x).to(dtype))
    assert out.dtype == dtype
    assert torch.isfinite(out).all()
    assert torch.isfinite(gradients[0]).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@every_mode
def test_half_precision_is_close_to_single(method, own, training, dtype):
    pool = layer(method, own, 3, (1, 3, 2), 2, (0, 1, 0), training=training).to(dtype)
    x = draws(2, CHANNELS, 4, 7, 6).to(dtype)
    out, gradients = value_and_gradient(pool, x)
    expected, slopes = value_and_gradient(copy.deepcopy(pool).float(), x.float())
    eps = torch.finfo(dtype).eps
    assert out.dtype == gradients[0].dtype == dtype
    torch.testing.assert_close(out.float(), expected, rtol=4 * eps, atol=4 * eps)
    # A cell of which several windows share the gradient adds rounded parts.
    torch.testing.assert_close(gradients[0].float(), slopes[0], rtol=16 * eps, atol=16 * eps)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@every_mode
def test_autocast_keeps_the_dtype_and_the_value(method, own, training, dtype):
    for rank, window in ((2, (3, 2, 1)), (3, (2,)), (3, (None,))):
        if method == "gated" and window == (None,):
            continue
        pool = layer(method, own, rank, *window, training=training).float()
        x = draws(2, CHANNELS, *(4, 6, 5)[:rank]).to(dtype).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            out = seeded(pool, x)
        assert out.dtype == dtype
        # Convolutions take and give bfloat16 there; the gate of LIP makes their rounding 12 times as large.
        steps = 48 if method == "lip" else 4
        eps = torch.finfo(torch.bfloat16).eps
        torch.testing.assert_close(out.float(), seeded(pool, x.float()), rtol=steps * eps, atol=steps * eps)
        out.sum().backward()
        assert x.grad.dtype == dtype
        assert all(p.grad.isfinite().all() for p in (x, *pool.parameters()))


@pytest.mark.parametrize(("rank", "layout"), [(2, torch.channels_last), (3, torch.channels_last_3d)])
@every_mode
def test_layout_changes_nothing_and_stays(method, own, training, rank, layout):
    for window in [(2,), (3, 2, 1)]:
        pool = layer(method, own, rank, *window, training=training)
        x = draws(2, CHANNELS, *(4, 6, 5)[:rank])
        out, gradients = value_and_gradient(pool, x.contiguous())
        pool = pool.to(memory_format=layout)
        other, others = value_and_gradient(pool, x.contiguous(memory_format=layout))
        torch.testing.assert_close(other, out, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(others, gradients, rtol=1e-11, atol=1e-11)
        assert other.is_contiguous(memory_format=layout)
        assert out.is_contiguous()


@pytest.mark.slow
@every_mode
def test_compiled(method, own, training):
    pool = layer(method, own, 2, 3, 2, 1, training=training)
    x = draws(2, CHANNELS, 7, 6)
    expected, slopes = value_and_gradient(pool, x)
    torch._dynamo.reset()
    whole = torch.compile(pool, backend="aot_eager", fullgraph=True)
    out, gradients = value_and_gradient(whole, x)
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(gradients, slopes)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_exported_for_every_batch_size(method):
    """As ``videopool export`` does: in evaluation mode and in the layout of clips."""
    for own in ({}, VARIANTS.get(method, [{}])[-1]):
        pool = layer(method, own, 3, 3, 2, 1, ceil_mode=True, training=False)
        x = draws(5, CHANNELS, 4, 6, 5).contiguous(memory_format=torch.channels_last_3d)
        program = torch.export.export(pool, (x[:2],), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},))
        for batch in (x, x[:1]):
            torch.testing.assert_close(program.module()(batch), pool(batch))


@every_case
def test_state_is_saved_and_copies_are_independent(method, own):
    pool = layer(method, own, 2, 2)
    fresh = layer(method, own, 2, 2)
    with torch.no_grad():
        for parameter in fresh.parameters():
            parameter.zero_()
    fresh.load_state_dict(pool.state_dict())
    twin = copy.deepcopy(pool)
    x = draws(2, CHANNELS, 6, 6)
    expected = seeded(pool, x)
    assert torch.equal(seeded(fresh, x), expected)
    with torch.no_grad():
        for parameter in fresh.parameters():
            parameter.zero_()
        for parameter in pool.parameters():
            parameter.zero_()
    assert torch.equal(seeded(twin, x), expected)


@every_case
def test_construction_draws_nothing(method, own):
    before = torch.get_rng_state()
    channels = CHANNELS if METHODS[method].needs_channels(**own) else None
    first, second = (make_pool(method, 2, 2, channels=channels, **own).state_dict() for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert list(first) == list(second)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("method", METHODS)
def test_channels_are_asked_for_where_they_are_needed(method):
    for own in [{}, *VARIANTS.get(method, [])]:
        if METHODS[method].needs_channels(**own):
            with pytest.raises(InputError, match="channels=None must be 1 or more"):
                make_pool(method, 2, 2, **own)
        else:
            assert make_pool(method, 2, 2, **own).channels is None


@pytest.mark.parametrize("channels", [1, CHANNELS + 1])
@every_case
def test_inputs_of_other_channels_are_refused_where_there_are_parameters_for_each(method, own, channels):
    pool, x = layer(method, own, 2, 2), draws(2, channels, 4, 4)
    if METHODS[method].needs_channels(**own):
        words = rf"each of 3 channels, .* \[2, {channels}, 4, 4\]\. Create the layer with channels={channels}"
        with pytest.raises(InputError, match=words):
            pool(x)
    else:
        assert pool(x).shape == (2, channels, 2, 2)


@pytest.mark.parametrize("padding", [0, 1])
@every_mode
def test_a_window_larger_than_the_input_is_refused(method, own, training, padding):
    pool = layer(method, own, 2, (2, 5), 2, padding, training=training)
    with pytest.raises(ValueError, match=r"does not fit an axis of 2 cells"):
        pool(draws(1, CHANNELS, 6, 2))


@every_case
def test_an_argument_of_another_method_is_refused(method, own):
    with pytest.raises(InputError, match="has no argument 'exponents'"):
        make_pool(method, 2, 2, **own, exponents=2)


def test_beta_moves_from_average_to_maximum():
    x = draws(1, 2, 6, 6, seed=3)
    torch.testing.assert_close(SoftPool(2, 2, beta=0.0)(x), AvgPool(2, 2)(x))
    torch.testing.assert_close(SoftPool(2, 2, beta=1e6)(x), MaxPool(2, 2)(x))


def test_detached_weights_change_only_the_gradient():
    x = draws(1, 1, 4, 4, seed=4)
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
        (lambda: MaxPool(4, 2), "rank=4"),
        (lambda: MaxPool(3, (2, 2)), "has 2 numbers; a rank-3 pool"),
        (lambda: MaxPool(2, 0), "size below 1"),
        (lambda: MaxPool(2, 2.5), "kernel_size=2.5 must be an integer, or one for each axis"),
        (lambda: MaxPool(2, (2, None)), r"kernel_size=\(2, None\) must be an integer"),
        (lambda: MaxPool(1, "3"), "kernel_size='3' must be"),
        (lambda: make_pool("lip", 2, 2, channels="4"), "channels='4' must be 1 or more"),
        (lambda: make_pool("lip", 2, 2, channels=0), "channels=0 must be 1 or more"),
        (lambda: SoftPool(2, 2, beta="2"), "beta='2' of 'soft' pooling must be a number"),
        (
            lambda: SoftPool(2, 2, detach_weights="no"),
            "detach_weights='no' of 'soft' pooling must be True or False",
        ),
        (lambda: make_pool("dpp", 2, 2, channels=4, full=1), "full=1 of 'dpp' pooling must be True"),
        (lambda: MaxPool(2, 2, padding=-1), "negative padding"),
        (lambda: MaxPool(2, 2, padding=2), "more than half"),
        (lambda: AvgPool(2, 2, dilation=2), "does not allow dilation"),
        (lambda: SoftPool(2, None, padding=1), "global pool"),
        (lambda: SoftPool(2, 2, beta=math.nan), "must be finite"),
        (lambda: MaxPool(2, 2)(torch.zeros(3, 4)), "does not fit a rank-2 pool. Give 4 axes"),
    ],
)
def test_impossible_pools_raise_clear_errors(make, words):
    with pytest.raises(InputError, match=words):
        make()
