"""Palettes, fields, hidden frames and open groups: every frame is the one of a full decode."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.data.conftest import WriteVideo, numbered_image
from tests.data.field_coded import brightness_of, write_field_coded
from tests.data.streams import (
    ReadNumbers,
    check_every_frame,
    frame_alone,
    scan,
    write_with_options,
)
from videopool.data.decoding.container import open_container
from videopool.data.decoding.decode import open_video
from videopool.data.decoding.reader import DecodeError


def write_ivf(path: Path, codec: bytes, packets: list[tuple[int, bytes]], announced: int) -> Path:
    """Write an IVF file of (time, packet), with ``announced`` frames in the header."""
    header = struct.pack("<4sHH4sHHIIII", b"DKIF", 0, 32, codec, 64, 48, 10, 1, announced, 0)
    path.write_bytes(header + b"".join(struct.pack("<IQ", len(data), pts) + data for pts, data in packets))
    return path


# --- palettes ------------------------------------------------------------------------------------------------------


def write_palette_video(path: Path, frames: int, codec: str = "rawvideo") -> Path:
    """Write frames that show their number in bars; black is entry 7 and white entry 200 of a palette."""
    palette = np.zeros((256, 4), np.uint8)
    palette[:, 3], palette[200] = 255, 255
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "pal8"
        for number in range(frames):
            cells = np.where(numbered_image(number, (64, 48))[..., 0] > 0, 200, 7).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray((cells, palette), format="pal8")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(("name", "codec"), [("a.avi", "rawvideo"), ("a.mov", "rawvideo"), ("z.avi", "zmbv")])
def test_a_palette_that_is_stored_once(tmp_path: Path, name: str, codec: str, read_numbers: ReadNumbers) -> None:
    path = write_palette_video(tmp_path / name, 40, codec)
    check_every_frame(path, list(range(40)), 10, read_numbers)
    with pytest.raises(DecodeError, match=r"palette.*use the decoder auto"), open_video(path, decoder="decord"):
        pass


def test_quicktime_in_shades_of_gray(tmp_path: Path) -> None:
    """The decoder makes a palette from the depth in the header; a seek must not lose it."""
    path = tmp_path / "gray.mov"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("qtrle", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "gray"
        for number in range(30):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64), 8 * number, np.uint8), format="gray")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with av.open(str(path)) as container:
        full = [frame.to_ndarray(format="rgb24")[0, 0, 0] for frame in container.decode(video=0)]
    assert len(set(full)) == 30
    assert [int(frame_alone(path, (number + 0.5) / 10)[0, 0, 0]) for number in (0, 7, 29)] == [
        full[n] for n in (0, 7, 29)
    ]


# --- fields --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "ts", "avi", "flv"])
@pytest.mark.parametrize("mixed", [False, True])
def test_fields_that_are_packets(tmp_path: Path, suffix: str, mixed: bool) -> None:
    """``mixed``: some frames are one packet, others two, in containers whose packets have individual durations."""
    both = (lambda number: number % 3 == 1) if mixed and suffix in ("mp4", "mov", "ts") else (lambda number: False)
    path = write_field_coded(tmp_path / f"fields.{suffix}", 50, both=both)
    with open_video(path) as video:
        assert video.timing.frames == 50
        assert video.timing.fps == pytest.approx(25, rel=1e-3)
        expected = [gray(brightness_of(number)) for number in range(50)]
        middles = (np.arange(50) + 0.5) / 25
        assert video.frames_at(middles)[0, :, 20, 20].tolist() == expected
    assert int(frame_alone(path, middles[33])[0, 20, 20]) == expected[33]
    found = scan(path)
    assert (found.reason, found.frames_listed, found.frames_decodable) == ("", 50, 50)
    assert found.duration_seconds == pytest.approx(2, rel=1e-3)


def gray(brightness: int) -> int:
    """Convert limited-range luma to RGB (ITU-T H.273)."""
    return min(255, max(0, round((brightness - 16) * 255 / 219)))


# --- hidden frames -------------------------------------------------------------------------------------------------


def with_hidden_frames(path: Path, bit: int) -> list[tuple[int, bytes]]:
    """Return (number, data) of the packets of a video, every tenth twice: first with ``show_frame`` cleared."""
    packets = []
    with av.open(str(path)) as source:
        for number, packet in enumerate(packet for packet in source.demux(video=0) if packet.size):
            data = bytes(packet)
            assert data[0] & bit
            if number % 10 == 3:
                packets.append((number, bytes([data[0] & ~bit]) + data[1:]))
            packets.append((number, data))
    return packets


def test_hidden_frames_of_vp8(tmp_path: Path, write_video: WriteVideo, read_numbers: ReadNumbers) -> None:
    plain = write_video(tmp_path / "plain.webm", 60, codec="libvpx", gop=1, b_frames=0)
    path = tmp_path / "hidden.webm"
    with av.open(str(plain)) as source, av.open(str(path), "w") as target:
        out = target.add_stream_from_template(source.streams.video[0])
        for number, data in with_hidden_frames(plain, 0x10):
            packet = av.Packet(data)
            packet.pts = packet.dts = number * 100
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, 1000), out, number % 10 != 3
            target.mux(packet)
    with open_container(path) as container:
        assert sum(packet.size > 0 for packet in container.demux(video=0)) == 66
    check_every_frame(path, list(range(60)), 10, read_numbers)


@pytest.mark.parametrize(("codec", "name", "bit"), [("libvpx", b"VP80", 0x10), ("libvpx-vp9", b"VP90", 0x02)])
def test_hidden_frames_and_a_wrong_count_in_ivf(
    tmp_path: Path, codec: str, name: bytes, bit: int, write_video: WriteVideo, read_numbers: ReadNumbers
) -> None:
    plain = write_video(tmp_path / "plain.webm", 60, codec=codec, gop=1, b_frames=0)
    for announced in (0, 7, 66, 5000):
        path = write_ivf(tmp_path / f"{announced}.ivf", name, with_hidden_frames(plain, bit), announced)
        check_every_frame(path, list(range(60)), 10, read_numbers)


WHOLE: dict[str, tuple[str, dict[str, str]]] = {
    "open.mp4": ("libx264", {"g": "12", "x264-params": "open-gop=1:bframes=3"}),
    "open.ts": ("libx264", {"g": "12", "x264-params": "open-gop=1:bframes=3"}),
    "refresh.mp4": ("libx264", {"g": "12", "x264-params": "intra-refresh=1"}),
    "refresh.ts": ("libx264", {"g": "12", "x264-params": "intra-refresh=1"}),
    "open265.ts": ("libx265", {"x265-params": "open-gop=1:keyint=12:log-level=none"}),
    "interlaced.ts": ("libx264", {"g": "12", "x264-params": "interlaced=1"}),
}


@pytest.mark.parametrize("name", WHOLE)
def test_intact_files_have_no_errors(tmp_path: Path, name: str, read_numbers: ReadNumbers) -> None:
    path = write_with_options(tmp_path / name, 60, *WHOLE[name])
    check_every_frame(path, list(range(60)), 10, read_numbers)
    assert scan(path).left_out == 0
