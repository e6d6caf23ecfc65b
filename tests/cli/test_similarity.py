"""``videopool similarity`` and ``videopool feature-maps``, and their errors."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("skimage", reason="runs where scikit-image is installed: pip install videopool[study]")
image = pytest.importorskip("PIL.Image")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(256, size=(30, 41, 3), dtype=np.uint8)
    (tmp_path / "pictures").mkdir()
    image.fromarray(pixels).save(tmp_path / "pictures/noise.PNG")
    return tmp_path / "pictures/noise.PNG"


CLIP = ("--frames", 4, "--stride", 1, "--size", 32)


@pytest.mark.slow
def test_images_and_clips(picture: Path, motion_videos: Path, tool: Callable, tmp_path: Path) -> None:
    video = sorted((motion_videos / "test").rglob("*.mp4"))[0]
    where = ("--images", picture.parent, "--videos", video, "--to", tmp_path / "to", "--name", "day-similarity")
    ended = tool("similarity", *where, *CLIP, "--k", 2, "--draws", 1, "--methods", "avg", "soft", "s3", "--grid-k", 2)
    assert ended.code == 0, ended.err
    names = {path.name.removeprefix("day-similarity") for path in (tmp_path / "to").iterdir()}
    charts = {f"-{name}.{suffix}" for name in ("images-kxk", "clips-1xkxk", "clips-kxkxk") for suffix in ("png", "svg")}
    assert names == {".md", ".csv", ".json", "-image.png", "-clip.png", *charts}
    rows = list(csv.DictReader((tmp_path / "to/day-similarity.csv").read_text().splitlines()))
    assert {row["method"] for row in rows} == {"avg", "soft", "soft on 0..255", "s3 (eval)", "s3 (train)"}
    assert len(rows) == 5 * 2 * (1 + 2)
    assert all(-1 <= float(row["ssim_mean"]) <= 1 and float(row["psnr_mean"]) > 0 for row in rows)
    found = json.loads((tmp_path / "to/day-similarity.json").read_text())
    assert [part["items"] for part in found["sets"]] == [{"noise.PNG": "41 x 30"}, {video.name: "4 frames of 32 x 32"}]
    assert str(tmp_path) not in (tmp_path / "to/day-similarity.md").read_text()


@pytest.mark.slow
def test_own_pictures_only(picture: Path, tool: Callable, tmp_path: Path) -> None:
    ended = tool("similarity", "--images", picture, "--to", tmp_path / "to", "--methods", "max", "--k", 2, "--own")
    assert ended.code == 0, ended.err
    assert (tmp_path / "to/similarity-image.png").exists()
    assert not (tmp_path / "to/similarity-clip.png").exists()


@pytest.mark.slow
def test_pictures_of_the_same_name_are_distinguished(picture: Path, tool: Callable, tmp_path: Path) -> None:
    again = tmp_path / "others/deep"
    again.mkdir(parents=True)
    (again / picture.name).write_bytes(picture.read_bytes())
    (again / ".hidden.png").write_bytes(b"no picture")
    where = ("--images", picture.parent, again, "--to", tmp_path / "to")
    ended = tool("similarity", *where, "--k", 2, "--methods", "avg", "max")
    assert ended.code == 0, ended.err
    found = json.loads((tmp_path / "to/similarity.json").read_text())
    assert list(found["sets"][0]["items"]) == ["pictures/noise.PNG", "others/deep/noise.PNG"]
    for path in (tmp_path / "to").glob("*.[mjc]*"):
        assert str(tmp_path) not in path.read_text()


@pytest.mark.slow
def test_errors_are_one_line(picture: Path, motion_videos: Path, tool: Callable, tmp_path: Path) -> None:
    empty, broken = tmp_path / "empty", tmp_path / "broken.png"
    empty.mkdir()
    broken.write_bytes(b"no picture")
    video = sorted((motion_videos / "test").rglob("*.mp4"))[0]
    cases = [
        ([], "there is nothing to pool"),
        (["--images", empty], "contains no file ending in .jpg"),
        (["--videos", empty], "contains no file ending in .mp4"),
        (["--images", tmp_path / "none.png"], "none.png does not exist"),
        (["--images", broken], "broken.png is not an image"),
        (["--videos", picture, *CLIP], "has 1 frames, but a clip needs 4"),
        (["--videos", video, "--frames", 99], "has 10 frames, but a clip needs 197"),
        (["--images", picture, "--k", 31], "noise.PNG: a window of 31 does not fit 41 x 30 pixels"),
        (
            ["--images", picture, "--own", "--grid-k", 31],
            "--grid-k: picture of the grid: a window of 31 does not fit 41 x 30 pixels. Choose smaller windows.",
        ),
        (["--videos", video, *CLIP, "--k", 2, "--grid-k", 5], "clip of the grid: a window of 5 does not fit"),
        (["--images", picture, "--methods", "sotf"], "Unknown pooling method 'sotf'. Did you mean 'soft'?"),
    ]
    for arguments, words in cases:
        ended = tool("similarity", *arguments, "--to", tmp_path / "to")
        assert ended.code == 2, arguments
        assert words in ended.err
        assert ended.err.count("\n") == 1
    ended = tool("similarity", "--images", picture, "--to", picture)
    assert ended.code == 2
    assert "noise.PNG" in ended.err


@pytest.mark.slow
def test_feature_maps(trained: Path, motion_videos: Path, tool: Callable, tmp_path: Path) -> None:
    checkpoint, video = trained / "checkpoints/last.pt", sorted((motion_videos / "test").rglob("*.mp4"))[0]
    ended = tool("feature_maps", checkpoint, video, "--to", tmp_path / "to", "--channels", 2, "--tensorboard")
    assert ended.code == 0, ended.err
    pictures = sorted(path.name for path in (tmp_path / "to").glob("*.png"))
    assert pictures[-1] == "overview.png"
    assert len(pictures) == ended.out.count("information kept") + 1 > 2
    assert any((tmp_path / "to/tensorboard").iterdir())
    missing = tool("feature_maps", checkpoint, tmp_path / "none.mp4", "--to", tmp_path / "to")
    assert missing.code == 2
    assert "none.mp4 cannot be read" in missing.err
    none = tool("feature_maps", tmp_path / "none.pt", video, "--to", tmp_path / "to")
    assert none.code == 2
    assert none.err.count("\n") == 1
