"""SoftPool with a learned beta, eM, eDSCW, adaPool, LIP and DPP against their formulas, window by window."""

import copy
import functools
import math

import pytest
import torch
from torch import nn
from weighted_formulas import pooled_by_formula

from videopool import ops
from videopool.errors import InputError
from videopool.pooling import AdaPool, AvgPool, DPPPool, EDSCWPool, EMPool, LIPPool, SoftPool, fuse_relu, make_pool

CHANNELS = 2

# kernel, stride, padding, dilation, ceil_mode
WINDOWS = [
    ((2,), (2,), (0,), (1,), False),
    ((3,), (2,), (1,), (1,), True),
    ((2,), (1,), (0,), (3,), False),
    ((3,), (1,), (1,), (2,), False),  # padding, over which the windows step
    ((2, 2), (2, 2), (0, 0), (1, 1), True),
    ((3, 2), (2, 1), (1, 0), (1, 2), False),
    ((1, 3, 3), (1, 2, 2), (0, 1, 1), (1, 1, 1), False),
    ((3, 2, 3), (2, 2, 1), (1, 1, 0), (1, 1, 2), True),
    ((7, 2), (3, 2), (0, 0), (1, 1), True),  # longer than the axis: one window, all of its cells
    (None, None, (0, 0, 0), (1, 1, 1), False),
]
METHODS = [
    ("soft", {"learned": "shared", "beta": 0.7}),
    ("soft", {"learned": "channel", "beta": -1.5}),
    ("em", {}),
    ("edscw", {}),
    ("adapool", {"learned": "shared"}),
    ("adapool", {"learned": "channel"}),
    ("lip", {"logits": "simple"}),
    ("lip", {"logits": "bottleneck"}),
    ("dpp", {"full": False}),
    ("dpp", {"full": True}),
]
every_method = pytest.mark.parametrize(("method", "own"), METHODS, ids=lambda v: v if isinstance(v, str) else str(v))


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def layer(method: str, own: dict, rank: int, kernel, stride=None, padding=0, dilation=1, ceil_mode=False):
    """Return a float64 layer with random parameters around their initial values."""
    pool = make_pool(method, rank, kernel, stride, padding, dilation, ceil_mode, channels=CHANNELS, **own).double()
    with torch.no_grad():
        for seed, parameter in enumerate(pool.parameters()):
            parameter += 0.3 * randn(*parameter.shape, seed=100 + seed)
    return pool


@every_method
@pytest.mark.parametrize("window", WINDOWS)
def test_formula(method, own, window):
    rank = len(window[2])
    x = randn(CHANNELS, *(5, 7, 6)[:rank], seed=1)
    pool = layer(method, own, rank, *window)
    expected = pooled_by_formula(x, pool, window)
    torch.testing.assert_close(pool(x), expected, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(pool(torch.stack([x, -x]))[0], expected, rtol=1e-11, atol=1e-11)


def gradients_are_exact(pool: nn.Module, x: torch.Tensor) -> bool:
    names, parameters = zip(*pool.named_parameters(), strict=True) if list(pool.parameters()) else ((), ())

    def run(x, *values):
        return torch.func.functional_call(pool, dict(zip(names, values, strict=True)), (x,))

    inputs = (x.requires_grad_(), *(parameter.detach().requires_grad_() for parameter in parameters))
    return torch.autograd.gradcheck(run, inputs)


@pytest.mark.slow
@every_method
@pytest.mark.parametrize(
    ("sizes", "arguments"),
    [
        ((5,), ((3,), (2,), (1,), (1,), True)),
        ((4, 3), ((2, 2), (1, 2), (1, 0), (2, 1), False)),
        ((2, 3, 2), ((2, 3, 2), (1, 2, 2), (1, 1, 0), (1, 1, 1), True)),
    ],
)
def test_gradients_for_input_and_parameters(method, own, sizes, arguments):
    pool = layer(method, own, len(sizes), *arguments)
    assert gradients_are_exact(pool, randn(2, CHANNELS, *sizes, seed=2))


@every_method
def test_an_untrained_layer_has_exact_gradients_too(method, own):
    pool = make_pool(method, 2, 2, channels=CHANNELS, **own).double()
    assert gradients_are_exact(pool, randn(1, CHANNELS, 4, 4, seed=3))


@every_method
@pytest.mark.parametrize(
    "value",
    [
        0.0,
        2.5,
        pytest.param(
            -1e30,
            marks=pytest.mark.skipif(ops.backend() == "reference", reason="rounds; runs where the kernels are built"),
        ),
    ],
)
def test_equal_cells_keep_their_value_and_share_the_gradient(method, own, value):
    pool = layer(method, own, 2, 3, 2, 1).float()
    x = torch.full((1, CHANNELS, 6, 6), value).requires_grad_()
    out = pool(x)
    torch.testing.assert_close(out, torch.full((1, CHANNELS, 3, 3), value))
    out.sum().backward()
    torch.testing.assert_close(x.grad.sum(), torch.tensor(18.0), rtol=1e-5, atol=0)
    assert all(parameter.grad.isfinite().all() for parameter in pool.parameters())


@every_method
@pytest.mark.parametrize(
    ("dtype", "scale"),
    [
        (torch.float16, 60000.0),
        (torch.bfloat16, 1e30),
        (torch.float32, 1e30),
        (torch.float32, 1e-30),
        (torch.float32, 1e-44),
        (torch.float64, 1e290),
    ],
)
def test_extreme_inputs_give_finite_results_and_gradients(method, own, dtype, scale):
    """All magnitudes at once, zeros as after a ReLU, and cells with a mean of zero."""
    if method == "lip" and dtype is torch.float16:
        scale = 1000.0  # its convolutions, and their gradients, overflow float16 as any do
    pool = make_pool(method, 2, 3, 2, 1, channels=CHANNELS, **own).to(dtype)
    cells = torch.tensor([0.0, 1.0, -1.0, 1e-3, 0.5, -0.5, 1e-20], dtype=torch.float64) * scale
    index = torch.randint(7, (2, CHANNELS, 7, 7), generator=torch.Generator().manual_seed(4))
    x = cells[index].to(dtype)
    x[0, 0, :4] = 0
    x.requires_grad_()
    out = pool(x)
    (out.sum() * 1e-3).backward()
    assert out.dtype is dtype
    assert out.isfinite().all()
    assert x.grad.isfinite().all()
    assert out.abs().max() <= x.abs().max() * (1 + 4 * torch.finfo(dtype).eps)


@every_method
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_precision(method, own, dtype):
    """Everything except LIP's convolutions is computed in float32 at least, and rounded once."""
    exact = layer(method, own, 3, 3, 2, 1).to(dtype).double()  # parameters that the dtype holds
    x = randn(2, CHANNELS, 5, 6, 7, seed=5).to(dtype)
    out = copy.deepcopy(exact).to(dtype)(x)
    assert out.dtype is dtype
    steps = (32 if dtype is torch.float32 else 64) if method == "lip" else (16 if dtype is torch.float32 else 1)
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(out.double(), exact(x.double()), rtol=steps * eps, atol=steps * eps)


@every_method
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_one_cell_and_no_clip(method, own, rank):
    """A global pool of one cell is that cell, also for a batch of one; an empty batch stays empty."""
    pool = layer(method, own, rank, None).train()
    x = randn(1, CHANNELS, *(1,) * rank, seed=9)
    torch.testing.assert_close(pool(x), x)
    assert pool(randn(0, CHANNELS, *(3,) * rank)).shape == (0, CHANNELS, *(1,) * rank)


def test_learned_beta_begins_as_the_fixed_one():
    x = randn(2, CHANNELS, 6, 6, seed=10)
    for learned in ("shared", "channel"):
        pool = SoftPool(2, 2, channels=CHANNELS, beta=1.7, learned=learned).double()
        torch.testing.assert_close(pool(x), SoftPool(2, 2, beta=1.7)(x), rtol=1e-7, atol=1e-7)
    assert pool.beta.shape == (CHANNELS,)
    assert "learned (channel)" in pool.describe()


def test_beta_is_learned():
    """Descent on beta alone finds the sharpness of a target."""
    x = randn(4, 1, 8, 8, seed=11)
    pool = SoftPool(2, 2, beta=0.5, learned="shared").double()
    optimizer = torch.optim.Adam(pool.parameters(), lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        (pool(x) - SoftPool(2, 2, beta=3.0)(x)).square().mean().backward()
        optimizer.step()
    torch.testing.assert_close(pool.beta.item(), 3.0, rtol=0.05, atol=0)


def test_em_is_softpool_and_fuses_a_relu():
    x = randn(1, CHANNELS, 6, 6, seed=12)
    assert torch.equal(EMPool(2, 3, 2, 1)(x), SoftPool(2, 3, 2, 1)(x))
    assert EMPool.own_arguments() == ()


def test_fused_relus_are_those_of_softmax_weights_of_the_input():
    x = randn(2, CHANNELS, 6, 6, seed=13)
    for method, own in METHODS:
        model = nn.Sequential(nn.ReLU(), layer(method, own, 2, 2))
        expected = model(x)
        assert fuse_relu(model) == (("1",) if method in ("soft", "em") else ())
        torch.testing.assert_close(model(x), expected)


def test_edscw_does_not_depend_on_scale_or_sign():
    x = randn(1, CHANNELS, 6, 6, seed=14).float()
    pool = EDSCWPool(2, 3)
    for scale in (-1.0, 1e-35, 1e35):
        torch.testing.assert_close(pool(scale * x) / scale, pool(x), rtol=1e-5, atol=1e-6)


def test_edscw_weights_of_a_rectified_window():
    """One of four cells is not zero: coefficients 2 (a/4) a / (a^2 + a^2/16) = 8/17 there and 0 at the zeros."""
    x = torch.tensor([[[5.0, 0.0, 0.0, 0.0]]]).requires_grad_()
    out = EDSCWPool(1, 4)(x)
    torch.testing.assert_close(out.item(), 5 * math.exp(8 / 17) / (math.exp(8 / 17) + 3), rtol=1e-6, atol=0)
    out.backward()
    assert x.grad.isfinite().all()


def test_adapool_is_between_its_parts():
    x = randn(2, CHANNELS, 6, 6, seed=15)
    pool = AdaPool(2, 2).double()
    torch.testing.assert_close(pool(x), (EDSCWPool(2, 2)(x) + EMPool(2, 2)(x)) / 2)
    for mixing, limit in ((100.0, EDSCWPool(2, 2)), (-100.0, EMPool(2, 2))):
        nn.init.constant_(pool.mixing, mixing)
        torch.testing.assert_close(pool(x), limit(x))


@pytest.mark.parametrize("logits", ["simple", "bottleneck"])
@pytest.mark.parametrize("kernel", [None, 3])
def test_lip_begins_as_average_pooling(logits, kernel):
    x = randn(2, CHANNELS, 6, 7, seed=16)
    window = (None,) if kernel is None else (3, 2, 1)
    pool = LIPPool(2, *window, channels=CHANNELS, logits=logits).double()
    torch.testing.assert_close(pool(x), AvgPool(2, *window)(x))


def test_lip_learns_from_its_first_step():
    pool = LIPPool(2, 2, channels=CHANNELS, logits="bottleneck").double()
    pool(randn(2, CHANNELS, 6, 6, seed=17)).square().sum().backward()
    assert pool.importance.convolutions[-1].weight.grad.abs().max() > 1e-3


def test_softpool_is_lip_whose_logits_are_the_input():
    x = randn(2, CHANNELS, 6, 6, seed=18)
    pool = LIPPool(2, 3, 2, 1, channels=CHANNELS)
    pool.importance = nn.Identity()
    torch.testing.assert_close(pool(x), SoftPool(2, 3, 2, 1)(x))


def test_lip_bottleneck_is_no_wider_than_the_input_or_128():
    for channels, width in ((4, 4), (160, 128)):
        pool = LIPPool(1, 2, channels=channels, logits="bottleneck")
        shapes = [tuple(convolution.weight.shape) for convolution in pool.importance.convolutions]
        assert shapes == [(width, channels, 1), (width, width, 3), (channels, width, 1)]


def test_lip_weights_stay_within_the_gate():
    """The weight of a cell is at most e^12 times that of another."""
    pool = LIPPool(1, 2, channels=1).double()
    nn.init.constant_(pool.importance.norms[0].weight, 1e6)
    nn.init.constant_(pool.importance.convolutions[0].weight, 1.0)
    x = torch.tensor([[[0.0, 0.0, 0.0, 1.0, 1.0, 1.0]]], dtype=torch.float64)
    torch.testing.assert_close(pool(x)[0, 0, 1].item(), 1 / (1 + math.exp(-12)), rtol=1e-9, atol=0)


@pytest.mark.parametrize("full", [False, True])
def test_dpp_begins_near_average_pooling(full):
    """Small details have equal weights; large ones move the result toward them, by at most their size."""
    pool, average = DPPPool(2, 3, 2, 1, channels=CHANNELS, full=full).double(), AvgPool(2, 3, 2, 1)
    x = randn(2, CHANNELS, 7, 7, seed=19)
    spread = 0.01 * (x.max() - x.min())
    assert (pool(0.01 * x) - average(0.01 * x)).abs().max() <= spread**2
    torch.testing.assert_close(pool(1 + 1e-5 * x), average(1 + 1e-5 * x), rtol=0, atol=1e-9)


@pytest.mark.parametrize("parameter", ["log_alpha", "log_lambda"])
def test_dpp_without_details_is_the_average(parameter):
    """An offset much larger than every detail, or a power of 0, gives equal weights."""
    pool, x = DPPPool(2, 2, channels=CHANNELS).double(), randn(1, CHANNELS, 6, 6, seed=20)
    nn.init.constant_(getattr(pool, parameter), 60.0 if parameter == "log_alpha" else -60.0)
    torch.testing.assert_close(pool(x), AvgPool(2, 2)(x))


def test_dpp_of_a_great_power_takes_the_cell_that_differs_most():
    pool = DPPPool(1, 4, channels=1).double()
    nn.init.constant_(pool.log_lambda, 8.0)
    x = torch.tensor([[[1.0, 2.0, 3.0, 10.0, -9.0, 0.0, 2.0, 1.0]]], dtype=torch.float64)
    torch.testing.assert_close(pool(x), torch.tensor([[[10.0, -9.0]]], dtype=torch.float64))


def test_dpp_full_begins_as_lite():
    x = randn(2, CHANNELS, 4, 6, 6, seed=21)
    full, lite = (DPPPool(3, 2, channels=CHANNELS, full=full).double() for full in (True, False))
    torch.testing.assert_close(full(x), lite(x))
    assert full.filter.shape == (CHANNELS, 1, 3, 3, 3)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SoftPool(2, 2, learned="all"), "learned='all' of 'soft'"),
        (lambda: SoftPool(2, 2, learned="channel"), "channels=None must be 1 or more"),
        (lambda: SoftPool(2, 2, learned="shared", detach_weights=True), "Remove detach_weights"),
        (lambda: AdaPool(2, 2, learned="none"), "one of 'shared', 'channel'"),
        (lambda: AdaPool(2, 2, learned="channel"), "channels=None must be 1 or more"),
        (lambda: LIPPool(2, 2, channels=4, logits="wide"), "must be 'simple' or 'bottleneck'"),
        (lambda: LIPPool(2, 2), "channels=None must be 1 or more"),
        (lambda: DPPPool(2, 2), "channels=None must be 1 or more"),
    ],
)
def test_refusals(make, words):
    with pytest.raises(InputError, match=words):
        make()


@pytest.mark.parametrize(
    ("pool", "own", "needed"),
    [
        (SoftPool, {}, False),
        (SoftPool, {"learned": "channel"}, True),
        (EMPool, {}, False),
        (EDSCWPool, {}, False),
        (AdaPool, {}, False),
        (AdaPool, {"learned": "channel"}, True),
        (LIPPool, {}, True),
        (DPPPool, {"full": True}, True),
    ],
)
def test_who_needs_channels(pool, own, needed):
    assert pool.needs_channels(**own) is needed
    make = functools.partial(pool, 2, 2, **own)
    if needed:
        with pytest.raises(InputError, match="channels=None must be 1 or more"):
            make()
    else:
        make()
