"""Opening a video or image with the decoder that can read it, and giving up on one that never answers."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from videopool.data.decord_reader import DecordReader
from videopool.data.image_reader import ImageReader, is_image, read_header
from videopool.data.pyav_reader import PyAVReader
from videopool.data.reader import DecodeError, VideoInfo, VideoReader
from videopool.data.timeline import Timeline, read_timeline
from videopool.errors import InputError

__all__ = ["DECODERS", "DecodeError", "VideoInfo", "VideoReader", "open_video", "with_timeout"]

DECODERS = ("auto", "decord", "pyav")

ShortSide = int | None | Callable[[VideoInfo], int | None]

_Result = TypeVar("_Result")


@contextlib.contextmanager
def open_video(path: str | Path, *, decoder: str = "auto", short_side: ShortSide = None) -> Iterator[VideoReader]:
    """Open the video or image at ``path``; it is closed when the ``with`` block ends.

    Args:
        path: the file.
        decoder: "decord" or "pyav"; "auto" takes decord where it is installed, and PyAV for a video that decord cannot
            read or would read wrongly (``decord_reader`` lists these). Both give the same frames. Images (told by
            their suffix) are read by Pillow whatever is said here.
        short_side: frames are scaled to this shorter side in pixels; None keeps their size. A function gets to know
            the video before it answers.

    Raises:
        DecodeError: here or from ``frames_at``, for whatever is wrong with the file.
        InputError: for an unknown decoder, or one that is not installed.
    """
    check_decoder(decoder)
    _check_file(path)
    reader = _open(path, decoder, short_side)
    try:
        yield reader
    finally:
        reader.close()


def check_decoder(decoder: str) -> None:
    """Raise InputError unless ``decoder`` is known and installed."""
    if decoder not in DECODERS:
        raise InputError(f"data.decoder={decoder!r} is unknown; choose one of {', '.join(DECODERS)}")
    if decoder == "decord" and not _decord_installed():
        raise InputError("data.decoder=decord, but decord is not installed; pip install decord, or set it to pyav")


def with_timeout(function: Callable[[], _Result], *, path: str | Path, seconds: float) -> _Result:
    """``function()``, run in a thread of its own and given up after ``seconds`` of wall-clock time.

    A thread that hangs in a decoder cannot be stopped, only left behind: it holds its memory until the process ends,
    and does not keep it from ending.

    Raises:
        DecodeError: naming ``path``, if the time is over. Whatever ``function`` raises is raised here too.
    """
    outcome: list[_Result] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(function())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, name=f"decode {path}", daemon=True)
    thread.start()
    thread.join(seconds)
    if failure:
        raise failure[0]
    if not outcome:
        raise DecodeError(path, f"took longer than {seconds:g} s to decode (data.decode_timeout)")
    return outcome[0]


class _AutoReader:
    """decord's reader, replaced by PyAV's when decord fails on a frame; see ``VideoReader``."""

    def __init__(self, path: str | Path, timeline: Timeline, short_side: int | None) -> None:
        self.info = timeline.info
        self._fallback = functools.partial(PyAVReader, path, timeline, short_side)
        self._reader: VideoReader
        try:
            self._reader = DecordReader(path, timeline, short_side)
        except DecodeError:
            self._reader = self._fallback()

    def frames_at(self, times: Sequence[float] | np.ndarray) -> torch.Tensor:
        """See ``VideoReader.frames_at``."""
        try:
            return self._reader.frames_at(times)
        except DecodeError:
            if isinstance(self._reader, PyAVReader):
                raise
        self.close()
        self._reader = self._fallback()
        return self._reader.frames_at(times)

    def close(self) -> None:
        """Close whichever reader is open."""
        self._reader.close()


def _open(path: str | Path, decoder: str, scale: ShortSide) -> VideoReader:
    if is_image(path):
        header = read_header(path)
        return ImageReader(path, header, scale(header.info) if callable(scale) else scale)
    timeline = read_timeline(path)
    short_side = scale(timeline.info) if callable(scale) else scale
    if decoder == "pyav" or (decoder == "auto" and not _decord_installed()):
        return PyAVReader(path, timeline, short_side)
    if decoder == "decord":
        return DecordReader(path, timeline, short_side)
    return _AutoReader(path, timeline, short_side)


def _check_file(path: str | Path) -> None:
    """Say what is wrong before a decoder does: decord has one message for a missing, an empty and a text file."""
    try:
        size = Path(path).stat().st_size
    except OSError as error:
        raise DecodeError(path, f"cannot be read ({error.strerror or type(error).__name__})") from None
    if Path(path).is_dir():
        raise DecodeError(path, "is a folder")
    if size == 0:
        raise DecodeError(path, "is empty")


@functools.cache
def _decord_installed() -> bool:
    return importlib.util.find_spec("decord") is not None
