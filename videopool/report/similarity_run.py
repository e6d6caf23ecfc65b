"""The information-preservation experiment: pool, bring back to size, compare with the original.

docs/similarity.md is the protocol in words. Values lie in 0..1. Shape legend: C channels, T frames, H rows, W columns,
``...`` either H,W (an image) or T,H,W (a clip).
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from videopool.errors import InputError
from videopool.pooling.methods import METHODS, check_method, make_pool

SSIM_WINDOW = 11  # pixels: a Gaussian of sigma 1.5, cut at 3.5 sigma
RESIZES = ("nearest", "linear")
SAMPLING = ("stochastic", "s3")  # methods that draw while they train, and do not in eval mode
FIRST = ("avg", "max", "soft")  # rows that are looked for; the others follow in the order of METHODS
AT_FIRST = {  # what the parameters of a method are before training, in the words of its table row
    "lp": "p = 2",
    "mixed": "half avg, half max",
    "gated": "untrained: half avg, half max",
    "lip": "untrained: equal weights",
    "dpp": "lite, untrained",
    "adapool": "untrained: half edscw, half em",
    "em": "soft with beta = 1",
    "blur": "binomial taps",
}


@dataclasses.dataclass(frozen=True)
class Variant:
    """One row of the results: a method with its own ``arguments``, in eval mode or drawing as in training."""

    name: str
    method: str
    arguments: Mapping[str, Any]
    draws: bool = False
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Measured:
    """One comparison: an ``item`` (image or clip) pooled by a variant with ``window``, brought back by ``resize``.

    ``ssim`` and ``psnr`` (dB, infinite for equal pictures) are means over the draws of a variant that draws.
    """

    variant: str
    window: tuple[int, ...]
    resize: str
    item: str
    ssim: float
    psnr: float


def variants(methods: Sequence[str] = ()) -> tuple[Variant, ...]:
    """The variants of ``methods`` (all when there are none): average, maximum, SoftPool, then as in ``METHODS``.

    SoftPool comes twice, since its weights depend on the range of values: on 0..1, and as it would be on 0..255. The
    sampling methods come twice: as in eval mode, and drawing.

    Raises:
        InputError: for an unknown method.
    """
    for method in methods:
        check_method(method)
    wanted = [method for method in dict.fromkeys((*FIRST, *METHODS)) if not methods or method in methods]
    return tuple(variant for method in wanted for variant in _variants_of(method))


def _variants_of(method: str) -> list[Variant]:
    if method == "soft":
        # SoftPool of 255 x, divided by 255, is SoftPool of x with a beta of 255.
        wide = Variant("soft on 0..255", method, {"beta": 255.0}, note="beta = 255 on values 0..1")
        return [Variant("soft", method, {}, note="beta = 1"), wide]
    if method in SAMPLING:
        return [Variant(f"{method} (eval)", method, {}), Variant(f"{method} (train)", method, {}, draws=True)]
    return [Variant(method, method, {}, note=AT_FIRST.get(method, ""))]


def windows_of(rank: int, sizes: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """The windows to compare: ``k x k`` for images (rank 2), ``1 x k x k`` and ``k x k x k`` for clips (rank 3)."""
    if rank == 2:
        return tuple((k, k) for k in sizes)
    return tuple((depth, k, k) for flat in (True, False) for k in sizes for depth in ([1] if flat else [k]))


def measure(
    items: Iterable[tuple[str, torch.Tensor]],
    chosen: Sequence[Variant],
    windows: Sequence[tuple[int, ...]],
    *,
    draws: int,
    on_step: Callable[[], None] = lambda: None,
) -> list[Measured]:
    """Every item through every variant and window, brought back in every way of ``RESIZES``.

    Args:
        items: names and float32 tensors [C,...] in 0..1, all of as many axes as ``windows``.
        chosen: the variants.
        windows: as ``windows_of`` gives them.
        draws: how many draws are averaged for a variant that draws; draw i has the seed i, for every item.
        on_step: called after each variant of each item and window.
    """
    results = []
    for name, x in items:
        for window in windows:
            for variant in chosen:
                results += _compared(name, x, variant, window, draws)
                on_step()
    return results


def _compared(name: str, x: torch.Tensor, variant: Variant, window: tuple[int, ...], draws: int) -> list[Measured]:
    scores: dict[str, list[tuple[float, float]]] = {resize: [] for resize in RESIZES}
    for draw in range(draws if variant.draws else 1):
        y = pooled(x, variant, window, seed=draw)
        for resize, found in scores.items():
            back = brought_back(y, window, x.shape[1:], resize)
            found.append((ssim(x, back), psnr(x, back)))
    return [
        Measured(variant.name, window, resize, name, *(statistics.fmean(column) for column in zip(*found, strict=True)))
        for resize, found in scores.items()
    ]


@torch.inference_mode()
def pooled(x: torch.Tensor, variant: Variant, window: tuple[int, ...], *, seed: int = 0) -> torch.Tensor:
    """``x`` [C,...] pooled by windows that do not overlap; the last of an axis may be cut short by the border.

    Returns:
        float32 [C,...], ``ceil(size / k)`` cells along each axis.
    """
    own = dict(variant.arguments)
    if variant.draws:
        own["generator"] = torch.Generator().manual_seed(seed)
    pool = make_pool(variant.method, len(window), window, window, 0, 1, True, channels=len(x), **own)
    return pool.train(variant.draws)(x[None])[0]


def brought_back(y: torch.Tensor, window: Sequence[int], size: Sequence[int], resize: str) -> torch.Tensor:
    """Pooled ``y`` [C,...] at the ``size`` that it came from.

    ``nearest`` repeats a cell all over its window; ``linear`` (bilinear for images, trilinear for clips) takes the cell
    as the value at the centre of its window and interpolates between centres, holding the outer ones to the border.
    A last window that was cut short is treated as a whole one, and what is too much is cut off.
    """
    whole = [cells * k for cells, k in zip(y.shape[1:], window, strict=True)]
    mode = {"nearest": "nearest", "linear": {2: "bilinear", 3: "trilinear"}[len(whole)]}[resize]
    corners = None if mode == "nearest" else False
    back = functional.interpolate(y[None], size=whole, mode=mode, align_corners=corners)[0]
    inside = (slice(None), *(slice(0, cells) for cells in size))
    return back[inside]


def ssim(x: torch.Tensor, y: torch.Tensor) -> float:
    """Structural similarity of pictures [C,H,W], or the mean over the frames of clips [C,T,H,W], both in 0..1.

    scikit-image with the settings of Wang et al. 2004 (IEEE TIP 13:4, section III): Gaussian of sigma 1.5, 11 x 11
    pixels, K1 = 0.01, K2 = 0.03, population covariance; each channel by itself, then their mean. As it does, a border
    of 5 pixels is left out of the mean.
    """
    from skimage.metrics import structural_similarity

    return float(
        structural_similarity(
            _planes(x),
            _planes(y),
            channel_axis=0,
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )


def psnr(x: torch.Tensor, y: torch.Tensor) -> float:
    """Peak signal-to-noise ratio in dB for a peak of 1, from the squared error over all channels, frames and pixels."""
    from skimage.metrics import peak_signal_noise_ratio

    if torch.equal(x, y):
        return math.inf
    return float(peak_signal_noise_ratio(x.double().numpy(), y.double().numpy(), data_range=1.0))


def check_size(name: str, x: torch.Tensor, windows: Sequence[tuple[int, ...]], *, option: str = "--k") -> None:
    """Refuse an item that a window or SSIM does not fit into; ``option`` is what gives the windows.

    Raises:
        InputError: naming the item.
    """
    *frames, height, width = x.shape[1:]
    if min(height, width) < SSIM_WINDOW:
        raise InputError(
            f"{name}: {width} x {height} pixels are too few for SSIM, whose window has {SSIM_WINDOW} x {SSIM_WINDOW}; "
            "give larger pictures"
        )
    for window in windows:
        if any(k > cells for k, cells in zip(window, x.shape[1:], strict=True)):
            size = f"{width} x {height} pixels" + "".join(f", {count} frames" for count in frames)
            raise InputError(
                f"{name}: a window of {max(window)} does not fit {size}; give smaller windows with {option}"
            )


def _planes(x: torch.Tensor) -> np.ndarray:
    """[C,...,H,W] as [C * ..., H, W]: every channel of every frame is a picture of its own."""
    return x.flatten(0, -3).numpy()
