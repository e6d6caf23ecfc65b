"""A transcoded file shows the same frames at the same times as its source."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import file_size_limit
from tests.data.conftest import WriteVideo
from videopool.data.decoding.decode import open_video
from videopool.data.decoding.pixels import Upright
from videopool.data.decoding.reader import DecodeError
from videopool.data.decoding.source import Source
from videopool.data.decoding.timeline import read_timeline
from videopool.data.decoding.y4m_reader import read_layout
from videopool.prepare.distinct_files import ListedFile
from videopool.prepare.encode import Encoding, encode, encode_file, scaled_even

FINE = Encoding(short_side=256, keyframe_interval=6, crf=10, preset="ultrafast")
RAW = Encoding(short_side=256, uncompressed=True)
NEAR = 2  # mean difference of pixels, of 255, that coding and rounding of colors may make; a wrong range makes 9


def encoded(source: Path, to: Path, encoding: Encoding = FINE) -> Path:
    encode(Source(source), to, encoding)
    return to


def frames(path: Path, count: int, short_side: int) -> torch.Tensor:
    """``count`` frames spread over the video, decoded as for training."""
    with open_video(path) as video:
        times = (np.arange(count) + 0.5) / count * video.timing.duration_seconds
        return video.frames_at(times, short_side).double()


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_frames_keep_their_times(codec: str, tmp_path: Path, write_video: WriteVideo, read_numbers: object) -> None:
    ticks = [0, 1, 2, 5, 6, 10, 17, 18, 19, 20, 21, 30, 31, 32]
    source = write_video(tmp_path / "a.mp4", 14, ticks=ticks, fps=25, codec=codec, b_frames=0)
    target = encoded(source, tmp_path / "b.mp4")
    before, after = read_timeline(source), read_timeline(target)
    np.testing.assert_allclose(after.starts, np.array(ticks) / 25, atol=1e-6)
    np.testing.assert_allclose(after.starts, before.starts, atol=1e-6)
    with open_video(target) as video:
        assert read_numbers(video.frames_at(before.starts)) == list(range(14))


def test_a_constant_rate_stays_exact(tmp_path: Path, write_video: WriteVideo) -> None:
    source = write_video(tmp_path / "a.avi", 31, fps=25, codec="mpeg4", b_frames=0)
    before, after = read_timeline(source), read_timeline(encoded(source, tmp_path / "b.mp4"))
    assert after.info.duration_seconds == pytest.approx(before.info.duration_seconds, abs=1e-6)
    assert after.info.frames == 31


@pytest.mark.parametrize("gop", [1, 5, 12])
def test_keyframes_are_close(gop: int, tmp_path: Path) -> None:
    source = still(tmp_path / "a.mp4", "libx264", "yuv420p", count=40)
    assert len(read_timeline(source).keyframes) == 1
    target = encoded(source, tmp_path / "b.mp4", Encoding(256, gop, 20, "medium"))
    timeline = read_timeline(target)
    places = [*np.searchsorted(timeline.pts, timeline.keyframes), 40]
    assert np.diff(places).max() == gop
    assert not timeline.open_groups
    assert timeline.hidden == 0


@given(st.integers(1, 4000), st.integers(1, 4000), st.integers(2, 1000))
def test_sizes(width: int, height: int, short_side: int) -> None:
    new = scaled_even(width, height, short_side)
    assert new[0] % 2 == new[1] % 2 == 0
    assert min(new) >= 2
    scale = min(1, short_side / min(width, height))
    assert abs(new[0] - width * scale) <= 1 or width * scale < 2
    assert abs(new[1] - height * scale) <= 1 or height * scale < 2


def test_sizes_of_files(tmp_path: Path, write_video: WriteVideo) -> None:
    source = write_video(tmp_path / "a.mp4", 2, size=(200, 100))
    for short_side, expected in ((50, (100, 50)), (51, (102, 52)), (100, (200, 100)), (400, (200, 100))):
        info = read_timeline(encoded(source, tmp_path / "b.mp4", Encoding(short_side, 12, 20, "ultrafast"))).info
        assert (info.width, info.height) == expected


def still(path: Path, codec: str, pixels: str, *, full: bool = False, count: int = 5, space: int | None = None) -> Path:
    """A video of a still picture of smooth colors, in a format of pixels."""
    rows, columns = np.mgrid[0:96, 0:128]
    picture = np.stack([2 * columns, 255 - 2 * rows, (rows + columns)], axis=-1).clip(0, 255).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 128, 96, pixels
        if full:
            stream.codec_context.color_range = 2
        if space is not None:
            stream.codec_context.colorspace = space
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame = frame.reformat(format=pixels, dst_color_range=2 if full else 1, dst_colorspace=space)
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("codec", "pixels", "full"),
    [
        ("libx264", "yuv420p", False),
        ("libx264", "yuv444p", False),
        ("libx264", "yuv420p10le", False),
        ("libx265", "yuv422p10le", False),
        ("libx264", "yuvj420p", True),
        ("mjpeg", "yuvj422p", True),
        ("libx264rgb", "rgb24", False),
        ("ffv1", "gray", True),
    ],
)
def test_colors_stay(codec: str, pixels: str, full: bool, tmp_path: Path) -> None:
    source = still(tmp_path / "a.mkv", codec, pixels, full=full)
    target = encoded(source, tmp_path / "b.mp4")
    with av.open(str(target)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
    before, after = frames(source, 3, 96), frames(target, 3, 96)
    assert before.std() > 30
    assert (before - after).abs().mean() < NEAR


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["clips/video_90.mov", "clips/video_180.mov", "clips/h265_10bits.mp4", "trimmed/t9.mp4"]
)
def test_real_files_look_the_same(name: str, tmp_path: Path, shared_data: Path) -> None:
    source = shared_data / name
    target = encoded(source, tmp_path / "b.mp4")
    before, after = read_timeline(source), read_timeline(target)
    np.testing.assert_allclose(after.starts, before.starts, atol=1e-3)
    assert (after.upright, after.hidden) == (Upright(), 0)
    one, other = frames(source, 4, 200), frames(target, 4, 200)
    assert one.shape == other.shape
    assert (one - other).abs().mean() < NEAR


def test_frames_that_an_edit_list_hides_are_dropped(tmp_path: Path, shared_data: Path) -> None:
    target = encoded(shared_data / "trimmed/t3.mp4", tmp_path / "b.mp4")
    with av.open(str(target)) as container:
        assert sum(packet.size > 0 for packet in container.demux(video=0)) == 105


def test_sound_is_dropped(tmp_path: Path, shared_data: Path) -> None:
    source = shared_data / "clips/WUzgd7C1pWA.mp4"
    with av.open(str(source)) as container:
        assert container.streams.audio
    with av.open(str(encoded(source, tmp_path / "b.mp4"))) as container:
        assert [stream.type for stream in container.streams] == ["video"]


@pytest.mark.parametrize("name", ["corrupted.mp4", "zeromid10_g12.mp4", "truncated.avi", "audio_only.mp4", "empty.mp4"])
def test_damage_leaves_nothing(name: str, tmp_path: Path, shared_data: Path) -> None:
    found = encode_file(ListedFile(name), base=shared_data / "clips", to=tmp_path, encoding=FINE)
    assert found.reason
    assert not found.disk_full
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_hides_frames_of_a_whole_clip_is_damaged(tmp_path: Path, write_video: WriteVideo) -> None:
    whole = write_video(tmp_path / "a.mp4", 40, gop=10).read_bytes()
    begin = whole.index(b"mdat")
    middle = begin + (len(whole) - begin) // 2
    (tmp_path / "hole.mp4").write_bytes(whole[: middle - 400] + bytes(800) + whole[middle + 400 :])
    with pytest.raises(DecodeError):
        encode(Source(tmp_path / "hole.mp4"), tmp_path / "b.mp4", FINE)


def test_a_missing_source(tmp_path: Path) -> None:
    found = encode_file(ListedFile("none.mp4"), base=tmp_path, to=tmp_path / "to", encoding=FINE)
    assert found.reason == "cannot be read (No such file or directory)"


@pytest.mark.parametrize("encoding", [FINE, RAW])
def test_a_target_that_cannot_be_written(encoding: Encoding, tmp_path: Path, write_video: WriteVideo) -> None:
    source = write_video(tmp_path / "a.mp4", 30, size=(320, 240))
    with file_size_limit(1000):
        found = encode_file(ListedFile(source.name), base=tmp_path, to=tmp_path / "to", encoding=encoding)
    assert found.reason.startswith("cannot be encoded")
    assert list((tmp_path / "to").iterdir()) == []


def test_the_result_of_an_encoded_file(tmp_path: Path, write_video: WriteVideo) -> None:
    source = write_video(tmp_path / "sub/a.avi", 4, codec="mpeg4", b_frames=0)
    found = encode_file(ListedFile("sub/a.avi"), base=tmp_path, to=tmp_path / "to", encoding=FINE)
    state = source.stat()
    assert (found.size_bytes, found.mtime_ns, found.reason) == (state.st_size, state.st_mtime_ns, "")
    assert found.target_bytes == (tmp_path / "to/sub/a.mp4").stat().st_size


@pytest.mark.slow
def test_the_same_file_each_time(tmp_path: Path, shared_data: Path) -> None:
    """With presets that look ahead, x264 can read uninitialized memory."""
    contents, encoding = set(), Encoding(short_side=256, keyframe_interval=12, crf=20, preset="fast")
    for number in range(4):
        target = encoded(shared_data / "speed/h264_640_g12_0.mp4", tmp_path / f"{number}.mp4", encoding)
        contents.add(target.read_bytes())
    assert len(contents) == 1


def test_uncompressed_frames_are_exact(tmp_path: Path, write_video: WriteVideo) -> None:
    source = write_video(tmp_path / "a.mp4", 31, fps=25)
    target = encoded(source, tmp_path / "b.y4m", RAW)
    assert read_layout(Source(target)) is not None
    before, after = read_timeline(source), read_timeline(target)
    assert (after.info.frames, after.info.fps) == (31, pytest.approx(25))
    np.testing.assert_allclose(after.starts, before.starts, atol=1e-9)
    assert torch.equal(frames(source, 31, 48), frames(target, 31, 48))


def test_uncompressed_frames_at_a_variable_rate(tmp_path: Path, write_video: WriteVideo, read_numbers: object) -> None:
    ticks = [0, 1, 2, 5, 6, 10, 11, 13]
    source = write_video(tmp_path / "a.mp4", 8, ticks=ticks, fps=25, b_frames=0)
    target = encoded(source, tmp_path / "b.y4m", RAW)
    before = read_timeline(source)
    with open_video(target) as video:
        assert video.info.frames == 8
        assert video.info.fps == pytest.approx(before.info.fps, rel=1e-4)
        middles = (np.arange(8) + 0.5) / before.info.fps
        expected = np.searchsorted(before.starts, middles, side="right") - 1
        assert read_numbers(video.frames_at(middles)) == expected.tolist()


@pytest.mark.parametrize("fps", [24, 30, 60])
def test_uncompressed_frames_of_rounded_times(
    fps: int, tmp_path: Path, write_video: WriteVideo, read_numbers: object
) -> None:
    source = write_video(tmp_path / "a.mkv", 40, fps=fps)  # times in milliseconds
    with open_video(encoded(source, tmp_path / "b.y4m", RAW)) as video:
        assert read_numbers(video.frames_at((np.arange(40) + 0.5) / fps)) == list(range(40))


@pytest.mark.parametrize("encoding", [FINE, RAW])
def test_frames_of_another_size_are_scaled_to_the_first(
    encoding: Encoding, tmp_path: Path, write_video: WriteVideo
) -> None:
    parts = [write_video(tmp_path / f"{size[0]}.h264", 5, size=size) for size in ((64, 48), (96, 64))]
    source = tmp_path / "both.h264"
    source.write_bytes(b"".join(part.read_bytes() for part in parts))
    with open_video(encoded(source, tmp_path / ("b.y4m" if encoding.uncompressed else "b.mp4"), encoding)) as video:
        assert (video.info.width, video.info.height, video.info.frames) == (64, 48, 10)
        assert video.frames_at([0.0, 100.0]).shape == (3, 2, 48, 64)


@pytest.mark.parametrize("space", [1, 7])  # BT.709, SMPTE 240M
def test_uncompressed_colors_of_another_matrix(space: int, tmp_path: Path) -> None:
    source = still(tmp_path / "a.mp4", "libx264", "yuv420p", space=space)
    with av.open(str(source)) as container:
        assert next(container.decode(video=0)).colorspace == space
    one, other = frames(source, 3, 96), frames(encoded(source, tmp_path / "b.y4m", RAW), 3, 96)
    assert one.std() > 30
    assert (one - other).abs().mean() < 0.7  # rounding alone; without conversion, 7


def test_uncompressed_real_files_look_the_same(tmp_path: Path, shared_data: Path) -> None:
    for name in ("clips/video_90.mov", "clips/h265_10bits.mp4"):
        source = shared_data / name
        one, other = frames(source, 4, 200), frames(encoded(source, tmp_path / "b.y4m", RAW), 4, 200)
        assert one.shape == other.shape
        assert (one - other).abs().mean() < NEAR
