"""Spans in frames and lists without labels in all steps of preparation."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from videopool.data.lists.records import VideoList, read_videos
from videopool.prepare.encode import Encoding
from videopool.prepare.scan import scan
from videopool.prepare.split import split
from videopool.prepare.transcode import LIST, transcode
from videopool.prepare.verify import list_problems

SPANS = [("a.mp4@f0-5", 0, 5), ("a.mp4@f5-", 5, None), ("b.mp4@f2-8", 2, 8), ("b.mp4", None, None)]
ROWS = "a.mp4,x,0,5\na.mp4,y,5,\nb.mp4,x,2,8\nb.mp4,y,,\n"


@pytest.fixture
def folder(motion_videos: Path, tmp_path: Path) -> Path:
    source = sorted(motion_videos.rglob("*.mp4"))
    (tmp_path / "set").mkdir()
    for name, path in zip(("a.mp4", "b.mp4"), source, strict=False):
        shutil.copy(path, tmp_path / "set" / name)
    (tmp_path / "set/list.csv").write_text(f"path,label,start_frame,end_frame\n{ROWS}")
    (tmp_path / "set/test.txt").write_text("a.mp4\nb.mp4\n")
    return tmp_path / "set"


def spans(videos: VideoList) -> list[tuple[str, int | None, int | None]]:
    return [(record.id, record.start_frame, record.end_frame) for record in videos.records]


def scanned(source: Path, to: Path) -> VideoList:
    assert scan(read_videos(source), to, quick=True)
    return read_videos(to)


def test_spans_in_frames(folder: Path, tmp_path: Path) -> None:
    assert spans(scanned(folder / "list.csv", tmp_path / "m")) == SPANS
    for source in (folder / "list.csv", tmp_path / "m"):
        to = tmp_path / f"parts of {source.name}"
        split(read_videos(source), to, {"train": 0.5, "test": 0.5})
        parts = [read_videos(path, root=folder) for path in to.iterdir() if path.name != "classes.txt"]
        assert sorted(span for part in parts for span in spans(part)) == sorted(SPANS, key=lambda span: span[0])
    small = Encoding(32, 4, 30, "ultrafast")
    transcode(read_videos(folder / "list.csv"), tmp_path / "small", small)
    assert spans(read_videos(tmp_path / "small" / LIST)) == SPANS


def test_two_spans_of_a_file_are_two_videos(folder: Path) -> None:
    videos = read_videos(folder / "list.csv")
    assert list(list_problems(videos, None, videos.classes)) == []
    (folder / "twice.csv").write_text(f"path,label,start_frame,end_frame\n{ROWS}a.mp4,x,0,5\n")
    twice = read_videos(folder / "twice.csv")
    assert [(one.kind, one.name) for one in list_problems(twice, None, twice.classes)] == [
        ("listed twice", "a.mp4@f0-5")
    ]


def test_lists_without_labels(folder: Path, tmp_path: Path) -> None:
    videos = scanned(folder / "test.txt", tmp_path / "m")
    assert (videos.unlabeled, videos.classes, videos.note) == (True, (), "the list has no labels")
    assert read_videos(tmp_path / "m", classes=["x", "y"]).records.label.tolist() == [-1, -1]
    assert list(list_problems(videos, None, videos.classes)) == []
    split(read_videos(folder / "test.txt"), tmp_path / "parts", {"a": 0.5, "b": 0.5})
    assert (tmp_path / "parts/a.csv").read_text().startswith("path\n")
    assert read_videos(tmp_path / "parts/a.csv", root=folder).unlabeled
