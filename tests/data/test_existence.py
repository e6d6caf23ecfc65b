"""Paths that do not exist as written are completed, or the error names the cause."""

from __future__ import annotations

from pathlib import Path

import pytest

from videopool.data.lists.records import read_videos
from videopool.errors import InputError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("run/left-0000.mp4", "run/left-0001.AVI", "run/left.0002.mp4", "run/frames/1.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def listed(root: Path, text: str) -> Path:
    (root / "l.txt").write_text(text)
    return root / "l.txt"


def test_missing_suffixes_are_added(root):
    videos = read_videos(listed(root, "run/left-0000 0\nrun/left-0001 1\nrun/left.0002 0\nrun/gone 1\n"))
    names = [record.id for record in videos.records]
    assert names == ["run/left-0000.mp4", "run/left-0001.AVI", "run/left.0002.mp4", "run/gone"]
    assert videos.note == "added the suffix to 3 paths, such as run/left-0000 -> run/left-0000.mp4"
    table = read_videos(listed(root, "path,label\nrun/left-0000,x\n"))
    assert table.records[0].path == root / "run/left-0000.mp4"


@pytest.mark.parametrize("line", ["run/frames 0\n", "run/frames/ 0\n", "run/frames\n"])
def test_a_folder_of_frames_without_a_count(root, line):
    (record,) = read_videos(listed(root, line)).records
    assert (record.path, record.frames) == (root / "run/frames", 0)


def test_several_suffixes_are_an_error(root):
    (root / "run/left-0000.webm").touch()
    with pytest.raises(
        InputError, match=r"l\.txt:1: run/left-0000 has no suffix and may be left-0000\.mp4 or left-0000\.webm"
    ):
        read_videos(listed(root, "run/left-0000 0\n"))


def test_an_error_names_another_suffix(root):
    with pytest.raises(InputError, match=r"the first is run/left-0000\.avi .* left-0000\.mp4 exists: correct the s"):
        read_videos(listed(root, "run/left-0000.avi 0\n"))


def test_an_error_names_the_folder_that_paths_start_from(root):
    nested = root / "UCF-101/UCF-101/Archery"
    nested.mkdir(parents=True)
    (nested / "a.avi").touch()
    source = listed(root, "Archery/a.avi 0\n")
    with pytest.raises(InputError, match=rf"They are below {root}/UCF-101/UCF-101: set root={root}/UCF-101/UCF-101$"):
        read_videos(source, root=root / "UCF-101")
    prefixed = listed(root, "run/left-0000.mp4 0\n")
    with pytest.raises(InputError, match=rf"They are below {root}: set root={root}$"):
        read_videos(prefixed, root=root / "run")


def test_an_error_without_a_known_cause(root):
    with pytest.raises(InputError, match=r"none of the 1 videos exists; .* Set root to the folder that its paths"):
        read_videos(listed(root, "elsewhere/a.avi 0\n"))
