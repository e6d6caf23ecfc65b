"""Measure a video file: list its packets and decode it to its end."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np

from videopool.data.decoding.decode import open_video
from videopool.data.decoding.image_reader import holds_image
from videopool.data.decoding.listed_frames import frames_from
from videopool.data.decoding.reader import DecodeError, decode_errors
from videopool.data.decoding.source import Source, source_of
from videopool.data.decoding.timeline import MISSING_FRAMES, Timeline, read_timeline
from videopool.prepare.distinct_files import ListedFile
from videopool.types import VideoRecord

_HASH_BLOCK = 1 << 20  # bytes


@dataclasses.dataclass(frozen=True)
class MeasuredFile:
    """The properties of a file; None where unknown. Units are those of ``videopool.data.lists.manifest.MEASURED``.

    ``mtime_ns`` is its modification time; ``sha256`` is hexadecimal; ``reason`` is why it cannot be read, "" if it can.
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
    sha256: str = ""
    reason: str = ""


def file_state(file: ListedFile, base: Path) -> MeasuredFile:
    """Return the size and modification time of ``file``, or the reason why they are unknown."""
    try:
        found = (base / file.path).stat()
    except OSError as error:
        return MeasuredFile(reason=_unreadable(error))
    return MeasuredFile(size_bytes=found.st_size, mtime_ns=found.st_mtime_ns)


def measure(file: ListedFile, *, base: Path, quick: bool, sha256: bool) -> MeasuredFile:
    """Measure ``file`` below ``base``.

    Args:
        quick: list the packets and decode only one frame.
        sha256: hash the file.
    """
    found = file_state(file, base)
    if found.reason:
        return found
    record = file.record(base)
    source = source_of(record)
    try:
        if file.frames is not None:
            return _measure_images(record, found, "images", quick)
        source.check()
        if sha256:
            found = dataclasses.replace(found, sha256=hash_of(source))
        if holds_image(source):
            return _measure_images(record, found, record.path.suffix.lower().removeprefix("."), quick)
        return _measure_video(source, found, quick)
    except DecodeError as error:
        return dataclasses.replace(found, reason=error.reason)
    except OSError as error:
        return dataclasses.replace(found, reason=_unreadable(error))


def hash_of(source: Source) -> str:
    """Return the hexadecimal SHA-256 of a file or its part."""
    assert source.path is not None
    offset, left = source.part or (0, source.path.stat().st_size)
    found = hashlib.sha256()
    with source.path.open("rb") as file:
        file.seek(offset)
        while block := file.read(min(_HASH_BLOCK, left)):
            found.update(block)
            left -= len(block)
    return found.hexdigest()


def _unreadable(error: OSError) -> str:
    return f"cannot be read ({error.strerror or type(error).__name__})"


def _measure_images(record: VideoRecord, found: MeasuredFile, codec: str, quick: bool) -> MeasuredFile:
    """Measure an image or a folder of frames, whose frame rate is unknown.

    Raises:
        DecodeError: if an image cannot be decoded.
    """
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


def _measure_video(source: Source, found: MeasuredFile, quick: bool) -> MeasuredFile:
    with decode_errors(source.name):
        timeline = read_timeline(source)
        good, reason = (None, "") if quick else _decode(source, timeline)
    info = timeline.info
    return dataclasses.replace(
        found,
        codec=timeline.codec,
        width=info.width,
        height=info.height,
        fps=info.fps,
        duration_seconds=info.duration_seconds,
        frames_listed=len(timeline.pts),
        frames_decodable=good,
        hidden=timeline.hidden,
        left_out=timeline.left_out,
        keyframe_interval=keyframe_interval(timeline),
        reason=reason,
    )


def keyframe_interval(timeline: Timeline) -> float:
    """Return the median number of frames from a keyframe to the next or to the end; the mean for untimed frames."""
    if not timeline.timed or not len(timeline.keyframes):
        return len(timeline.pts) / max(len(timeline.keyframes), 1)
    places = np.unique(np.searchsorted(timeline.pts, timeline.keyframes))
    return float(np.median(np.diff(places, append=len(timeline.pts))))


def _decode(source: Source, timeline: Timeline) -> tuple[int, str]:
    """Decode from the first packet to the last. Return the number of good frames on display, and the reason why the
    video cannot be read, "" if it can: frames are missing or corrupt, or packets cannot be decoded."""
    good = corrupt = 0
    errors = [0]

    def note() -> None:
        # Packets before the first decodable frame are counted as left out, not as broken.
        errors[0] += bool(good + corrupt or not timeline.left_out)

    for _, frame in frames_from(source, timeline, on_error=note):
        corrupt += frame.is_corrupt
        good += not frame.is_corrupt
    frames = len(timeline.pts)
    if not corrupt and not errors[0] and good >= frames - MISSING_FRAMES:
        return good, ""
    return good, f"is damaged: {good} of its {frames} frames can be decoded without errors"
