"""Images as clips of one frame: reading every kind of file, lists, regions, and sampling."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from videopool.data.decoding.decode import open_video
from videopool.data.decoding.reader import DecodeError
from videopool.data.grids import region_grid
from videopool.data.lists.records import read_videos
from videopool.data.loading.dataset import NoClip, TestVideos, TrainClips
from videopool.data.sampling import ClipSampling, Region
from videopool.types import BadVideo, VideoRecord

SAMPLING = ClipSampling(frames=1, stride=1, scale=(24, 32), crop=24, test_scale=24, test_crop=24)
WITH_AREA = dataclasses.replace(SAMPLING, area=(0.08, 1.0))


def picture(height: int = 40, width: int = 60, seed: int = 0) -> np.ndarray:
    """Return a smooth picture without symmetry: uint8 [H,W,3]."""
    rows, columns = np.mgrid[:height, :width] / 60
    phases = np.random.default_rng(seed).uniform(0, 3, 3)
    waves = [np.sin(2 * rows + k * columns + phase) for k, phase in enumerate(phases, start=1)]
    return (127.5 + 100 * np.stack(waves, 2)).astype(np.uint8)


def read(path: Path, short_side: int | None = None, frames: int = 1) -> torch.Tensor:
    with open_video(path) as reader:
        return reader.frames_at([0.5] * frames, short_side)


def as_image(frames: torch.Tensor) -> np.ndarray:
    assert frames.dtype == torch.uint8
    assert frames.shape[:2] == (3, 1)
    return frames[:, 0].permute(1, 2, 0).numpy()


def save(path: Path, image: Image.Image, **settings: object) -> Path:
    image.save(path, **settings)
    return path


# --- files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "settings", "tolerance"),
    [
        ("a.png", {}, 0),
        ("a.BMP", {}, 0),
        ("a.webp", {"lossless": True}, 0),
        ("a.jpg", {"quality": 100, "subsampling": 0}, 4),
        ("a.JPEG", {"quality": 100, "subsampling": 0, "progressive": True}, 4),
    ],
)
def test_every_format_as_one_frame(name: str, settings: dict, tolerance: int, tmp_path: Path) -> None:
    path = save(tmp_path / name, Image.fromarray(picture()), **settings)
    with open_video(path, decoder="pyav") as reader:
        assert (reader.info.frames, reader.info.width, reader.info.height) == (1, 60, 40)
        assert reader.info.duration_seconds * reader.info.fps == 1
        frames = reader.frames_at([0.0])
    assert np.abs(as_image(frames).astype(int) - picture()).max() <= tolerance


def test_the_suffix_may_name_another_format(tmp_path: Path) -> None:
    Image.fromarray(picture()).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.JPEG")  # like one of ImageNet's files
    np.testing.assert_array_equal(as_image(read(tmp_path / "a.JPEG")), picture())


ORIENTED = {  # how each EXIF orientation stores a picture, from the standard's table of row 0 and column 0
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.transpose(1, 0, 2),
    6: lambda x: x.transpose(1, 0, 2)[::-1],
    7: lambda x: x.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda x: x.transpose(1, 0, 2)[:, ::-1],
}


@pytest.mark.parametrize("orientation", ORIENTED)
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_exif_orientation_is_applied(orientation: int, suffix: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(ORIENTED[orientation](picture())))
    path = save(tmp_path / f"a{suffix}", stored, exif=exif, quality=100, subsampling=0)
    with open_video(path) as reader:
        assert (reader.info.width, reader.info.height) == (60, 40)
        assert np.abs(as_image(reader.frames_at([0.0])).astype(int) - picture()).max() <= 4
    assert read(path, short_side=20).shape == (3, 1, 20, 30)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("exif", [b"Exif\0\0" + bytes(range(40)), b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0"])
def test_pictures_with_broken_exif_data_are_read(exif: bytes, tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", Image.fromarray(picture()), exif=exif, quality=100, subsampling=0)
    assert np.abs(as_image(read(path)).astype(int) - picture()).max() <= 4


def gray(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, axis=2)


def test_kinds_of_images_become_rgb(tmp_path: Path) -> None:
    levels = picture()[..., 0]
    np.testing.assert_array_equal(as_image(read(save(tmp_path / "l.png", Image.fromarray(levels)))), gray(levels))
    bits = Image.fromarray(levels > 127)
    np.testing.assert_array_equal(as_image(read(save(tmp_path / "1.png", bits))), gray((levels > 127) * 255))
    palette = Image.fromarray(levels // 64, mode="P")
    palette.putpalette([10, 20, 30, 200, 0, 0, 0, 200, 0, 1, 2, 250])
    colors = np.array([[10, 20, 30], [200, 0, 0], [0, 200, 0], [1, 2, 250]])
    np.testing.assert_array_equal(as_image(read(save(tmp_path / "p.png", palette))), colors[levels // 64])
    deep = (levels.astype(np.uint16) << 8) + 77
    np.testing.assert_array_equal(as_image(read(save(tmp_path / "16.png", Image.fromarray(deep)))), gray(levels))


def test_transparent_pixels_are_blended_with_white(tmp_path: Path) -> None:
    alpha = np.zeros((40, 60), dtype=np.uint8)
    alpha[:, 20:40], alpha[:, 40:] = 128, 255
    path = save(tmp_path / "a.png", Image.fromarray(np.dstack([picture(), alpha])))
    part = alpha[..., None] / 255
    expected = part * picture() + (1 - part) * 255
    assert np.abs(as_image(read(path)) - expected).max() <= 1
    palette = Image.fromarray(picture()[..., 0] // 128, mode="P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    path = save(tmp_path / "p.png", palette, transparency=1)
    expected = np.array([[10, 20, 30], [255, 255, 255]])[picture()[..., 0] // 128]
    np.testing.assert_array_equal(as_image(read(path)), expected)


def test_cmyk(tmp_path: Path) -> None:
    inks = np.zeros((8, 8, 4), dtype=np.uint8)
    inks[..., 0] = 255  # cyan only: no red, full green and blue
    path = save(tmp_path / "a.jpg", Image.fromarray(inks, mode="CMYK"), quality=100)
    assert np.abs(as_image(read(path)).astype(int) - [0, 255, 255]).max() <= 6


def triangle(values: np.ndarray, size: int) -> np.ndarray:
    """Resize float64 [n,...] to ``size`` along its first axis, with a tent as wide as the larger cells."""
    scale = len(values) / size
    support = max(scale, 1.0)
    rows = []
    for index in range(size):
        center = (index + 0.5) * scale
        weights = np.maximum(0, 1 - np.abs(np.arange(len(values)) + 0.5 - center) / support)
        rows.append(np.tensordot(weights / weights.sum(), values, 1))
    return np.stack(rows)


def resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    return triangle(triangle(image.astype(np.float64), height).swapaxes(0, 1), width).swapaxes(0, 1)


@pytest.mark.parametrize("short_side", [13, 20, 40, 64])
def test_scaling_uses_every_pixel(short_side: int, tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(picture()))
    height, width = short_side, round(60 * short_side / 40)
    assert np.abs(as_image(read(path, short_side)) - resized(picture(), height, width)).max() <= 1.01


def test_a_large_jpeg_is_decoded_at_a_smaller_size(tmp_path: Path) -> None:
    large = picture(400, 600)
    path = save(tmp_path / "a.jpg", Image.fromarray(large), quality=100, subsampling=0)
    assert np.abs(as_image(read(path, 30)) - resized(large, 30, 45)).max() <= 4


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.bmp"])
@pytest.mark.parametrize("part", [0.02, 0.5, 0.9])
def test_truncated_files_are_errors(name: str, part: float, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save(tmp_path / name, Image.fromarray(noise))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(DecodeError, match=r"is truncated or damaged|is not an image") as raised:
        read(path)
    assert str(path) not in raised.value.reason


def test_other_files_are_errors(tmp_path: Path) -> None:
    for name, content, reason in [("a.jpg", b"text", "is not an image"), ("b.png", b"", "is empty")]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DecodeError, match=reason):
            read(tmp_path / name)
    with pytest.raises(DecodeError, match="cannot be read"):
        read(tmp_path / "none.jpg")


def test_an_image_is_repeated_for_every_frame(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(picture()))
    still = dataclasses.replace(SAMPLING, frames=5, stride=3, fps=30.0, scale=(40, 40), test_scale=40)
    clip = TrainClips([VideoRecord("a", path, 0)], still, seed=0)[0, 0].frames
    assert clip.shape == (3, 5, 24, 24)
    assert all(torch.equal(clip[:, 0], clip[:, t]) for t in range(5))
    clips = TestVideos([VideoRecord("a", path, 0)], still, clips=2, crops=3)[0]
    assert [clip.frames.shape for clip in clips] == [(3, 5, 24, 24)] * 6
    assert torch.equal(clips[0].frames, clips[3].frames)


# --- lists ---------------------------------------------------------------------------------------------------------


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_imagenet_layout(tmp_path: Path) -> None:
    for name in ("n02/b.JPEG", "n01/a.jpg", "n01/sub/c.webp", "n02/notes.txt", "n01/.hidden.png"):
        touch(tmp_path / "train" / name)
    videos = read_videos("train", tmp_path)
    assert videos.classes == ("n01", "n02")
    assert [(record.id, record.label) for record in videos.records] == [
        ("n01/a.jpg", 0),
        ("n01/sub/c.webp", 0),
        ("n02/b.JPEG", 1),
    ]


def test_previews_next_to_videos_are_ignored(tmp_path: Path) -> None:
    for name in ("run/a.mp4", "run/a.jpg", "walk/b.avi", "walk/b.png"):
        touch(tmp_path / name)
    assert [record.id for record in read_videos(tmp_path).records] == ["run/a.mp4", "walk/b.avi"]


def test_lists_and_tables_of_images(tmp_path: Path) -> None:
    for name in ("a b.JPEG", "c.png", "d.mp4"):
        touch(tmp_path / name)
    (tmp_path / "list.txt").write_text("a b.JPEG great white\nc.png hen\nd.mp4 hen\n")
    videos = read_videos(tmp_path / "list.txt")
    assert videos.classes == ("great white", "hen")
    assert [record.path.name for record in videos.records] == ["a b.JPEG", "c.png", "d.mp4"]
    (tmp_path / "table.csv").write_text("image,label\na b.JPEG,1\nc.png,0\n")
    assert [record.label for record in read_videos(tmp_path / "table.csv").records] == [1, 0]


# --- training and testing ------------------------------------------------------------------------------------------


@pytest.fixture
def records(tmp_path: Path) -> list[VideoRecord]:
    paths = [save(tmp_path / f"{k}.png", Image.fromarray(picture(40 + k, 60 - k, k))) for k in range(3)]
    return [VideoRecord(path.name, path, label) for label, path in enumerate(paths)]


@pytest.mark.parametrize("sampling", [SAMPLING, WITH_AREA], ids=["square", "area"])
def test_a_clip_is_a_function_of_seed_epoch_and_index(sampling: ClipSampling, records: list[VideoRecord]) -> None:
    clips = TrainClips(records, sampling, seed=3)
    first = clips[1, 2]
    assert first.frames.shape == (3, 1, 24, 24)
    assert first.frames.is_contiguous()
    clips[0, 0]
    assert torch.equal(clips[1, 2].frames, first.frames)
    assert torch.equal(TrainClips(records, sampling, seed=3)[1, 2].frames, first.frames)
    for other in (clips[2, 2], clips[1, 5], TrainClips(records, sampling, seed=4)[1, 2]):
        assert not torch.equal(other.frames, first.frames)


def test_without_an_area_the_draws_are_those_of_videos(records: list[VideoRecord]) -> None:
    clip = TrainClips(records, SAMPLING, seed=5)[4, 1].frames
    rng = np.random.default_rng((5, 4, 1))
    short = 24 + math.floor(rng.random() * 9)
    rng.random()  # the first frame
    frames = read(records[1].path, short)
    height, width = frames.shape[2:]
    top, left = math.floor(rng.random() * (height - 23)), math.floor(rng.random() * (width - 23))
    square = frames[:, :, top : top + 24, left : left + 24]
    assert torch.equal(clip, square.flip(3) if rng.random() < 0.5 else square)


def test_bad_images_are_replaced_in_training_and_listed_in_testing(tmp_path: Path, records: list[VideoRecord]) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0 cut off")
    listed = [VideoRecord("broken.jpg", broken, 0), *records]
    clip = TrainClips(listed, WITH_AREA, seed=0)[0, 0]
    assert clip.substituted
    assert clip.bad[0].path == str(broken)
    bad = TestVideos(listed, SAMPLING, clips=1, crops=1)[0]
    assert isinstance(bad, BadVideo)
    assert "is not an image that Pillow can open" in bad.reason or "is truncated or damaged" in bad.reason
    assert isinstance(TrainClips(listed[:1], WITH_AREA, seed=0)[0, 0], NoClip)


def test_a_region_of_an_image_against_the_formula(tmp_path: Path) -> None:
    """At the edge of a region neighboring pixels are used, which the formula does not include."""
    path = save(tmp_path / "a.png", Image.fromarray(picture()))
    place = Region(4, 7, 31, 45)
    for size in (12, 50):
        inner = slice(3, size - 3)
        grids = [region_grid(place, size), region_grid(dataclasses.replace(place, flip=True), size)]
        with open_video(path) as reader:
            found, mirrored = reader.clips([0.0], lambda height, width, grids=grids: grids)
        expected = resized(picture()[4:35, 7:52], size, size)
        assert np.abs(as_image(found) - expected)[inner, inner].max() <= 1.01
        assert torch.equal(mirrored, found.flip(3))
