"""The packets of a video in the order of the file: display times, positions, and whether they give a frame.

Time stamps may restart or jump where recordings were joined (``Seams``); they are made continuous here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from videopool.data.decoding.h264 import FieldPairs

_JUMP_SECONDS = 10.0  # a larger jump forward is a seam (dts_delta_threshold of the ffmpeg program)
_BACK_SECONDS = 0.1  # so is a larger jump back
_REORDERED_PACKETS = 24  # if a stream reorders frames, some of the first ones are out of order
_SUPERFRAME_MARKER = 0b110  # in the last byte of a VP9 packet that holds several frames (VP9 specification, annex B)

GivesFrame = Callable[[Any], bool]


class Packet(NamedTuple):
    """A packet of the file; times are in ticks of the stream.

    ``position`` is its first byte in the file, -1 if unknown. ``hidden``: an edit list hides it. ``shown``: a decoder
    returns a frame for it.
    """

    position: int
    pts: int | None
    dts: int | None
    duration: int
    keyframe: bool
    hidden: bool
    shown: bool


@dataclasses.dataclass(frozen=True)
class Seams:
    """Where time stamps restart: from byte ``positions[i]`` on, ``shifts[i]`` ticks must be added.

    If the pts and dts of a packet differ by more than ``jump`` ticks, its pts belongs to the other side of a seam; it
    is then shown after all packets before it. A frame lasts ``period`` ticks.
    """

    positions: tuple[int, ...] = ()
    shifts: tuple[int, ...] = ()
    jump: int = 0
    period: int = 0

    def close(self, packets: Iterable[Any]) -> Iterator[Any]:
        """Return PyAV's ``packets``, from any position of the file on, with continuous time stamps."""
        if not self.positions:
            yield from packets
            return
        clock = _Clock(self)
        for packet in packets:
            if packet.size:
                packet.pts, packet.dts = clock.times(packet.pos, packet.pts, packet.dts)
            yield packet

    def shift_at(self, place: int) -> int:
        """Return the ticks to add to the times of a packet at byte ``place``."""
        passed = sum(position <= place for position in self.positions)
        return self.shifts[passed - 1] if passed else 0


class _Clock:
    """Make the times of packets continuous, in the order of the file."""

    def __init__(self, seams: Seams) -> None:
        self._seams = seams
        self._shift = 0
        self._latest: int | None = None  # display time so far

    def times(self, position: int | None, pts: int | None, dts: int | None) -> tuple[int | None, int | None]:
        """Return (pts, dts) of the next packet."""
        if position is not None and position >= 0:
            self._shift = self._seams.shift_at(position)
        if pts is not None and dts is not None and abs(pts - dts) > self._seams.jump:
            pts = dts if self._latest is None else self._latest + self._seams.period - self._shift
        pts, dts = (None if time is None else time + self._shift for time in (pts, dts))
        if pts is not None:
            self._latest = pts if self._latest is None else max(self._latest, pts)
        return pts, dts


def find_seams(packets: Sequence[Packet], tick: float, period: int) -> Seams:
    """Find where decoding times go back or jump; the part after that follows the part before.

    Args:
        packets: in the order of the file.
        tick: of the stream, in seconds.
        period: of a frame, in ticks, for packets without a duration.
    """
    positions, shifts = [], []
    shift, expected = 0, None
    for packet in packets:
        time = packet.dts if packet.dts is not None else packet.pts
        if time is None:
            continue
        gap = 0.0 if expected is None else (time + shift - expected) * tick
        if expected is not None and not -_BACK_SECONDS < gap < _JUMP_SECONDS and packet.position >= 0:
            shift = expected - time
            positions.append(packet.position)
            shifts.append(shift)
        expected = time + shift + (packet.duration or period)
    return Seams(tuple(positions), tuple(shifts), jump=round(_JUMP_SECONDS / tick), period=period)


def shifted(packets: Sequence[Packet], seams: Seams) -> list[Packet]:
    """Return ``packets`` with continuous times; see ``Seams.close``."""
    clock, moved = _Clock(seams), []
    for packet in packets:
        pts, dts = clock.times(packet.position, packet.pts, packet.dts)
        moved.append(packet._replace(pts=pts, dts=dts))
    return moved


def decodes_in_order(packets: Iterable[Any]) -> bool:
    """Return whether the first frames that a decoder returns for PyAV's ``packets`` are in the order of their times."""
    import av

    latest = None
    for packet in itertools.islice(packets, _REORDERED_PACKETS):
        with contextlib.suppress(av.FFmpegError):
            for frame in packet.decode():
                if latest is not None and frame.pts is not None and frame.pts < latest:
                    return False
                latest = frame.pts
    return True


def gives_frame(context: Any) -> GivesFrame | None:
    """Return a function from each packet, in the order of the file, to whether a decoder returns a frame for it.

    A decoder returns no frame for references that are not shown (VP8, VP9) and the second field of a frame (H.264).
    Return None if every packet gives a frame.
    """
    codec = context.codec.canonical_name
    if codec == "vp8":
        return lambda packet: bool(memoryview(packet)[0] >> 4 & 1)  # show_frame (RFC 6386, section 9.1)
    if codec == "vp9":
        return _vp9_is_shown
    if codec == "h264":
        fields = FieldPairs(context.extradata)
        if fields.possible:
            return lambda packet: not fields.completes_frame(bytes(packet))
    return None


def _vp9_is_shown(packet: Any) -> bool:
    """Return whether a VP9 frame has ``show_frame`` or ``show_existing_frame`` (VP9 specification, section 6.2).

    A packet of several frames shows one of them.
    """
    data = memoryview(packet)
    if data[-1] >> 5 == _SUPERFRAME_MARKER:
        return True
    profile = data[0] >> 5 & 1 | data[0] >> 3 & 2
    bits = int.from_bytes(data[:2].tobytes().ljust(2, b"\0"), "big")
    after_profile = 16 - (5 if profile == 3 else 4)  # remaining bits
    if bits >> (after_profile - 1) & 1:
        return True
    return bool(bits >> (after_profile - 3) & 1)
