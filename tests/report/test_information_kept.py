"""The information that pooling layers keep agrees with numbers computed by hand and by loops, at every site."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from videopool.errors import InputError
from videopool.pooling import SoftPool, fuse_relu, swap
from videopool.report.similarity import information_kept, kept_by_site, pooling_layers, watch_sites


def kept_slowly(x: torch.Tensor, y: torch.Tensor) -> float:
    """The formula for [B,C,W] in loops; the cell of ``y`` is the one that covers the center of that of ``x``."""
    lost = whole = 0.0
    for c in range(x.shape[1]):
        mean = sum(float(v) for v in x[:, c].flatten()) / x[:, c].numel()
        for b in range(x.shape[0]):
            for i in range(x.shape[2]):
                j = int((i + 0.5) * y.shape[2] / x.shape[2])
                lost += (float(x[b, c, i]) - float(y[b, c, j])) ** 2
                whole += (float(x[b, c, i]) - mean) ** 2
    return 1 - lost / whole


def test_by_hand() -> None:
    # Means 1 and 5 of {0, 2} and {4, 6}: lost 4 x 1; about the mean 3: 9 + 1 + 1 + 9 = 20.
    x = torch.tensor([[[0.0, 2.0, 4.0, 6.0]]])
    assert information_kept(x, torch.tensor([[[1.0, 5.0]]])).item() == pytest.approx(1 - 4 / 20)
    # Maxima 2 and 6: lost 4 + 0 + 4 + 0.
    assert information_kept(x, torch.tensor([[[2.0, 6.0]]])).item() == pytest.approx(1 - 8 / 20)
    assert information_kept(x, x).item() == 1.0
    assert information_kept(x, torch.tensor([[[3.0]]])).item() == pytest.approx(0.0)  # the mean alone
    assert information_kept(x, torch.tensor([[[6.0]]])).item() == pytest.approx(1 - 56 / 20)  # its maximum


@pytest.mark.parametrize(("size", "cells"), [(7, 4), (7, 3), (6, 2), (5, 5), (3, 1)])
def test_against_loops(size: int, cells: int) -> None:
    torch.manual_seed(0)
    x, y = torch.randn(2, 3, size, dtype=torch.float64), torch.randn(2, 3, cells, dtype=torch.float64)
    assert information_kept(x, y).item() == pytest.approx(kept_slowly(x, y), abs=1e-12)
    flat, cubes = x[..., None], x[..., None, None]
    assert information_kept(flat, y[..., None]).item() == pytest.approx(kept_slowly(x, y), abs=1e-12)
    assert information_kept(cubes, y[..., None, None]).item() == pytest.approx(kept_slowly(x, y), abs=1e-12)


def test_each_channel_has_its_own_mean() -> None:
    x = torch.tensor([[[0.0, 2.0], [100.0, 102.0]]])
    y = torch.tensor([[[1.0], [101.0]]])
    assert information_kept(x, y).item() == pytest.approx(0.0)  # one mean for both channels gives nearly 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_constant_input_has_nothing_to_lose(dtype: torch.dtype) -> None:
    for value in (0.0, 0.1):
        x = torch.full((2, 3, 6, 6), value, dtype=dtype)
        assert information_kept(x, functional.avg_pool2d(x, 3)).item() == 1.0
        assert information_kept(x, functional.avg_pool2d(x, 3) + 1).item() == -math.inf


def test_half_precision_is_measured_in_float32() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 8, 8).to(torch.float16)
    y = functional.max_pool2d(x, 2)
    kept = information_kept(100 * x, 100 * y)  # squares beyond the range of float16
    assert kept.dtype == torch.float32
    torch.testing.assert_close(kept, information_kept(x.float(), y.float()), atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    ("x", "y"), [((2, 3, 4), (2, 3, 4, 1)), ((2, 3, 4), (2, 4, 2)), ((3, 4), (3, 2)), ((0, 3, 4), (0, 3, 2))]
)
def test_mismatched_shapes_are_refused(x: tuple[int, ...], y: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"must be .* with equal B and C"):
        information_kept(torch.zeros(x), torch.zeros(y))


def network() -> nn.Sequential:
    """Two pools and a head, with a ReLU before the second pool, and one that overwrites the output of the first."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.MaxPool2d(2),
        nn.ReLU(inplace=True),
        nn.Conv2d(4, 5, 3, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(5, 6, 3, stride=2, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 2),
    )


def by_hand(model: nn.Sequential, x: torch.Tensor) -> dict[str, float]:
    """The pools of ``network`` computed step by step."""
    kept = {}
    for name, layer in model.named_children():
        y = layer(x.clone())
        if name in ("1", "5", "7"):
            kept[name] = information_kept(x, y).item()
        x = y
    return kept


def test_every_site_is_watched_and_restored() -> None:
    model, x = network().train(), torch.randn(4, 3, 16, 16)
    before = model.eval()(x)
    model.train()
    expected = by_hand(model.eval(), x)
    model.train()
    kept = kept_by_site(model, [x])
    assert list(kept) == ["1", "5", "7"]
    assert kept == pytest.approx(expected, abs=1e-6)
    assert model.training
    assert not any(layer._forward_hooks for layer in model.modules())
    assert torch.equal(model.eval()(x), before)


def test_batches_are_weighted_by_their_samples() -> None:
    model, one, three = network().eval(), torch.randn(1, 3, 16, 16), torch.randn(3, 3, 16, 16)
    first, second = by_hand(model, one), by_hand(model, three)
    kept = kept_by_site(model, iter([one, three]))
    assert kept == pytest.approx({path: (first[path] + 3 * second[path]) / 4 for path in first}, abs=1e-6)


def test_the_input_is_measured_after_a_fused_relu() -> None:
    model, x = network().eval(), torch.randn(2, 3, 16, 16)
    swap(model, "soft")
    plain = kept_by_site(model, [x])
    assert fuse_relu(model) == ("5",)
    assert kept_by_site(model, [x]) == pytest.approx(plain, abs=1e-6)
    seen = {}
    with watch_sites(model, lambda path, x, y: seen.update({path: x.min().item()})):
        model(x)
    assert seen["5"] == 0.0
    assert seen["1"] < 0


def test_a_convolution_that_pools_is_watched_at_its_pool() -> None:
    model, x = network().eval(), torch.randn(2, 3, 16, 16)
    assert "6" not in pooling_layers(model)  # a strided convolution does not pool
    swap(model, "soft", ("stride",))
    assert isinstance(pooling_layers(model)["6"], SoftPool)
    seen = {}
    with watch_sites(model, lambda path, x, y: seen.update({path: (tuple(x.shape), tuple(y.shape))})) as paths:
        model(x)
    assert paths == ("1", "5", "6", "7")
    assert seen["6"] == ((2, 6, 4, 4), (2, 6, 2, 2))


def test_hooks_are_removed_after_an_error() -> None:
    model = network()
    with pytest.raises(RuntimeError), watch_sites(model, lambda path, x, y: None):
        model(torch.zeros(1, 2, 16, 16))
    assert not any(layer._forward_hooks for layer in model.modules())


def test_a_model_without_pooling_is_refused() -> None:
    with pytest.raises(InputError, match="no pooling layer"):
        kept_by_site(nn.Sequential(nn.Conv2d(3, 4, 3)), [torch.zeros(1, 3, 8, 8)])
