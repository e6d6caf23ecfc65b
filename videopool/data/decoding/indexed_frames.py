"""Decode frames of a video with a complete index, reading the packets of a clip only.

Frames that are neither wanted nor needed for others are skipped without being decoded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from videopool.data.decoding.container import best_stream, check_readable, packets_of
from videopool.data.decoding.index_times import IndexTimes
from videopool.data.decoding.packets import decodes_in_order, gives_frame

# Codecs for which FFmpeg knows from a frame that it is not a reference for others. Not HEVC: what its decoder calls a
# non-reference picture may be a reference for pictures of a higher temporal layer.
_TELL_REFERENCES = ("h264", "mpeg4", "mpeg2video", "mpeg1video")
_PROGRESSIVE = (0, 1)  # AVFieldOrder: unknown, progressive. One of two fields may be a reference and the other not


class NotAsIndexedError(Exception):
    """The packets differ from the index, or cannot be decoded; all packets must be listed."""


def indexed_frames(path: str, container: Any, times: IndexTimes, wanted: np.ndarray) -> Iterator[Any]:
    """Return one decoded frame for each index of ``wanted`` (increasing), in that order.

    Raises:
        NotAsIndexedError: if a packet or frame is not where the index says.
    """
    import av

    try:
        position, entered = 0, False
        for entry, frame in _decoded(path, container, times, wanted, int(times.pts[wanted[0]])):
            index = times.frame_at(frame.pts)
            if not entered and index is not None and index >= entry:
                # A decoder omits the keyframe if a stream needs some frames to recover, and its next frames may be
                # incomplete. A frame that is not a keyframe is predicted from frames that were not decoded.
                if index != entry or not frame.key_frame:
                    raise NotAsIndexedError
                entered = True
            if index == wanted[position]:
                if frame.is_corrupt:
                    raise NotAsIndexedError
                yield frame
                position += 1
                if position == len(wanted):
                    return
            elif index is None or index > wanted[position]:
                raise NotAsIndexedError  # the decoder omitted one
    except (av.FFmpegError, ValueError):
        raise NotAsIndexedError from None
    raise NotAsIndexedError


def _decoded(
    path: str, container: Any, times: IndexTimes, wanted: np.ndarray, begin: int, *, ordered: bool = False
) -> Iterator[tuple[int, Any]]:
    """Return (index of the keyframe where decoding began, frame) from ``begin`` (ticks) on.

    Frames that are neither ``wanted`` nor needed for others are skipped. After the packet of the last wanted frame, the
    decoder is flushed. ``ordered``: the times are known to be display times.
    """
    stream = best_stream(container)
    container.seek(begin, stream=stream, backward=True, any_frame=False)
    context, shown = stream.codec_context, gives_frame(stream.codec_context)
    tells = context.name in _TELL_REFERENCES and int(context.field_order) in _PROGRESSIVE
    no_display_times = container.format.name == "avi"  # FFmpeg guesses the times that differ from dts
    missing, passing, entry = set(wanted.tolist()), None, -1
    restart = None
    with packets_of(container, stream) as packets:
        for packet in packets:
            index = times.frame_at(packet.pts)
            guessed = no_display_times and packet.pts != packet.dts
            if index is None or packet.is_corrupt or packet.is_discard or guessed:
                raise NotAsIndexedError
            if passing is None:
                check_readable(path, packet)
                if index > wanted[0] and packet.dts is not None and packet.dts - 1 < begin:
                    restart = packet.dts - 1  # decoded before the wanted frame, but shown after it
                    break
                if not packet.is_keyframe or index > wanted[0]:
                    raise NotAsIndexedError  # the seek went elsewhere
                if not ordered and context.has_b_frames and packet.pts == packet.dts:
                    restart = begin  # no delay for reordering: these may be decoding times
                    break
                entry = index
            needed = index in missing and (shown is None or shown(packet))
            if tells and passing is not (not needed):
                context.skip_frame = "DEFAULT" if needed else "NONREF"
            passing = not needed
            for frame in packet.decode():
                yield entry, frame
            if needed:
                missing.remove(index)
                if not missing:
                    for frame in context.decode(None):
                        yield entry, frame
                    return
    if restart == begin:
        _check_order(container, stream, begin)
        ordered = True
    if restart is not None:
        yield from _decoded(path, container, times, wanted, restart, ordered=ordered)


def _check_order(container: Any, stream: Any, begin: int) -> None:
    """Raise NotAsIndexedError unless the decoder returns frames in the order of their times."""
    container.seek(begin, stream=stream, backward=True, any_frame=False)
    stream.codec_context.skip_frame = "DEFAULT"
    with packets_of(container, stream) as packets:
        if not decodes_in_order(packets):
            raise NotAsIndexedError
