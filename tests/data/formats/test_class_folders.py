"""Class folders: every video suffix counts, and skipped files are reported."""

from __future__ import annotations

import re

import pytest

from tests.conftest import ROOT
from videopool.data.lists.formats.catalog import FORMATS
from videopool.data.lists.formats.entries import SUFFIXES as KNOWN
from videopool.data.lists.records import read_videos
from videopool.errors import InputError

SUFFIXES = [
    *("MTS", "m2t", "m2ts", "vob", "asf", "mxf", "divx", "xvid", "gif", "f4v", "3g2", "mpe", "m1v", "m2v"),
    *("ogm", "qt", "dv", "rm", "rmvb", "y4m", "ivf", "obu", "av1", "h264", "264", "hevc", "265", "mp4"),
]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_suffix_is_a_video_in_folders_and_lists(put, tmp_path, suffix):
    put(f"set/high jump/c1.{suffix}")
    put("set/run/a.mp4")
    videos = read_videos(tmp_path / "set")
    assert videos.classes == ("high jump", "run")
    assert videos.note == ""
    listed = read_videos(put("l.txt", f"set/high jump/c1.{suffix} high jump\nset/run/a.mp4 run\n"))
    assert [(one.id, listed.classes[one.label]) for one in listed.records] == [
        (f"set/high jump/c1.{suffix}", "high jump"),
        ("set/run/a.mp4", "run"),
    ]


def test_the_page_on_lists_names_every_suffix():
    page = (ROOT / "docs/lists.md").read_text()
    paragraph = page[page.index("**Videos** are files") : page.index("**Text** is")]
    assert sorted(re.findall(r"\.[a-z0-9]+(?=[ `\n])", paragraph)) == sorted(KNOWN)


def test_the_page_on_lists_names_every_format():
    table = re.findall(r"^\| \[?`([^`]+)`", (ROOT / "docs/lists.md").read_text(), flags=re.MULTILINE)
    assert {each.name for each in FORMATS} - {"json"} | {"manifest"} <= set(table)


def test_other_files_are_counted(put, tmp_path):
    for name in ("run/a.mp4", "run/a.txt", "run/b.TXT", "run/c.nfo", "run/a.jpg", "walk/b.mp4", "walk/README"):
        put(f"set/{name}")
    for name in ("run/.DS_Store", ".hidden/x.txt", "run/.x/y.txt", "list.csv", "classes.txt"):
        put(f"set/{name}", "run\nwalk\n")
    assert read_videos(tmp_path / "set").note == "skipped 4 files: 2 .txt, 1 .nfo, 1 without suffix"
    put("set/stray.mov")
    put("set/stray2.mov")
    assert "skipped stray.mov and 1 more, outside of class folders" in read_videos(tmp_path / "set").note


def test_one_file_is_counted_in_the_singular(put, tmp_path):
    put("set/run/a.mp4")
    put("set/run/a.txt")
    assert read_videos(tmp_path / "set").note == "skipped 1 file: 1 .txt"


@pytest.mark.parametrize(
    ("names", "held"),
    [
        (("c1.xyz", "c2.xyz", "n.txt"), r"it contains 2 \.xyz, 1 \.txt"),
        (("a.jpg",), r"it contains 1 \.jpg"),  # images do not count where there are videos
        ((".hidden.mp4",), r"it is empty"),
    ],
)
def test_a_class_without_videos_is_an_error(put, tmp_path, names, held):
    put("set/run/a.mp4")
    for name in names:
        put(f"set/high jump/{name}")
    with pytest.raises(InputError, match=rf"set/high jump: the class folder has no videos \({held}\), but others in"):
        read_videos(tmp_path / "set")


def test_an_empty_class_folder_is_an_error(put, tmp_path):
    put("set/run/a.mp4")
    (tmp_path / "set/walk").mkdir()
    with pytest.raises(InputError, match=r"set/walk: .* \(it is empty\), .* or move the folder elsewhere"):
        read_videos(tmp_path / "set")


def test_an_error_names_the_suffixes_if_no_class_has_videos(put, tmp_path):
    put("set/run/a.xyz")
    put("set/walk/b.xyz")
    with pytest.raises(InputError, match=r"set: no videos found; .* \(skipped 2 files: 2 \.xyz\)"):
        read_videos(tmp_path / "set")


def test_a_few_animations_do_not_make_images_previews(put, tmp_path):
    for name in ("cat/1.jpg", "cat/2.jpg", "cat/3.gif", "dog/4.png"):
        put(f"set/{name}")
    videos = read_videos(tmp_path / "set")
    assert [record.id for record in videos.records] == ["cat/1.jpg", "cat/2.jpg", "dog/4.png"]
    assert videos.note == "skipped 1 file: 1 .gif"
    put("tgif/cat/1.gif")
    put("tgif/cat/1.jpg")
    put("tgif/dog/2.gif")
    assert [record.id for record in read_videos(tmp_path / "tgif").records] == ["cat/1.gif", "dog/2.gif"]


def test_a_folder_within_a_folder_of_its_name(put, tmp_path):
    put("UCF-101/UCF-101/Archery/a.avi")
    put("UCF-101/UCF-101/Zoo/b.avi")
    videos = read_videos(tmp_path / "UCF-101")
    assert videos.classes == ("Archery", "Zoo")
    assert videos.records[0].path == tmp_path / "UCF-101/UCF-101/Archery/a.avi"
    assert videos.note == f"the class folders are in {tmp_path}/UCF-101/UCF-101"
    put("run/run/a.avi")  # one class, whose videos lie in it
    assert read_videos(tmp_path / "run").classes == ("run",)


def test_an_error_names_a_folder_around_the_class_folders(put, tmp_path):
    put("data/UCF-101/Archery/a.avi")
    put("data/UCF-101/Zoo/b.avi")
    expected = r"label 'UCF-101' is not among the 2 classes .* subfolder Archery is a class; give the folder UCF-101"
    with pytest.raises(InputError, match=expected):
        read_videos(tmp_path / "data", classes=["Archery", "Zoo"])
    with pytest.raises(InputError, match=r"label 'UCF-101' is not among .*\. Labels are names\.$"):
        read_videos(tmp_path / "data", classes=["Archer", "Zoos"])
