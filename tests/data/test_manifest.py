"""Manifests are written, moved and read, with the requested classes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from videopool.data.lists.columns import map_columns, text_columns, write_columns
from videopool.data.lists.manifest import (
    MEASURED,
    Manifest,
    is_manifest,
    open_manifest,
    read_manifest,
    with_classes,
    write_manifest,
)
from videopool.data.lists.records import read_videos
from videopool.data.lists.table import VideoTable
from videopool.errors import InputError
from videopool.types import VideoRecord

CLASSES = ("jump", "run", "walk")
LABELS = (2, 0, 2, 0)
REASONS = ("", "is empty", "", "")


def manifest_of(base: Path, labels: tuple[int, ...] = LABELS, classes: tuple[str, ...] = CLASSES) -> Manifest:
    records = [VideoRecord(str(n), base / f"{n}.mp4", label) for n, label in enumerate(labels)]
    columns = VideoTable.from_records(records, base).columns
    measured = {name: np.arange(len(labels)).astype(kind) for name, kind in MEASURED.items()}
    reason, reason_ends = text_columns(REASONS[: len(labels)])
    table = VideoTable({**columns, **measured, "reason": reason, "reason_ends": reason_ends}, base)
    return Manifest(table, classes, ("", "h264"), "by hand")


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A manifest next to the folder of its videos, of which the first is missing."""
    videos = tmp_path / "set/videos"
    videos.mkdir(parents=True)
    for name in ("1.mp4", "2.mp4", "3.mp4"):
        (videos / name).touch()
    path = tmp_path / "set/train.manifest"
    write_manifest(path, manifest_of(videos))
    return path


def test_manifests_are_written_and_read(written: Path) -> None:
    assert is_manifest(written)
    found, made = read_manifest(written), manifest_of(written.parent / "videos")
    assert (found.classes, found.codecs, found.made) == (made.classes, made.codecs, made.made)
    assert found.table.columns.keys() == made.table.columns.keys()
    for name, column in made.table.columns.items():
        np.testing.assert_array_equal(found.table.columns[name], column)
    assert found.good.tolist() == [True, False, True, True]
    assert list(found.bad_videos()) == [("1.mp4", "is empty")]


def test_other_files_are_not_manifests(written: Path, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,label\na.mp4,0\n")
    write_columns(tmp_path / "weights", {"weight": np.zeros(3)}, {"format": "pt"})
    for other in (tmp_path, tmp_path / "none", tmp_path / "list.csv", tmp_path / "weights"):
        assert not is_manifest(other)
        with pytest.raises(
            InputError, match=r"(is not a manifest|does not exist)\. Give a file that videopool prepare scan"
        ):
            read_manifest(other)


def test_videos_and_manifest_move_together(written: Path, tmp_path: Path) -> None:
    shutil.move(tmp_path / "set", tmp_path / "moved")
    table, _ = open_manifest(tmp_path / "moved/train.manifest")
    assert table[2].path.resolve() == tmp_path / "moved/videos/2.mp4"
    assert table[2].path.exists()


def test_a_manifest_in_another_folder_finds_its_videos(written: Path, tmp_path: Path) -> None:
    other = tmp_path / "other/train.manifest"
    write_manifest(other, manifest_of(written.parent / "videos"))
    shutil.move(other, tmp_path / "train.manifest")
    assert open_manifest(tmp_path / "train.manifest")[0][1].path == written.parent / "videos/1.mp4"


def test_root_comes_first_if_the_videos_are_there(written: Path, tmp_path: Path) -> None:
    shutil.copytree(written.parent / "videos", tmp_path / "copy")
    assert open_manifest(written, tmp_path / "copy")[0][1].path == tmp_path / "copy/1.mp4"
    assert open_manifest(written, tmp_path)[0][1].path.resolve() == written.parent / "videos/1.mp4"


def test_no_video_anywhere(written: Path, tmp_path: Path) -> None:
    shutil.rmtree(written.parent / "videos")
    with pytest.raises(InputError, match=r"none of its first videos exists below .* or .*\. Set root"):
        open_manifest(written, tmp_path)


@pytest.mark.parametrize(
    ("about", "columns", "message"),
    [
        ({"version": "2"}, {}, "of version 2, but this videopool reads version 1"),
        ({"classes": "jump"}, {}, "damaged manifest"),
        ({"classes": '["jump", "run"]'}, {}, "labels go from 0 to 2, classes from 0 to 1"),
        ({}, {"codec": None}, "column codec is missing"),
        ({}, {"width": np.zeros(3, np.int32)}, "width has 3 rows, not 4"),
        ({}, {"path_ends": np.array([9, 8, 7, 6])}, "path_ends does not divide"),
    ],
)
def test_damage_and_other_versions(about: dict, columns: dict, message: str, written: Path, tmp_path: Path) -> None:
    found, metadata = map_columns(written)
    kept = {name: column for name, column in {**found, **columns}.items() if column is not None}
    write_columns(tmp_path / "bad.manifest", kept, {**metadata, **about})
    with pytest.raises(InputError, match=message):
        read_manifest(tmp_path / "bad.manifest")


def test_a_manifest_with_the_decoders_of_an_earlier_release(written: Path) -> None:
    columns, about = map_columns(written)
    write_columns(written, {**columns, "decoder": np.full(4, 2, np.uint8)}, about)
    assert open_manifest(written)[0].label.tolist() == list(LABELS)
    assert read_videos(written).classes == CLASSES


def test_the_same_classes_return_the_same_table(written: Path) -> None:
    table, classes = open_manifest(written)
    assert with_classes(table, classes, CLASSES, "x") is table


def test_other_orders_and_numbers(written: Path) -> None:
    table, classes = open_manifest(written)
    assert with_classes(table, classes, ("walk", "jump"), "x").label.tolist() == [0, 1, 0, 1]
    numbered = with_classes(table, ("0", "1", "2"), ("a", "b", "c"), "x")
    assert numbered.label.tolist() == list(LABELS)


def test_an_unknown_class_is_an_error(written: Path) -> None:
    table, classes = open_manifest(written)
    with pytest.raises(InputError, match=r"train.manifest: class 'walk' is not among the 2 classes \(jump, run\)"):
        with_classes(table, classes, ("jump", "run"), "train.manifest")
    with pytest.raises(InputError, match="class '2' is not among the 2 classes"):
        with_classes(table, ("0", "1", "2"), ("a", "b"), "train.manifest")


def test_read_videos_reads_a_manifest(written: Path) -> None:
    videos = read_videos("train.manifest", root=written.parent)
    assert (videos.format, videos.classes, len(videos.records)) == ("manifest", CLASSES, 4)
    assert videos.note == "1 of 4 videos could not be read by the scan"
    assert videos.records.file == written
    assert [record.label for record in videos.records] == list(LABELS)
    assert videos.records.reason(1) == "is empty"
    again = read_videos(written, classes=["walk", "run", "jump"])
    assert again.classes == ("walk", "run", "jump")
    assert again.records.label.tolist() == [0, 2, 0, 2]
    assert again.records.file == written
    with pytest.raises(InputError, match="class 'jump' is not among"):
        read_videos(written, classes=["walk"])


def test_several_classes_of_a_video(tmp_path: Path) -> None:
    (tmp_path / "0.mp4").touch()
    made = manifest_of(tmp_path, labels=(0,))
    columns = {**made.table.columns, "labels": np.array([0, 2], np.int32), "labels_ends": np.array([2])}
    write_manifest(tmp_path / "m", Manifest(VideoTable(columns, tmp_path), CLASSES, ("",), "by hand"))
    videos = read_videos(tmp_path / "m", classes=["walk", "jump", "run"])
    assert videos.several_labels
    assert videos.records[0].labels == (1, 0)
    with pytest.raises(InputError, match="class 'walk'"):
        read_videos(tmp_path / "m", classes=["jump"])


def test_metadata_is_plain_text(written: Path) -> None:
    about = map_columns(written)[1]
    assert json.loads(about["classes"]) == list(CLASSES)
    assert (about["root"], about["version"], about["made"]) == ("videos", "1", "by hand")
