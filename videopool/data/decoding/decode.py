"""Open a video or image with the decoder that can read it."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.metadata
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from videopool.data.decoding.decord_reader import decord_reader
from videopool.data.decoding.folder_reader import FolderReader
from videopool.data.decoding.image_reader import ImageReader, holds_image, read_header
from videopool.data.decoding.pyav_reader import PyAVReader
from videopool.data.decoding.reader import (
    Grids,
    Timing,
    VideoInfo,
    VideoReader,
    decode_errors,
    whole_frame,
)
from videopool.data.decoding.source import Source, source_of
from videopool.data.decoding.timeline import read_timeline
from videopool.data.decoding.torchcodec_reader import load_fault, torchcodec_reader
from videopool.data.decoding.y4m_reader import Y4MReader, read_layout
from videopool.errors import InputError
from videopool.ops.frames import Grid
from videopool.ranges import POSITIVE, check_deinterlace
from videopool.types import VideoRecord

DECODERS = ("auto", "decord", "pyav", "torchcodec")
_PYAV = (18, 1)  # the oldest version, as in pyproject.toml
_OTHERS = ("decord", "torchcodec")  # optional
_find_spec = functools.cache(importlib.util.find_spec)
FOLDER_FPS = 30.0  # rate of folders of frames, which do not store one


class OpenVideo:
    """An open video. It contains what all decoders share; their readers do the rest.

    Args:
        reader: the reader of a decoder.
        name: of the video, for errors.
        square_pixels: return frames in the shape in which they are displayed if pixels are not square.
    """

    def __init__(self, reader: VideoReader, name: str, *, square_pixels: bool = False) -> None:
        self._reader = reader
        self._name = name
        self._square_pixels = square_pixels

    @property
    def timing(self) -> Timing:
        """Duration, rate and number of frames."""
        return self._reader.timing

    @property
    def info(self) -> VideoInfo:
        """Timing and size; see ``VideoReader.info``."""
        with decode_errors(self._name):
            info = self._reader.info
            if not self._square_pixels:
                return info
            return dataclasses.replace(info, width=_displayed(info.width, self._reader.pixel_aspect))

    def clips(self, times: Sequence[float] | np.ndarray, grids: Grids) -> list[torch.Tensor]:
        """Return the pixels of each grid in the frames at ``times`` (seconds); see ``VideoReader.clips``."""
        with decode_errors(self._name):
            if self._square_pixels:
                grids = on_square_pixels(grids, lambda: self._reader.pixel_aspect)
            return self._reader.clips(times, grids)

    def frames_at(self, times: Sequence[float] | np.ndarray, short_side: int | None = None) -> torch.Tensor:
        """Return the whole frames on display at ``times`` (seconds): uint8 [C,T,H,W].

        Their shorter side is scaled to ``short_side`` pixels; None keeps their size.

        Raises:
            DecodeError: if a frame cannot be decoded.
        """
        return self.clips(times, whole_frame(short_side))[0]


def on_square_pixels(grids: Grids, aspect: Callable[[], Fraction]) -> Grids:
    """Convert ``grids`` of the displayed picture to those of the stored one, whose pixels have the ``aspect``.

    ``aspect`` is called once the size of the frames is known.
    """

    def stored(height: int, width: int) -> list[Grid]:
        displayed = _displayed(width, aspect())
        part = width / displayed
        return [
            dataclasses.replace(grid, left=grid.left * part, column_step=grid.column_step * part)
            for grid in grids(height, displayed)
        ]

    return stored


def _displayed(width: int, aspect: Fraction) -> int:
    """Return the width in square pixels of a picture of ``width`` pixels with this ``aspect``."""
    return max(1, round(width * aspect))


@contextlib.contextmanager
def open_video(
    video: str | Path | bytes | Source | VideoRecord,
    *,
    decoder: str = "auto",
    folder_fps: float = FOLDER_FPS,
    square_pixels: bool = False,
    deinterlace: bool = False,
) -> Iterator[OpenVideo]:
    """Open a video or image, which is closed when the ``with`` block ends.

    Args:
        video: a file, bytes, or the record of a list, which may be a part of a file or a folder of frames.
        decoder: "pyav", "decord" or "torchcodec", which return the same frames; "auto" is PyAV, the fastest of them
            (benchmarks/results), but reads uncompressed y4m files itself. Images (by suffix, or in a tar by their
            first bytes) and folders of frames are always read by Pillow.
        folder_fps: the rate of a folder of frames.
        square_pixels: see ``OpenVideo``.
        deinterlace: make interlaced frames progressive (FFmpeg's bwdif), with PyAV only.

    Raises:
        DecodeError: here or when frames are read, if the file cannot be read.
        InputError: if the decoder is unknown or not installed.
    """
    check_decoder(decoder)
    frames = video.frames if isinstance(video, VideoRecord) else None
    source = source_of(video)
    with decode_errors(source.name, "cannot be opened"):
        if frames is None:
            reader = _open(source, "pyav" if deinterlace else decoder, deinterlace)
        else:
            reader = FolderReader(source, frames, folder_fps)
    try:
        yield OpenVideo(reader, source.name, square_pixels=square_pixels)
    finally:
        reader.close()


@dataclasses.dataclass(frozen=True)
class Reading:
    """How the videos of a data set are read: the arguments of ``open_video``, and a time limit.

    Attributes:
        decoder, folder_fps, square_pixels, deinterlace: see ``open_video``.
        timeout: seconds after which a video counts as unreadable.

    Raises:
        InputError: if a value is out of range or a decoder is not available.
    """

    decoder: str = "auto"
    folder_fps: float = FOLDER_FPS
    square_pixels: bool = False
    deinterlace: bool = False
    timeout: float = 60.0

    def __post_init__(self) -> None:
        check_decoder(self.decoder)
        check_deinterlace(self.deinterlace, self.decoder)
        POSITIVE.check("timeout", self.timeout)
        POSITIVE.check("folder_fps", self.folder_fps)

    def open(self, video: str | Path | bytes | Source | VideoRecord) -> contextlib.AbstractContextManager[OpenVideo]:
        """Call ``open_video`` with these arguments."""
        return open_video(
            video,
            decoder=self.decoder,
            folder_fps=self.folder_fps,
            square_pixels=self.square_pixels,
            deinterlace=self.deinterlace,
        )


def check_decoder(decoder: str) -> None:
    """Raise InputError unless ``decoder`` is known and loads, and PyAV, which all of them need, is recent enough."""
    if decoder not in DECODERS:
        raise InputError(f"decoder={decoder!r} must be one of {', '.join(DECODERS)}", setting="decoder")
    if decoder in _OTHERS and _find_spec(decoder) is None:
        raise InputError(
            f"The decoder {decoder} is not installed. Run pip install {decoder}, or use auto.", setting="decoder"
        )
    _check_pyav()
    fault = load_fault() if decoder == "torchcodec" else ""
    if fault:
        raise InputError(
            f"The decoder torchcodec cannot be loaded ({fault}). It needs FFmpeg's shared libraries and a build for "
            "this torch. Install those, or use auto.",
            setting="decoder",
        )


@functools.cache
def _check_pyav() -> None:
    """Raise InputError if PyAV lacks the attributes that decoding needs (``field_order``, ``index_entries``)."""
    try:
        version = importlib.metadata.version("av")
    except importlib.metadata.PackageNotFoundError:  # images do not need it
        return
    if tuple(int(part) for part in version.split(".")[:2]) < _PYAV:
        needed = ".".join(map(str, _PYAV))
        raise InputError(f"PyAV {version} is too old. Run pip install -U 'av>={needed}'.")


READING = Reading()


def _open(source: Source, decoder: str, deinterlace: bool) -> VideoReader:
    source.check()
    if holds_image(source):
        return ImageReader(source, read_header(source))
    if decoder in _OTHERS:
        open_with = decord_reader if decoder == "decord" else torchcodec_reader
        return open_with(source, read_timeline(source))
    layout = read_layout(source) if decoder == "auto" else None
    return PyAVReader(source, deinterlace=deinterlace) if layout is None else Y4MReader(source, layout)
