"""The formulas of pooling by softmax weights in plain numbers, for every window of a layer: slow and obvious."""

import itertools
import math

import numpy as np
import torch
from slow_windows import windows

from videopool.pooling import LIPPool


def weighted(cells: list[float], weights: list[float]) -> float:
    return sum(w * c for w, c in zip(weights, cells, strict=True)) / sum(weights)


def soft_formula(cells: list[float], beta: float) -> float:
    return weighted(cells, [math.exp(beta * c) for c in cells])


def edscw_formula(cells: list[float]) -> float:
    mean = sum(cells) / len(cells)
    return weighted(cells, [math.exp(2 * abs(c * mean) / (c * c + mean * mean)) for c in cells])


def dpp_formula(cells: list[float], smoothed: list[float], alpha: float, power: float) -> float:
    level = sum(smoothed) / len(smoothed)
    return weighted(cells, [alpha + math.sqrt((c - level) ** 2 + 1e-6) ** power for c in cells])


def one_of(values: torch.Tensor, channel: int) -> float:
    """Return a parameter's value for a channel; it has one number, or one for each."""
    return values.flatten()[channel if values.numel() > 1 else 0].item()


def shifted(x: np.ndarray, offset: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return ``x`` [...] at an offset from every cell, with 0 outside, and a mask of the inside."""
    out, inside = np.zeros_like(x), np.zeros(x.shape, bool)
    for place in np.ndindex(*x.shape):
        source = tuple(p + o for p, o in zip(place, offset, strict=True))
        if all(0 <= s < size for s, size in zip(source, x.shape, strict=True)):
            out[place], inside[place] = x[source], True
    return out, inside


def offsets(extents: tuple[int, ...]) -> itertools.product:
    return itertools.product(*(range(-(extent // 2), extent // 2 + 1) for extent in extents))


def convolved(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Convolve [C,...] with [D,C,...], one tap at a time."""
    out = np.zeros((weight.shape[0], *x.shape[1:]))
    for tap, offset in zip(np.ndindex(*weight.shape[2:]), offsets(weight.shape[2:]), strict=True):
        for channel in range(x.shape[0]):
            moved, _ = shifted(x[channel], offset)
            for result in range(weight.shape[0]):
                out[result] += weight[(result, channel, *tap)] * moved
    return out


def normed(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    out = np.empty_like(x)
    for channel, cells in enumerate(x):
        out[channel] = weight[channel] * (cells - cells.mean()) / math.sqrt(cells.var() + 1e-5) + bias[channel]
    return out


def lip_logits(x: torch.Tensor, pool: LIPPool) -> np.ndarray:
    """Return the logits of Gao et al.: convolutions and norms in turn, ReLUs between, then 12 times a sigmoid."""
    values = {name: value.detach().numpy() for name, value in pool.named_parameters()}
    z = x.numpy()
    layers = 3 if pool.logits == "bottleneck" else 1
    for index in range(layers):
        weight, bias = (values[f"importance.norms.{index}.{kind}"] for kind in ("weight", "bias"))
        z = normed(convolved(z, values[f"importance.convolutions.{index}.weight"]), weight, bias)
        if index + 1 < layers:
            z = np.maximum(z, 0)
    return 12 / (1 + np.exp(-z))


def smoothed_slowly(x: torch.Tensor, filters: torch.Tensor) -> np.ndarray:
    """Return [C,...] smoothed by a filter of sum 1 that ignores cells outside the image."""
    image, taps = x.numpy(), filters.detach().numpy()
    out = image.copy()
    for tap, offset in zip(np.ndindex(*taps.shape[2:]), offsets(taps.shape[2:]), strict=True):
        for channel in range(image.shape[0]):
            moved, inside = shifted(image[channel], offset)
            out[channel] += taps[(channel, 0, *tap)] * np.where(inside, moved - image[channel], 0)
    return out


def reading(values) -> object:
    """Return ``read(cells)``, which gives the values at a list of cells as numbers."""
    return lambda cells: [float(values[cell]) for cell in cells]


def soft_of(x, pool):
    read, beta = reading(x), torch.as_tensor(pool.beta, dtype=torch.float64)
    return lambda channel, cells: soft_formula(read(cells), one_of(beta, channel))


def edscw_of(x, pool):
    read = reading(x)
    return lambda channel, cells: edscw_formula(read(cells))


def adapool_of(x, pool):
    read, share = reading(x), [1 / (1 + math.exp(-one_of(pool.mixing, channel))) for channel in range(x.shape[0])]

    def formula(channel, cells):
        values = read(cells)
        return share[channel] * edscw_formula(values) + (1 - share[channel]) * soft_formula(values, 1.0)

    return formula


def lip_of(x, pool):
    read, logits = reading(x), reading(lip_logits(x, pool))
    return lambda channel, cells: weighted(read(cells), [math.exp(logit) for logit in logits(cells)])


def dpp_of(x, pool):
    read, smooth = reading(x), reading(x if pool.filter is None else smoothed_slowly(x, pool.filter))
    alpha, power = pool.log_alpha.exp(), pool.log_lambda.exp()
    return lambda channel, cells: dpp_formula(
        read(cells), smooth(cells), one_of(alpha, channel), one_of(power, channel)
    )


FORMULAS = {"soft": soft_of, "em": soft_of, "edscw": edscw_of, "adapool": adapool_of, "lip": lip_of, "dpp": dpp_of}


def pooled_by_formula(x: torch.Tensor, pool, window) -> torch.Tensor:
    """Pool [C,...] window by window; ``window`` is kernel, stride, padding, dilation and ceil_mode."""
    kernel, stride, padding, dilation, ceil_mode = window
    kernel, stride = (kernel, stride) if kernel is not None else (x.shape[1:], x.shape[1:])
    formula = FORMULAS[pool.method](x, pool)
    found = list(windows(x.shape[1:], kernel, stride, padding, ceil_mode, dilation))
    out = torch.empty(x.shape[0], *(index + 1 for index in found[-1][0]), dtype=x.dtype)
    for channel in range(x.shape[0]):
        for place, cells in found:
            out[(channel, *place)] = formula(channel, [(channel, *cell) for cell, _ in cells])
    return out
