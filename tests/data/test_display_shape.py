"""Pixels that are not square, and interlaced frames: as stored, and as displayed."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from tests.data.conftest import WriteVideo
from videopool.data.decoding.decode import Reading, open_video
from videopool.data.decoding.source import Source
from videopool.data.decoding.timeline import read_timeline
from videopool.data.loading.dataset import TestVideos
from videopool.data.sampling import ClipSampling
from videopool.errors import InputError
from videopool.prepare.encode import Encoding, encode
from videopool.types import VideoRecord

ENCODING = Encoding(short_side=96, keyframe_interval=12, crf=0, preset="ultrafast")


def with_aspect(path: Path, aspect: Fraction, frames: int = 12) -> Path:
    """Write a video of a disk in the middle of 96 x 96 pixels of this aspect."""
    rows, columns = np.mgrid[:96, :96]
    disk = (255 * ((rows - 47.5) ** 2 + (columns - 47.5) ** 2 < 30**2)).astype(np.uint8)
    with av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=10, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 96, 96, "yuv420p"
        stream.sample_aspect_ratio = aspect
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(np.repeat(disk[..., None], 3, 2))
            frame.pts = number
            target.mux(stream.encode(frame))
        target.mux(stream.encode())
    return path


def extent(frame: torch.Tensor) -> tuple[int, int]:
    """Return the rows and columns of the bright part of a frame [3,H,W]."""
    bright = frame[0] > 127
    return int(bright.any(1).sum()), int(bright.any(0).sum())


@pytest.mark.parametrize("aspect", [Fraction(1), Fraction(12, 11), Fraction(2), Fraction(8, 9)])
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_square_pixels(tmp_path: Path, aspect: Fraction, suffix: str) -> None:
    path = with_aspect(tmp_path / f"a.{suffix}", aspect)
    with open_video(path) as video:
        assert (video.info.height, video.info.width) == (96, 96)
        assert extent(video.frames_at([0.0])[:, 0]) == (60, 60)
    with open_video(path, square_pixels=True) as video:
        width = round(96 * aspect)
        assert (video.info.height, video.info.width) == (96, width)
        frame = video.frames_at([0.0])[:, 0]
        assert frame.shape == (3, 96, width)
        assert extent(frame) == pytest.approx((60, 60 * aspect), abs=1)
        assert video.frames_at([0.0], 48).shape[2:] == ((48, round(width / 2)) if width >= 96 else (54, 48))


def turned(path: Path, target: Path) -> Path:
    """Write a copy whose header rotates the picture by a quarter turn."""
    with av.open(str(path)) as source, av.open(str(target), "w") as out:
        stream = source.streams.video[0]
        made = out.add_stream_from_template(stream)
        made.set_display_rotation(90)
        for packet in source.demux(stream):
            if packet.size:
                packet.stream = made
                out.mux(packet)
    return target


def test_a_rotated_picture_has_tall_pixels(tmp_path: Path) -> None:
    path = turned(with_aspect(tmp_path / "a.mp4", Fraction(2)), tmp_path / "turned.mp4")
    for decoder in ("auto", "decord"):
        with open_video(path, decoder=decoder, square_pixels=True) as video:
            assert (video.info.height, video.info.width) == (96, 48)
            assert extent(video.frames_at([0.0])[:, 0]) == pytest.approx((60, 30), abs=1)


def test_crops_are_taken_from_the_displayed_picture(tmp_path: Path) -> None:
    record = VideoRecord("a", with_aspect(tmp_path / "a.mp4", Fraction(2)), 0)
    sampling = ClipSampling(frames=2, stride=1, scale=(96, 96), crop=96, test_scale=96, test_crop=96)
    for square, expected in ((False, (60, 60)), (True, (60, 96))):
        clips = TestVideos([record], sampling, clips=1, crops=1, reading=Reading(square_pixels=square))[0]
        assert isinstance(clips, tuple)
        assert extent(clips[0].frames[:, 0]) == pytest.approx(expected, abs=1)


@pytest.mark.parametrize("turn", [False, True])
def test_transcoding_keeps_the_displayed_shape(tmp_path: Path, turn: bool) -> None:
    path = with_aspect(tmp_path / "a.mp4", Fraction(12, 11))
    if turn:
        path = turned(path, tmp_path / "turned.mp4")
    encode(Source(path), tmp_path / "copy.mp4", ENCODING)
    with open_video(path, square_pixels=True) as video, open_video(tmp_path / "copy.mp4", square_pixels=True) as copy:
        assert (copy.info.width, copy.info.height) == (video.info.width, video.info.height)
    assert read_timeline(tmp_path / "copy.mp4").aspect == (Fraction(11, 12) if turn else Fraction(12, 11))


# --- interlaced ------------------------------------------------------------------------------------------------------


def write_interlaced(path: Path, codec: str, frames: int = 24) -> Path:
    """Write a video of a bar that moves 8 pixels per field, top field first."""

    def field(time: int) -> np.ndarray:
        picture = np.full((96, 128), 40, np.uint8)
        picture[:, 4 * time % 96 : 4 * time % 96 + 24] = 220
        return picture

    with av.open(str(path), "w") as target:
        options = {"x264-params": "interlaced=1:tff=1"} if codec == "libx264" else {"flags": "+ildct+ilme"}
        stream = target.add_stream(codec, rate=25, options={"g": "6", **options})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.bit_rate = 4_000_000
        for number in range(frames):
            woven = field(2 * number)
            woven[1::2] = field(2 * number + 1)[1::2]
            frame = av.VideoFrame.from_ndarray(np.repeat(woven[..., None], 3, 2)).reformat(format="yuv420p")
            frame.pts = number
            target.mux(stream.encode(frame))
        target.mux(stream.encode())
    return path


def combing(frames: torch.Tensor) -> float:
    """Return how much more adjacent rows differ than rows two apart; it is high if fields of two times are combined."""
    rows = frames.float()
    return float((rows[:, :, 1:] - rows[:, :, :-1]).abs().mean() - (rows[:, :, 2:] - rows[:, :, :-2]).abs().mean())


@pytest.mark.parametrize(("name", "codec"), [("a.ts", "libx264"), ("a.mp4", "libx264"), ("a.mpg", "mpeg2video")])
def test_deinterlacing(tmp_path: Path, name: str, codec: str) -> None:
    path = write_interlaced(tmp_path / name, codec)
    times = (np.arange(24) + 0.5) / 25
    with open_video(path) as video:
        woven = video.frames_at(times)
    with open_video(path, deinterlace=True) as video:
        assert video.timing.frames == 24
        smooth = video.frames_at(times)
        assert smooth.shape == woven.shape
    assert combing(woven[:, 3:20]) > 3 * abs(combing(smooth[:, 3:20])) + 1
    for index in (0, 1, 7, 13, 23):  # the same alone, because the frames around it are decoded too
        with open_video(path, deinterlace=True) as video:
            one = video.frames_at([times[index]])[:, 0]
        assert torch.equal(one, smooth[:, index])


def test_progressive_frames_stay(tmp_path: Path, write_video: WriteVideo, read_numbers: Any) -> None:
    path = write_video(tmp_path / "a.mp4", 30, gop=7)
    times = (np.arange(30) + 0.5) / 10
    with open_video(path) as video, open_video(path, deinterlace=True) as filtered:
        assert torch.equal(video.frames_at(times), filtered.frames_at(times))
        assert read_numbers(filtered.frames_at([0.55, 2.95])) == [5, 29]


def test_progressive_frames_of_a_format_that_the_filter_converts(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    with av.open(str(path), "w") as target:
        stream = target.add_stream("rawvideo", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb555le"
        for number in range(5):
            frame = av.VideoFrame.from_ndarray(np.roll(pixels, number, 0)).reformat(format="rgb555le")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            target.mux(stream.encode(frame))
    times = (np.arange(5) + 0.5) / 10
    with open_video(path) as video, open_video(path, deinterlace=True) as filtered:
        assert torch.equal(video.frames_at(times), filtered.frames_at(times))


def test_transcoding_deinterlaces(tmp_path: Path) -> None:
    path = write_interlaced(tmp_path / "a.ts", "libx264")
    times = (np.arange(24) + 0.5) / 25
    found = []
    for number, deinterlace in enumerate((False, True)):
        copy = tmp_path / f"{number}.mp4"
        encode(Source(path), copy, Encoding(96, 12, 0, "ultrafast", deinterlace))
        with open_video(copy) as video:
            assert video.timing.frames == 24
            found.append(combing(video.frames_at(times)[:, 3:20]))
    assert found[0] > 3 * abs(found[1]) + 1


def test_other_decoders_do_not_deinterlace() -> None:
    with pytest.raises(InputError, match="deinterlace=true needs the decoder auto or pyav, not decord"):
        Reading(decoder="decord", deinterlace=True)
