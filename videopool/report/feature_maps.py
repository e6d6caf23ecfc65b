"""What each pooling layer of a network passes on: its input and output feature maps, as pictures.

Shape legend: B batch, C channels, T frames, H rows, W columns.
"""

from __future__ import annotations

import dataclasses
import re
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
from videopool.report.pictures import save
from videopool.report.plot_text import plot_text
from videopool.report.similarity import information_kept, pooling_layers, watch_sites

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = "cividis"  # reads the same to colour-blind eyes, and in print
FRAMES = 3  # shown of each map at most
FRAME = 1.6  # width of a frame in a picture, inches
NARROWEST = 4.8  # inches of a picture
CELLS = 16  # gaps between frames are this part of their width


@dataclasses.dataclass(frozen=True)
class SiteMaps:
    """What a pooling layer did to one clip: ``x`` [C,T,H,W] to ``y`` [C,T',H',W'], float32 on the CPU.

    ``method`` says what stands there, in a line; ``kept`` is the information kept (``similarity.information_kept``);
    ``channels`` are those that are shown.
    """

    path: str
    method: str
    x: torch.Tensor
    y: torch.Tensor
    kept: float
    channels: tuple[int, ...]

    def describe(self) -> str:
        """Method, shapes and information kept in a line."""
        shapes = " to ".join("x".join(map(str, maps.shape)) for maps in (self.x, self.y))
        return f"{self.method}, {shapes}, information kept {round(self.kept, 3) + 0.0:.3f}"  # no -0.000


@torch.inference_mode()
def site_maps(model: nn.Module, clip: torch.Tensor, *, channels: int) -> tuple[SiteMaps, ...]:
    """The feature maps at every pooling layer of ``model`` in eval mode, in the order in which the layers run.

    A layer that runs more than once is shown as it ran last; one that does not run is left out.

    Args:
        model: any network; its mode is put back.
        clip: a prepared input [1,C,T,H,W] (or [1,C,H,W] of a 2D network) on the model's device.
        channels: how many are chosen: those whose input has the largest variance, in falling order.

    Raises:
        InputError: for a model without a pooling layer that could be watched.
    """
    layers = pooling_layers(model)
    if not layers:
        raise InputError("the model has no pooling layer to show; swap one in with model.pooling")
    standing = {site.path: site.describe() for site in sites_of(model)}
    found: dict[str, SiteMaps] = {}

    def see(path: str, x: torch.Tensor, y: torch.Tensor) -> None:
        layer = layers[path]
        found[path] = _maps(path, layer.describe() if isinstance(layer, Pool) else standing[path], x, y, channels)

    was_training = model.training
    model.eval()
    try:
        with watch_sites(model, see):
            model(clip)
    finally:
        model.train(was_training)
    return tuple(found.values())


def draw_site(maps: SiteMaps) -> Figure:
    """One row for each channel: frames of the input at the left, the output at the right, in one scale."""
    from matplotlib.figure import Figure

    columns = len(_shown_frames(maps)[0])
    width = _width(columns)
    figure = Figure(figsize=(width, _row_height(maps) * len(maps.channels) + 1.0), layout="constrained")
    panels = figure.subplots(len(maps.channels), 2, squeeze=False)
    for channel, (left, right) in zip(maps.channels, panels, strict=True):
        _draw_pair(left, right, maps, channel, columns)
        left.set_ylabel(f"channel {channel}", fontsize=9)
    before, after = _shown_frames(maps)
    panels[0, 0].set_title(f"input{_frames_said(before, maps.x)}", fontsize=9)
    panels[0, 1].set_title(f"output{_frames_said(after, maps.y)}", fontsize=9)
    figure.suptitle(_wrapped(f"{maps.path}: {maps.describe()}", width, 10), fontsize=10)
    return figure


def draw_overview(sites: Sequence[SiteMaps], title: str) -> Figure:
    """One row for each site: its channel of largest variance, input at the left and output at the right."""
    from matplotlib.figure import Figure

    columns = max(len(_shown_frames(maps)[0]) for maps in sites)
    width = _width(columns)
    titles = [_wrapped(f"{m.path}, channel {m.channels[0]}: {m.describe()}", width, 9) for m in sites]
    heights = [_row_height(maps) + 0.2 + 0.15 * len(t.splitlines()) for maps, t in zip(sites, titles, strict=True)]
    heights[0] += 0.15  # input, output
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
        The paths written; of TensorBoard, its folder.
    """
    figures = {_file_name(number, maps.path): draw_site(maps) for number, maps in enumerate(sites, start=1)}
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
    """[C,...] of one, two or three axes as [C,T,H,W]: an image is a clip of one frame, a sequence one of one row."""
    while maps.dim() < 4:
        maps = maps.unsqueeze(1)
    return maps


def _shown_frames(maps: SiteMaps) -> tuple[list[int], list[int]]:
    """Frames of the input and of the output that stand for the same time: up to ``FRAMES`` outputs, spread evenly."""
    inputs, outputs = maps.x.shape[1], maps.y.shape[1]
    count = min(FRAMES, outputs)
    after = [int((number + 0.5) * outputs / count) for number in range(count)]
    return [int((frame + 0.5) * inputs / outputs) for frame in after], after


def _frames_said(shown: Sequence[int], maps: torch.Tensor) -> str:
    if maps.shape[1] == 1:
        return ""
    return f", frame{'s' * (len(shown) > 1)} {', '.join(map(str, shown))} of 0 to {maps.shape[1] - 1}"


def _width(columns: int) -> float:
    """Inches for an input and an output of so many frames, and the scale of colours."""
    return max(NARROWEST, 2 * FRAME * columns + 1.5)


def _wrapped(text: str, width: float, points: float) -> str:
    """``text`` in lines that fit ``width`` inches in letters of so many points."""
    return textwrap.fill(text, int(width * 72 / (0.55 * points)))


def _row_height(maps: SiteMaps) -> float:
    """Inches for the frames of a channel."""
    return max(0.5, FRAME * maps.x.shape[2] / maps.x.shape[3])


def _strip(maps: torch.Tensor, channel: int, shown: Sequence[int], columns: int) -> np.ndarray:
    """The ``shown`` frames of a channel beside each other, NaN between them and up to ``columns``: [H, W of all]."""
    finer = -(-CELLS // maps.shape[3])  # cells of small maps are repeated, so that gaps are alike
    frames = [maps[channel, frame].repeat_interleave(finer, 0).repeat_interleave(finer, 1) for frame in shown]
    frames += [torch.full_like(frames[0], torch.nan)] * (columns - len(frames))
    gap = torch.full((frames[0].shape[0], round(frames[0].shape[1] / CELLS)), torch.nan)
    parts = [part for frame in frames for part in (gap, frame)][1:]
    return torch.cat(parts, 1).numpy()


def _draw_pair(left: Axes, right: Axes, maps: SiteMaps, channel: int, columns: int) -> None:
    """A channel before and after, in one scale of colours, whose ends stand at the right of it."""
    low, high = _range(maps, channel)
    for axes, values, shown in zip((left, right), (maps.x, maps.y), _shown_frames(maps), strict=True):
        picture = axes.imshow(
            _strip(values, channel, shown, columns), cmap=COLOURS, vmin=low, vmax=high, interpolation="nearest"
        )
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
    bar = right.figure.colorbar(picture, ax=right, fraction=0.03, pad=0.02, ticks=[low, high])
    bar.ax.set_yticklabels([f"{low:.2g}", f"{high:.2g}"], fontsize=8)


def _range(maps: SiteMaps, channel: int) -> tuple[float, float]:
    """The smallest and largest value shown of a channel, of input and output together, never equal."""
    values = torch.cat([maps.x[channel].flatten(), maps.y[channel].flatten()])
    low, high = float(values.min()), float(values.max())
    return low, max(high, low + 1e-6)


def _write_board(sites: Sequence[SiteMaps], folder: Path) -> Path:
    """Images ``<path>/input`` and ``<path>/output``, a row for each channel, and the scalar ``information_kept``."""
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
    """uint8 [H,W]: the shown channels below each other, each from black to white over its range."""
    rows = []
    for channel in maps.channels:
        low, high = _range(maps, channel)
        strip = np.nan_to_num((_strip(values, channel, shown, len(shown)) - low) / (high - low), nan=1.0)
        rows.append(np.pad(strip, ((0, 1), (0, 0)), constant_values=1.0))
    return (255 * np.concatenate(rows)).round().astype(np.uint8)


def _file_name(number: int, path: str) -> str:
    """A name that sorts in the order of the network and holds nothing that a file system refuses."""
    return f"{number:02d}-{re.sub(r'[^A-Za-z0-9_.-]+', '_', path)}"
