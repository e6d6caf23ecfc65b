"""What a video holds: when each frame is shown, where decoding can begin, how large frames are.

Most files are plain: one frame every so many ticks, and the index in their header says so (``plain_times``). Of the
others the packets are listed (``read_timeline``), which decodes nothing, but reads the file to its end. One of the two
is done before any decoder is asked for frames, because they find the files on which decoders give wrong frames without
a word.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from videopool.data.decoding.pixels import Upright, upright_of
from videopool.data.decoding.reader import DecodeError, Timing, VideoInfo
from videopool.data.decoding.source import Source, source_of

INDEXED_FORMATS = ("mov", "matroska", "avi")  # seeking lands on the right keyframe there; elsewhere it may not
_PLAIN_FORMATS = ("mov", "avi")  # of which FFmpeg reads the whole index when it opens them
MISSING_FRAMES = 2  # what may lack at the end of a whole file: frames that an encoder announced but never wrote


@dataclasses.dataclass(frozen=True)
class Timeline:
    """The N frames of a video in the order of display.

    Attributes:
        info: duration, rate, size of the upright picture.
        pts: int64 [N], rising display times in ticks of the stream; positions 0..N-1 if not ``timed``.
        starts: float64 [N], the same in seconds from the first frame.
        keyframes: int64, rising pts at which decoding can begin, of hidden frames too.
        upright: what makes a decoded frame upright.
        timed: False where the file stores no display times; frames are counted instead.
        indexed: the container has an index, so that seeking can be trusted.
        hidden: how many frames an edit list hides.
        open_groups: some frames come after a keyframe in the file, but before it on display.
    """

    info: VideoInfo
    pts: np.ndarray
    starts: np.ndarray
    keyframes: np.ndarray
    upright: Upright
    timed: bool
    indexed: bool
    hidden: int
    open_groups: bool


@dataclasses.dataclass(frozen=True)
class PlainTimes:
    """The frames of a video with constant rate: frame i is shown from ``first + i * step`` on, in ticks of ``tick``
    seconds. It is what the header says, and holds as far as the packets that are met keep to it."""

    first: int
    step: int
    frames: int
    tick: float

    @property
    def timing(self) -> Timing:
        """Duration and rate."""
        period = self.step * self.tick
        return Timing(self.frames * period, 1 / period, self.frames)

    @property
    def starts(self) -> np.ndarray:
        """float64 [N], seconds from the first frame."""
        return np.arange(self.frames) * (self.step * self.tick)


def plain_times(container: Any) -> PlainTimes | None:
    """The times of an open video if its header is enough to know them; None where the packets must be listed.

    That is so for an mp4 or avi whose index has as many entries as the header announces frames, evenly spaced, none of
    them hidden by an edit list, the last of which lies inside of the file.
    """
    stream = best_stream(container)
    rate, entries, frames = stream.average_rate, stream.index_entries, stream.frames
    if not container.format.name.startswith(_PLAIN_FORMATS) or not rate or rate != stream.base_rate or not frames:
        return None
    step = 1 / (rate * stream.time_base)
    if step.denominator != 1 or len(entries) != frames or stream.start_time is None:
        return None
    if stream.duration is not None and 2 * abs(stream.duration - frames * step) >= step:
        return None  # an edit list hides frames between the first and the last
    first, last = entries[0], entries[len(entries) - 1]
    if first.is_discard or last.is_discard or last.timestamp - first.timestamp != (frames - 1) * step.numerator:
        return None
    if last.pos + last.size > container.size or not first.is_keyframe:
        return None
    if container.format.name == "avi" and stream.codec_context.has_b_frames:
        return None  # it stores no times of display, see _has_display_times
    return PlainTimes(int(stream.start_time), step.numerator, frames, float(stream.time_base))


class _Packet(NamedTuple):
    """A frame as it stands in the file, in the order of decoding; times in ticks."""

    pts: int | None
    dts: int | None
    duration: int
    keyframe: bool
    hidden: bool


def read_timeline(video: str | Path | Source) -> Timeline:
    """The timeline of a video, from all of its packets; its first frame is decoded for its size and rotation.

    Raises:
        DecodeError: if the file is no video, has no frames, or is truncated or damaged so that frames are missing.
    """
    import av

    source = source_of(video)
    container, path = open_container(source), source.name
    try:
        stream = best_stream(container)
        packets, first = _list_packets(path, container, stream)
        _check_count(path, len(packets), _announced(container, stream))
        return _timeline(path, packets, stream, first, container.format.name)
    except (av.FFmpegError, ValueError) as error:
        raise DecodeError(path, f"is truncated or damaged ({ffmpeg_message(error)})") from None
    finally:
        container.close()


def open_container(video: str | Path | Source) -> Any:
    """The PyAV container of a source, which the caller closes; raises DecodeError for what holds no video."""
    import av

    source = source_of(video)
    path = source.name
    try:
        container = av.open(source.for_ffmpeg())
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DecodeError(path, f"is no video that FFmpeg can open ({ffmpeg_message(error)})") from None
    stream = best_stream(container)
    if stream is None:
        container.close()
        raise DecodeError(path, "has no video stream")
    stream.thread_type = "NONE"  # one thread a worker: several cost more processor time than they save
    return container


@contextlib.contextmanager
def packets_of(container: Any, stream: Any) -> Iterator[Iterator[Any]]:
    """The packets of a stream, for a ``with`` block that may leave them before their end.

    PyAV's generators give their memory back only when they end or are closed, not when they are dropped: up to 18.1 at
    least, some 150 bytes of each clip would stay, between buffers that then cannot be joined.
    """
    with contextlib.closing(container.demux(stream)) as packets:
        yield packets


def best_stream(container: Any) -> Any:
    """The video stream that players and decord choose, None without any but the picture that a sound file may have."""
    from av.stream import Disposition

    best = container.streams.best("video")
    return None if best is None or best.disposition & Disposition.attached_pic else best


def ffmpeg_message(error: Exception) -> str:
    """The message of an FFmpeg error without the path, which DecodeError names already."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _list_packets(path: str | Path, container: Any, stream: Any) -> tuple[list[_Packet], Any]:
    """All packets, and the first frame on display, None if it cannot be decoded.

    Where two MPEG transport streams were joined FFmpeg takes the seam for damage, which is not: the last packet alone
    tells that one was cut off.
    """
    packets, first, decoding, broken = [], None, True, False
    joined = container.format.name == "mpegts"
    with packets_of(container, stream) as found:
        for packet in found:
            if not packet.size:
                continue  # the end of the stream
            if broken and not joined:
                break
            broken = packet.is_corrupt
            times = (packet.pts, packet.dts, packet.duration or 0)
            packets.append(_Packet(*times, packet.is_keyframe, packet.is_discard))
            if decoding:
                first = _decode_one(packet)
                decoding = packet.is_discard
    if broken:
        raise DecodeError(path, "is truncated or damaged: it ends or breaks in the middle of a frame")
    return packets, first


def _announced(container: Any, stream: Any) -> int:
    """How many frames the header and the index promise.

    The index of an mp4 has what an edit list leaves of its frames, that of an avi leaves out those that were dropped
    when it was made, while the one before stays on display: if it goes on to the end, it counts.
    """
    entries, frames = stream.index_entries, int(stream.frames)
    if not len(entries) or len(entries) >= frames:
        return frames
    whole = container.format.name == "avi" and entries[len(entries) - 1].timestamp >= frames - 1
    return len(entries) if whole or container.format.name.startswith("mov") else frames


def _decode_one(packet: Any) -> Any:
    """The frame of ``packet``, which ends decoding unless the packet is hidden; None if there is none."""
    import av

    try:
        frames = packet.decode()
        if not frames and not packet.is_discard:
            frames = packet.stream.codec_context.decode(None)  # it need not wait for frames shown before it
    except av.FFmpegError:
        return None
    return frames[0] if frames else None


def _check_count(path: str | Path, found: int, announced: int) -> None:
    if not found:
        raise DecodeError(path, "has no frames")
    if found < announced - MISSING_FRAMES:
        raise DecodeError(path, f"is truncated or damaged: its header announces {announced} frames, {found} are there")


def _timeline(path: str | Path, packets: list[_Packet], stream: Any, first: Any, container_format: str) -> Timeline:
    shown = [packet for packet in packets if not packet.hidden]
    if not shown:
        raise DecodeError(path, "has no frame on display: its edit list hides them all")
    timed = _has_display_times(shown, container_format)
    rate = float(stream.average_rate or stream.guessed_rate or 25)
    pts, starts, end = _display_times(shown, float(stream.time_base), rate, timed)
    upright = upright_of(first) if first is not None else Upright()
    width, height = _upright_size(path, stream, first, upright.turns)
    return Timeline(
        info=VideoInfo(end, len(pts) / end, width, height, len(pts)),
        pts=pts,
        starts=starts,
        keyframes=np.array(sorted(packet.pts for packet in packets if packet.keyframe and packet.pts is not None)),
        upright=upright,
        timed=timed,
        indexed=container_format.startswith(INDEXED_FORMATS),
        hidden=len(packets) - len(shown),
        open_groups=timed and _has_open_groups(packets),
    )


def _has_display_times(packets: list[_Packet], container_format: str) -> bool:
    """Whether the packets carry true display times, one a frame.

    AVI stores none: where frames are out of display order (pts unlike dts) FFmpeg only guesses them.
    """
    pts = {packet.pts for packet in packets}
    if None in pts or len(pts) < len(packets):
        return False
    return container_format != "avi" or all(packet.pts == packet.dts for packet in packets)


def _display_times(
    packets: list[_Packet], time_base: float, rate: float, timed: bool
) -> tuple[np.ndarray, np.ndarray, float]:
    """(pts, starts in seconds, end of the last frame in seconds)"""
    if not timed:
        count = np.arange(len(packets))
        return count, count / rate, len(packets) / rate
    pts = np.array(sorted(packet.pts for packet in packets if packet.pts is not None), dtype=np.int64)
    last = max(packets, key=lambda packet: packet.pts or 0).duration * time_base
    starts = (pts - pts[0]) * time_base
    return pts, starts, float(starts[-1]) + (last or 1 / rate)


def _upright_size(path: str | Path, stream: Any, first: Any, turns: int) -> tuple[int, int]:
    source = stream.codec_context if first is None else first
    width, height = source.width, source.height
    if not (width and height):
        raise DecodeError(path, "has no frame that can be decoded")
    return (height, width) if turns % 2 else (width, height)


def _has_open_groups(packets: list[_Packet]) -> bool:
    pts = np.array([packet.pts if packet.pts is not None else 0 for packet in packets])
    place_on_display = np.argsort(np.argsort(pts, kind="stable"), kind="stable")
    keyframes = np.flatnonzero([packet.keyframe for packet in packets])
    return bool((place_on_display[keyframes] != keyframes).any())
