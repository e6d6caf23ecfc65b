"""Verification finds every kind of problem, and none in a clean list."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.prepare.conftest import BROKEN
from videopool.data.lists.records import VideoList, read_videos
from videopool.prepare.scan import scan
from videopool.prepare.verify import Problem, list_problems, problem_table, verify


def found(train: VideoList, test: VideoList | None = None, **options: bool) -> list[Problem]:
    """The problems of the files, without those of the lists."""
    of_lists = list(list_problems(train, test, train.classes))
    problems = verify(train, test, processes=2, **options)
    assert problems[: len(of_lists)] == of_lists
    return problems[len(of_lists) :]


def written(folder: Path, name: str, *rows: str) -> VideoList:
    (folder / name).write_text("\n".join(["path,label", *rows]) + "\n")
    return read_videos(folder / name)


def test_a_clean_list(folder: Path) -> None:
    (folder / BROKEN).unlink()
    videos = read_videos(folder)
    assert list(list_problems(videos, None, videos.classes)) == []
    assert found(videos, decode=True, sha256=True) == []


def test_missing_and_unreadable(folder: Path) -> None:
    videos = written(folder, "list.csv", "a/one.mp4,x", f"{BROKEN},x", "a/none.mp4,x", "a/none too.mp4,x")
    missing = "cannot be read (No such file or directory)"
    assert found(videos) == [
        Problem("missing", "a/none too.mp4", missing),
        Problem("missing", "a/none.mp4", missing),
        Problem("unreadable", BROKEN, "has no video stream"),
    ]


@pytest.mark.slow
def test_damage_that_only_decoding_shows(shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,label\nzeromid10_g12.mp4,x\nvp9.webm,x\n")
    videos = read_videos(tmp_path / "list.csv", root=shared_data / "clips")
    assert found(videos) == []
    about = "is damaged: 270 of its 300 frames can be decoded without errors"
    assert found(videos, decode=True) == [Problem("unreadable", "zeromid10_g12.mp4", about)]


@pytest.mark.slow
def test_listed_twice_and_same_content(folder: Path) -> None:
    (folder / "c/copy.mp4").write_bytes((folder / "a/one.mp4").read_bytes())
    videos = written(folder, "list.csv", "a/one.mp4,x", "c/copy.mp4,y", "a/one.mp4,y", "b/three.mp4,x")
    assert list(list_problems(videos, None, videos.classes)) == [Problem("listed with two classes", "a/one.mp4")]
    assert found(videos) == []
    assert [(one.kind, {one.name, one.about}) for one in found(videos, sha256=True)] == [
        ("same content", {"a/one.mp4", "c/copy.mp4"})
    ]


def test_a_file_under_several_paths_is_one_file(folder: Path) -> None:
    (folder / "link.mp4").symlink_to(folder / "a/one.mp4")
    rows = ("a/one.mp4,x", "./a/one.mp4,x", f"{folder}/a/one.mp4,x", "link.mp4,y", "b/three.mp4,x")
    videos = written(folder, "list.csv", *rows)
    problems = list(list_problems(videos, None, videos.classes))
    assert [one.kind for one in problems] == ["listed twice", "listed twice", "listed with two classes"]
    assert problems[-1] == Problem("listed with two classes", "link.mp4", "also as a/one.mp4")


def test_two_spans_of_a_file_are_two_videos(folder: Path) -> None:
    (folder / "list.csv").write_text("path,label,start,end\na/one.mp4,x,0,0.5\na/one.mp4,x,0.5,1\n")
    videos = read_videos(folder / "list.csv")
    assert list(list_problems(videos, None, videos.classes)) == []


def test_labels_outside_the_classes(folder: Path) -> None:
    numbers = written(folder, "numbers.csv", "a/one.mp4,0", "a/two.avi,1", "b/three.mp4,3", "c/five.mp4,3")
    assert list(list_problems(numbers, None, ("0", "1", "2", "3"))) == []
    assert list(list_problems(numbers, None, ("0", "1", "2"))) == [
        Problem("label out of range", "3", "2 videos; there are 3 classes")
    ]
    names = written(folder, "names.csv", "a/one.mp4,run", "a/two.avi,sit")
    assert list(list_problems(names, None, ("sit", "walk"))) == [
        Problem("label out of range", "run", "1 video; there are 2 classes")
    ]
    assert list(list_problems(names, None, ("sit", "run"))) == []


def test_labels_that_count_from_one(folder: Path) -> None:
    videos = written(folder, "list.csv", "a/one.mp4,1", "a/two.avi,2")
    problems = list(list_problems(videos, None, videos.classes))
    assert [(one.kind, one.name) for one in problems] == [("label out of range", "0")]
    assert "if these count from 1, subtract 1" in problems[0].about


def test_two_lists(folder: Path) -> None:
    train = written(folder, "train.csv", "a/one.mp4,run", "a/two.avi,sit")
    test = written(folder, "test.csv", "b/three.mp4,run", "./a/../a/one.mp4,jump", "c/five.mp4,1")
    assert list(list_problems(train, test, train.classes)) == [
        Problem("label out of range", "jump", "1 video; there are 2 classes"),
        Problem("in both lists", "./a/../a/one.mp4"),
    ]


def test_same_content_in_two_lists(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    (tmp_path / "test/other.mp4").write_bytes((folder / "a/one.mp4").read_bytes())
    (tmp_path / "test/list.csv").write_text("path,label\nother.mp4,x\n")
    train = written(folder, "train.csv", "a/one.mp4,x")
    problems = found(train, read_videos(tmp_path / "test/list.csv"), sha256=True)
    assert [(one.kind, {one.name, one.about}) for one in problems] == [("same content", {"a/one.mp4", "other.mp4"})]


@pytest.mark.slow
def test_a_manifest_whose_files_have_changed(folder: Path, tmp_path: Path) -> None:
    assert scan(read_videos(folder), tmp_path / "m", quick=True)
    (folder / BROKEN).unlink()
    size = (folder / "a/one.mp4").stat().st_size
    (folder / "a/one.mp4").write_bytes((folder / "c/five.mp4").read_bytes())
    new = (folder / "a/one.mp4").stat().st_size
    assert found(read_videos(tmp_path / "m")) == [
        Problem("changed since the scan", "a/one.mp4", f"{size} bytes then, {new} now"),
        Problem("missing", BROKEN, "cannot be read (No such file or directory)"),
    ]


def test_the_table() -> None:
    problems = [Problem("missing", f"{n}.mp4", "no such file") for n in range(5)] + [Problem("listed twice", "a|b")]
    lines = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in problem_table(problems).splitlines()]
    assert lines[2:] == [
        ["missing", "5", "0.mp4", "no such file"],
        ["", "", "1.mp4", "no such file"],
        ["", "", "2.mp4", "no such file"],
        ["", "", "... 2 more", ""],
        ["listed twice", "1", r"a\|b", ""],
    ]


def test_a_stop_ends_the_work(folder: Path) -> None:
    assert verify(read_videos(folder), stopped=lambda: True) == []
