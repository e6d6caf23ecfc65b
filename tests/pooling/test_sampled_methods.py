"""Stochastic and S3 pooling: frequencies and gradients of draws, their mean in evaluation, generators."""

import copy
import itertools

import pytest
import torch
from slow_windows import WINDOWS, draws, pooled_slowly, sizes_for, starts, windows
from torch.utils.checkpoint import checkpoint

from videopool.errors import InputError
from videopool.pooling import MaxPool, S3Pool, StochasticPool

every_window = pytest.mark.parametrize("window", WINDOWS, ids=str)


def seed(number: int) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def built(method, window, **own):
    kernel, stride, padding, ceil_mode = window
    return method(len(kernel), kernel, stride, padding, ceil_mode=ceil_mode, **own)


# --- stochastic -------------------------------------------------------------------------------------------------------


@every_window
def test_evaluation_is_the_mean_weighted_by_probability(window):
    def formula(cells, channel, numbers):
        activations = [max(cell, 0.0) for cell in cells.tolist()]
        return sum(a * a for a in activations) / sum(activations) if any(activations) else 0.0

    x = draws(2, *sizes_for(window[0]))
    out = built(StochasticPool, window).eval()(x)
    torch.testing.assert_close(out, pooled_slowly(x, formula, *window), rtol=1e-12, atol=1e-12)


@every_window
def test_training_draws_real_positive_cells_and_gives_them_the_gradient(window):
    x = draws(1, 2, *sizes_for(window[0])).requires_grad_()
    out = built(StochasticPool, window, generator=seed(2))(x)
    weights = draws(*out.shape, seed=9)
    (gradient,) = torch.autograd.grad(out, x, weights)
    expected = torch.zeros_like(x)
    for channel, (place, cells) in itertools.product(range(2), windows(x.shape[2:], *window)):
        at = (0, channel)
        drawn = [cell for cell, _ in cells if x[(*at, *cell)] == out[(*at, *place)]]
        if out[(*at, *place)] == 0:
            assert all(x[(*at, *cell)] <= 0 for cell, _ in cells)
        else:
            assert len(drawn) == 1
            expected[(*at, *drawn[0])] += weights[(*at, *place)]
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize(("stride", "padding"), [(3, 0), (2, 1)], ids=["windows apart", "windows overlap"])
def test_cells_are_drawn_in_proportion_to_their_activation(stride, padding):
    """20000 draws: the chance that a correct frequency is 5 standard deviations off is below 1e-6."""
    x, count = torch.tensor([0.0, 3.0, -2.0, 0.5, 1.5, 0.0]), 20000
    out = StochasticPool(1, 3, stride, padding, generator=seed(3))(x.expand(count, 1, 6))
    for index, start in enumerate(starts(6, 3, stride, padding, False)):
        cells = x[max(start, 0) : start + 3].clamp(min=0)
        for activation in cells.unique():
            share = (cells[cells == activation].sum() / cells.sum()).item()
            drawn = (out[:, 0, index] == activation).double().mean().item()
            assert abs(drawn - share) <= 5 * (share * (1 - share) / count) ** 0.5


def test_windows_that_share_cells_draw_independently():
    x, count = torch.tensor([1.0, 2.0, 3.0, 4.0]), 20000
    out = StochasticPool(1, 3, 1, generator=seed(4))(x.expand(count, 1, 4))[:, 0]
    both = ((out[:, 0] == 3) & (out[:, 1] == 3)).double().mean().item()
    share = 3 / 6 * 3 / 9
    assert abs(both - share) <= 5 * (share * (1 - share) / count) ** 0.5


@pytest.mark.parametrize("scale", [1e-30, 1e35])
def test_draws_do_not_depend_on_the_scale(scale):
    x = draws(4, 3, 8, 8).float()
    for stride in (2, 1):
        for training in (True, False):
            pool = StochasticPool(2, 2, stride).train(training)
            pool.generator = seed(5)
            out = pool(x)
            pool.generator = seed(5)
            torch.testing.assert_close(pool(x * scale), out * scale, rtol=1e-5, atol=0)


@pytest.mark.parametrize("stride", [2, 1])
def test_zeros_stay_zeros_without_gradient_in_training(stride):
    x = torch.zeros(2, 3, 6, 6, requires_grad=True)
    out = StochasticPool(2, 2, stride)(x)
    out.sum().backward()
    assert not out.any()
    assert not x.grad.any()


def test_a_dilated_window_without_any_cell_gives_zero():
    x = torch.ones(1, 1, 1)
    assert StochasticPool(1, 2, 2, 1, dilation=2)(x).tolist() == [[[0.0]]]


# --- S3 ---------------------------------------------------------------------------------------------------------------


def positions_of(pool: S3Pool, x: torch.Tensor) -> tuple[list[list[int]], torch.Tensor]:
    """Return the starts of the windows that a draw kept on each axis, and the result of that draw for ``x`` [C,...].

    A probe that falls along an axis has its maximum at a window's first real cell, which tells where it begins (any
    padding before the input counts as its first cell).
    """
    rank, sizes = x.dim() - 1, x.shape[1:]
    probes = []
    for axis, size in enumerate(sizes):
        shape = [size if other == axis else 1 for other in range(rank)]
        probes.append(-torch.arange(size, dtype=x.dtype).view(shape).expand(sizes))
    out = pool(torch.cat((x, torch.stack(probes))))
    lines = [out[axis - rank].transpose(0, axis).reshape(out.shape[1 + axis], -1)[:, 0] for axis in range(rank)]
    return [[int(-value) for value in line.tolist()] for line in lines], out[:-rank]


@every_window
def test_training_keeps_windows_of_stride_1(window):
    kernel, stride, _, ceil_mode = window
    x = draws(2, *sizes_for(kernel))
    pool = built(S3Pool, (kernel, stride, (0,) * len(kernel), ceil_mode), generator=seed(6))
    kept, out = positions_of(pool, x)
    for place in itertools.product(*(range(len(line)) for line in kept)):
        at = [slice(line[i], line[i] + k) for line, i, k in zip(kept, place, kernel, strict=True)]
        torch.testing.assert_close(out[(..., *place)], x[(slice(None), *at)].flatten(1).amax(1), rtol=0, atol=0)


@pytest.mark.parametrize("grid", [2, 4, 6])
@pytest.mark.parametrize("size", [7, 8, 9, 13, 16])
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_positions_are_sorted_draws_from_their_strips(size, grid, ceil_mode):
    pool = S3Pool(1, 2, 2, ceil_mode=ceil_mode, grid=grid, generator=seed(7))
    x = draws(1, size)
    counts: dict[int, set[int]] = {}
    for _ in range(40):
        (kept,), _ = positions_of(pool, x)
        assert len(kept) == MaxPool(1, 2, 2, ceil_mode=ceil_mode)(x).shape[1]
        assert kept == sorted(set(kept))
        for index, position in enumerate(kept):
            assert position // grid == index * 2 // grid
            counts.setdefault(position // grid, set()).add(position)
    for strip, seen in counts.items():
        assert seen == set(range(strip * grid, min((strip + 1) * grid, 2 * len(kept), size)))


@pytest.mark.slow
def test_rows_are_drawn_alike_and_apart_from_columns():
    """A strip's 4 pairs of positions are equally likely: 4000 draws, 5 standard deviations."""
    pool, x, count = S3Pool(2, 1, 2, generator=seed(8)), torch.arange(4.0).view(1, 2, 2), 4000
    drawn = [int(pool(x)) for _ in range(count)]
    for cell in range(4):
        assert abs(drawn.count(cell) / count - 1 / 4) <= 5 * (3 / 16 / count) ** 0.5


def test_a_draw_is_the_same_for_samples_and_channels():
    x = draws(1, 1, 8, 9).expand(3, 4, 8, 9)
    out = S3Pool(2, 3, 2, 1)(x)
    assert torch.equal(out, out[:1, :1].expand_as(out))


@every_window
def test_evaluation_averages_the_maxima_of_stride_1(window):
    kernel, stride, padding, ceil_mode = window
    x = draws(2, *sizes_for(kernel))
    axes = []
    for size, k, s, p in zip(x.shape[1:], kernel, stride, padding, strict=True):
        places = [[at + i for i in range(s) if at + i < size] for at in starts(size, k, s, p, ceil_mode)]
        assert all(places)
        axes.append(places)
    expected = torch.empty(2, *(len(axis) for axis in axes), dtype=x.dtype)
    for place in itertools.product(*(range(len(axis)) for axis in axes)):
        tops = []
        for begin in itertools.product(*(axis[i] for axis, i in zip(axes, place, strict=True))):
            at = [slice(max(b, 0), b + k) for b, k in zip(begin, kernel, strict=True)]
            tops.append(x[(slice(None), *at)].flatten(1).amax(1))
        expected[(..., *place)] = sum(tops) / len(tops)
    torch.testing.assert_close(built(S3Pool, window).eval()(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.slow
def test_evaluation_is_the_mean_of_the_draws():
    x, count = draws(3, 5, 6), 4000
    pool = S3Pool(2, 3, 2, 1, ceil_mode=True, generator=seed(9))
    results = torch.stack([pool(x) for _ in range(count)])
    bound = 5 * results.std(0) / count**0.5 + 1e-12
    assert ((results.mean(0) - pool.eval()(x)).abs() <= bound).all()


def test_without_a_stride_nothing_is_drawn():
    x = draws(2, 3, 6, 6)
    before = torch.get_rng_state()
    assert torch.equal(S3Pool(2, 3, 1, 1)(x), MaxPool(2, 3, 1, 1)(x))
    assert torch.equal(S3Pool(2, None)(x), MaxPool(2, None)(x))
    assert torch.equal(torch.get_rng_state(), before)


# --- both: generators and arguments -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [StochasticPool, S3Pool])
@pytest.mark.parametrize("window", [(2,), (3, 2, 1)], ids=str)
def test_a_seed_decides_the_draw(method, window):
    x = draws(2, 3, 12, 12)
    first, again, other = (method(2, *window, generator=seed(number))(x) for number in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    pool, results = method(2, *window), []
    for number in (1, 1, 2):
        torch.manual_seed(number)
        results.append(pool(x))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
    assert not torch.equal(pool(x), pool(x))


@pytest.mark.parametrize("method", [StochasticPool, S3Pool])
def test_an_own_generator_does_not_change_torchs(method):
    before = torch.get_rng_state()
    method(2, 2, generator=seed(1))(draws(1, 2, 6, 6))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("method", [StochasticPool, S3Pool])
def test_a_copy_goes_on_from_the_same_state_by_itself(method):
    pool, x = method(2, 2, generator=seed(1)), draws(2, 3, 12, 12)
    pool(x)
    twin = copy.deepcopy(pool)
    expected = pool(x)
    pool(x)
    assert torch.equal(twin(x), expected)


@pytest.mark.parametrize("method", [StochasticPool, S3Pool])
@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpoint_repeats_the_draws_or_is_refused(method, reentrant):
    x = draws(2, 3, 8, 8).requires_grad_()
    pool = method(2, 2)
    torch.manual_seed(1)
    (expected,) = torch.autograd.grad(pool(x).square().sum(), x)
    torch.manual_seed(1)
    checkpoint(pool, x, use_reentrant=reentrant).square().sum().backward()
    assert torch.equal(x.grad, expected)
    out = checkpoint(method(2, 2, generator=seed(1)), x, use_reentrant=reentrant)
    with pytest.raises(InputError, match="checkpoint does not restore"):
        out.sum().backward()


@pytest.mark.slow
@pytest.mark.parametrize("method", [StochasticPool, S3Pool])
def test_a_layer_with_a_generator_is_compiled_in_parts(method):
    x = draws(2, 3, 8, 8)
    compiled = torch.compile(method(2, 2, generator=seed(1)), backend="eager")
    torch.testing.assert_close(compiled(x), method(2, 2, generator=seed(1))(x))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: S3Pool(2, 2, 2, grid=3), r"grid=\(3, 3\) of 's3' pooling must be a multiple of stride=\(2, 2\)"),
        (lambda: S3Pool(2, 2, 2, grid=0), "must be a multiple"),
        (lambda: S3Pool(2, 2, 2, grid=2.0), "grid=2.0 must be an integer"),
        (lambda: S3Pool(2, 2, 2, generator=5), "generator=5 of 's3' pooling must be a torch.Generator. Remove it"),
        (lambda: StochasticPool(2, 2, 2, generator="cuda"), "generator='cuda' of 'stochastic' pooling must be"),
        (lambda: S3Pool(2, 2, 2, grid=(2, 2, 2)), "grid=.* has 3 numbers"),
        (lambda: S3Pool(2, None, grid=2), "grid=2 is not for a global 's3' pool"),
        (lambda: S3Pool(2, 2, generator=seed(1))(torch.zeros(1, 1, 4, 4, device="meta")), "generator of 's3' pooling"),
        (lambda: StochasticPool(2, 2, generator=seed(1))(torch.zeros(1, 1, 4, 4, device="meta")), "is on cpu"),
    ],
)
def test_impossible_arguments_raise_clear_errors(make, words):
    with pytest.raises(InputError, match=words):
        make()


def test_layers_say_what_they_are():
    assert S3Pool(2, 3, 2, grid=4, generator=seed(1)).own() == "grid 4x4 own generator"
    assert S3Pool(2, 3, 2, grid=2).own() == ""
    assert StochasticPool(2, 2).describe() == "stochastic 2x2 stride 2x2"
