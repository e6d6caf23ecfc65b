"""Read uncompressed frames from a YUV4MPEG2 file (``.y4m``): only the wanted frames are read, and nothing is decoded.

The format is described in the manual page yuv4mpeg(5) of mjpegtools. PyAV reads all such files; this module reads the
usual ones, without listing their packets.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import torch

from videopool.data.decoding.pixels import UNTAGGED, colors, plane_sizes
from videopool.data.decoding.reader import DecodeError, Grids, Outputs, Timing, VideoInfo
from videopool.data.decoding.source import Source

_SUFFIX = ".y4m"
_MAGIC, _FRAME = b"YUV4MPEG2 ", b"FRAME\n"
_HEADER_BYTES = 256  # FFmpeg's limit is lower
_FORMATS = {  # FFmpeg's name of each color space that is read here
    "420": "yuv420p",
    "420jpeg": "yuv420p",
    "420mpeg2": "yuv420p",
    "420paldv": "yuv420p",
    "422": "yuv422p",
    "444": "yuv444p",
}


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where the frames of a file are, and what they contain.

    Attributes:
        info: size, rate and number of frames.
        aspect: width of a pixel over its height.
        format: FFmpeg's name of the pixel format.
        full_range: black is 0, not 16.
        begin: the byte where the first frame begins.
    """

    info: VideoInfo
    aspect: Fraction
    format: str
    full_range: bool
    begin: int

    @property
    def planes(self) -> list[tuple[int, int]]:
        """Rows and columns of each plane."""
        return list(plane_sizes(self.format, self.info.height, self.info.width))


def read_layout(source: Source) -> Layout | None:
    """Return the layout of a file of equal frames; None for other files, which PyAV must read.

    Other files have more than 8 bits, no color, interlaced frames, or frames with parameters, or are incomplete.
    """
    whole_file = source.path is not None and source.part is None
    if whole_file and not str(source.path).lower().endswith(_SUFFIX):
        return None
    line, newline, _ = source.read(_HEADER_BYTES).partition(b"\n")
    if not newline or not line.startswith(_MAGIC):
        return None
    fields = line.decode("ascii", "replace").split(" ")[1:]
    values = {field[0]: field[1:] for field in fields if field and field[0] != "X"}
    try:
        width, height = int(values["W"]), int(values["H"])
        rate, aspect = _ratio(values["F"]), _ratio(values.get("A", "0:0"))
    except (KeyError, ValueError):
        return None
    form = _FORMATS.get(values.get("C", "420jpeg"))
    if form is None or rate is None or min(width, height) < 1 or values.get("I", "p") not in ("p", "?"):
        return None
    size = sum(rows * columns for rows, columns in plane_sizes(form, height, width))
    begin = len(line) + 1
    frames, rest = divmod(source.size() - begin, len(_FRAME) + size)
    if rest or not frames:
        return None
    info = VideoInfo(float(frames / rate), float(rate), frames, width, height)
    layout = Layout(info, aspect or Fraction(1), form, "XCOLORRANGE=FULL" in fields, begin)
    ends = (begin, begin + (frames - 1) * (len(_FRAME) + size))
    return layout if all(source.read_at(at, len(_FRAME)) == _FRAME for at in ends) else None


def _ratio(text: str) -> Fraction | None:
    """Return "25:1" as a fraction; None for "0:0", which means unknown."""
    above, below = map(int, text.split(":"))
    return Fraction(above, below) if above > 0 and below > 0 else None


class Y4MReader:
    """A file of uncompressed frames; see ``VideoReader``."""

    def __init__(self, source: Source, layout: Layout) -> None:
        self._source = source
        self._layout = layout
        self.pixel_aspect = layout.aspect
        self._file, self._start = source.open()

    @property
    def timing(self) -> Timing:
        return self._layout.info.timing

    @property
    def info(self) -> VideoInfo:
        return self._layout.info

    def clips(self, times: Sequence[float] | np.ndarray, grids: Grids) -> list[torch.Tensor]:
        layout, timing = self._layout, self.timing
        outputs = Outputs(np.arange(timing.frames) / timing.fps, times, grids)
        sizes = layout.planes
        cells = [rows * columns for rows, columns in sizes]
        frame = torch.empty(len(_FRAME) + sum(cells), dtype=torch.uint8)
        parts = frame[len(_FRAME) :].split(cells)
        planes = [part.view(size) for part, size in zip(parts, sizes, strict=True)]
        about, memory = colors(layout.format, UNTAGGED, layout.full_range), frame.numpy().data
        for position, index in enumerate(outputs.wanted.tolist()):
            self._read(index, memory)
            outputs.put(position, planes, about)
        return outputs.clips()

    def _read(self, index: int, memory: memoryview) -> None:
        """Read frame ``index`` with its header."""
        self._file.seek(self._start + self._layout.begin + index * len(memory))
        if self._file.readinto(memory) < len(memory) or memory[: len(_FRAME)] != _FRAME:
            raise DecodeError(self._source.name, f"is damaged: its frame {index} is not where it should be")

    def close(self) -> None:
        """Close the file."""
        self._file.close()
