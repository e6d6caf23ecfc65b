"""Pictures of an explanation: the heat of Grad-CAM over the frames of a clip.

Shape legend: T frames, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from videopool.report.figures import plot_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLORMAP = "inferno"  # its brightness rises evenly
OPACITY = 0.6  # of the largest heat
MOST_FRAMES = 8  # in a strip
LEAST_SIDE = 224  # pixels of a frame in a video; smaller frames are enlarged


def overlay(frames: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Return ``frames`` uint8 [T,H,W,3] with ``heat`` float [T,H,W] in color over them, uint8 [T,H,W,3].

    The color and its opacity are proportional to the heat, relative to the largest one of the clip. Frames without
    heat do not change.
    """
    from matplotlib import colormaps

    relative = heat / max(float(heat.max()), np.finfo(np.float32).tiny)
    colors = 255 * colormaps[COLORMAP](relative)[..., :3]
    opacity = OPACITY * relative[..., None]
    return ((1 - opacity) * frames + opacity * colors).round().astype(np.uint8)


def side_by_side(frames: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Return the frames of a video uint8 [T,H',W',3], the clip on the left and its overlay on the right.

    Frames are enlarged by a whole number if they are small, and their sides are made even, as H.264 needs.
    """
    both = np.concatenate([frames, overlay(frames, heat)], axis=2)
    times = max(1, -(-LEAST_SIDE // min(frames.shape[1:3])))
    larger = both.repeat(times, axis=1).repeat(times, axis=2)
    return np.pad(larger, ((0, 0), (0, larger.shape[1] % 2), (0, larger.shape[2] % 2), (0, 0)), mode="edge")


def draw_strip(
    frames: np.ndarray, heat: np.ndarray, seconds: Sequence[float], title: str, *, font: Path | None = None
) -> Figure:
    """Draw up to ``MOST_FRAMES`` frames of a clip in a row, and their overlays below; one frame has its overlay beside.

    Args:
        frames: uint8 [T,H,W,3].
        heat: float [T,H,W].
        seconds: the T times of the frames, shown above them; empty for an image.
        title: shown above.
        font: the font file of the title; None is that of matplotlib.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties

    count = min(MOST_FRAMES, len(frames))
    shown = [int((number + 0.5) * len(frames) / count) for number in range(count)]
    frame_width = 1.5 if count > 1 else 3.0  # inches
    rows, columns = (2, count) if count > 1 else (1, 2)
    height = frame_width * frames.shape[1] / frames.shape[2]
    figure = Figure(figsize=(frame_width * columns + 0.9, rows * height + 0.8), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False)
    over = overlay(frames, heat)
    pictures = [*frames[shown], *over[shown]]
    for axes, picture in zip(panels.flat, pictures, strict=True):
        axes.imshow(picture)
        axes.set_axis_off()
    for axes, frame in zip(panels[0], shown if seconds else (), strict=False):
        axes.set_title(f"{seconds[frame]:.2f} s", fontsize=8)
    bar = figure.colorbar(ScalarMappable(Normalize(0, 1), COLORMAP), ax=panels, fraction=0.03, pad=0.01, ticks=[0, 1])
    bar.ax.set_yticklabels(["none", "most"], fontsize=8)
    heading = figure.suptitle(plot_text(title), fontsize=10)
    if font is not None:
        heading.set_fontproperties(FontProperties(fname=str(font), size=10))
    return figure
