"""Open a file with PyAV: find the one video stream to decode, and give a clear reason for every other file."""

from __future__ import annotations

import contextlib
import functools
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from videopool.data.decoding.reader import DecodeError, error_message
from videopool.data.decoding.source import Source, source_of

_TEXT_DEMUXERS = ("tty", "bin", "xbin", "adf", "idf")  # they draw characters as images and accept nearly any text
_PLAYLIST_DEMUXERS = ("hls", "dash", "concat", "sdp", "rtsp", "rtp", "sap", "webm_dash_manifest")


def open_container(video: str | Path | Source) -> Any:
    """Open a video with PyAV. The caller closes the container."""
    source = source_of(video)
    container = _open(source)
    try:
        stream = _check(source.name, container)
        stream.thread_type = "NONE"  # one thread per worker: several cost more CPU time than they save
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
    except Exception as error:  # PyAV raises its own errors, and Python's when it cannot convert a value
        raise DecodeError(source.name, f"is not a video that FFmpeg can open ({error_message(error)})") from None


@functools.cache
def _open_options() -> dict[str, Any]:
    """Return the argument of ``av.open`` that accepts tags that are not UTF-8, if this release of PyAV has it."""
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
    """Return the stream to decode; raise DecodeError if there is none."""
    demuxer = container.format.name
    if demuxer in _TEXT_DEMUXERS:
        raise DecodeError(path, f"is text, not a video (FFmpeg's demuxer {demuxer} would draw it as images)")
    if demuxer in _PLAYLIST_DEMUXERS:
        raise DecodeError(path, f"is a playlist ({demuxer}) of other files; list those files instead")
    stream = best_stream(container)
    if stream is None:
        raise DecodeError(path, "has no video stream")
    if stream.codec_context is None:
        raise DecodeError(path, "has a video codec that this FFmpeg cannot decode; re-encode the file")
    return stream


def best_stream(container: Any) -> Any:
    """Return the video stream that players and decord choose; None if there is none but the cover of a sound file."""
    from av.stream import Disposition

    best = container.streams.best("video")
    return None if best is None or best.disposition & Disposition.attached_pic else best


@contextlib.contextmanager
def packets_of(container: Any, stream: Any) -> Iterator[Iterator[Any]]:
    """Return the packets of a stream, for a ``with`` block that may not read all of them.

    PyAV's generators release their memory only when they end or are closed, not when they are dropped (up to 18.1 at
    least): 150 bytes per clip would remain, between buffers that then cannot be joined.
    """
    with contextlib.closing(container.demux(stream)) as packets:
        yield packets


def check_readable(path: str, packet: Any) -> None:
    """Raise DecodeError if ``packet``, the first one of the file, is encrypted: FFmpeg would decode it to noise."""
    if packet.has_sidedata("encryption_info"):
        raise DecodeError(path, "is encrypted; decrypt it, or remove it from the list")
