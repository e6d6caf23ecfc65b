"""Streams whose packets do not tell their frames: each frame alone is the one that a full decode gives."""

from __future__ import annotations

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from tests.data.conftest import WriteVideo, numbered_image
from tests.data.field_coded import brightness_of, write_field_coded
from videopool.data.decoding.container import open_container
from videopool.data.decoding.decode import DecodeError, open_video
from videopool.data.decoding.listed_frames import frames_from
from videopool.data.decoding.source import Source
from videopool.data.decoding.timeline import read_timeline
from videopool.prepare.encode import Encoding, encode
from videopool.prepare.listed import ListedFile
from videopool.prepare.measure import MeasuredFile, measure

ReadNumbers = Callable[[torch.Tensor], list[int]]
ENCODING = Encoding(short_side=48, keyframe_interval=12, crf=10, preset="ultrafast")


def scanned(path: Path) -> MeasuredFile:
    return measure(ListedFile(path.name), base=path.parent, quick=False, sha256=False)


def frame_alone(path: Path, seconds: float, decoder: str = "auto") -> torch.Tensor:
    """The frame on display, uint8 [3,H,W], from a reader that has read nothing before."""
    with open_video(path, decoder=decoder) as video:
        return video.frames_at([seconds])[:, 0]


def write_ivf(path: Path, codec: bytes, packets: list[tuple[int, bytes]], announced: int) -> Path:
    """An IVF file: packets with their times, and a number of frames in the header."""
    header = struct.pack("<4sHH4sHHIIII", b"DKIF", 0, 32, codec, 64, 48, 10, 1, announced, 0)
    path.write_bytes(header + b"".join(struct.pack("<IQ", len(data), pts) + data for pts, data in packets))
    return path


def check_every_frame(path: Path, expected: list[int], fps: float, read_numbers: ReadNumbers) -> None:
    """Reader, scan and transcode agree on ``expected``, the numbers that the frames show."""
    middles = (np.arange(len(expected)) + 0.5) / fps
    with open_video(path) as video:
        assert video.timing.frames == len(expected)
        assert video.timing.duration_seconds == pytest.approx(len(expected) / fps, rel=1e-3)
        assert read_numbers(video.frames_at(middles)) == expected
    for index in {0, 1, len(expected) // 3, len(expected) // 2, len(expected) - 2, len(expected) - 1}:
        assert read_numbers(frame_alone(path, middles[index])[:, None]) == [expected[index]]
    found = scanned(path)
    assert (found.reason, found.frames_decodable) == ("", len(expected))
    copy = path.with_name(f"{path.name}.copy.mp4")
    encode(Source(path), copy, ENCODING)
    with open_video(copy) as video:
        assert read_numbers(video.frames_at(middles)) == expected


# --- times ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_fewer_frames_than_a_decoder_holds_back(
    tmp_path: Path, frames: int, write_video: WriteVideo, read_numbers: ReadNumbers
) -> None:
    """FFmpeg then finds no start time in a Matroska file."""
    path = write_video(tmp_path / "a.mkv", frames)
    with open_video(path) as video:
        assert video.timing.frames == frames
        assert read_numbers(video.frames_at((np.arange(frames) + 0.5) / 10)) == list(range(frames))
    assert scanned(path).reason == ""


def earlier(path: Path, seconds: float, from_keyframe: int = 0) -> Path:
    """A copy as mkv, with times that begin earlier, also before 0."""
    moved = path.with_name("earlier.mkv")
    keyframes = -1
    options = {"avoid_negative_ts": "disabled"}
    with av.open(str(path)) as source, av.open(str(moved), "w", container_options=options) as target:
        stream = source.streams.video[0]
        out = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            keyframes += packet.is_keyframe
            if packet.size and keyframes >= from_keyframe:
                shift = round(seconds / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, out
                target.mux(packet)
    return moved


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_leading_frames_before_time_0(tmp_path: Path, codec: str, read_numbers: ReadNumbers) -> None:
    """FFmpeg gives them no time, and they precede the first keyframe."""
    options = {"x264-params": "open-gop=1:keyint=10:bframes=3:scenecut=0:b-adapt=0"}
    if codec == "libx265":
        options = {"x265-params": "open-gop=1:keyint=10:bframes=3:scenecut=0:b-adapt=0:log-level=none"}
    whole = write_with_options(tmp_path / "a.mp4", 50, codec, options)
    with av.open(str(whole)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        second = [packet for packet in packets if packet.is_keyframe][1]
        begin, start = round(second.pts * second.time_base * 10), float(second.pts * second.time_base)
    leading = sum(packet.pts < second.pts and packet.dts > second.dts for packet in packets)
    assert leading
    path = earlier(whole, start, from_keyframe=1)
    check_every_frame(path, list(range(begin, 50)), 10, read_numbers)
    assert read_timeline(path).left_out == leading


def test_a_keyframe_before_time_0(tmp_path: Path, write_video: WriteVideo, read_numbers: ReadNumbers) -> None:
    """Frames without a time that can be decoded are counted."""
    path = earlier(write_video(tmp_path / "a.mp4", 60, gop=12), 0.5)
    check_every_frame(path, list(range(60)), 10, read_numbers)


@pytest.mark.parametrize(("suffix", "codec"), [("264", "libx264"), ("265", "libx265")])
def test_the_rate_of_a_raw_stream(
    tmp_path: Path, suffix: str, codec: str, write_video: WriteVideo, read_numbers: ReadNumbers
) -> None:
    """It is in the parameter sets; FFmpeg's average is a default."""
    path = write_video(tmp_path / f"a.{suffix}", 40, codec=codec)
    check_every_frame(path, list(range(40)), 10, read_numbers)


def test_an_mp4_without_display_times(tmp_path: Path, write_video: WriteVideo, read_numbers: ReadNumbers) -> None:
    """The times of its B-frames are those of decoding, so frames are counted in the order that the decoder gives."""
    path = write_video(tmp_path / "a.mp4", 40, b_frames=2)
    renamed_box(path, b"ctts")
    renamed_box(path, b"edts")
    check_every_frame(path, list(range(40)), 10, read_numbers)
    assert not read_timeline(path).timed


def test_two_frames_at_one_time(tmp_path: Path, write_video: WriteVideo, read_numbers: ReadNumbers) -> None:
    """The second one is on display, and all others keep their times."""
    ticks = [*range(21), *range(23, 62)]
    path = write_video(tmp_path / "a.mp4", 60, b_frames=0, ticks=ticks)
    data = path.read_bytes()
    entry, repeated = struct.pack(">II", 1, 3 * 1024), struct.pack(">II", 1, 0)  # how long frame 20 lasts
    assert data.count(entry) == 1
    path.write_bytes(data.replace(entry, repeated))
    expected = [*range(20), *range(21, 60)]
    middles = (np.arange(59) + 0.5) / 10
    with open_video(path) as video:
        assert video.timing.duration_seconds == pytest.approx(5.9)
        assert read_numbers(video.frames_at(middles)) == expected
    for index in (0, 19, 20, 21, 58):
        assert read_numbers(frame_alone(path, middles[index])[:, None]) == [expected[index]]
    assert (scanned(path).reason, scanned(path).frames_decodable) == ("", 60)
    encode(Source(path), tmp_path / "copy.mp4", ENCODING)
    with open_video(tmp_path / "copy.mp4") as video:
        assert read_numbers(video.frames_at(middles)) == expected


def test_a_frame_whose_time_is_far_too_late(tmp_path: Path, write_video: WriteVideo, read_numbers: ReadNumbers) -> None:
    """It is left out; the frames around it are intact."""
    path = tmp_path / "late.mkv"
    with av.open(str(write_video(tmp_path / "a.mp4", 60, b_frames=0))) as source, av.open(str(path), "w") as target:
        out = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.size:
                packet.pts += 2 * packet.duration // 3 + 14 * packet.duration if number == 20 else 0
                packet.stream = out
                target.mux(packet)
    with open_video(path) as video:
        assert read_numbers(video.frames_at([1.95, 2.05, 2.15, 3.45, 3.55, 5.95])) == [19, 19, 21, 34, 35, 59]
    assert read_numbers(frame_alone(path, 3.15)[:, None]) == [31]
    assert scanned(path).reason == ""
    encode(Source(path), tmp_path / "copy.mp4", ENCODING)
    with open_video(tmp_path / "copy.mp4") as video:
        assert read_numbers(video.frames_at([1.95, 2.15, 3.15, 5.95])) == [19, 21, 31, 59]


def test_an_animated_png_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.apng"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("apng", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb24"
        for number in range(12):
            frame = av.VideoFrame.from_ndarray(numbered_image(number, (64, 48)), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    times = (np.arange(12) + 0.5) / 10
    with open_video(path) as video, open_video(path.read_bytes()) as copy:
        assert video.timing == copy.timing
        assert torch.equal(video.frames_at(times), copy.frames_at(times))


# --- palettes ------------------------------------------------------------------------------------------------------


def write_palette_video(path: Path, frames: int, codec: str = "rawvideo") -> Path:
    """Frames with their number in bars, black 7 and white 200 of a palette."""
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
def test_a_palette_that_comes_once(tmp_path: Path, name: str, codec: str, read_numbers: ReadNumbers) -> None:
    path = write_palette_video(tmp_path / name, 40, codec)
    check_every_frame(path, list(range(40)), 10, read_numbers)
    with pytest.raises(DecodeError, match=r"palette.*set data\.decoder=auto"), open_video(path, decoder="decord"):
        pass


def test_quicktime_in_shades_of_gray(tmp_path: Path) -> None:
    """A palette that is none: the decoder makes one of the depth in the header, which a seek must not lose."""
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
    """``mixed``: some frames are a packet, as others of the same stream are two (not where a packet has one length)."""
    both = (lambda number: number % 3 == 1) if mixed and suffix in ("mp4", "mov", "ts") else (lambda number: False)
    path = write_field_coded(tmp_path / f"fields.{suffix}", 50, both=both)
    with open_video(path) as video:
        assert video.timing.frames == 50
        assert video.timing.fps == pytest.approx(25, rel=1e-3)
        expected = [gray(brightness_of(number)) for number in range(50)]
        middles = (np.arange(50) + 0.5) / 25
        assert video.frames_at(middles)[0, :, 20, 20].tolist() == expected
    assert int(frame_alone(path, middles[33])[0, 20, 20]) == expected[33]
    found = scanned(path)
    assert (found.reason, found.frames_listed, found.frames_decodable) == ("", 50, 50)
    assert found.duration_seconds == pytest.approx(2, rel=1e-3)


def gray(brightness: int) -> int:
    """Limited-range brightness as RGB (ITU-T H.273)."""
    return min(255, max(0, round((brightness - 16) * 255 / 219)))


# --- hidden frames -------------------------------------------------------------------------------------------------


def with_hidden_frames(path: Path, bit: int) -> list[tuple[int, bytes]]:
    """The packets of a video, every tenth twice, first with the flag ``show_frame`` cleared: (number, data)."""
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


# --- starts without a keyframe ---------------------------------------------------------------------------------------


def without_start(path: Path, packets: int) -> Path:
    """A copy of a transport or program stream without the bytes before packet number ``packets``."""
    with av.open(str(path)) as container:
        place = [packet.pos for packet in container.demux(video=0) if packet.size][packets]
    data = path.read_bytes()
    if path.suffix == ".ts":
        place -= place % 188
        data = data[: 2 * 188] + data[place:]  # the tables come first
    else:
        data = data[place:]
    cut = path.with_name(f"cut{path.suffix}")
    cut.write_bytes(data)
    return cut


@pytest.mark.parametrize(
    ("name", "codec", "b_frames"),
    [("a.ts", "mpeg2video", 2), ("a.ts", "libx264", 2), ("a.ts", "libx265", 2), ("a.mpg", "mpeg1video", 2)],
)
def test_a_start_without_a_keyframe(
    tmp_path: Path, name: str, codec: str, b_frames: int, write_video: WriteVideo, read_numbers: ReadNumbers
) -> None:
    size = (640, 480) if name.endswith("mpg") else (64, 48)  # a frame at least a pack of 2048 bytes
    whole = write_video(tmp_path / name, 80, fps=25, codec=codec, gop=20, b_frames=b_frames, size=size)
    path = without_start(whole, 7)
    with av.open(str(path)) as container:
        first = next(frame for frame in container.decode(video=0) if frame.key_frame)
        numbers = read_numbers(torch.from_numpy(first.to_ndarray(format="rgb24")).permute(2, 0, 1)[:, None])
    found = scanned(path)
    assert found.left_out is not None
    assert 0 < found.left_out < 20
    begin = numbers[0]
    assert 0 < begin <= 22
    check_every_frame(path, list(range(begin, 80)), 25, read_numbers)


def test_a_stream_without_any_frame_to_begin_with(tmp_path: Path) -> None:
    whole = write_with_options(tmp_path / "a.ts", 40, "libx264", {"g": "250", "sc_threshold": "0"})
    path = without_start(whole, 7)
    assert scanned(path).reason == "has no frame that can be decoded"


# --- keyframes that are none -----------------------------------------------------------------------------------------


def renamed_box(path: Path, box: bytes) -> None:
    data = path.read_bytes()
    assert data.count(box) == 1
    path.write_bytes(data.replace(box, b"free"))


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "mpeg4"), ("a.3gp", "h263"), ("a.mov", "libx264")])
def test_a_missing_table_of_keyframes(
    tmp_path: Path, name: str, codec: str, write_video: WriteVideo, read_numbers: ReadNumbers
) -> None:
    """A reader must take every frame for a keyframe then; FFmpeg looks into those of H.264."""
    path = write_video(tmp_path / name, 90, gop=30, b_frames=0, codec=codec, size=(176, 144))
    renamed_box(path, b"stss")
    assert read_timeline(path).false_keyframes == (codec != "libx264")
    with open_video(path) as video:
        expected = read_numbers(video.frames_at((np.arange(90) + 0.5) / 10))
    assert expected == list(range(90))
    for index in (1, 29, 45, 75, 89):
        assert read_numbers(frame_alone(path, (index + 0.5) / 10)[:, None]) == [index]


def test_a_wrong_table_of_keyframes(tmp_path: Path, write_video: WriteVideo, read_numbers: ReadNumbers) -> None:
    path = write_video(tmp_path / "a.mp4", 90, gop=30, b_frames=0, codec="mpeg4")
    data = bytearray(path.read_bytes())
    place = data.find(b"stss") + 8
    entries = int.from_bytes(data[place : place + 4], "big")
    assert entries > 2
    for entry in range(1, entries):  # all but the first, each some frames later
        at = slice(place + 4 + 4 * entry, place + 8 + 4 * entry)
        data[at] = (int.from_bytes(data[at], "big") + 5).to_bytes(4, "big")
    path.write_bytes(bytes(data))
    for index in (39, 40, 50, 54, 55, 59, 60, 89):
        assert read_numbers(frame_alone(path, (index + 0.5) / 10)[:, None]) == [index]


def test_an_avi_whose_index_marks_every_frame(
    tmp_path: Path, write_video: WriteVideo, read_numbers: ReadNumbers
) -> None:
    path = write_video(tmp_path / "a.avi", 60, gop=30, b_frames=0, codec="mpeg4")
    data = bytearray(path.read_bytes())
    place = data.rfind(b"idx1") + 8
    for entry in range(place, len(data) - 15, 16):
        if data[entry : entry + 4] == b"00dc":
            data[entry + 4] |= 0x10  # AVIIF_KEYFRAME
    path.write_bytes(bytes(data))
    for index in (1, 29, 45, 59):
        assert read_numbers(frame_alone(path, (index + 0.5) / 10)[:, None]) == [index]


# --- joined recordings -----------------------------------------------------------------------------------------------


def later(path: Path, seconds: float) -> Path:
    """A copy of a transport stream whose times begin later."""
    moved = path.with_name(f"later{path.suffix}")
    with av.open(str(path)) as source, av.open(str(moved), "w") as target:
        stream = source.streams.video[0]
        out = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.size:
                shift = round(seconds / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, out
                target.mux(packet)
    return moved


@pytest.mark.parametrize(
    ("name", "seconds"), [("a.ts", 0.0), ("a.mpg", 0.0), ("a.vob", 0.0), ("a.ts", 5000.0), ("a.mpg", 5000.0)]
)
def test_recordings_that_were_joined(
    tmp_path: Path, name: str, seconds: float, write_video: WriteVideo, read_numbers: ReadNumbers
) -> None:
    codec = "libx264" if name.endswith("ts") else "mpeg2video"
    first = write_video(tmp_path / name, 50, fps=25, gop=10, codec=codec)
    second = later(first, seconds) if seconds else first
    path = tmp_path / f"joined{first.suffix}"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    check_every_frame(path, [*range(50), *range(50)], 25, read_numbers)


def test_a_gap_of_some_seconds_is_none(tmp_path: Path, write_video: WriteVideo, read_numbers: ReadNumbers) -> None:
    first = write_video(tmp_path / "a.ts", 50, fps=25, gop=10)
    path = tmp_path / "joined.ts"
    path.write_bytes(first.read_bytes() + later(first, 6.0).read_bytes())
    with open_video(path) as video:
        assert video.timing.duration_seconds == pytest.approx(8.0, abs=0.1)
        assert read_numbers(video.frames_at([1.99, 5.0, 6.02, 7.99])) == [49, 49, 0, 49]


# --- damage ----------------------------------------------------------------------------------------------------------


def test_frames_with_errors_are_damage(tmp_path: Path, write_video: WriteVideo) -> None:
    path = write_video(tmp_path / "a.mp4", 60, gop=20, size=(160, 120))
    data, rng = bytearray(path.read_bytes()), np.random.default_rng(0)
    begin = data.find(b"mdat") + 100
    for place in rng.integers(begin, len(data) - 3000, 25):
        data[place] ^= int(rng.integers(1, 256))
    path.write_bytes(bytes(data))
    found = scanned(path)
    assert found.reason.startswith("is damaged: ")
    assert found.reason.endswith("frames can be decoded without errors")
    assert found.frames_decodable is not None
    assert found.frames_decodable < 60
    with pytest.raises(DecodeError), open_video(path) as video:
        video.frames_at((np.arange(60) + 0.5) / 10)
    with pytest.raises(DecodeError, match="is damaged"):
        encode(Source(path), tmp_path / "copy.mp4", ENCODING)


def write_with_options(path: Path, frames: int, codec: str, options: dict[str, str]) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(numbered_image(number, (64, 48)), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


WHOLE: dict[str, tuple[str, dict[str, str]]] = {
    "open.mp4": ("libx264", {"g": "12", "x264-params": "open-gop=1:bframes=3"}),
    "open.ts": ("libx264", {"g": "12", "x264-params": "open-gop=1:bframes=3"}),
    "refresh.mp4": ("libx264", {"g": "12", "x264-params": "intra-refresh=1"}),
    "refresh.ts": ("libx264", {"g": "12", "x264-params": "intra-refresh=1"}),
    "open265.ts": ("libx265", {"x265-params": "open-gop=1:keyint=12:log-level=none"}),
    "interlaced.ts": ("libx264", {"g": "12", "x264-params": "interlaced=1"}),
}


@pytest.mark.parametrize("name", WHOLE)
def test_whole_files_are_clean(tmp_path: Path, name: str, read_numbers: ReadNumbers) -> None:
    path = write_with_options(tmp_path / name, 60, *WHOLE[name])
    check_every_frame(path, list(range(60)), 10, read_numbers)
    assert scanned(path).left_out == 0


def test_mxf_without_display_times(tmp_path: Path, read_numbers: ReadNumbers) -> None:
    path = tmp_path / "a.mxf"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv422p10le"
        stream.codec_context.max_b_frames = 3
        for number in range(60):
            frame = av.VideoFrame.from_ndarray(numbered_image(number, (64, 48)), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame.reformat(format="yuv422p10le")))
        container.mux(stream.encode())
    check_every_frame(path, list(range(60)), 25, read_numbers)


def test_frames_are_decoded_from_any_entry(tmp_path: Path, write_video: WriteVideo) -> None:
    """Decoding from a keyframe of a transport stream, found by its place in the file, gives the rest of the frames."""
    path = write_video(tmp_path / "a.ts", 60, fps=25, gop=10)
    timeline = read_timeline(path)
    assert (timeline.positions >= 0).all()
    every: list[Any] = [index for index, _ in frames_from(Source(path), timeline)]
    for entry in timeline.keyframes[1:]:
        begin = int(np.searchsorted(timeline.pts, entry))
        assert [index for index, _ in frames_from(Source(path), timeline, int(entry))] == every[begin:]
