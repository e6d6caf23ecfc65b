"""What one video file holds, found by listing its packets and decoding it to its end."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from videopool.data.decoding.decode import DecodeError, open_video
from videopool.data.decoding.image_reader import holds_image
from videopool.data.decoding.listed_frames import frames_from
from videopool.data.decoding.reader import decode_errors
from videopool.data.decoding.source import Source, source_of
from videopool.data.decoding.timeline import MISSING_FRAMES, Timeline, read_timeline
from videopool.prepare.listed import Listed
from videopool.types import VideoRecord

_BLOCK = 1 << 20  # bytes read at a time for the hash


@dataclasses.dataclass(frozen=True)
class Measured:
    """What is known of a file; None where it is not. Units as in ``videopool.data.lists.manifest.MEASURED``.

    ``mtime_ns`` is when the file was changed; ``sha256`` hexadecimal; ``reason`` why it cannot be read, "" if it can.
    """

    size_bytes: int | None = None
    mtime_ns: int | None = None
    codec: str = ""
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    duration_seconds: float | None = None
    frames_listed: int | None = None
    frames_decodable: int | None = None
    hidden: int | None = None
    left_out: int | None = None
    keyframe_interval: float | None = None
    decoder: str = ""
    sha256: str = ""
    reason: str = ""


def stated(video: Listed, base: Path) -> Measured:
    """Size and time of change, or the reason why there are none."""
    try:
        found = (base / video.path).stat()
    except OSError as error:
        return Measured(reason=f"cannot be read ({error.strerror or type(error).__name__})")
    return Measured(size_bytes=found.st_size, mtime_ns=found.st_mtime_ns)


def measure(video: Listed, *, base: Path, quick: bool, sha256: bool) -> Measured:
    """What the file ``video`` below ``base`` holds.

    Args:
        quick: list its packets, decode nothing but one frame.
        sha256: hash it.
    """
    found = stated(video, base)
    if found.reason:
        return found
    record = video.record(base)
    source = source_of(record)
    try:
        if video.frames is not None:
            return _measure_pictures(record, found, "images", quick)
        source.check()
        if sha256:
            found = dataclasses.replace(found, sha256=hash_of(source))
        if holds_image(source):
            return _measure_pictures(record, found, record.path.suffix.lower().removeprefix("."), quick)
        return _measure_video(source, found, quick)
    except DecodeError as error:
        return dataclasses.replace(found, reason=error.reason)
    except OSError as error:
        return dataclasses.replace(found, reason=f"cannot be read ({error.strerror or type(error).__name__})")


def hash_of(source: Source) -> str:
    """SHA-256 of a file or its part, hexadecimal."""
    assert source.path is not None
    offset, left = source.part or (0, source.path.stat().st_size)
    found = hashlib.sha256()
    with source.path.open("rb") as file:
        file.seek(offset)
        while block := file.read(min(_BLOCK, left)):
            found.update(block)
            left -= len(block)
    return found.hexdigest()


def _measure_pictures(record: VideoRecord, found: Measured, codec: str, quick: bool) -> Measured:
    """An image, or a folder of frames, whose rate nobody knows; one that cannot be decoded is said by the reader."""
    with open_video(record) as video:
        info = video.info
        for frame in range(0 if quick else info.frames):
            video.frames_at([(frame + 0.5) / info.fps])
    return dataclasses.replace(
        found,
        codec=codec,
        width=info.width,
        height=info.height,
        frames_listed=info.frames,
        frames_decodable=None if quick else info.frames,
        hidden=0,
        left_out=0,
    )


def _measure_video(source: Source, found: Measured, quick: bool) -> Measured:
    with decode_errors(source.name):
        timeline = read_timeline(source)
        decoded = None if quick else _decode(source, timeline)
    info = timeline.info
    reason = "" if decoded is None else decoded.fault(len(timeline.pts))
    return dataclasses.replace(
        found,
        codec=timeline.codec,
        width=info.width,
        height=info.height,
        fps=info.fps,
        duration_seconds=info.duration_seconds,
        frames_listed=len(timeline.pts),
        frames_decodable=None if decoded is None else decoded.good,
        hidden=timeline.hidden,
        left_out=timeline.left_out,
        keyframe_interval=keyframe_interval(timeline),
        decoder="" if reason else "pyav",
        reason=reason,
    )


def keyframe_interval(timeline: Timeline) -> float:
    """Median of the frames from a keyframe to the next, or to the end; the mean where frames carry no times."""
    if not timeline.timed or not len(timeline.keyframes):
        return len(timeline.pts) / max(len(timeline.keyframes), 1)
    places = np.unique(np.searchsorted(timeline.pts, timeline.keyframes))
    return float(np.median(np.diff(places, append=len(timeline.pts))))


class _Decoded(NamedTuple):
    """Frames on display without a fault, frames that FFmpeg marks as corrupt, and packets that it cannot decode."""

    good: int
    corrupt: int
    broken: int

    def fault(self, frames: int) -> str:
        """Why the video, which has so many ``frames``, cannot be read; "" if it can."""
        if not self.corrupt and not self.broken and self.good >= frames - MISSING_FRAMES:
            return ""
        return f"is damaged: {self.good} of its {frames} frames can be decoded without errors"


def _decode(source: Source, timeline: Timeline) -> _Decoded:
    """All frames on display, decoded from the first packet to the last."""
    good = corrupt = 0
    errors = [0]

    def note() -> None:
        errors[0] += bool(good + corrupt or not timeline.left_out)  # what comes before the first frame is left out

    for _, frame in frames_from(source, timeline, on_error=note):
        corrupt += frame.is_corrupt
        good += not frame.is_corrupt
    return _Decoded(good, corrupt, errors[0])
