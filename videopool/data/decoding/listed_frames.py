"""Decode frames of a video whose packets are listed, from a keyframe or the first packet on."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Generator, Iterator
from typing import Any

import numpy as np

from videopool.data.decoding.container import best_stream, open_container, packets_of
from videopool.data.decoding.reader import DecodeError
from videopool.data.decoding.source import Source
from videopool.data.decoding.timeline import INDEXED_FORMATS, MISSING_FRAMES, Timeline

Numbered = Iterator[tuple[int, Any]]  # (index in the timeline, decoded frame), in the order of display


class EntryError(DecodeError):
    """Decoding from a keyframe did not give the right frames; it may succeed from an earlier one."""


def frames_from(
    source: Source, timeline: Timeline, entry: int | None = None, *, on_error: Callable[[], None] | None = None
) -> Numbered:
    """Return the frames on display, from a keyframe on, without a single frame whose time is far too late.

    Args:
        source: the video.
        timeline: of the video.
        entry: pts of the keyframe; None for the first packet.
        on_error: called for each packet that cannot be decoded; None raises PyAV's error.

    Raises:
        EntryError: if ``entry`` is not a keyframe.
    """
    with contextlib.closing(_decoded_from(source, timeline, entry, on_error)) as frames:
        previous: int | None = None
        for index, frame in frames:
            following = None
            if previous is not None and index - previous > MISSING_FRAMES:
                following = next(frames, None)
            if following is None or following[0] > index:
                yield index, frame
            if following is not None:
                yield following
            previous = index if following is None else following[0]


def _decoded_from(
    source: Source, timeline: Timeline, entry: int | None, on_error: Callable[[], None] | None
) -> Generator[tuple[int, Any], None, None]:
    """See ``frames_from``; the frames are in the order of the decoder."""
    with contextlib.closing(open_container(source)) as container:
        stream = best_stream(container)
        expected = entry
        if entry is not None:
            _seek(source, container, stream, timeline, entry)
        with packets_of(container, stream) as found:
            packets = timeline.seams.close(found)
            if expected is not None:
                packets = _checked_landing(source, packets, expected)
                expected = expected if expected >= timeline.pts[0] else None  # decoders do not return hidden ones
            ignore_flags = container.format.name == "mpegts"
            index: int | None = -1
            for count, frame in enumerate(_decoded(packets, ignore_flags, on_error)):
                if expected is not None and frame.pts is not None and frame.pts >= expected:
                    if frame.pts != expected or not frame.key_frame or frame.is_corrupt:
                        raise EntryError(source.name, "is damaged: a keyframe cannot be decoded")
                    expected = None
                index = _index_of(frame, count, timeline, -1 if index is None else index)
                if index is not None:
                    yield index, frame


def wanted_frames(source: Source, frames: Numbered, wanted: np.ndarray, timeline: Timeline) -> Iterator[Any]:
    """Return one of ``frames`` for each index of ``wanted`` (increasing), in that order.

    A missing frame is replaced by the one on display at its time, or by the next one at the start.

    Raises:
        EntryError: if more than MISSING_FRAMES are missing, or FFmpeg marks a wanted frame as corrupt.
    """
    shown: tuple[int, Any] | None = None
    position = 0
    for index, frame in frames:
        while position < len(wanted) and wanted[position] < index:
            yield _stand_in(source, int(wanted[position]), shown or (index, frame), timeline)
            position += 1
        shown = (index, frame)
        if position < len(wanted) and wanted[position] == index:
            if frame.is_corrupt:
                raise _missing(source, index, timeline)
            yield frame
            position += 1
        if position == len(wanted):
            return
    for index in wanted[position:]:
        yield _stand_in(source, int(index), shown, timeline)


def entries_before(source: Source, timeline: Timeline, index: int) -> Iterator[int | None]:
    """Return where decoding may begin for frame ``index``: pts of keyframes, then None for the first packet.

    The first is the last listed keyframe before it. A container may mark frames wrongly, so the next is the last frame
    that the decoder itself calls a keyframe.
    """
    if not timeline.from_start:
        target = int(timeline.pts[index])
        known = timeline.keyframes if timeline.indexed else timeline.keyframes[timeline.positions >= 0]
        before = int(np.searchsorted(known, target, side="right")) - 1
        listed = int(known[before]) if before > 0 else None
        if listed is not None:
            yield listed
        if listed is not None or timeline.false_keyframes:
            found = _true_keyframe(source, timeline, target)
            if found is not None and found != listed and (timeline.indexed or found in known):
                yield found
    yield None


def _true_keyframe(source: Source, timeline: Timeline, target: int) -> int | None:
    """Return the pts of the last keyframe up to ``target`` that a decoder of keyframes only returns."""
    import av

    found = None
    with contextlib.closing(open_container(source)) as container:
        stream = best_stream(container)
        stream.codec_context.skip_frame = "NONKEY"
        with packets_of(container, stream) as packets:
            for packet in timeline.seams.close(packets):
                if packet.dts is not None and packet.dts > target:
                    break
                with contextlib.suppress(av.FFmpegError):
                    for frame in packet.decode():
                        if frame.key_frame and not frame.is_corrupt and frame.pts is not None and frame.pts <= target:
                            found = frame.pts
    return found


def _seek(source: Source, container: Any, stream: Any, timeline: Timeline, entry: int) -> None:
    """Seek to the keyframe ``entry`` (pts)."""
    import av

    place = int(np.searchsorted(timeline.keyframes, entry))
    position = int(timeline.positions[place]) if place < len(timeline.keyframes) else -1
    try:
        if container.format.name.startswith(INDEXED_FORMATS):
            container.seek(entry, stream=stream, backward=True, any_frame=False)
        else:
            container.seek(position, unsupported_byte_offset=True)
    except av.FFmpegError:
        raise EntryError(source.name, "is damaged: seeking fails") from None


def _checked_landing(source: Source, packets: Iterator[Any], entry: int) -> Iterator[Any]:
    """Return ``packets``; raise EntryError unless the first is the keyframe ``entry``."""
    landed = next((packet for packet in packets if packet.size), None)
    if landed is None or not landed.is_keyframe or landed.pts != entry:
        raise EntryError(source.name, "is damaged: seeking finds another frame")
    return itertools.chain([landed], packets)


def _decoded(packets: Iterator[Any], ignore_flags: bool, on_error: Callable[[], None] | None) -> Iterator[Any]:
    """Return the frames of ``packets``.

    FFmpeg marks intact packets before the seam of joined transport streams as corrupt. ``ignore_flags`` removes these
    marks; the decoder then finds out whether data are missing.
    """
    import av

    for packet in packets:
        if ignore_flags and packet.size:
            packet.is_corrupt = False
        try:
            yield from packet.decode()
        except av.FFmpegError:
            if on_error is None:
                raise
            on_error()


def _index_of(frame: Any, count: int, timeline: Timeline, previous: int) -> int | None:
    """Return the index of a decoded frame in the timeline; None if it is not on display.

    Args:
        count: number of frames decoded before it.
        previous: index of the frame before it; frames with the same time have consecutive indices.
    """
    pts = timeline.pts
    if not timeline.timed:
        return count if count < len(pts) else None
    if frame.pts is None or frame.pts < pts[0]:
        return None
    first = int(np.searchsorted(pts, frame.pts, side="left"))
    last = int(np.searchsorted(pts, frame.pts, side="right")) - 1
    return min(max(first, previous + 1), last)


def _stand_in(source: Source, index: int, near: tuple[int, Any] | None, timeline: Timeline) -> Any:
    """Return the frame that replaces frame ``index``, which the decoder did not return."""
    if near is None or abs(index - near[0]) > MISSING_FRAMES or near[1].is_corrupt:
        raise _missing(source, index, timeline)
    return near[1]


def _missing(source: Source, index: int, timeline: Timeline) -> EntryError:
    return EntryError(source.name, f"is damaged: the frame at {timeline.starts[index]:.3f} s cannot be decoded")
