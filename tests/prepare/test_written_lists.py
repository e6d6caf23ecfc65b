"""Lists that split and transcode write are read back unchanged."""

from __future__ import annotations

from pathlib import Path

import pytest

from videopool.data.lists.records import VideoList, read_videos
from videopool.errors import InputError
from videopool.prepare.split import split
from videopool.prepare.write_list import check_csv, write_list

ROWS = ["run;walk", "walk", "", "run", "sit;run", "high jump"]


@pytest.fixture
def listed(tmp_path: Path) -> VideoList:
    """Six videos, of two, one or no classes."""
    for number in range(len(ROWS)):
        (tmp_path / f"{number}.mp4").touch()
    lines = (f"{number}.mp4,{labels}\n" for number, labels in enumerate(ROWS))
    (tmp_path / "list.csv").write_text("path,labels\n" + "".join(lines))
    return read_videos(tmp_path / "list.csv")


def names(videos: VideoList) -> dict[str, tuple[str, ...]]:
    return {record.id: tuple(videos.classes[label] for label in record.labels or ()) for record in videos.records}


def test_several_classes_in_the_parts_of_a_split(listed: VideoList, tmp_path: Path) -> None:
    split(listed, tmp_path / "parts", {"train": 0.5, "test": 0.5})
    parts = [read_videos(tmp_path / f"parts/{part}.csv", root=tmp_path) for part in ("train", "test")]
    assert all(part.several_labels and part.classes == listed.classes for part in parts)
    assert names(parts[0]) | names(parts[1]) == names(listed)


@pytest.mark.parametrize("rows", [[1, 3], [1, 2], [0, 3], [2, 5, 3]])
def test_any_part_keeps_several_classes(rows: list[int], listed: VideoList, tmp_path: Path) -> None:
    write_list(tmp_path / "part/part.csv", listed.records.selected(rows), listed.classes)
    part = read_videos(tmp_path / "part/part.csv", root=tmp_path)
    assert part.several_labels
    assert names(part) == {f"{row}.mp4": names(listed)[f"{row}.mp4"] for row in rows}


@pytest.mark.parametrize("name", ["a;b", "a|b", "0 2", "1, 2"])
def test_names_that_would_be_read_as_several(name: str, listed: VideoList) -> None:
    classes = (name, *listed.classes[1:])
    with pytest.raises(InputError, match=r"list.csv: the class name .* would be read as several .*\. Rename it\."):
        check_csv(listed.records, classes, listed.source, "Rename it.")
