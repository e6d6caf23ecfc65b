"""The timeline of a video from all its packets: times of frames, where decoding can begin, and the size of frames.

Only the first frames are decoded, but the file is read to its end. This finds files for which other decoders silently
return wrong frames. Most files need no list of packets: see ``index_times``.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from videopool.data.decoding.container import best_stream, check_readable, open_container, packets_of
from videopool.data.decoding.index_times import enters_at_start_only, unrounded_times
from videopool.data.decoding.packets import Packet, Seams, decodes_in_order, find_seams, gives_frame, shifted
from videopool.data.decoding.pixels import Upright, pixel_aspect, upright_of
from videopool.data.decoding.reader import DecodeError, Timing, VideoInfo, decode_errors
from videopool.data.decoding.source import Source, source_of

INDEXED_FORMATS = ("mov", "matroska", "avi")  # in which a seek finds the right keyframe; in others it may not
_FOUND_BY_BYTE = ("mpegts", "mpeg", "flv")  # decoding can begin at any packet with a known position
_COUNTED_FORMATS = ("mov", "avi")  # with a reliable number of frames in the header
_TIMED_FORMATS = ("mov", "matroska")  # which store a time for each frame; in others FFmpeg fills in missing ones
_MOST_REPEATED_TIMES = 0.1  # of all frames; if more have the time of another one, times are not usable
MISSING_FRAMES = 2  # at most, at the end of a complete file: encoders may announce frames and not write them


@dataclasses.dataclass(frozen=True)
class Timeline:
    """The N frames of a video in the order of display.

    Attributes:
        codec: FFmpeg's name.
        info: duration, rate, size of the upright picture. ``frames`` is N, unless a Matroska file of constant rate
            omits frames; these are counted, and the ones before stay on display.
        pts: int64 [N], display times in ticks of the stream, never decreasing; positions 0..N-1 if not ``timed``.
        starts: float64 [N], the same in seconds from the first frame.
        keyframes: int64 [M], increasing pts at which decoding can begin, also of hidden frames.
        positions: int64 [M], the byte of the file at which each of these begins, -1 if unknown.
        upright: how to make a decoded frame upright.
        aspect: width of a pixel over its height in the upright picture.
        timed: False if the file stores no display times; frames are counted instead.
        indexed: the container has an index, so that seeks are reliable.
        hidden: number of frames that an edit list hides.
        left_out: number of frames at the start that cannot be decoded, because the file begins after their keyframe.
        open_groups: some frames are after a keyframe in the file, but before it on display.
        seams: where time stamps restart.
        quirk: why only PyAV returns the right frames, as the end of a sentence; "" for an ordinary file.
        from_start: decoding must begin at the first packet.
        false_keyframes: all frames are marked as keyframes, but the second one is not a keyframe.
    """

    codec: str
    info: VideoInfo
    pts: np.ndarray
    starts: np.ndarray
    keyframes: np.ndarray
    positions: np.ndarray
    upright: Upright
    aspect: Fraction
    timed: bool
    indexed: bool
    hidden: int
    left_out: int
    open_groups: bool
    seams: Seams
    quirk: str
    from_start: bool
    false_keyframes: bool


def read_timeline(video: str | Path | Source) -> Timeline:
    """Read the timeline of a video from all its packets; the first frame is decoded for its size and rotation.

    Raises:
        DecodeError: if the file is not a video, has no frames, or is truncated or damaged so that frames are missing.
    """
    source = source_of(video)
    with decode_errors(source.name, "is truncated or damaged"), contextlib.closing(open_container(source)) as container:
        stream = best_stream(container)
        listed = _list_packets(source.name, container, stream)
        _check_count(source.name, len(listed.packets), _announced(container, stream))
        if not _begins_with_keyframe(listed):
            first = _first_good_frame(source, listed.seams)
            if first is None:
                raise DecodeError(source.name, "has no frame that can be decoded")
            listed = dataclasses.replace(listed, first=first, begin=first.pts)
        return _timeline(source, listed, container, stream)


@dataclasses.dataclass(frozen=True)
class _Listed:
    """All packets of a stream, with continuous times.

    ``first`` is the first frame on display that can be decoded, or None; frames before ``begin`` (pts) cannot be.
    ``false_keyframes``: all packets are marked as keyframes, but the second one is not a keyframe.
    """

    packets: list[Packet]
    seams: Seams
    first: Any
    false_keyframes: bool = False
    begin: int | None = None


def _list_packets(path: str, container: Any, stream: Any) -> _Listed:
    """Return all packets and what is found on the way.

    FFmpeg reports the seam of two joined MPEG transport streams as damage. So only the last packet of such a file shows
    that it is cut off.
    """
    packets: list[Packet] = []
    first, decoding, broken, false = None, True, False, False
    joined = container.format.name == "mpegts"
    shown = gives_frame(stream.codec_context)
    with packets_of(container, stream) as found:
        for packet in found:
            if not packet.size:
                continue  # end of the stream
            if broken and not joined:
                break
            if not packets:
                check_readable(path, packet)
            broken = packet.is_corrupt
            times = (packet.pts, packet.dts, packet.duration or 0)
            gives = shown is None or shown(packet)
            position = -1 if packet.pos is None else packet.pos
            packets.append(Packet(position, *times, packet.is_keyframe, packet.is_discard, gives))
            if decoding:
                first = _decode_one(packet)
                decoding = packet.is_discard or not gives
            elif len(packets) == 2 and packet.is_keyframe:
                second = _decode_one(packet)
                false = second is None or not second.key_frame
    if broken:
        raise DecodeError(path, "is truncated or damaged: it ends in the middle of a frame")
    packets = _paired(packets)
    seams = _seams(container, stream, packets)
    false = false and all(packet.keyframe for packet in packets)
    return _Listed(shifted(packets, seams) if seams.positions else packets, seams, first, false)


def _paired(packets: list[Packet]) -> list[Packet]:
    """Set the duration of frames that consist of two fields to that of both."""
    for place in range(1, len(packets)):
        before, after = packets[place - 1], packets[place]
        if before.shown and not after.shown and after.pts != before.pts:
            packets[place - 1] = before._replace(duration=before.duration + after.duration)
    return packets


def _seams(container: Any, stream: Any, packets: Sequence[Packet]) -> Seams:
    from av.format import Flags

    if not container.format.flags & Flags.ts_discont.value:
        return Seams()
    period = 1 / (_rate(container, stream) * float(stream.time_base))
    return find_seams(packets, float(stream.time_base), round(period))


def _rate(container: Any, stream: Any) -> float:
    """Return frames per second. For a raw stream FFmpeg's average rate is a default; its guess uses the codec's."""
    from av.format import Flags

    raw = container.format.flags & Flags.no_timestamps.value
    rate = stream.guessed_rate if raw else stream.average_rate
    return float(rate or stream.average_rate or stream.guessed_rate or 25)


def _begins_with_keyframe(listed: _Listed) -> bool:
    """Return whether all frames can be decoded from the first packet on, judging by packets and first frame."""
    packets = listed.packets
    begin = packets[0]
    if listed.first is None or not (begin.keyframe and listed.first.key_frame):
        return begin.hidden and begin.keyframe
    on_display = (packet.pts for packet in packets if not packet.hidden and packet.pts is not None)
    return begin.hidden or begin.pts is None or min(on_display, default=begin.pts) >= begin.pts


def _first_good_frame(source: Source, seams: Seams) -> Any:
    """Return the first intact frame that a decoder returns from the first packet on, or None.

    A keyframe is preferred, because some decoders make up the missing references of other frames. The decoders of H.264
    and HEVC return no frame before they have recovered.
    """
    import av

    given = None
    with contextlib.closing(open_container(source)) as container:
        stream = best_stream(container)
        recovers = stream.codec_context.codec.canonical_name in ("h264", "hevc")
        with packets_of(container, stream) as found:
            for packet in seams.close(found):
                with contextlib.suppress(av.FFmpegError):
                    for frame in packet.decode():
                        if not frame.is_corrupt and (frame.key_frame or recovers):
                            return frame
                        given = given or frame
    return given


def _announced(container: Any, stream: Any) -> int:
    """Return the number of frames according to header and index; 0 for formats without a reliable number.

    The index of an mp4 contains the frames that an edit list leaves. That of an avi omits frames that were dropped when
    it was made, while the one before stays on display; it is used if it reaches the end.
    """
    if not container.format.name.startswith(_COUNTED_FORMATS):
        return 0
    entries, frames = stream.index_entries, int(stream.frames)
    if not len(entries) or len(entries) >= frames:
        return frames
    whole = container.format.name == "avi" and entries[len(entries) - 1].timestamp >= frames - 1
    return len(entries) if whole or container.format.name.startswith("mov") else frames


def _decode_one(packet: Any) -> Any:
    """Return the frame of ``packet`` or None; the decoder is flushed unless the packet is hidden."""
    import av

    try:
        frames = packet.decode()
        if not frames and not packet.is_discard:
            frames = packet.stream.codec_context.decode(None)  # flush, instead of waiting for frames before it
            packet.stream.codec_context.flush_buffers()
    except av.FFmpegError:
        return None
    return frames[0] if frames else None


def _check_count(path: str, found: int, announced: int) -> None:
    if not found:
        raise DecodeError(path, "has no frames")
    if found < announced - MISSING_FRAMES:
        raise DecodeError(path, f"is truncated or damaged: its header says {announced} frames, but it has {found}")


def _timeline(source: Source, listed: _Listed, container: Any, stream: Any) -> Timeline:
    packets, first, context = listed.packets, listed.first, stream.codec_context
    container_format = container.format.name
    indexed = container_format.startswith(INDEXED_FORMATS)
    given = [packet for packet in packets if packet.shown and not packet.hidden]
    if not given:
        raise DecodeError(source.name, "has no frames on display: its edit list hides all of them")
    placed = _with_times(given, container_format)
    timed = has_display_times(placed, container_format) and not (
        context.has_b_frames and _has_decoding_times(source, listed.seams, placed)
    )
    shown = _decodable(placed, listed.begin, timed)
    fields = sum(not packet.shown for packet in packets) if context.name == "h264" else 0
    rate = _rate(container, stream) * (1 - fields / len(packets))  # it counts packets
    pts, starts, timing = _display_times(shown, float(stream.time_base), rate, timed)
    unrounded = unrounded_times(container, stream, pts) if timed else None
    if unrounded is not None:
        starts, timing = unrounded
    upright = upright_of(first) if first is not None else Upright()
    width, height = _upright_size(source.name, stream, first, upright.turns)
    entries = _entries(packets, listed.false_keyframes)
    left_out = len(given) - len(shown)
    return Timeline(
        codec=context.codec.canonical_name,
        info=VideoInfo.of(timing, width=width, height=height),
        pts=pts,
        starts=starts,
        keyframes=np.array([packet.pts for packet in entries], dtype=np.int64),
        positions=np.array([packet.position for packet in entries], dtype=np.int64),
        upright=upright,
        aspect=pixel_aspect(stream, upright),
        timed=timed,
        indexed=indexed,
        hidden=sum(packet.hidden for packet in packets),
        left_out=left_out,
        open_groups=timed and _has_open_groups([packet for packet in packets if packet.shown]),
        seams=listed.seams,
        quirk=_quirk(listed, context, left_out, repeats=bool((np.diff(pts) == 0).any())),
        from_start=enters_at_start_only(context) or not (timed and (indexed or container_format in _FOUND_BY_BYTE)),
        false_keyframes=listed.false_keyframes,
    )


def _with_times(given: list[Packet], container_format: str) -> list[Packet]:
    """Remove the frames before time 0 of a Matroska file, to which FFmpeg gives no time.

    They precede the first keyframe on display (leading pictures of an open group), and no decoder returns them.
    """
    if container_format != "matroska,webm" or given[0].pts is None:
        return given
    return [packet for packet in given if packet.pts is not None]


def _decodable(given: list[Packet], begin: int | None, timed: bool) -> list[Packet]:
    """Return the frames on display from ``begin`` on or, without times, from the first keyframe of the file on."""
    if begin is None:
        return given
    if timed:
        return [packet for packet in given if packet.pts is not None and packet.pts >= begin]
    return given[next((place for place, packet in enumerate(given) if packet.keyframe), 0) :]


def _entries(packets: list[Packet], false_keyframes: bool) -> list[Packet]:
    """Return the packets at which decoding can begin, in the order of display."""
    known = [packet for packet in packets if packet.keyframe and packet.shown and packet.pts is not None]
    return known[:1] if false_keyframes else sorted(known, key=lambda packet: packet.pts or 0)


def _quirk(listed: _Listed, context: Any, left_out: int, repeats: bool) -> str:
    """Return ``Timeline.quirk``; ``repeats``: some frames have the same time."""
    silent = sum(not packet.shown for packet in listed.packets)
    if context.format is not None and context.format.has_palette:
        return "stores its palette in a few packets only"
    if silent:
        return f"has {silent} packets without a frame (second fields, or hidden reference frames)"
    if left_out:
        return f"begins with {left_out} frames that cannot be decoded"
    if listed.false_keyframes:
        return "marks frames as keyframes that are not"
    if repeats:
        return "has several frames at the same time"
    return "has time stamps that restart" if listed.seams.positions else ""


def has_display_times(packets: Sequence[Packet], container_format: str) -> bool:
    """Return whether the packets have display times.

    In mp4 and Matroska a few frames may have the same time; a player shows the last of these. AVI stores none: if
    frames are not in display order (pts differs from dts), FFmpeg guesses them.
    """
    times = {packet.pts for packet in packets}
    repeated = len(packets) - len(times)
    allowed = _MOST_REPEATED_TIMES * len(packets) if container_format.startswith(_TIMED_FORMATS) else 0
    if None in times or repeated > allowed:
        return False
    return container_format != "avi" or _as_decoded(packets)


def _as_decoded(packets: Sequence[Packet]) -> bool:
    return all(packet.pts == packet.dts for packet in packets)


def _has_decoding_times(source: Source, seams: Seams, packets: Sequence[Packet]) -> bool:
    """Return whether all times are decoding times although frames are shown in another order.

    This is the case for MXF files and mp4 files without a table of offsets (ctts). A header may announce a reordering
    that does not occur, so the first frames are decoded.
    """
    if not _as_decoded(packets):
        return False
    with (
        contextlib.closing(open_container(source)) as container,
        packets_of(container, best_stream(container)) as found,
    ):
        return not decodes_in_order(seams.close(found))


def _display_times(
    packets: Sequence[Packet], tick: float, rate: float, timed: bool
) -> tuple[np.ndarray, np.ndarray, Timing]:
    """Return (pts, starts in seconds, duration and rate)."""
    if not timed:
        count = np.arange(len(packets))
        return count, count / rate, Timing(len(count) / rate, rate, len(count))
    pts = np.array(sorted(packet.pts for packet in packets if packet.pts is not None), dtype=np.int64)
    last = max(packets, key=lambda packet: packet.pts or 0).duration * tick
    starts = (pts - pts[0]) * tick
    end = float(starts[-1]) + (last or 1 / rate)
    return pts, starts, Timing(end, len(pts) / end, len(pts))


def _upright_size(path: str, stream: Any, first: Any, turns: int) -> tuple[int, int]:
    source = stream.codec_context if first is None else first
    width, height = source.width, source.height
    if not (width and height):
        raise DecodeError(path, "has no frame that can be decoded")
    return (height, width) if turns % 2 else (width, height)


def _has_open_groups(packets: Sequence[Packet]) -> bool:
    pts = np.array([packet.pts if packet.pts is not None else 0 for packet in packets])
    place_on_display = np.argsort(np.argsort(pts, kind="stable"), kind="stable")
    keyframes = np.flatnonzero([packet.keyframe for packet in packets])
    return bool((place_on_display[keyframes] != keyframes).any())
