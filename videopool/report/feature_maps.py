"""Draw the input and output feature maps of each pooling layer of a network.

Shape legend: B batch, C channels, T frames, H rows, W columns.
"""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from videopool.errors import InputError
from videopool.pooling import Pool
from videopool.pooling import sites as sites_of
from videopool.report.figures import file_name, plot_text, save
from videopool.report.similarity import information_kept, pooling_layers, run_watched

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORMAP = "cividis"  # readable for color-blind people, and in print
MOST_FRAMES = 3  # shown of each map
FRAME_WIDTH = 1.6  # inches
LEAST_WIDTH = 4.8  # inches of a picture
GAPS_PER_FRAME = 16  # a frame is this many times as wide as the gap between two frames


@dataclasses.dataclass(frozen=True)
class SiteMaps:
    """The input ``x`` [C,T,H,W] and output ``y`` [C,T',H',W'] of a pooling layer for one clip, float32 on the CPU.

    ``method`` describes the layer in a line; ``kept`` is its ``similarity.information_kept``; ``channels`` are shown.
    """

    path: str
    method: str
    x: torch.Tensor
    y: torch.Tensor
    kept: float
    channels: tuple[int, ...]

    def describe(self) -> str:
        """Return the method, shapes and information kept in a line."""
        shapes = " to ".join("x".join(map(str, maps.shape)) for maps in (self.x, self.y))
        return f"{self.method}, {shapes}, information kept {round(self.kept, 3) + 0.0:.3f}"  # no -0.000


@torch.inference_mode()
def site_maps(model: nn.Module, clip: torch.Tensor, *, channels: int) -> tuple[SiteMaps, ...]:
    """Return the feature maps of every pooling layer of ``model`` in eval mode, in the order in which the layers run.

    Of a layer that runs more than once, the last run is returned; a layer that does not run is left out.

    Args:
        model: any network; its mode is restored.
        clip: a preprocessed input [1,C,T,H,W] (or [1,C,H,W] of a 2D network) on the model's device.
        channels: how many channels to show: those of largest input variance, in falling order.

    Raises:
        InputError: for a model without a pooling layer.
    """
    layers = pooling_layers(model)
    if not layers:
        raise InputError("The model has no pooling layer to show. Swap one in with pooling.", setting="pooling")
    descriptions = {site.path: site.describe() for site in sites_of(model)}
    found: dict[str, SiteMaps] = {}

    def on_pool(path: str, x: torch.Tensor, y: torch.Tensor) -> None:
        layer = layers[path]
        found[path] = _maps(path, layer.describe() if isinstance(layer, Pool) else descriptions[path], x, y, channels)

    run_watched(model, [clip], on_pool)
    return tuple(found.values())


def draw_site(maps: SiteMaps) -> Figure:
    """Draw a row for each channel: frames of the input on the left, of the output on the right, in one color scale."""
    from matplotlib.figure import Figure

    columns = len(_shown_frames(maps)[0])
    width = _width(columns)
    figure = Figure(figsize=(width, _row_height(maps) * len(maps.channels) + 1.0), layout="constrained")
    panels = figure.subplots(len(maps.channels), 2, squeeze=False)
    for channel, (left, right) in zip(maps.channels, panels, strict=True):
        _draw_pair(left, right, maps, channel, columns)
        left.set_ylabel(f"channel {channel}", fontsize=9)
    before, after = _shown_frames(maps)
    panels[0, 0].set_title(f"input{_frames_label(before, maps.x)}", fontsize=9)
    panels[0, 1].set_title(f"output{_frames_label(after, maps.y)}", fontsize=9)
    figure.suptitle(_wrapped(f"{maps.path}: {maps.describe()}", width, 10), fontsize=10)
    return figure


def draw_overview(sites: Sequence[SiteMaps], title: str) -> Figure:
    """Draw a row for each site: its channel of largest variance, the input on the left and the output on the right."""
    from matplotlib.figure import Figure

    columns = max(len(_shown_frames(maps)[0]) for maps in sites)
    width = _width(columns)
    titles = [_wrapped(f"{m.path}, channel {m.channels[0]}: {m.describe()}", width, 9) for m in sites]
    heights = [_row_height(maps) + 0.2 + 0.15 * len(t.splitlines()) for maps, t in zip(sites, titles, strict=True)]
    heights[0] += 0.15  # the titles "input" and "output"
    figure = Figure(figsize=(width, sum(heights) + 0.5), layout="constrained")
    parts = figure.subfigures(len(sites), 1, squeeze=False, height_ratios=heights)[:, 0]
    for maps, title_of_part, part in zip(sites, titles, parts, strict=True):
        left, right = part.subplots(1, 2)
        _draw_pair(left, right, maps, maps.channels[0], columns)
        part.suptitle(title_of_part, fontsize=9)
        if part is parts[0]:
            left.set_title("input", fontsize=9)
            right.set_title("output", fontsize=9)
    figure.suptitle(plot_text(_wrapped(title, width, 11)), fontsize=11)
    return figure


def write_maps(sites: Sequence[SiteMaps], folder: Path, *, title: str, board: bool = False) -> list[Path]:
    """Write ``overview.png`` and a PNG for each site into ``folder``; with ``board`` also TensorBoard images.

    Returns:
        The files written, and the folder of TensorBoard.
    """
    figures = {file_name(number, maps.path): draw_site(maps) for number, maps in enumerate(sites, start=1)}
    written = save(draw_overview(sites, title), folder / "overview")
    written += [path for name, figure in figures.items() for path in save(figure, folder / name)]
    if board:
        written.append(_write_board(sites, folder / "tensorboard"))
    return written


def _maps(path: str, method: str, x: torch.Tensor, y: torch.Tensor, channels: int) -> SiteMaps:
    kept = float(information_kept(x, y))
    x, y = (maps[0].float().cpu().clone() for maps in (x, y))
    spread = x.flatten(1).var(1, correction=0)
    chosen = spread.argsort(descending=True, stable=True)[:channels].tolist()
    return SiteMaps(path, method, _with_time(x), _with_time(y), kept, tuple(chosen))


def _with_time(maps: torch.Tensor) -> torch.Tensor:
    """Return [C,...] of one, two or three axes as [C,T,H,W]: an image as one frame, a sequence as one row."""
    while maps.dim() < 4:
        maps = maps.unsqueeze(1)
    return maps


def _shown_frames(maps: SiteMaps) -> tuple[list[int], list[int]]:
    """Return frames of the input and output at the same times: up to ``MOST_FRAMES`` outputs, evenly spread."""
    inputs, outputs = maps.x.shape[1], maps.y.shape[1]
    count = min(MOST_FRAMES, outputs)
    after = [int((number + 0.5) * outputs / count) for number in range(count)]
    return [int((frame + 0.5) * inputs / outputs) for frame in after], after


def _frames_label(shown: Sequence[int], maps: torch.Tensor) -> str:
    if maps.shape[1] == 1:
        return ""
    return f", frame{'s' * (len(shown) > 1)} {', '.join(map(str, shown))} of 0 to {maps.shape[1] - 1}"


def _width(columns: int) -> float:
    """Return the inches for an input and an output of ``columns`` frames each, and the color scale."""
    return max(LEAST_WIDTH, 2 * FRAME_WIDTH * columns + 1.5)


def _wrapped(text: str, width: float, points: float) -> str:
    """Return ``text`` in lines that fit ``width`` inches at a font size of ``points``."""
    return textwrap.fill(text, int(width * 72 / (0.55 * points)))


def _row_height(maps: SiteMaps) -> float:
    """Return the inches for the frames of a channel."""
    return max(0.5, FRAME_WIDTH * maps.x.shape[2] / maps.x.shape[3])


def _strip(maps: torch.Tensor, channel: int, shown: Sequence[int], columns: int) -> np.ndarray:
    """Return the ``shown`` frames of a channel side by side, with NaN between them and up to ``columns``: [H,W]."""
    finer = -(-GAPS_PER_FRAME // maps.shape[3])  # repeats cells of small maps, so that all gaps look alike
    frames = [maps[channel, frame].repeat_interleave(finer, 0).repeat_interleave(finer, 1) for frame in shown]
    frames += [torch.full_like(frames[0], torch.nan)] * (columns - len(frames))
    gap = torch.full((frames[0].shape[0], round(frames[0].shape[1] / GAPS_PER_FRAME)), torch.nan)
    parts = [part for frame in frames for part in (gap, frame)][1:]
    return torch.cat(parts, 1).numpy()


def _draw_pair(left: Axes, right: Axes, maps: SiteMaps, channel: int, columns: int) -> None:
    """Draw a channel before and after pooling in one color scale, with its color bar on the right."""
    low, high = _range(maps, channel)
    for axes, values, shown in zip((left, right), (maps.x, maps.y), _shown_frames(maps), strict=True):
        picture = axes.imshow(
            _strip(values, channel, shown, columns), cmap=COLORMAP, vmin=low, vmax=high, interpolation="nearest"
        )
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
    bar = right.figure.colorbar(picture, ax=right, fraction=0.03, pad=0.02, ticks=[low, high])
    bar.ax.set_yticklabels([f"{low:.2g}", f"{high:.2g}"], fontsize=8)


def _range(maps: SiteMaps, channel: int) -> tuple[float, float]:
    """Return the smallest and largest value of a channel in input and output; never equal."""
    values = torch.cat([maps.x[channel].flatten(), maps.y[channel].flatten()])
    low, high = float(values.min()), float(values.max())
    return low, max(high, low + 1e-6)


def _write_board(sites: Sequence[SiteMaps], folder: Path) -> Path:
    """Write images ``<path>/input`` and ``<path>/output``, a row for each channel, and scalars ``information_kept``."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as board:
        for maps in sites:
            before, after = _shown_frames(maps)
            for name, values, shown in (("input", maps.x, before), ("output", maps.y, after)):
                board.add_image(f"{maps.path}/{name}", _board_image(maps, values, shown), dataformats="HW")
            board.add_scalar(f"information_kept/{maps.path}", maps.kept)
            board.add_text(maps.path, maps.describe())
    return folder


def _board_image(maps: SiteMaps, values: torch.Tensor, shown: Sequence[int]) -> np.ndarray:
    """Return uint8 [H,W]: the shown channels one below the other, each from black to white over its range."""
    rows = []
    for channel in maps.channels:
        low, high = _range(maps, channel)
        strip = np.nan_to_num((_strip(values, channel, shown, len(shown)) - low) / (high - low), nan=1.0)
        rows.append(np.pad(strip, ((0, 1), (0, 0)), constant_values=1.0))
    return (255 * np.concatenate(rows)).round().astype(np.uint8)
