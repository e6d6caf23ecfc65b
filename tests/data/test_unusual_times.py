"""Streams with missing, repeated or wrong times: every frame is the one of a full decode."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from tests.data.conftest import WriteVideo, numbered_image
from tests.data.streams import (
    ENCODING,
    ReadNumbers,
    check_every_frame,
    frame_alone,
    rename_box,
    scan,
    write_with_options,
)
from videopool.data.decoding.decode import open_video
from videopool.data.decoding.source import Source
from videopool.data.decoding.timeline import read_timeline
from videopool.prepare.encode import encode


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_fewer_frames_than_a_decoder_holds_back(
    tmp_path: Path, frames: int, write_video: WriteVideo, read_numbers: ReadNumbers
) -> None:
    """FFmpeg finds no start time in such a Matroska file."""
    path = write_video(tmp_path / "a.mkv", frames)
    with open_video(path) as video:
        assert video.timing.frames == frames
        assert read_numbers(video.frames_at((np.arange(frames) + 0.5) / 10)) == list(range(frames))
    assert scan(path).reason == ""


def earlier(path: Path, seconds: float, from_keyframe: int = 0) -> Path:
    """Write a copy as mkv with earlier times, which may be below 0."""
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
    """FFmpeg gives no time to these frames, which precede the first keyframe."""
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
    """Frames without a time are counted if they can be decoded."""
    path = earlier(write_video(tmp_path / "a.mp4", 60, gop=12), 0.5)
    check_every_frame(path, list(range(60)), 10, read_numbers)


@pytest.mark.parametrize(("suffix", "codec"), [("264", "libx264"), ("265", "libx265")])
def test_the_rate_of_a_raw_stream(
    tmp_path: Path, suffix: str, codec: str, write_video: WriteVideo, read_numbers: ReadNumbers
) -> None:
    """The rate is in the parameter sets; FFmpeg's average rate is a default."""
    path = write_video(tmp_path / f"a.{suffix}", 40, codec=codec)
    check_every_frame(path, list(range(40)), 10, read_numbers)


def test_an_mp4_without_display_times(tmp_path: Path, write_video: WriteVideo, read_numbers: ReadNumbers) -> None:
    """The times of its B-frames are decoding times, so frames are counted in the order of the decoder."""
    path = write_video(tmp_path / "a.mp4", 40, b_frames=2)
    rename_box(path, b"ctts")
    rename_box(path, b"edts")
    check_every_frame(path, list(range(40)), 10, read_numbers)
    assert not read_timeline(path).timed


def test_two_frames_at_one_time(tmp_path: Path, write_video: WriteVideo, read_numbers: ReadNumbers) -> None:
    """The second frame is on display, and all others keep their times."""
    ticks = [*range(21), *range(23, 62)]
    path = write_video(tmp_path / "a.mp4", 60, b_frames=0, ticks=ticks)
    data = path.read_bytes()
    entry, repeated = struct.pack(">II", 1, 3 * 1024), struct.pack(">II", 1, 0)  # the duration of frame 20
    assert data.count(entry) == 1
    path.write_bytes(data.replace(entry, repeated))
    expected = [*range(20), *range(21, 60)]
    middles = (np.arange(59) + 0.5) / 10
    with open_video(path) as video:
        assert video.timing.duration_seconds == pytest.approx(5.9)
        assert read_numbers(video.frames_at(middles)) == expected
    for index in (0, 19, 20, 21, 58):
        assert read_numbers(frame_alone(path, middles[index])[:, None]) == [expected[index]]
    assert (scan(path).reason, scan(path).frames_decodable) == ("", 60)
    encode(Source(path), tmp_path / "copy.mp4", ENCODING)
    with open_video(tmp_path / "copy.mp4") as video:
        assert read_numbers(video.frames_at(middles)) == expected


def test_a_frame_whose_time_is_far_too_late(tmp_path: Path, write_video: WriteVideo, read_numbers: ReadNumbers) -> None:
    """The frame is left out; those around it are intact."""
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
    assert scan(path).reason == ""
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


@pytest.mark.slow
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
