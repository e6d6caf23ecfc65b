"""Mistakes that would give videos wrong classes or none, and files that are not lists."""

from __future__ import annotations

import pytest

from videopool.data.lists.formats.classes import write_classes
from videopool.data.lists.records import read_videos
from videopool.errors import InputError


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.mp4 0 1 0 0\nb.mp4 1 0 0 0\n", r"l:1: 0 1 0 0 looks like one 0 or 1 per class\. Give the numbers"),
        ("path,labels\na.mp4,0 1 0\nb.mp4,1 0 0\n", r"l:2: 0 1 0 looks like one 0 or 1 per class"),
        (
            'path,labels\na.mp4,"[0, 2]"\n',
            r"l:2: labels=\[0, 2\] is a list in brackets\. Write a;b in the column labels",
        ),
        ("path;labels\na.mp4;['run', \"walk\"]\n", r"l:2: labels=\['run', \"walk\"\] is a list in brackets"),
        ("path,label\na.mp4,['run']\n", r"l:2: label=\['run'\] is a list in brackets"),
        (
            "a.mp4 run # good\nb.mp4 walk\n",
            r"l:1: label 'run # good' seems to end with a comment\. Put comments",
        ),
        (
            "// my list\na.mp4 run\nb.mp4 walk\n",
            r"l:1: '// my list' is not a video, .* if it is a comment, start it wi",
        ),
        (
            "a.mp4 2 jumps\n",
            r"l:1: '2 jumps' is not a class; .* Put a name that starts with a number in double quotes",
        ),
        ("path,label,label\na.mp4,run,walk\n", r"l:1: the header has two columns label\. Keep one of them"),
        (
            "path,label,start,start\na.mp4,run,1,2\n",
            r"l:1: columns start and start give the same value\. Keep",
        ),
        (
            "path,label\na.mp4\n",
            r"l:2: 1 column, but the header has 2\. Write a cell for each column",
        ),
        ("filename,label\na.mp4,run\n", r"l:1: the header has no column path, .* Rename the one that names the files"),
        (
            "path,label,start\na.mp4,run,nan\n",
            r"l:2: start='nan' must be a time .* Leave the cell empty for the",
        ),
        (
            "path,label,start_frame\na.mp4,run,-1\n",
            r"l:2: start_frame='-1' must be a frame number, .* Leave the cell",
        ),
        ("run a.mp4\nwalk b.mp4\n", r"l: none .*; the first is run a\.mp4 .* a\.mp4 exists: write the path first"),
        ("0,a.mp4\n", r"l: none of .* a\.mp4 exists: write the path first, then the label"),
        ("d\\a.mp4 run\n", r"l: none of .* Write / instead of \\ in paths"),
        ("'a.mp4' 'run'\n", r"l: none of .* Write double quotes instead of single ones, or none"),
        ("~/a.mp4 run\n", r"l: none of .* Write the folder that ~ stands for"),
        ("https://x.org/a.mp4 run\n", r"l: none of .* Download the videos, and give the paths of the files"),
        ("a.mp4，run\n", r"l: none of .* Write a comma or a tab instead of ，"),
        ("\u200bb.mp4 run\n", r"l: none of .*; the first is '\\u200bb\.mp4' below"),
        ("e\u0301.mp4 run\n", r"l: none of .* It exists with accents in another Unicode form: convert the list to NFC"),
        (f"{'x' * 300}.mp4 run\n", r"l: none of the 1 videos exists"),
        ("empty\n", r"l: none of .* empty is a folder without images: name the videos in it"),
        (
            "<!DOCTYPE html>\n<html></html>\n",
            r"l is an HTML page, probably from a failed download\. Download the file again",
        ),
        (
            "version https://git-lfs.github.com/spec/v1\n",
            r"l is a Git LFS pointer and not the file itself\. Run git lfs",
        ),
        ("PK\x03\x04", r"l is a zip archive or an Excel workbook\. Unpack it, or save the table as CSV"),
    ],
)
def test_refused(put, tmp_path, text, message):
    put("a.mp4")
    put("\u00e9.mp4")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=message):
        read_videos(put("l", text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('a.mp4 "run # 2"\na.mp4 room #2\n', {"run # 2", "room #2"}),
        ('a.mp4 "2 jumps"\na.mp4 run\n', {"2 jumps", "run"}),
        ("d/left.xyz run\na.mp4 walk\n", {"run", "walk"}),
        ("a.mp4,label\na.mp4,video\n", {"label", "video"}),
        ('path, label\na.mp4, "run"\n"a.mp4", run\n', {"run"}),
        ("sep=;\npath;label\na.mp4;run\n", {"run"}),
        ("path,label\na.mp4,[x] with [y]\n", {"[x] with [y]"}),
        ("path,labels\na.mp4,0 1\na.mp4,0 2\n", {"0", "1", "2"}),
    ],
)
def test_read(put, text, expected):
    put("a.mp4")
    assert set(read_videos(put("l", text)).classes) == expected


@pytest.mark.parametrize(("written", "meant"), [("Run", "run"), ("high_jump", "high jump"), ("walkng", "walking")])
def test_an_error_suggests_a_similar_class(put, written, meant):
    put("a.mp4")
    with pytest.raises(InputError, match=rf"label '{written}' is not among .* Did you mean '{meant}'\?"):
        read_videos(put("l", f"a.mp4 {written}\n"), classes=["run", "high jump", "walking"])


@pytest.mark.parametrize(
    ("header", "part", "note"),
    [
        ("path,label,subset", "#val", ""),
        ("path,label,subset", "", "columns not used: subset"),
        ("path,label,debut,end", "", "columns not used: debut"),
        ("path,label,class,file", "", "columns not used: class, file"),
        ("path,label,a,b,c,d,e,f,g", "", "columns not used: a, b, c, d, e and 2 more"),
        ("path,label,label_id,start,may_be_cut", "", ""),
    ],
)
def test_a_note_names_columns_that_are_not_used(put, header, part, note):
    put("a.mp4")
    cells = {
        "path": "a.mp4",
        "label": "run",
        "subset": "val",
        "label_id": "0",
        "may_be_cut": "",
        "start": "",
        "end": "",
    }
    row = ",".join(cells.get(name, "x") for name in header.split(","))
    assert read_videos(f"{put('l.csv', f'{header}{chr(10)}{row}{chr(10)}')}{part}").note == note


@pytest.mark.parametrize(
    ("names", "note"),
    [
        (("Run", "run"), "the names of the classes 'Run' and 'run' are nearly the same; are they one class?"),
        (
            ("high jump", "high  jump"),
            "the names of the classes 'high  jump' and 'high jump' are nearly the same; are they one class?",
        ),
        (
            ("high jump", "high_jump"),
            "the names of the classes 'high jump' and 'high_jump' are nearly the same; are they one class?",
        ),
        (("C", "C#"), ""),
        (("x-1", "x1"), ""),
    ],
)
def test_a_note_names_classes_with_similar_names(put, names, note):
    put("a.mp4")
    assert read_videos(put("l", "".join(f"a.mp4 {name}\n" for name in names))).note == note


def test_links_to_parent_folders_are_not_classes(put, tmp_path):
    for name in ("set/run/a.mp4", "set/walk/b.mp4", "other/c.mp4"):
        put(name)
    (tmp_path / "set/again").symlink_to(tmp_path / "set")
    (tmp_path / "set/run/up").symlink_to(tmp_path)
    videos = read_videos(tmp_path / "set")
    assert (videos.classes, [record.id for record in videos.records]) == (("run", "walk"), ["run/a.mp4", "walk/b.mp4"])


def test_a_link_to_another_folder_belongs_to_its_class(put, tmp_path):
    for name in ("set/run/a.mp4", "set/walk/b.mp4", "other/c.mp4"):
        put(name)
    (tmp_path / "set/run/more").symlink_to(tmp_path / "other")
    assert "run/more/c.mp4" in [record.id for record in read_videos(tmp_path / "set").records]


def test_a_class_name_that_is_not_utf_8_is_not_written(tmp_path):
    with pytest.raises(InputError, match=r"classes\.txt: the class name 'caf.udce9' cannot be written as UTF-8"):
        write_classes(tmp_path / "classes.txt", ["run", "caf\udce9"])
    assert not list(tmp_path.iterdir())
