"""Find the packets of an H.264 stream that contain a single field, from parameter sets and slice headers (ITU-T H.264).

A frame may be coded as two fields, which containers store as two packets. FFmpeg returns one frame for both.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

_SLICES, _SEQUENCE_PARAMETERS = (1, 2, 5), 7  # nal_unit_type, table 7-1
_CHROMA_PROFILES = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)  # section 7.3.2.1.1
_SLICE_HEADER_BYTES = 64  # more than the syntax elements that are read here
_CONFIGURATION_BYTES = 7  # the shortest avcC box (ISO/IEC 14496-15)


class SequenceParameters(NamedTuple):
    """The parts of a sequence parameter set that are needed to read a slice header.

    ``frames_only`` is ``frame_mbs_only_flag``: no picture is a single field.
    """

    separate_planes: bool
    frame_num_bits: int
    frames_only: bool


class _Field(NamedTuple):
    frame_num: int
    bottom: bool


class FieldPairs:
    """Find the packets that contain the second field of a frame.

    Args:
        extradata: of the codec context; an avcC box, or parameter sets with start codes.
    """

    def __init__(self, extradata: bytes | None) -> None:
        extradata = extradata or b""
        self._length_size = (extradata[4] & 3) + 1 if _is_configuration(extradata) else 0
        self._sequence = read_sequence(extradata)
        self._first: _Field | None = None  # a first field without its second one

    @property
    def possible(self) -> bool:
        """Whether a packet may contain a single field."""
        return self._sequence is None or not self._sequence.frames_only

    def completes_frame(self, packet: bytes) -> bool:
        """Return whether ``packet``, the next one of the stream, contains the second field of the frame before."""
        field = self._field(packet)
        second = field is not None and self._first is not None and field == self._first._replace(bottom=field.bottom)
        second = second and field != self._first  # a field of the same parity is the first of another frame
        self._first = None if second else field
        return second

    def _field(self, packet: bytes) -> _Field | None:
        """Return the field in a packet; None for a frame, or if it cannot be read."""
        for unit in _units(packet, self._length_size):
            kind = unit[0] & 31
            if kind == _SEQUENCE_PARAMETERS:
                self._sequence = _sequence(unit) or self._sequence
            elif kind in _SLICES:
                return _slice_field(unit, self._sequence)
        return None


def read_sequence(extradata: bytes) -> SequenceParameters | None:
    """Return the first sequence parameter set in the ``extradata`` of a codec context; None if there is none."""
    if _is_configuration(extradata):
        size = int.from_bytes(extradata[6:8], "big")
        return _sequence(extradata[8 : 8 + size]) if extradata[5] & 31 else None
    sets = (unit for unit in _units(extradata, 0) if unit[0] & 31 == _SEQUENCE_PARAMETERS)
    return next(map(_sequence, sets), None)


def _is_configuration(extradata: bytes) -> bool:
    return len(extradata) > _CONFIGURATION_BYTES and extradata[0] == 1


def _units(data: bytes, length_size: int) -> Iterator[bytes]:
    """Return the NAL units of a packet, which follow their lengths or, if ``length_size`` is 0, start codes."""
    if length_size:
        place = 0
        while place + length_size < len(data):
            size = int.from_bytes(data[place : place + length_size], "big")
            place += length_size
            if size:
                yield data[place : place + size]
            place += size
        return
    begin = data.find(b"\0\0\1")
    while begin >= 0:
        end = data.find(b"\0\0\1", begin + 3)
        unit = data[begin + 3 : end if end >= 0 else len(data)]
        if unit:
            yield unit
        begin = end


class _Bits:
    """Read a NAL unit bit by bit, without its emulation prevention bytes (section 7.4.1).

    Raises:
        IndexError: at the end.
    """

    def __init__(self, unit: bytes) -> None:
        self._data = unit[1:].replace(b"\0\0\3", b"\0\0")
        self._place = 0

    def take(self, count: int) -> int:
        """Read ``count`` bits as a number, u(n)."""
        value = 0
        for _ in range(count):
            byte, bit = divmod(self._place, 8)
            value = value << 1 | self._data[byte] >> (7 - bit) & 1
            self._place += 1
        return value

    def golomb(self) -> int:
        """Read an Exp-Golomb code, ue(v) (section 9.1). The codes of se(v) have the same length."""
        zeros = 0
        while not self.take(1):
            zeros += 1
            if zeros > 32:
                raise IndexError("no Exp-Golomb code is that long")
        return (1 << zeros) - 1 + self.take(zeros)

    def signed(self) -> int:
        """Read a signed Exp-Golomb code, se(v)."""
        code = self.golomb()
        return (code + 1) // 2 if code % 2 else -(code // 2)


def _sequence(unit: bytes) -> SequenceParameters | None:
    """Return the sequence parameter set in a NAL unit (section 7.3.2.1.1); None if it is incomplete."""
    bits = _Bits(unit)
    try:
        profile = bits.take(8)
        bits.take(16)  # constraints, level
        bits.golomb()  # its number
        separate = profile in _CHROMA_PROFILES and _skip_chroma(bits)
        frame_num_bits = bits.golomb() + 4
        _skip_picture_order(bits)
        bits.golomb()  # reference frames
        bits.take(1)  # gaps in frame_num
        bits.golomb()  # width
        bits.golomb()  # height
        return SequenceParameters(separate, frame_num_bits, bool(bits.take(1)))
    except IndexError:
        return None


def _skip_chroma(bits: _Bits) -> bool:
    """Skip chroma format, bit depths and scaling lists; return whether color planes are coded separately."""
    chroma = bits.golomb()
    separate = chroma == 3 and bool(bits.take(1))
    bits.golomb()  # bit depth of luma
    bits.golomb()  # bit depth of chroma
    bits.take(1)  # lossless bypass
    if bits.take(1):
        for number in range(12 if chroma == 3 else 8):
            if bits.take(1):
                _skip_scaling_list(bits, 16 if number < 6 else 64)
    return separate


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    """Skip a scaling list (section 7.3.2.1.1.1)."""
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed()) % 256
        last = following or last


def _skip_picture_order(bits: _Bits) -> None:
    kind = bits.golomb()
    if kind == 0:
        bits.golomb()
    elif kind == 1:
        bits.take(1)
        bits.golomb()
        bits.golomb()
        for _ in range(bits.golomb()):
            bits.golomb()


def _slice_field(unit: bytes, sequence: SequenceParameters | None) -> _Field | None:
    """Return the field of a slice (section 7.3.3); None for a slice of a frame."""
    if sequence is None or sequence.frames_only:
        return None
    bits = _Bits(unit[:_SLICE_HEADER_BYTES])
    try:
        bits.golomb()  # first macroblock
        bits.golomb()  # type
        bits.golomb()  # picture parameter set
        if sequence.separate_planes:
            bits.take(2)
        frame_num = bits.take(sequence.frame_num_bits)
        return _Field(frame_num, bool(bits.take(1))) if bits.take(1) else None
    except IndexError:
        return None
