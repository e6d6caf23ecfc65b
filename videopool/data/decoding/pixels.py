"""Convert decoded frames of FFmpeg to planes and their meaning, for ``videopool.ops.frames``.

Most videos are 8-bit Y'CbCr with subsampled chroma and are read from the decoder's memory without a copy. FFmpeg first
converts deeper or rarer formats to one of these, or to RGB, at their own size.
"""

from __future__ import annotations

import functools
import struct
from fractions import Fraction
from typing import Any, NamedTuple

import torch

from videopool.ops.frames import RGB, Planes

_SUBSAMPLED = {  # rows and columns of luma per sample of chroma, in formats that are read without conversion
    "yuv420p": (2, 2),
    "yuvj420p": (2, 2),
    "yuv422p": (1, 2),
    "yuvj422p": (1, 2),
    "yuv440p": (2, 1),
    "yuvj440p": (2, 1),
    "yuv444p": (1, 1),
    "yuvj444p": (1, 1),
    "yuv411p": (1, 4),
    "yuv410p": (4, 4),
    "gray": (1, 1),
}
_LIMITED_RANGE, _FULL_RANGE = 1, 2  # AVCOL_RANGE_MPEG, AVCOL_RANGE_JPEG
# Weights of red and blue in luma, by AVColorSpace (ITU-T H.273, table 4).
_WEIGHTS = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 7: (0.212, 0.087), 9: (0.2627, 0.0593), 10: (0.2627, 0.0593)}
UNTAGGED = 2  # AVCOL_SPC_UNSPECIFIED
_BT601 = (0.299, 0.114)  # FFmpeg's choice for untagged video


class Upright(NamedTuple):
    """How to make decoded frames upright: exchange top and bottom if ``mirrored``, then rotate counter-clockwise by
    ``turns`` quarter turns."""

    turns: int = 0
    mirrored: bool = False


def upright_of(frame: Any) -> Upright:
    """Return what the display matrix of an ``av.VideoFrame`` asks for.

    The matrix is read only if it rotates the frame, because side data and its frame keep each other alive until
    Python's garbage collector runs. So a matrix that only exchanges top and bottom is not found.
    """
    if not frame.rotation:
        return Upright()
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(frame.side_data["DISPLAYMATRIX"]))
    if a * d == b * c:
        return Upright()  # a matrix without an inverse, such as one of zeros, is ignored
    return Upright(round(frame.rotation / 90) % 4, a * d < b * c)


def pixel_aspect(stream: Any, upright: Upright) -> Fraction:
    """Return the width of a pixel over its height in the upright picture of a stream; 1 if the file does not say."""
    aspect = Fraction(stream.sample_aspect_ratio or 1)
    return 1 / aspect if upright.turns % 2 else aspect


def planes_of(frame: Any, upright: Upright) -> tuple[list[torch.Tensor], Planes]:
    """Return the upright planes of an ``av.VideoFrame``, uint8 [h,w], and their meaning.

    Unless mirrored, they are views of the frame's memory: use them before the frame is released.
    """
    frame, name, memory = _readable(frame)
    if name == "rgb24":
        planes, about = _interleaved(frame, memory[0]), RGB
    elif name == "gray":
        plane = _plane(memory[0], frame.height, frame.width)
        planes, about = [plane, plane, plane], _gray(frame.color_range != _LIMITED_RANGE)
    else:
        full = frame.color_range == _FULL_RANGE or name.startswith("yuvj")
        about = colors(name, int(frame.colorspace), full)
        sizes = plane_sizes(name, frame.height, frame.width)
        planes = [_plane(plane, *size) for plane, size in zip(memory, sizes, strict=True)]
    if upright.mirrored:
        planes = [plane.flip(0) for plane in planes]
    if not upright.turns:
        return planes, about
    rows, columns = (about.columns, about.rows) if upright.turns % 2 else (about.rows, about.columns)
    return [torch.rot90(plane, upright.turns) for plane in planes], Planes(about.matrix, rows, columns)


def _readable(frame: Any) -> tuple[Any, str, Any]:
    """Return the frame in one of the formats above, the name of the format, and its planes."""
    name, memory = frame.format.name, frame.planes
    known = name in _SUBSAMPLED or name == "rgb24"
    if not known or any(plane.line_size <= 0 for plane in memory):
        frame = frame.reformat(format="rgb24" if known else _nearest(frame.format))
        name, memory = frame.format.name, frame.planes
    return frame, name, memory


@functools.lru_cache(maxsize=64)
def plane_sizes(name: str, height: int, width: int) -> tuple[tuple[int, int], ...]:
    """Return rows and columns of the three planes of a Y'CbCr format."""
    rows, columns = _SUBSAMPLED[name]
    color = (-(-height // rows), -(-width // columns))
    return (height, width), color, color


def _nearest(pixels: Any) -> str:
    """Return the 8-bit format with the same chroma resolution; transparency is dropped."""
    names = [component.is_luma or component.is_chroma for component in pixels.components]
    if pixels.is_rgb or pixels.has_palette or len(names) < 3 or pixels.is_bit_stream:
        return "rgb24"
    luma, chroma = pixels.components[0], pixels.components[1]
    rows, columns = round(luma.height / chroma.height), round(luma.width / chroma.width)
    return next((n for n, s in _SUBSAMPLED.items() if s == (rows, columns) and n.startswith("yuv4")), "rgb24")


def _plane(memory: Any, rows: int, columns: int) -> torch.Tensor:
    return torch.frombuffer(memory, dtype=torch.uint8).as_strided((rows, columns), (memory.line_size, 1))


def _interleaved(frame: Any, memory: Any) -> list[torch.Tensor]:
    pixels = torch.frombuffer(memory, dtype=torch.uint8)
    return list(pixels.as_strided((frame.height, frame.width, 3), (memory.line_size, 3, 1)).unbind(2))


@functools.cache
def colors(name: str, color_space: int, full: bool) -> Planes:
    """Return the meaning of Y'CbCr planes of format ``name`` (ITU-T H.273, section 8.3)."""
    red, blue = _WEIGHTS.get(color_space, _BT601)
    green = 1 - red - blue
    light, color, black = (1.0, 1.0, 0.0) if full else (255 / 219, 255 / 224, 16.0)
    by_color = (
        (0.0, 2 * (1 - red)),
        (-2 * blue * (1 - blue) / green, -2 * red * (1 - red) / green),
        (2 * (1 - blue), 0.0),
    )
    matrix = tuple((light, cb * color, cr * color, -(light * black + (cb + cr) * color * 128)) for cb, cr in by_color)
    rows, columns = _SUBSAMPLED[name]
    # Chroma samples are on every second column of luma, not between two, except in JPEG's formats (H.273, figure 1).
    left = 0.25 if columns == 2 and not full else 0.0
    return Planes(matrix, rows, columns, left)


@functools.cache
def _gray(full: bool) -> Planes:
    light, black = (1.0, 0.0) if full else (255 / 219, 16.0)
    return Planes(((light, 0.0, 0.0, -light * black),) * 3)
