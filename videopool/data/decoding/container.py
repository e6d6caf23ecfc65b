"""Opening a file with PyAV: one video stream that FFmpeg can decode, and clear reasons for every other file."""

from __future__ import annotations

import contextlib
import functools
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from videopool.data.decoding.reader import DecodeError, error_message
from videopool.data.decoding.source import Source, source_of

_TEXT_DEMUXERS = ("tty", "bin", "xbin", "adf", "idf")  # draw characters as pictures; nearly any text file fits
_PLAYLIST_DEMUXERS = ("hls", "dash", "concat", "sdp", "rtsp", "rtp", "sap", "webm_dash_manifest")


def open_container(video: str | Path | Source) -> Any:
    """Open a video with PyAV. The caller closes the container.

    Raises:
        DecodeError: if the file is no video, or its codec has no decoder.
    """
    source = source_of(video)
    container = _open(source)
    try:
        stream = _check(source.name, container)
        stream.thread_type = "NONE"  # one thread a worker: several cost more processor time than they save
    except BaseException:
        container.close()
        raise
    return container


def _open(source: Source) -> Any:
    import av

    try:
        return av.open(source.for_ffmpeg(), **_open_options())
    except MemoryError:
        raise
    except Exception as error:  # PyAV raises its own errors, and Python's for what it cannot convert
        raise DecodeError(source.name, f"is no video that FFmpeg can open ({error_message(error)})") from None


@functools.cache
def _open_options() -> dict[str, Any]:
    """The argument of ``av.open`` that lets it read tags that are not UTF-8; later releases of PyAV lack it."""
    import av

    options: dict[str, Any] = {"metadata_errors": "replace"}
    try:
        av.open(io.BytesIO(b""), **options)
    except TypeError:
        return {}
    except av.FFmpegError:
        pass
    return options


def _check(path: str, container: Any) -> Any:
    """The stream to decode; raises DecodeError without one."""
    demuxer = container.format.name
    if demuxer in _TEXT_DEMUXERS:
        raise DecodeError(path, f"is text, not a video (FFmpeg's demuxer {demuxer} would draw it as pictures)")
    if demuxer in _PLAYLIST_DEMUXERS:
        raise DecodeError(path, f"is a playlist ({demuxer}), which names other files; list those files instead")
    stream = best_stream(container)
    if stream is None:
        raise DecodeError(path, "has no video stream")
    if stream.codec_context is None:
        raise DecodeError(path, "has a video codec that this FFmpeg cannot decode; re-encode the file")
    return stream


def best_stream(container: Any) -> Any:
    """The video stream that players and decord choose, None without any but the picture that a sound file may have."""
    from av.stream import Disposition

    best = container.streams.best("video")
    return None if best is None or best.disposition & Disposition.attached_pic else best


@contextlib.contextmanager
def packets_of(container: Any, stream: Any) -> Iterator[Iterator[Any]]:
    """The packets of a stream, for a ``with`` block that may leave them before their end.

    PyAV's generators give their memory back only when they end or are closed, not when they are dropped: up to 18.1 at
    least, some 150 bytes of each clip would stay, between buffers that then cannot be joined.
    """
    with contextlib.closing(container.demux(stream)) as packets:
        yield packets


def check_readable(path: str, packet: Any) -> None:
    """Raise DecodeError if ``packet``, the first one that is read, is encrypted: FFmpeg would decode it to noise."""
    if packet.has_sidedata("encryption_info"):
        raise DecodeError(path, "is encrypted; decrypt it, or take it out of the list")
