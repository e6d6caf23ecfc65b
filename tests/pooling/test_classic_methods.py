"""Lp, mixed, gated and blur pooling against their formulas, window by window in float64."""

import copy
import itertools
import math

import pytest
import torch
from slow_windows import WINDOWS, draws, pooled_slowly, sizes_for
from torch import nn
from torch.nn import functional

from videopool.errors import InputError
from videopool.pooling import AvgPool, BlurPool, GatedPool, LpPool, MaxPool, MixedPool

every_window = pytest.mark.parametrize("window", WINDOWS, ids=str)


def assert_formula(pool_of, formula, window, channels=2):
    """Compare ``pool_of(rank, *window)`` with ``formula`` for every window."""
    kernel, stride, padding, ceil_mode = window
    x = draws(channels, *sizes_for(kernel))
    pool = pool_of(len(kernel), kernel, stride, padding, 1, ceil_mode).double()
    expected = pooled_slowly(x, formula, *window)
    torch.testing.assert_close(pool(x[None])[0], expected, rtol=1e-12, atol=1e-12)


def filled(parameter: nn.Parameter, seed: int = 7) -> torch.Tensor:
    """Write normal numbers into a parameter and return them."""
    with torch.no_grad():
        parameter.copy_(draws(*parameter.shape, seed=seed))
    return parameter.detach().double()


def power_average(cells, p: float) -> float:
    return (sum(abs(cell) ** p for cell in cells.tolist()) / len(cells)) ** (1 / p)


# --- Lp ---------------------------------------------------------------------------------------------------------------


@every_window
@pytest.mark.parametrize("p", [1.0, 2.0, 2.5, 4.0, 7.0])
def test_lp_formula(p, window):
    assert_formula(lambda *w: LpPool(*w, p=p), lambda cells, *_: power_average(cells, p), window)


@every_window
@pytest.mark.parametrize("learned", ["shared", "channel"])
def test_lp_formula_of_a_learned_exponent(learned, window):
    rho = {}

    def pool_of(*w):
        pool = LpPool(*w, learned=learned, channels=2).double()
        rho["value"] = filled(pool.rho).expand(2)
        return pool

    def formula(cells, channel, numbers):
        return power_average(cells, 1 + math.log1p(math.exp(rho["value"][channel])))

    assert_formula(pool_of, formula, window)


@pytest.mark.parametrize("p", [1.001, 1.5, 2.0, 30.0])
def test_a_learned_exponent_starts_at_its_argument(p):
    torch.testing.assert_close(LpPool(2, 2, learned="shared", p=p).double().exponent().item(), p, rtol=1e-5, atol=0)
    pool = LpPool(2, 2, learned="channel", p=p, channels=4)
    assert pool.rho.shape == (4,)
    x = draws(2, 4, 6, 6).float()
    torch.testing.assert_close(pool(x), LpPool(2, 2, p=p)(x))


def test_lp_is_torchs_lp_pool_but_for_the_mean():
    x = draws(2, 3, 8, 8).abs()
    torch.testing.assert_close(LpPool(2, 2, p=3)(x), functional.lp_pool2d(x, 3.0, 2) / 4 ** (1 / 3))


@pytest.mark.parametrize(("dtype", "p"), [(torch.float32, 300.0), (torch.float16, 60.0), (torch.float64, 3000.0)])
def test_large_exponents_reach_the_maximum_without_leaving_the_range(dtype, p):
    x = draws(2, 3, 8, 8).to(dtype)
    scale = torch.tensor([1e-3, 1.0, 1e3], dtype=dtype).view(3, 1, 1)  # windows of very different size
    out = LpPool(2, 2, p=p)(x * scale)
    largest = MaxPool(2, 2)((x * scale).abs())
    assert (out <= largest * (1 + 4 * torch.finfo(dtype).eps)).all()
    assert (out >= largest * 4 ** (-1 / p) * (1 - 4 * torch.finfo(dtype).eps)).all()


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1e30])
@pytest.mark.parametrize("own", [{}, {"p": 4.0}, {"p": 20.0}, {"learned": "shared"}], ids=str)
def test_lp_scales_with_its_input_and_its_gradient_does_not(own, scale):
    x = draws(1, 2, 6, 6)
    pool = LpPool(2, 3, 2, 1, **own)
    one, other = x.float().requires_grad_(), (x * scale).float().requires_grad_()
    out, scaled = pool(one), pool(other)
    torch.testing.assert_close(scaled, out * scale, rtol=1e-5, atol=0)
    torch.testing.assert_close(*(torch.autograd.grad(y.sum(), z)[0] for y, z in ((scaled, other), (out, one))))


@pytest.mark.parametrize("own", [{}, {"p": 20.0}, {"learned": "shared"}], ids=str)
def test_infinite_cells_stay_in_their_windows(own):
    x = torch.tensor([[[1.0, -math.inf, 2.0, 2.0]]])
    torch.testing.assert_close(LpPool(1, 2, **own)(x)[..., 0], torch.tensor([[math.inf]]))


def test_small_windows_beside_large_ones_keep_their_value():
    x = torch.ones(1, 1, 8)
    x[..., 4:] = 1e-9
    for own in ({}, {"p": 4.0}, {"p": 30.0}, {"learned": "shared"}):
        torch.testing.assert_close(LpPool(1, 4, **own)(x), torch.tensor([[[1.0, 1e-9]]]), rtol=1e-5, atol=0)


@pytest.mark.parametrize("own", [{"p": 1.0}, {}, {"p": 9.0}, {"learned": "channel"}], ids=str)
def test_windows_of_zeros_have_no_lp_gradient(own):
    pool = LpPool(2, 2, channels=1, **own)
    x = torch.zeros(1, 1, 4, 4, requires_grad=True)
    out = pool(x)
    out.sum().backward()
    assert torch.equal(out, torch.zeros(1, 1, 2, 2))
    assert torch.equal(x.grad, torch.zeros_like(x))
    assert all(torch.equal(parameter.grad, torch.zeros(1)) for parameter in pool.parameters())


# --- mixed ------------------------------------------------------------------------------------------------------------


@every_window
@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.7, 1.0])
def test_mixed_formula(alpha, window):
    def formula(cells, channel, numbers):
        return alpha * max(cells.tolist()) + (1 - alpha) * sum(cells.tolist()) / len(cells)

    assert_formula(lambda *w: MixedPool(*w, alpha=alpha), formula, window)


@pytest.mark.parametrize("learned", ["shared", "channel"])
def test_a_learned_share_starts_at_its_argument_and_stays_between_0_and_1(learned):
    pool = MixedPool(2, 2, learned=learned, alpha=0.2, channels=3).double()
    x = draws(2, 3, 6, 6)
    top, mean = MaxPool(2, 2)(x), AvgPool(2, 2)(x)
    torch.testing.assert_close(pool(x), 0.2 * top + 0.8 * mean, rtol=1e-6, atol=1e-6)
    logit = filled(pool.logit)
    share = (1 / (1 + torch.exp(-logit))).expand(3).view(3, 1, 1)
    torch.testing.assert_close(pool(x), share * top + (1 - share) * mean)
    with torch.no_grad():
        pool.logit.fill_(60.0)
    torch.testing.assert_close(pool(x), top)


# --- gated ------------------------------------------------------------------------------------------------------------


@every_window
@pytest.mark.parametrize("learned", ["shared", "channel"])
def test_gated_formula(learned, window):
    weight = {}

    def pool_of(*w):
        pool = GatedPool(*w, learned=learned, channels=2).double()
        weight["value"] = filled(pool.weight).expand(2, 1, *pool.kernel_size).flatten(1)
        return pool

    def formula(cells, channel, numbers):
        logit = sum(weight["value"][channel, n].item() * cell for n, cell in zip(numbers, cells.tolist(), strict=True))
        gate = 1 / (1 + math.exp(-logit))
        return gate * max(cells.tolist()) + (1 - gate) * sum(cells.tolist()) / len(cells)

    assert_formula(pool_of, formula, window)


def test_a_gate_begins_half_open_and_learns():
    x = draws(2, 3, 6, 6).float()
    pool = GatedPool(2, 2)
    torch.testing.assert_close(pool(x), MixedPool(2, 2)(x))
    pool(x).square().sum().backward()
    assert (pool.weight.grad != 0).all()


# --- blur -------------------------------------------------------------------------------------------------------------

PASCAL = {1: [1], 2: [1, 1], 3: [1, 2, 1], 7: [1, 6, 15, 20, 15, 6, 1]}


@every_window
def test_blur_formula(window):
    taps = [math.prod(tap) for tap in itertools.product(*(PASCAL[length] for length in window[0]))]

    def formula(cells, channel, numbers):
        weighted = sum(taps[n] * cell for n, cell in zip(numbers, cells.tolist(), strict=True))
        return weighted / sum(taps[n] for n in numbers)

    assert_formula(BlurPool, formula, window)


def test_blur_of_dilated_windows():
    x = draws(2, 9)
    expected = pooled_slowly(x, lambda c, *_: (c[0] + 2 * c[1] + c[2]) / 4, (3,), (2,), (0,), False, (2,))
    torch.testing.assert_close(BlurPool(1, 3, 2, dilation=2)(x), expected)
    expected[:, 0] = (2 * x[:, 1] + x[:, 3]) / 3
    torch.testing.assert_close(BlurPool(1, 3, 2, 1, dilation=2)(x)[:, 0], expected[:, 0])


def test_blur_removes_what_the_stride_cannot_show():
    """The highest frequency, which subsampling would alias to a constant, is removed; a constant is kept."""
    x = torch.tensor([1.0, -1.0]).repeat(8).view(1, 1, 16)
    for length in (2, 3, 4, 5):
        torch.testing.assert_close(BlurPool(1, length, 2)(x), torch.zeros(1, 1, (16 - length) // 2 + 1))
        torch.testing.assert_close(BlurPool(1, length, 2)(x.abs()), torch.ones(1, 1, (16 - length) // 2 + 1))


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_global_blur_is_the_binomial_of_the_extent(rank):
    x = draws(2, 3, *(4, 5, 6)[:rank])
    expected = x
    for length in reversed(x.shape[2:]):
        row = [math.comb(length - 1, index) / 2 ** (length - 1) for index in range(length)]
        expected = sum(row[index] * expected[..., index] for index in range(length))
    torch.testing.assert_close(BlurPool(rank, None)(x).flatten(1), expected)


def test_blur_keeps_no_state_and_follows_its_layer():
    pool = BlurPool(2, 3, 2, 1)
    assert not pool.state_dict()
    assert not list(pool.parameters())
    x = draws(1, 2, 6, 6)
    torch.testing.assert_close(copy.deepcopy(pool).double()(x), pool(x))


def test_blur_survives_casts_and_uninitialized_storage():
    x = draws(1, 2, 11, 11)
    expected = BlurPool(2, 9)(x)
    assert torch.equal(BlurPool(2, 9).half().double()(x), expected)
    with torch.device("meta"):
        pool = BlurPool(2, 9)
        assert pool(torch.empty(1, 2, 11, 11)).shape == (1, 2, 1, 1)
    assert torch.equal(pool.to_empty(device="cpu")(x), expected)


# --- arguments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: LpPool(2, 2, p=0.5), "p=0.5 of 'lp' pooling must be a finite number of 1 or more"),
        (lambda: LpPool(2, 2, p=math.nan), "p=nan"),
        (lambda: LpPool(2, 2, p="3"), "p='3' of 'lp' pooling must be a number"),
        (lambda: LpPool(2, 2, p=True), "p=True of 'lp' pooling must be a number"),
        (lambda: MixedPool(2, 2, alpha=[0.5]), r"alpha=\[0.5\] of 'mixed' pooling must be a number"),
        (lambda: LpPool(2, 2, p=math.inf), "p=inf"),
        (lambda: LpPool(2, 2, p=1, learned="shared"), "must be above 1 if it is learned"),
        (lambda: LpPool(2, 2, learned="all"), "learned='all' of 'lp' pooling must be one of 'none', 'shared'"),
        (lambda: LpPool(2, 2, dilation=2), "does not allow dilation"),
        (lambda: LpPool(2, 2, learned="channel"), "channels=None must be 1 or more"),
        (lambda: MixedPool(2, 2, alpha=1.5), "alpha=1.5 of 'mixed' pooling must be from 0 to 1"),
        (lambda: MixedPool(2, 2, alpha=math.nan), "alpha=nan"),
        (lambda: MixedPool(2, 2, alpha=1, learned="shared"), "alpha=1.0 .* must be between 0 and 1 if it is learned"),
        (lambda: GatedPool(2, 2, learned="none"), "must be one of 'shared', 'channel'"),
        (lambda: GatedPool(2, None), "cannot be global"),
        (lambda: GatedPool(2, 2, dilation=2), "does not allow dilation"),
    ],
)
def test_impossible_arguments_raise_clear_errors(make, words):
    with pytest.raises(InputError, match=words):
        make()


def test_layers_say_what_they_are():
    assert LpPool(2, 2, p=3).describe() == "lp p 3.0 2x2 stride 2x2"
    assert LpPool(2, 2, learned="shared").describe() == "lp learned (shared) 2x2 stride 2x2"
    assert MixedPool(2, 2, alpha=0.25, learned="channel", channels=2).own() == "alpha 0.25 learned (channel)"
    assert GatedPool(2, 2, learned="channel", channels=2).own() == "learned (channel)"
    assert repr(BlurPool(2, 3, 2, 1)) == "BlurPool(3x3 stride 2x2 padding 1x1)"
