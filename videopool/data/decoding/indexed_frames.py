"""Decoding the frames of a video whose index says when each is shown: nothing is read but the packets of a clip.

Frames that are neither wanted nor needed for others are passed over without being decoded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from videopool.data.decoding.container import best_stream, check_readable, packets_of
from videopool.data.decoding.index_times import IndexTimes
from videopool.data.decoding.packets import decodes_in_order, gives_frame

# Codecs in which FFmpeg can tell from a frame itself that no other is decoded from it. Not HEVC: what its decoder calls
# a non-reference picture may be one for pictures of a higher temporal layer.
_TELL_REFERENCES = ("h264", "mpeg4", "mpeg2video", "mpeg1video")
_PROGRESSIVE = (0, 1)  # AVFieldOrder: unknown, progressive. Of two fields one may be a reference and the other not


class NotAsIndexedError(Exception):
    """The packets are not what the index promised, or cannot be decoded: the list of all packets will tell."""


def indexed_frames(path: str, container: Any, times: IndexTimes, wanted: np.ndarray) -> Iterator[Any]:
    """One decoded frame for each index of ``wanted`` (rising), in that order.

    Raises:
        NotAsIndexedError: if a packet or frame is not where the index has it.
        DecodeError: for an encrypted video.
    """
    import av

    try:
        position, entered = 0, False
        for entry, frame in _decoded(path, container, times, wanted, int(times.pts[wanted[0]])):
            index = times.frame_at(frame.pts)
            if not entered and index is not None and index >= entry:
                # A decoder leaves the keyframe out where a stream takes some frames to recover, and what it gives then
                # may be unfinished. A frame that is no keyframe is predicted from some that were not decoded.
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
                raise NotAsIndexedError  # the decoder left one out
    except (av.FFmpegError, ValueError):
        raise NotAsIndexedError from None
    raise NotAsIndexedError


def _decoded(
    path: str, container: Any, times: IndexTimes, wanted: np.ndarray, begin: int, *, ordered: bool = False
) -> Iterator[tuple[int, Any]]:
    """(index of the keyframe where decoding began, frame) from ``begin`` (ticks) on, but for frames that are neither
    ``wanted`` nor needed for others.

    When the last wanted one has gone in, the decoder is made to give what it holds back for later frames. ``ordered``:
    the times are known to be those of display.
    """
    stream = best_stream(container)
    container.seek(begin, stream=stream, backward=True, any_frame=False)
    context, shown = stream.codec_context, gives_frame(stream.codec_context)
    tells = context.name in _TELL_REFERENCES and int(context.field_order) in _PROGRESSIVE
    no_display_times = container.format.name == "avi"  # where FFmpeg has others than dts, it guesses
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
                    restart = packet.dts - 1  # it is decoded before the wanted frame is shown, but shown after that
                    break
                if not packet.is_keyframe or index > wanted[0]:
                    raise NotAsIndexedError  # seeking led to another place
                if not ordered and context.has_b_frames and packet.pts == packet.dts:
                    restart = begin  # no delay for reordered frames: all times may be those of decoding
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
    """Raise NotAsIndexedError if the decoder does not give frames in the order of their times."""
    container.seek(begin, stream=stream, backward=True, any_frame=False)
    stream.codec_context.skip_frame = "DEFAULT"
    with packets_of(container, stream) as packets:
        if not decodes_in_order(packets):
            raise NotAsIndexedError
