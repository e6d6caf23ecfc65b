"""The pictures of the similarity experiment: charts of SSIM, and grids of pooled pictures."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from videopool.report.similarity_run import RESIZES, Variant, check_size, pooled, restored, scikit_image, ssim
from videopool.report.similarity_study import BASELINE, RESIZE_NAMES, Study, to_floats, window_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, VERMILION, GRAY = "#0072B2", "#D55E00", "#767676"  # distinct for color-blind people (Okabe and Ito)
CLIP_FRAMES = 3  # shown of a clip
LINEAR_BELOW = 1e-3  # differences of SSIM up to this are on a linear scale, larger ones on a logarithmic one


def chart(study: Study, family: str, windows: Sequence[tuple[int, ...]]) -> Figure:
    """Draw SSIM of every method minus that of average pooling on the same item; without average pooling, SSIM.

    A panel for each window and resize; a dot is an item, a bar the mean, the number beside it the mean SSIM. Methods
    are in the order of their mean over all panels, the best on top.
    """
    from matplotlib.figure import Figure

    names = _ranked(study, windows)
    width, height = 3.3 * len(windows) + 1.6, 0.23 * len(names) * len(RESIZES) + 2.0
    figure = Figure(figsize=(width, height), layout="constrained")
    panels = figure.subplots(len(RESIZES), len(windows), squeeze=False, sharey=True, sharex="col")
    for resize, row in zip(RESIZES, panels, strict=True):
        for window, axes in zip(windows, row, strict=True):
            _panel(axes, study, names, window, resize)
            axes.set_title(f"{window_text(window)}, {RESIZE_NAMES[resize]}", fontsize=9)
    what = "SSIM minus that of average pooling, symmetric log scale" if study.has_baseline else "SSIM"
    items = f"a dot: one of {len(study.shapes)} {study.kind}; bar: their mean; number: mean SSIM"
    figure.supxlabel(f"{what} ({items})", fontsize=9)
    figure.suptitle(f"What pooling keeps of {study.kind}: windows {family}", fontsize=11)
    return figure


def _values(study: Study, name: str, window: tuple[int, ...], resize: str) -> list[float]:
    if study.has_baseline:
        return study.gains(name, window, resize)
    return [m.ssim for m in study.scores(name, window, resize)]


def _ranked(study: Study, windows: Sequence[tuple[int, ...]]) -> list[str]:
    """Return the names of the variants, the best first; the baseline is before others that are equally good."""

    def merit(name: str) -> tuple[float, bool]:
        values = [v for window in windows for resize in RESIZES for v in _values(study, name, window, resize)]
        return -round(statistics.fmean(values), 6), name != BASELINE

    return sorted((variant.name for variant in study.variants), key=merit)


def _panel(axes: Axes, study: Study, names: Sequence[str], window: tuple[int, ...], resize: str) -> None:
    rows = range(len(names))
    for row, name in zip(rows, names, strict=True):
        color = VERMILION if name.startswith("soft") else GRAY if name == BASELINE else BLUE
        values = _values(study, name, window, resize)
        axes.plot(values, [row] * len(values), "o", color=color, alpha=0.4, markersize=3, markeredgewidth=0)
        axes.plot([statistics.fmean(values)], [row], "|", color=color, markersize=9, markeredgewidth=2)
        mean = statistics.fmean(m.ssim for m in study.scores(name, window, resize))
        axes.annotate(f"{mean:.3f}", (1.01, row), xycoords=("axes fraction", "data"), va="center", fontsize=7)
    if study.has_baseline:
        axes.axvline(0, color=GRAY, linewidth=0.8, zorder=0)
        axes.set_xscale("symlog", linthresh=LINEAR_BELOW, linscale=0.5)
        axes.set_xticks([-0.1, -0.01, 0, 0.01], ["-0.1", "-0.01", "0", "0.01"])
    axes.set_yticks(rows, names, fontsize=8)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def astronaut() -> torch.Tensor:
    """Return a public-domain photograph by NASA from scikit-image: uint8 [3,512,512]."""
    return torch.from_numpy(np.array(scikit_image("data").astronaut())).permute(2, 0, 1).contiguous()


def image_grid(image: torch.Tensor, variants: Sequence[Variant], k: int, *, columns: int = 5) -> Figure:
    """Draw an image uint8 [3,H,W], and a detail of it pooled by every variant with windows of k x k.

    Sizes are restored by nearest neighbor. The image has a frame around the detail; numbers are SSIM of the image.
    """
    from matplotlib.patches import Rectangle

    x = to_floats(image)
    check_size("picture of the grid", x, [(k, k)], setting="grid_k")
    window, side = (k, k), detail_side(x, k)
    top, left = most_detailed(x, side)
    details = {name: _crop(back, top, left, side) for name, back in _restored(x, variants, window).items()}
    figure, panels = _tiles({"original": x, "original, detail": _crop(x, top, left, side), **details}, columns)
    for color, line in (("black", 4), ("white", 2)):  # visible on any background
        frame = Rectangle((left - 0.5, top - 0.5), side, side, fill=False, edgecolor=color, linewidth=line)
        panels[0].add_patch(frame)
    figure.suptitle(f"One image pooled by {k} x {k}, restored by nearest neighbor; numbers: SSIM", fontsize=11)
    return figure


def clip_grid(clip: torch.Tensor, variants: Sequence[Variant], k: int, *, columns: int = 3) -> Figure:
    """Draw details of frames of a clip uint8 [3,T,H,W], pooled by every variant with windows of k x k x k.

    Sizes are restored by nearest neighbor. Each frame is the middle one of a window in time, and the windows are
    adjacent.
    """
    x = to_floats(clip)
    check_size("clip of the grid", x, [(k, k, k)], setting="grid_k")
    window, side = (k, k, k), min(2 * detail_side(x, k), *x.shape[2:])
    shown = min(CLIP_FRAMES, x.shape[1] // k)
    first = (x.shape[1] // k - shown) // 2 * k + k // 2
    frames = [first + k * number for number in range(shown)]
    top, left = most_detailed(x[:, frames].std(1) if shown > 1 else x[:, frames[0]], side)
    strips: dict[str, torch.Tensor] = {}
    for name, back in {"original": x, **_restored(x, variants, window)}.items():
        details = [functional.pad(_crop(back[:, t], top, left, side), (0, 2), value=1.0) for t in frames]
        strips[name] = torch.cat(details, 2)
    figure, _ = _tiles(strips, columns, ratio=1 / shown)
    numbers = ", ".join(map(str, frames))
    figure.suptitle(
        f"Frames {numbers} of one clip (detail), pooled by {k} x {k} x {k}, restored by nearest neighbor; "
        "numbers: SSIM",
        fontsize=11,
    )
    return figure


def detail_side(x: torch.Tensor, k: int) -> int:
    """Return the side in pixels of a detail that shows single windows: a whole number of windows."""
    return max(1, min(20 * k, *x.shape[-2:]) // k) * k


def most_detailed(x: torch.Tensor, side: int) -> tuple[int, int]:
    """Return (top, left), multiples of a quarter of ``side``, of the square of [C,H,W] with the most fine detail."""
    step = max(1, side // 4)
    gray = x.mean(0)
    detail = (gray - functional.avg_pool2d(gray[None], 3, 1, 1)[0]).abs()
    squares = detail.unfold(0, side, step).unfold(1, side, step)
    row, column = divmod(int(squares.flatten(2).mean(-1).argmax()), squares.shape[1])
    return row * step, column * step


def _crop(x: torch.Tensor, top: int, left: int, side: int) -> torch.Tensor:
    return x[:, top : top + side, left : left + side]


def _restored(x: torch.Tensor, variants: Sequence[Variant], window: tuple[int, ...]) -> dict[str, torch.Tensor]:
    """Return ``x`` pooled by each variant and restored by nearest neighbor, by the variant's name with the SSIM."""
    backs = {each.name: restored(pooled(x, each, window), window, x.shape[1:], "nearest") for each in variants}
    return {f"{name}  {ssim(x, back):.3f}": back for name, back in backs.items()}


def _tiles(pictures: Mapping[str, torch.Tensor], columns: int, *, ratio: float = 1.0) -> tuple[Figure, list[Axes]]:
    """Draw pictures [3,H,W] in 0..1 by their titles, ``columns`` a row, with a height-to-width ``ratio``."""
    from matplotlib.figure import Figure

    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    width = 11.0 / columns
    figure = Figure(figsize=(11.0, rows * (width * ratio + 0.25) + 0.5), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in panels:
        axes.set_xticks([])
        axes.set_yticks([])
    for axes in panels[len(pictures) :]:
        axes.set_axis_off()
    for axes, (name, picture) in zip(panels, pictures.items(), strict=False):
        axes.imshow(picture.clamp(0, 1).permute(1, 2, 0).numpy(), interpolation="nearest")
        axes.set_title(name, fontsize=9)
    return figure, panels
