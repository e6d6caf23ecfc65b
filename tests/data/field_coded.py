"""Write H.264 streams whose frames are coded as two fields, without an encoder (ITU-T H.264, picture structure).

Every macroblock is I_PCM: the stream contains its samples, so that any decoder returns them exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

MACROBLOCKS = (4, 2)  # columns and rows of a field: frames of 64 x 64 pixels
FRAME_TICKS = 3600  # of 1/90000 s: 25 frames a second
_IDR_EVERY = 10  # frames


class _Writer:
    """Bits of a NAL unit."""

    def __init__(self) -> None:
        self.bits: list[str] = []

    def fixed(self, size: int, value: int) -> None:
        self.bits.append(format(value, f"0{size}b"))

    def golomb(self, *values: int) -> None:
        for value in values:
            code = format(value + 1, "b")
            self.bits.append("0" * (len(code) - 1) + code)

    def align(self) -> None:
        self.bits.append("0" * (-len("".join(self.bits)) % 8))

    def unit(self, reference: int, kind: int) -> bytes:
        self.fixed(1, 1)
        self.align()
        bits = "".join(self.bits)
        payload = int(bits, 2).to_bytes(len(bits) // 8, "big")
        escaped, zeros = bytearray(), 0
        for byte in payload:
            if zeros >= 2 and byte <= 3:
                escaped.append(3)
                zeros = 0
            escaped.append(byte)
            zeros = zeros + 1 if byte == 0 else 0
        return b"\0\0\0\1" + bytes([reference << 5 | kind]) + bytes(escaped)


def parameter_sets() -> bytes:
    """Return sequence and picture parameter sets of a Main profile stream that may contain fields."""
    sequence = _Writer()
    sequence.fixed(24, 77 << 16 | 30)  # Main, level 3
    sequence.golomb(0, 0, 0, 4, 1)  # number, 4 bits of frame_num, order type 0 with 8 bits, one reference frame
    sequence.fixed(1, 0)
    sequence.golomb(MACROBLOCKS[0] - 1, MACROBLOCKS[1] - 1)
    sequence.fixed(5, 0b00100)  # frame_mbs_only 0, no adaptive frames, direct_8x8, no cropping, no VUI
    picture = _Writer()
    picture.golomb(0, 0)
    picture.fixed(2, 0)
    picture.golomb(0, 0, 0)
    picture.fixed(3, 0)
    picture.golomb(0, 0, 0)
    picture.fixed(3, 0b100)
    return sequence.unit(3, 7) + picture.unit(3, 8)


def coded_field(number: int, bottom: int, brightness: int) -> bytes:
    """Return one field of frame ``number``, of uniform brightness."""
    key, place = number % _IDR_EVERY == 0 and not bottom, number % _IDR_EVERY
    field = _Writer()
    field.golomb(0, 7, 0)  # first macroblock, intra, parameter set
    field.fixed(4, place % 16)
    field.fixed(2, 0b10 | bottom)
    if key:
        field.golomb(number // _IDR_EVERY % 2)
    field.fixed(8, (2 * place + bottom) % 256)
    field.fixed(2 if key else 1, 0)
    field.golomb(0, 1)  # no change of quantizer, no deblocking
    for _ in range(MACROBLOCKS[0] * MACROBLOCKS[1]):
        field.golomb(25)  # I_PCM
        field.align()
        field.fixed(8 * 256, int.from_bytes(bytes([brightness]) * 256, "big"))
        field.fixed(8 * 128, int.from_bytes(bytes([128]) * 128, "big"))
    return field.unit(1, 5 if key else 1)


def brightness_of(number: int) -> int:
    """Return the brightness of frame ``number``, different for 50 frames."""
    return 20 + 4 * number % 212


def write_field_coded(path: Path, frames: int, *, both: Callable[[int], bool] = lambda number: False) -> Path:
    """Write a video in which every field is a packet, in the container of the suffix.

    ``both(number)``: the two fields of this frame share a packet.
    """
    import av

    stream_file = path.with_suffix(".264")
    fields = [[coded_field(number, bottom, brightness_of(number)) for bottom in (0, 1)] for number in range(frames)]
    fields = [
        [parameter_sets() + pair[0], pair[1]] if number % _IDR_EVERY == 0 else pair
        for number, pair in enumerate(fields)
    ]
    stream_file.write_bytes(b"".join(b"".join(pair) for pair in fields))
    with av.open(str(stream_file)) as source, av.open(str(path), "w") as target:
        out = target.add_stream_from_template(source.streams.video[0])
        out.time_base = Fraction(1, 50)
        for number, pair in enumerate(fields):
            parts: Sequence[bytes] = [b"".join(pair)] if both(number) else pair
            for place, data in enumerate(parts):
                packet = av.Packet(data)
                packet.stream, packet.time_base = out, Fraction(1, 90000)
                packet.pts = packet.dts = number * FRAME_TICKS + place * FRAME_TICKS // 2
                packet.duration = FRAME_TICKS // len(parts)
                packet.is_keyframe = number % _IDR_EVERY == 0
                target.mux(packet)
    stream_file.unlink()
    return path
