"""Times from an index are those of all packets, and a clip reads a small part of a file."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from tests.data.conftest import WriteVideo, numbered_image
from videopool.data.decoding import pyav_reader
from videopool.data.decoding.container import open_container
from videopool.data.decoding.decode import open_video
from videopool.data.decoding.index_times import IndexTimes, index_times
from videopool.data.decoding.mp4 import sample_times
from videopool.data.decoding.reader import DecodeError
from videopool.data.decoding.source import Source
from videopool.data.decoding.timeline import read_timeline

ReadNumbers = Callable[[torch.Tensor], list[int]]


def times_of(path: Path) -> IndexTimes | None:
    source = Source(path)
    with contextlib.closing(open_container(source)) as container:
        return index_times(container, source)


def check_like_list(path: Path) -> IndexTimes:
    """Return the times of the index, after a comparison with those of all packets."""
    times, listed = times_of(path), read_timeline(path)
    assert times is not None
    np.testing.assert_allclose(times.starts, listed.starts, atol=1e-9)
    assert np.abs(times.pts - listed.pts).max() <= times.slack
    assert times.timing.frames == listed.info.frames
    assert times.timing.duration_seconds == pytest.approx(listed.info.duration_seconds, abs=1e-9)
    assert times.timing.fps == pytest.approx(listed.info.fps, rel=1e-9)
    return times


@pytest.mark.parametrize("seed", range(12))
def test_variable_rate_in_mp4(tmp_path: Path, seed: int, write_video: WriteVideo, read_numbers: ReadNumbers) -> None:
    rng = np.random.default_rng(seed)
    frames = int(rng.integers(3, 80))
    ticks = np.cumsum(rng.integers(1, 9, frames)) - 1
    path = write_video(
        tmp_path / ("a.mp4" if seed % 2 else "a.mov"),
        frames,
        fps=30,
        gop=int(rng.integers(2, 20)),
        ticks=ticks.tolist(),
        b_frames=seed % 4,
        codec="libx265" if seed % 3 == 2 else "libx264",
    )
    check_like_list(path)
    starts = (ticks - ticks[0]) / 30
    times = np.sort(rng.uniform(0, starts[-1] + 0.1, 6))
    expected = (np.searchsorted(starts, times + 1e-5, side="right") - 1).tolist()
    with open_video(path) as video:
        assert read_numbers(video.frames_at(times)) == expected
        assert video._reader._times is not None  # the index was used, no packets were listed


def test_sample_times_are_those_of_the_packets(tmp_path: Path, write_video: WriteVideo) -> None:
    path = write_video(tmp_path / "a.mp4", 20, ticks=[0, 1, 5, *range(7, 24)], b_frames=2)
    times = sample_times(Source(path), 1)
    assert times is not None
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    np.testing.assert_array_equal(times.dts - times.dts[0], [p.dts - packets[0].dts for p in packets])
    np.testing.assert_array_equal(times.pts - times.pts[0], [p.pts - packets[0].pts for p in packets])
    assert sample_times(Source(path), 7) is None  # no such track
    assert sample_times(Source(data=path.read_bytes()), 1) is not None
    assert path.read_bytes().count(b"udta") == 1
    fragmented = path.read_bytes().replace(b"udta", b"mvex")  # says that there are samples outside the header
    assert sample_times(Source(data=fragmented), 1) is None
    broken = path.read_bytes().replace(b"ctts", b"ctt\0").replace(b"stts", b"stt\0")
    assert sample_times(Source(data=broken), 1) is None
    assert sample_times(Source(data=b"\0\0\0\1junk"), 1) is None
    assert sample_times(Source(data=b"\0\0\0\0"), 1) is None


def test_fragments_are_listed(tmp_path: Path, read_numbers: ReadNumbers) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w", options={"movflags": "frag_keyframe+empty_moov"}) as target:
        stream = target.add_stream("libx264", rate=10, options={"g": "10"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(40):
            frame = av.VideoFrame.from_ndarray(numbered_image(number, (64, 48)))
            target.mux(stream.encode(frame))
        target.mux(stream.encode())
    assert times_of(path) is None
    with open_video(path) as video:
        assert read_numbers(video.frames_at([0.05, 1.75, 3.95])) == [0, 17, 39]


@pytest.mark.parametrize("fps", [10, 24, 25, 30, 60])
@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "libx264"), ("a.webm", "libvpx"), ("a.mkv", "libx265")])
def test_constant_rate_in_matroska(
    tmp_path: Path, fps: int, name: str, codec: str, write_video: WriteVideo, read_numbers: ReadNumbers
) -> None:
    path = write_video(tmp_path / name, 70, fps=fps, gop=12, codec=codec)
    times = check_like_list(path)
    assert times.timing.fps == fps
    assert times.timing.frames == 70
    for index in (0, 1, 11, 12, 35, 69):
        with open_video(path) as video:
            assert read_numbers(video.frames_at([(index + 0.5) / fps])) == [index]
            assert video._reader._times is not None


def test_frames_missing_from_a_constant_rate(
    tmp_path: Path, write_video: WriteVideo, read_numbers: ReadNumbers
) -> None:
    """The frame before stays on display, according to the index and to all packets."""
    ticks = [number for number in range(60) if number % 7 != 3]
    path = write_video(tmp_path / "a.mkv", len(ticks), fps=30, gop=6, ticks=ticks)
    listed = read_timeline(path)
    assert len(listed.pts) == len(ticks)
    with open_video(path) as video:
        timing = video.timing
        assert read_numbers(video.frames_at([(tick + 0.5) / 30 for tick in (2, 3, 4, 10, 59)])) == [2, 2, 3, 8, 50]
    assert timing == listed.info.timing


def test_a_matroska_without_an_index(tmp_path: Path, write_video: WriteVideo, read_numbers: ReadNumbers) -> None:
    """The packets of an interrupted recording are listed; there are no others."""
    path = write_video(tmp_path / "a.mkv", 100, fps=25, gop=10)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    assert times_of(path) is None
    try:
        frames = read_timeline(path).info.frames
    except DecodeError as error:
        assert "truncated" in error.reason  # noqa: PT017 (it depends on where the file was cut)
    else:
        assert frames < 90


def test_a_wrong_index_is_detected(
    tmp_path: Path, write_video: WriteVideo, read_numbers: ReadNumbers, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "a.mp4", 60, gop=12)
    right = times_of(path)
    assert right is not None
    pts = right.pts.copy()
    pts[30:] += 7
    wrong = IndexTimes(pts, right.starts, right.timing)
    monkeypatch.setattr(pyav_reader, "index_times", lambda container, source: wrong)
    with open_video(path) as video:
        assert read_numbers(video.frames_at([0.5, 4.05])) == [5, 40]
        assert video._reader._times is None


def test_frame_at() -> None:
    times = IndexTimes(np.array([10, 43, 77, 110]), np.zeros(4), None, slack=1)  # type: ignore[arg-type]
    assert [times.frame_at(pts) for pts in (9, 10, 11, 42, 44, 76, 78, 111)] == [0, 0, 0, 1, 1, 2, 2, 3]
    assert [times.frame_at(pts) for pts in (None, 0, 8, 12, 60, 112)] == [None] * 6


class _Counted(io.BytesIO):
    """Bytes in memory that count the bytes that are read."""

    taken = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        type(self).taken += len(data)
        return data


@pytest.mark.parametrize("name", ["a.mp4", "variable.mp4", "a.mkv"])
def test_a_clip_reads_little_of_a_large_file(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / name
    noise = np.random.default_rng(0).integers(0, 256, (8, 240, 320, 3)).astype(np.uint8)
    with av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=25, options={"crf": "18", "preset": "ultrafast", "g": "10"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 25)
        for number in range(200):
            frame = av.VideoFrame.from_ndarray(noise[number % 8])
            frame.pts = number + (number // 3 if "variable" in name else 0)
            frame.time_base = Fraction(1, 25)
            target.mux(stream.encode(frame))
        target.mux(stream.encode())
    data = path.read_bytes()
    assert len(data) > 10_000_000
    monkeypatch.setattr(Source, "for_ffmpeg", lambda self: _Counted(self.data))
    _Counted.taken = 0
    with open_video(data) as video:
        video.frames_at([video.timing.duration_seconds / 2], 48)
    assert _Counted.taken < len(data) / 4
