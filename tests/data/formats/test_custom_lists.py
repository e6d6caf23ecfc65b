"""Lists that a function of the user reads (docs/extending.md has a complete example)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from videopool.data import InputError, ListEntry, read_videos

Reader = Callable[[Path, Path], object]


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Callable[[Reader], None]:
    """Make a function importable as ``my.lists.read``."""

    def register(function: Reader) -> None:
        monkeypatch.setitem(sys.modules, "my", ModuleType("my"))
        monkeypatch.setitem(sys.modules, "my.lists", ModuleType("my.lists"))
        monkeypatch.setattr(sys.modules["my.lists"], "read", function, raising=False)

    return register


def test_entries_become_videos(put, tmp_path, reader):
    put("videos/a.mp4")
    put("videos/list.xml")
    given = []

    def read(path: Path, root: Path) -> list[ListEntry]:
        given.append((path, root))
        return [ListEntry("a", "run", start_frame=3), ListEntry(tmp_path / "b.mp4", "walk")]  # a path without suffix

    reader(read)
    videos = read_videos("my.lists.read:list.xml", root=tmp_path / "videos")
    assert given == [(tmp_path / "videos/list.xml", tmp_path / "videos")]
    assert (videos.format, videos.classes) == ("custom", ("run", "walk"))
    assert [record.id for record in videos.records] == ["a.mp4@f3-", f"{tmp_path}/b.mp4"]
    assert videos.source == f"my.lists.read:{tmp_path}/videos/list.xml"
    put("videos/classes.txt", "walk\nrun\n")
    assert read_videos(f"my.lists.read:{tmp_path}/videos/list.xml").classes == ("walk", "run")
    assert given[-1] == given[0]


def test_a_file_may_be_named_like_a_reader(put, tmp_path):
    put("a.mp4")
    put("my.lists.read:list.xml", "a.mp4 run\n")
    assert read_videos("my.lists.read:list.xml", root=tmp_path).format == "list"


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (None, r"my\.lists\.read returned a NoneType, not ListEntry objects"),
        ([("a.mp4", "run")], r"list\.xml: entry 1 of my\.lists\.read is a tuple, not a ListEntry"),
        ([ListEntry("a.mp4", 3)], r"entry 1 of my\.lists\.read: label=3 must be text"),
        ([ListEntry("")], r"entry 1 of my\.lists\.read has no path"),
        ([], r"list\.xml: no videos found; expected ListEntry objects of my\.lists\.read"),
        (
            [ListEntry("a.mp4", "run"), ListEntry("a.mp4")],
            r"entry 2 of my\.lists\.read: 'a\.mp4' has no label, but .*entry 1 .* has one",
        ),
        (
            [ListEntry("a.mp4", "run", file="list.xml", line=7, end_seconds=-1)],
            r"^list\.xml:7: the span from 0 to -1 s",
        ),
    ],
)
def test_wrong_results(put, reader, result, message):
    put("a.mp4")
    reader(lambda path, root: result)
    with pytest.raises(InputError, match=message):
        read_videos(f"my.lists.read:{put('list.xml')}")


def test_wrong_names(put, tmp_path):
    place = put("list.xml")
    with pytest.raises(InputError, match="cannot import no_such_package") as caught:
        read_videos(f"no_such_package.read:{place}")
    assert caught.value.setting == "source"
    with pytest.raises(InputError, match=r"none\.xml: no such file or folder"):
        read_videos("no_such_package.read:none.xml", root=tmp_path)
    with pytest.raises(InputError, match="the format custom has no parts"):
        read_videos(f"no_such_package.read:{place}#train")
