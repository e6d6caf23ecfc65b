"""Measurements of files whose properties are known."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import itertools
import os
import statistics
import tarfile
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tests.data.conftest import WriteVideo
from videopool.data.decoding.timeline import read_timeline
from videopool.prepare.distinct_files import ListedFile
from videopool.prepare.measure import MeasuredFile, keyframe_interval, measure


def measured(path: Path, *, quick: bool = False, sha256: bool = False) -> MeasuredFile:
    return measure(ListedFile(path.name), base=path.parent, quick=quick, sha256=sha256)


def test_a_video(tmp_path: Path, write_video: WriteVideo) -> None:
    path = write_video(tmp_path / "a.mp4", 30, fps=12, gop=5, size=(80, 48), codec="mpeg4", b_frames=0)
    state = path.stat()
    assert measured(path, sha256=True) == MeasuredFile(
        size_bytes=state.st_size,
        mtime_ns=state.st_mtime_ns,
        codec="mpeg4",
        width=80,
        height=48,
        fps=pytest.approx(12),
        duration_seconds=pytest.approx(2.5),
        frames_listed=30,
        frames_decodable=30,
        hidden=0,
        left_out=0,
        keyframe_interval=5,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        reason="",
    )


def test_quick_decodes_nothing(tmp_path: Path, write_video: WriteVideo) -> None:
    path = write_video(tmp_path / "a.mp4", 30)
    assert measured(path, quick=True) == dataclasses.replace(measured(path), frames_decodable=None)


@pytest.mark.parametrize(("frames", "gop", "expected"), [(24, 6, 6), (10, 12, 10), (1, 12, 1), (14, 4, 4)])
def test_keyframe_interval(frames: int, gop: int, expected: float, tmp_path: Path, write_video: WriteVideo) -> None:
    path = write_video(tmp_path / "a.mp4", frames, gop=gop, codec="mpeg4", b_frames=0)
    assert keyframe_interval(read_timeline(path)) == expected


def test_keyframes_by_hand(tmp_path: Path, write_video: WriteVideo) -> None:
    """B-frames, a variable rate, and keyframes where the encoder sees a new scene."""
    ticks = np.cumsum(np.arange(1, 31)).tolist()
    path = write_video(tmp_path / "a.mp4", 30, gop=9, ticks=ticks)
    with av.open(str(path)) as container:
        packets = sorted((packet.pts, packet.is_keyframe) for packet in container.demux(video=0) if packet.size)
    places = [place for place, (_, keyframe) in enumerate(packets) if keyframe] + [30]
    gaps = sorted(after - before for before, after in itertools.pairwise(places))
    assert len(gaps) > 2
    assert keyframe_interval(read_timeline(path)) == statistics.median(gaps)


@pytest.mark.parametrize(
    ("name", "listed", "decodable", "hidden", "codec"),
    [
        ("trimmed/t0.mp4", 120, 120, 180, "h264"),
        ("trimmed/t9.mp4", 126, 126, 174, "h264"),
        ("clips/av1_video.mkv", 125, 125, 0, "av1"),
        ("clips/vp9.webm", 60, 60, 0, "vp9"),
        ("clips/hmdb51_vtest.avi", 49, 48, 0, "mpeg4"),
        ("clips/ucf11_sample.mpg", 151, 151, 0, "mpeg1video"),
    ],
)
def test_real_files(name: str, listed: int, decodable: int, hidden: int, codec: str, shared_data: Path) -> None:
    found = measured(shared_data / name)
    assert (found.frames_listed, found.frames_decodable, found.hidden, found.codec) == (
        listed,
        decodable,
        hidden,
        codec,
    )
    assert found.reason == ""


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("audio_only.mp4", "has no video stream"),
        ("empty.mp4", "is empty"),
        ("text.mp4", "is not a video that FFmpeg can open"),
        ("truncated.avi", "is truncated or damaged"),
        ("zeromid10_g12.mp4", "is damaged: 270 of its 300 frames can be decoded without errors"),
        ("corrupted.mp4", "is damaged: 48 of its 50 frames can be decoded without errors"),
    ],
)
def test_real_broken_files(name: str, reason: str, shared_data: Path) -> None:
    found = measured(shared_data / "clips" / name)
    assert found.reason.startswith(reason)
    assert found.size_bytes == (shared_data / "clips" / name).stat().st_size


def test_a_quick_scan_does_not_find_damage(shared_data: Path) -> None:
    assert measured(shared_data / "clips/zeromid10_g12.mp4", quick=True).reason == ""


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    assert measured(tmp_path / "none.mp4") == MeasuredFile(reason="cannot be read (No such file or directory)")
    (tmp_path / "folder.mp4").mkdir()
    assert measured(tmp_path / "folder.mp4").reason == "is a folder, not a file"


@pytest.mark.skipif(os.geteuid() == 0, reason="runs for users other than root, who may read everything")
def test_a_forbidden_file(tmp_path: Path, write_video: WriteVideo) -> None:
    path = write_video(tmp_path / "a.mp4", 2)
    path.chmod(0)
    assert measured(path).reason == "cannot be read (Permission denied)"


def test_an_image(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "a.PNG")
    found = measured(tmp_path / "a.PNG")
    assert (found.codec, found.width, found.height, found.frames_listed, found.frames_decodable) == (
        "png",
        30,
        20,
        1,
        1,
    )
    assert (found.fps, found.duration_seconds, found.reason) == (None, None, "")
    (tmp_path / "a.PNG").write_bytes((tmp_path / "a.PNG").read_bytes()[:50])
    assert "truncated or damaged" in measured(tmp_path / "a.PNG").reason


def test_a_folder_of_frames(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    for number in range(3):
        Image.new("RGB", (30, 20)).save(tmp_path / f"frames/{number}.jpg")
    found = measure(ListedFile("frames", frames=3), base=tmp_path, quick=False, sha256=False)
    assert (found.codec, found.width, found.frames_listed, found.frames_decodable) == ("images", 30, 3, 3)
    assert (
        "has 3 images, but the list says 4 frames"
        in measure(ListedFile("frames", frames=4), base=tmp_path, quick=False, sha256=False).reason
    )
    (tmp_path / "frames/2.jpg").write_bytes(b"no image")
    assert "is not an image" in measure(ListedFile("frames", frames=3), base=tmp_path, quick=False, sha256=False).reason
    assert measure(ListedFile("frames", frames=3), base=tmp_path, quick=True, sha256=False).reason == ""


def test_parts_of_a_tar(tmp_path: Path, write_video: WriteVideo) -> None:
    video = write_video(tmp_path / "a.mp4", 9, size=(80, 48)).read_bytes()
    picture = io.BytesIO()
    Image.new("RGB", (30, 20)).save(picture, "jpeg")
    with tarfile.open(tmp_path / "some.tar", "w") as tar:
        for name, content in (("a.mp4", video), ("b.jpg", picture.getvalue())):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    with tarfile.open(tmp_path / "some.tar") as tar:
        parts = [(member.offset_data, member.size) for member in tar]
    first, second = (measure(ListedFile("some.tar", part), base=tmp_path, quick=False, sha256=True) for part in parts)
    assert (first.frames_decodable, first.width, first.codec) == (9, 80, "h264")
    assert first.sha256 == hashlib.sha256(video).hexdigest()
    assert (second.frames_decodable, second.width) == (1, 30)
    assert second.sha256 == hashlib.sha256(picture.getvalue()).hexdigest()
    beyond = measure(ListedFile("some.tar", (10, 10**9)), base=tmp_path, quick=False, sha256=False)
    assert "is truncated: the tar file ends after" in beyond.reason
