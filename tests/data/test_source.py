"""Videos that are not files: parts of files, bytes, folders of frames."""

from __future__ import annotations

import dataclasses
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.conftest import numbered_image
from videopool.data.decoding.decode import Reading, open_video
from videopool.data.decoding.reader import DecodeError
from videopool.data.decoding.source import Source, source_of
from videopool.data.lists.records import read_videos
from videopool.data.loading.dataset import TestVideos, TrainClips
from videopool.data.loading.windows import WindowVideos
from videopool.data.sampling import ClipSampling
from videopool.errors import InputError
from videopool.types import BadVideo, VideoRecord

SAMPLING = ClipSampling(frames=4, stride=2, scale=(48, 48), crop=48, flip=False, test_scale=48, test_crop=48)
TIMES = (np.array([0, 3, 11, 29]) + 0.5) / 10


@pytest.fixture
def video(tmp_path, write_video) -> Path:
    return write_video(tmp_path / "v.mp4", 30)


def write_tar(path: Path, members: dict[str, bytes]) -> dict[str, tuple[int, int]]:
    """Write a tar file and return (offset, size) of each member."""
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    with tarfile.open(path) as tar:
        return {member.name: (member.offset_data, member.size) for member in tar}


@pytest.mark.parametrize("decoder", ["auto", "pyav", "decord"])
def test_parts_and_bytes_have_the_frames_of_the_file(video, tmp_path, decoder):
    parts = write_tar(
        tmp_path / "a b:c.tar", {"first.bin": b"x" * 1000, "clip.mp4": video.read_bytes(), "last": b"y" * 99}
    )
    with open_video(video, decoder=decoder) as whole:
        expected = whole.frames_at(TIMES)
    record = VideoRecord("clip", tmp_path / "a b:c.tar", 0, part=parts["clip.mp4"])
    for place in (record, source_of(record), video.read_bytes()):
        with open_video(place, decoder=decoder) as opened:
            assert opened.info.frames == 30
            assert torch.equal(opened.frames_at(TIMES), expected)
            assert torch.equal(opened.frames_at(TIMES[2:]), expected[:, 2:])


def test_images_in_a_tar(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "png")
    parts = write_tar(tmp_path / "x.tar", {"a.png": buffer.getvalue()})
    with open_video(VideoRecord("a", tmp_path / "x.tar", 0, part=parts["a.png"])) as opened:
        assert (opened.info.frames, opened.info.width, opened.info.height) == (1, 30, 20)
        assert torch.equal(opened.frames_at([0.0])[:, 0].permute(1, 2, 0), torch.from_numpy(picture))


def test_a_list_of_shards_is_read_like_files(video, tmp_path):
    write_tar(tmp_path / "shard.tar", {"k.mp4": video.read_bytes(), "k.cls": b"1", "j.mp4": b"no video", "j.cls": b"0"})
    videos = read_videos(tmp_path / "shard.tar")
    good, bad = (next(i for i, r in enumerate(videos.records) if r.label == label) for label in (1, 0))
    dataset = TestVideos(videos.records, SAMPLING, clips=1, crops=1)
    expected = TestVideos([VideoRecord("v", video, 1)], SAMPLING, clips=1, crops=1)[0]
    assert torch.equal(dataset[good][0].frames, expected[0].frames)
    assert isinstance(dataset[bad], BadVideo)
    assert "is not a video that FFmpeg can open" in dataset[bad].reason
    assert dataset[bad].path.startswith(f"{tmp_path / 'shard.tar'}#")


def test_errors_of_sources(video, tmp_path):
    size = video.stat().st_size
    cases = [
        (Source(video, (size - 10, 20)), f"ends after {size} bytes"),
        (Source(video, (0, 0)), "is empty"),
        (Source(data=b""), "is empty"),
        (Source(tmp_path), "is a folder"),
        (Source(tmp_path / "none.mp4"), "cannot be read"),
        (Source(data=b"text" * 100), "is not a video that FFmpeg can open"),
    ]
    for source, reason in cases:
        with pytest.raises(DecodeError, match=reason) as caught, open_video(source):
            pass
        assert caught.value.path == source.name
    assert Source(video, (3, 4)).name == f"{video}#3"
    assert Source(data=b"abc").name == "<3 bytes in memory>"


def frame_folder(path: Path, count: int, size: tuple[int, int] = (64, 48)) -> Path:
    path.mkdir(parents=True)
    for number in range(count):
        Image.fromarray(numbered_image(number, size)).save(
            path / f"img_{number + 1}.png"
        )  # 2 is before 10 as a number only
    return path


def test_a_folder_of_frames_is_a_video(tmp_path, read_numbers):
    folder = frame_folder(tmp_path / "frames", 23)
    (folder / "notes.txt").write_text("no frame")
    record = VideoRecord("f", folder, 0, frames=20)
    with open_video(record, folder_fps=10) as opened:
        assert (opened.info.frames, opened.info.width, opened.info.height) == (20, 64, 48)
        assert opened.info.duration_seconds == pytest.approx(2.0)
        assert read_numbers(opened.frames_at([0.0, 0.15, 1.05, 1.99, 1.05, 7.0])) == [0, 1, 10, 19, 10, 19]
    frame_folder(tmp_path / "square", 20, (48, 48))
    (tmp_path / "list.txt").write_text("square 20 3\n")
    record = read_videos(tmp_path / "list.txt").records[0]
    assert (record.frames, record.label) == (20, 3)
    views = TestVideos([record], SAMPLING, clips=2, crops=1)[0]
    assert [read_numbers(view.frames) for view in views] == [[0, 2, 4, 6], [13, 15, 17, 19]]


def test_optical_flow_in_the_folder_is_ignored(tmp_path, read_numbers):
    folder = frame_folder(tmp_path / "frames", 12, (48, 48))
    for number in range(11):
        for kind in ("flow_x", "flow_y"):
            Image.new("L", (48, 48), 128).save(folder / f"{kind}_{number + 1:05d}.jpg")
    with open_video(VideoRecord("f", folder, 0, frames=12), folder_fps=10) as opened:
        assert read_numbers(opened.frames_at([0.05, 0.55, 1.15])) == [0, 5, 11]
    for path in folder.glob("img_*"):
        path.rename(folder / f"scene_{path.name}")
    with (
        pytest.raises(DecodeError, match=r"several kinds \(flow_x_\*, flow_y_\*, scene_img_\*\); keep"),
        open_video(VideoRecord("f", folder, 0, frames=12)),
    ):
        pass
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for name in ("b", "a10", "a9", "c1"):  # images with unrelated names are all frames
        Image.fromarray(numbered_image(len(name), (48, 48))).save(mixed / f"{name}.png")
    with open_video(VideoRecord("m", mixed, 0, frames=4)) as opened:
        assert opened.timing.frames == 4


@pytest.mark.parametrize("rate", [30.0, 15.0, 10.0])
def test_the_rate_of_folders_of_frames(tmp_path, read_numbers, rate):
    """Four frames 2/30 s apart are 2, 1 or 2/3 frames of the folder apart."""
    sampling = dataclasses.replace(SAMPLING, fps=30.0)
    record = VideoRecord("f", frame_folder(tmp_path / "frames", 20, (48, 48)), 0, frames=20)
    steps = np.arange(4) * 2 / 30 * rate
    first = np.floor(steps + 0.5).astype(int).tolist()
    last = np.floor(19.5 - steps[::-1] + 1e-9).astype(int).tolist()
    videos = TestVideos([record], sampling, clips=2, crops=1, reading=Reading(folder_fps=rate))
    assert [read_numbers(view.frames) for view in videos[0]][1] == last
    (window, *_) = WindowVideos([record], sampling, hop=0.0, crops=1, reading=Reading(folder_fps=rate)).clips(0)
    assert read_numbers(window.frames) == first
    clips = TrainClips([record], sampling, seed=0, reading=Reading(folder_fps=rate))
    drawn = [read_numbers(clips[epoch, 0].frames) for epoch in range(4)]
    assert all([number - numbers[0] for number in numbers] == first for numbers in drawn)
    assert len({numbers[0] for numbers in drawn}) > 1


@pytest.mark.parametrize("rate", [0.0, -1.0, float("inf"), float("nan")])
def test_rates_out_of_range_are_refused(tmp_path, rate):
    record = VideoRecord("f", tmp_path, 0, frames=20)
    for make in (
        lambda: TrainClips([record], SAMPLING, seed=0, reading=Reading(folder_fps=rate)),
        lambda: TestVideos([record], SAMPLING, clips=1, crops=1, reading=Reading(folder_fps=rate)),
        lambda: WindowVideos([record], SAMPLING, hop=0.0, crops=1, reading=Reading(folder_fps=rate)),
    ):
        with pytest.raises(InputError, match="folder_fps="):
            make()


def test_errors_of_folders_of_frames(tmp_path):
    folder = frame_folder(tmp_path / "frames", 5)
    with (
        pytest.raises(DecodeError, match="has 5 images, but the list says 6 frames"),
        open_video(VideoRecord("f", folder, 0, frames=6)),
    ):
        pass
    with pytest.raises(DecodeError, match="cannot be read"), open_video(VideoRecord("f", tmp_path / "no", 0, frames=6)):
        pass
    (folder / "img_3.png").write_bytes(b"\x89PNG broken")
    with open_video(VideoRecord("f", folder, 0, frames=5)) as opened, pytest.raises(DecodeError, match=r"img_3\.png"):
        opened.frames_at([0.0, 2.5 / 30])
    Image.fromarray(numbered_image(2, (32, 32))).save(folder / "img_3.png")
    with (
        open_video(VideoRecord("f", folder, 0, frames=5)) as opened,
        pytest.raises(DecodeError, match="changes from 64 x 48 to 32 x 32"),
    ):
        opened.frames_at([0.0, 2.5 / 30])
