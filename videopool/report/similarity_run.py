"""The similarity experiment: pool, restore the size, compare with the original.

docs/similarity.md describes the protocol. Values are in 0..1. Shape legend: C channels, T frames, H rows, W columns,
``...`` is H,W (an image) or T,H,W (a clip).
"""

from __future__ import annotations

import dataclasses
import importlib
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from videopool.errors import InputError
from videopool.pooling.methods import METHODS, check_method, make_pool

SSIM_WINDOW = 11  # pixels: a Gaussian of sigma 1.5, cut at 3.5 sigma
RESIZES = ("nearest", "linear")
SAMPLING = ("stochastic", "s3")  # methods that draw at random in training mode
FIRST_ROWS = ("avg", "max", "soft")  # the others follow in the order of METHODS
UNTRAINED_NOTES = {  # for methods with parameters, which have their initial values
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
    """A row of the results: a method with ``arguments``, in eval mode or, with ``draws``, in training mode."""

    name: str
    method: str
    arguments: Mapping[str, Any]
    draws: bool = False
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Similarity:
    """The similarity of an ``item`` (image or clip) to itself, pooled with ``window`` and restored by ``resize``.

    ``ssim`` and ``psnr`` (dB, infinite for equal pictures) are means over the draws of the variant.
    """

    variant: str
    window: tuple[int, ...]
    resize: str
    item: str
    ssim: float
    psnr: float


def variants(methods: Sequence[str] = ()) -> tuple[Variant, ...]:
    """Return the variants of ``methods`` (default: all): average, maximum, SoftPool, then as in ``METHODS``.

    SoftPool has two, because its weights depend on the range of values: on 0..1 and on 0..255. The sampling methods
    have two: in eval and in training mode.

    Raises:
        InputError: for an unknown method.
    """
    for method in methods:
        check_method(method)
    wanted = [method for method in dict.fromkeys((*FIRST_ROWS, *METHODS)) if not methods or method in methods]
    return tuple(variant for method in wanted for variant in _variants_of(method))


def _variants_of(method: str) -> list[Variant]:
    if method == "soft":
        # SoftPool of 255 x, divided by 255, is SoftPool of x with a beta of 255.
        wide = Variant("soft on 0..255", method, {"beta": 255.0}, note="beta = 255 on values 0..1")
        return [Variant("soft", method, {}, note="beta = 1"), wide]
    if method in SAMPLING:
        return [Variant(f"{method} (eval)", method, {}), Variant(f"{method} (train)", method, {}, draws=True)]
    return [Variant(method, method, {}, note=UNTRAINED_NOTES.get(method, ""))]


def windows_of(rank: int, sizes: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Return the windows to compare: ``k x k`` for images (rank 2), ``1 x k x k`` and ``k x k x k`` for clips (3)."""
    if rank == 2:
        return tuple((k, k) for k in sizes)
    return tuple((depth, k, k) for flat in (True, False) for k in sizes for depth in ([1] if flat else [k]))


def similarities(name: str, x: torch.Tensor, variant: Variant, window: tuple[int, ...], draws: int) -> list[Similarity]:
    """Pool an item by a variant and window, restore it by each of ``RESIZES``, and compare.

    Args:
        name: of the item.
        x: float32 [C,...] in 0..1, with as many pooled axes as ``window`` has.
        variant: the method.
        window: from ``windows_of``.
        draws: how many draws are averaged for a variant with ``draws``; draw i has the seed i, for every item.
    """
    scores: dict[str, list[tuple[float, float]]] = {resize: [] for resize in RESIZES}
    for draw in range(draws if variant.draws else 1):
        y = pooled(x, variant, window, seed=draw)
        for resize, found in scores.items():
            back = restored(y, window, x.shape[1:], resize)
            found.append((ssim(x, back), psnr(x, back)))
    return [
        Similarity(
            variant.name, window, resize, name, *(statistics.fmean(column) for column in zip(*found, strict=True))
        )
        for resize, found in scores.items()
    ]


@torch.inference_mode()
def pooled(x: torch.Tensor, variant: Variant, window: tuple[int, ...], *, seed: int = 0) -> torch.Tensor:
    """Return ``x`` [C,...] pooled by windows that do not overlap; the border may cut the last of an axis short.

    Returns:
        float32 [C,...], ``ceil(size / k)`` cells along each axis.
    """
    arguments = dict(variant.arguments)
    if variant.draws:
        arguments["generator"] = torch.Generator().manual_seed(seed)
    pool = make_pool(variant.method, len(window), window, window, 0, 1, True, channels=len(x), **arguments)
    return pool.train(variant.draws)(x[None])[0]


def restored(y: torch.Tensor, window: Sequence[int], size: Sequence[int], resize: str) -> torch.Tensor:
    """Return pooled ``y`` [C,...] restored to ``size``.

    ``nearest`` repeats a cell over its window; ``linear`` (bilinear for images, trilinear for clips) takes the cell as
    the value at the center of its window and interpolates between centers, with constant values outside the outer ones.
    A last window that was cut short is treated as a whole one, and the excess is cut off.
    """
    whole = [cells * k for cells, k in zip(y.shape[1:], window, strict=True)]
    mode = {"nearest": "nearest", "linear": {2: "bilinear", 3: "trilinear"}[len(whole)]}[resize]
    corners = None if mode == "nearest" else False
    back = functional.interpolate(y[None], size=whole, mode=mode, align_corners=corners)[0]
    inside = (slice(None), *(slice(0, cells) for cells in size))
    return back[inside]


def ssim(x: torch.Tensor, y: torch.Tensor) -> float:
    """Return the structural similarity of pictures [C,H,W], or its mean over the frames of clips [C,T,H,W], in 0..1.

    Uses scikit-image with the settings of Wang et al. 2004 (IEEE TIP 13:4, section III): Gaussian of sigma 1.5, 11 x 11
    pixels, K1 = 0.01, K2 = 0.03, population covariance; the mean over the channels. As in scikit-image, a border of 5
    pixels does not count.
    """
    return float(
        scikit_image("metrics").structural_similarity(
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
    """Return the peak signal-to-noise ratio in dB, for a peak of 1, over all channels, frames and pixels."""
    if torch.equal(x, y):
        return math.inf
    return float(
        scikit_image("metrics").peak_signal_noise_ratio(x.double().numpy(), y.double().numpy(), data_range=1.0)
    )


def scikit_image(module: str) -> Any:
    """Import a module of scikit-image.

    Raises:
        InputError: if it is not installed.
    """
    try:
        return importlib.import_module(f"skimage.{module}")
    except ImportError as error:
        message = f"The similarity study needs scikit-image ({error}). Run pip install 'videopool[study]'."
        raise InputError(message) from None


def check_size(name: str, x: torch.Tensor, windows: Sequence[tuple[int, ...]], *, setting: str = "k") -> None:
    """Raise InputError for an item that is smaller than a window or than that of SSIM.

    Args:
        name: of the item.
        x: the item.
        windows: from ``windows_of``.
        setting: the argument that sets the windows.
    """
    *frames, height, width = x.shape[1:]
    if min(height, width) < SSIM_WINDOW:
        raise InputError(
            f"{name}: {width} x {height} pixels are too few for SSIM, whose window has {SSIM_WINDOW} x {SSIM_WINDOW}. "
            "Choose larger pictures."
        )
    for window in windows:
        if any(k > cells for k, cells in zip(window, x.shape[1:], strict=True)):
            size = f"{width} x {height} pixels" + "".join(f", {count} frames" for count in frames)
            message = f"{name}: a window of {max(window)} does not fit {size}. Choose smaller windows."
            raise InputError(message, setting=setting)


def _planes(x: torch.Tensor) -> np.ndarray:
    """Return [C,...,H,W] as [C * ..., H, W]: every channel of every frame is a picture."""
    return x.flatten(0, -3).numpy()
