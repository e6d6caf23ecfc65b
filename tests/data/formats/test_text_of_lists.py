"""Encodings, separators and JSON in other forms."""

from __future__ import annotations

import json

import pytest

from videopool.data.lists.records import read_videos
from videopool.errors import InputError

NAMES = "a.mp4 跑步和跳高\nb.mp4 游泳比赛\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_with_a_byte_order_mark(put, tmp_path, encoding, end):
    put("a.mp4")
    (tmp_path / "l.txt").write_bytes(NAMES.replace("\n", end).encode(encoding))
    assert set(read_videos(tmp_path / "l.txt").classes) == {"跑步和跳高", "游泳比赛"}


@pytest.mark.parametrize(
    ("text", "encoding", "named"),
    [
        (NAMES, "gbk", "GBK"),
        (NAMES + "c.mp4 镕\n", "gbk", "GBK"),  # a character that GB2312 lacks
        ("a.mp4 run\nb.mp4 walk\n", "utf-16-le", "UTF-16LE"),
        ("a.mp4 run\nb.mp4 walk\n", "utf-16-be", "UTF-16BE"),
        ("a.mp4 ジャンプする\nb.mp4 はしる\n", "shift_jis", "SHIFT_JIS"),
        ("a.mp4 saut à l'élastique\nb.mp4 fête\n", "latin-1", "WINDOWS-1252"),
    ],
)
def test_errors_name_other_encodings(put, tmp_path, text, encoding, named):
    put("a.mp4")
    (tmp_path / "l.txt").write_bytes(text.encode(encoding))
    expected = rf"l\.txt is not UTF-8; it looks like {named}\. .* iconv -f {named} -t UTF-8 l\.txt > l\.utf8\.txt"
    with pytest.raises(InputError, match=expected):
        read_videos(tmp_path / "l.txt")


@pytest.mark.parametrize(
    "content", [b"\x00\x01\x02\xff\xfe" * 50, b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", b"a\x00b.mp4 1"]
)
def test_files_that_are_not_text(tmp_path, content):
    (tmp_path / "l").write_bytes(content)
    with pytest.raises(InputError, match=r"l cannot be read as text"):
        read_videos(tmp_path / "l")


def test_a_video_is_not_a_list(put):
    with pytest.raises(
        InputError, match=r"x\.MTS has the name of a video or image and is not read as a list\. Give a l"
    ):
        read_videos(put("x.MTS", "a.mp4 1\n"))


# --- separators ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["a.mp4;run\nb c.mp4; high jump\n", "path;label\na.mp4;run\nb c.mp4;high jump\n"])
def test_semicolons(put, text):
    put("a.mp4")
    videos = read_videos(put("l.csv", text))
    assert [(one.id, videos.classes[one.label]) for one in videos.records] == [
        ("a.mp4", "run"),
        ("b c.mp4", "high jump"),
    ]


def test_semicolons_in_a_table_with_commas_in_its_cells(put):
    put("a.mp4")
    videos = read_videos(put("l.csv", "path;label;note\na.mp4;run;fast, then slow\n"))
    assert videos.classes == ("run",)
    with pytest.raises(InputError, match=r"l\.csv:2: 4 columns, but the header has 3\. Quote cells that contain semi"):
        read_videos(put("l.csv", "path;label;note\na.mp4;run;fast;slow\n"))


@pytest.mark.parametrize(
    ("line", "path", "label"),
    [
        ("down/c1.MTS high jump", "down/c1.MTS", "high jump"),
        ("down/c1.xyz high jump", "down/c1.xyz", "high jump"),
        ("down/c1.xyz,putting, then taking", "down/c1.xyz", "putting, then taking"),
        ("down/c1.braw 3", "down/c1.braw", "3"),
        ("St. Louis/c1 dive", "St. Louis/c1", "dive"),
        ("v1.25 dive", "v1.25", "dive"),
        ("clip v1.25 dive", "clip v1.25", "dive"),  # a number is not a suffix
    ],
)
def test_unknown_suffixes_end_a_path(put, line, path, label):
    put("a.mp4")
    videos = read_videos(put("l.txt", f"a.mp4 zzz\n{line}\n"))
    assert [(one.id, videos.classes[one.label]) for one in videos.records][1] == (path, label)


# --- json ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ([{"path": "a.mp4", "label": 1}], "a list of 1 objects with path, label"),
        ({"train": [], "val": []}, "an object with train, val"),
        ([["a.mp4", 1]], "a list of 1 lists"),
        (["a.mp4"], "a list of 1 values"),
        ([], "a list of 0 values"),
        ({}, "an object with nothing in it"),
    ],
)
def test_json_of_other_forms(put, content, found):
    put("a.mp4")
    expected = rf"l\.json: expected the JSON of Something-Something V2 .*, but found {found}\. Write a table with"
    with pytest.raises(InputError, match=expected):
        read_videos(put("l.json", json.dumps(content)))


def test_json_lines_and_a_part(put):
    put("a.mp4")
    line = json.dumps({"path": "a.mp4", "label": 1})
    with pytest.raises(InputError, match=r"l\.txt has a JSON object on each line; expected the JSON of"):
        read_videos(put("l.txt", f"{line}\n{line}\n"))
    with pytest.raises(
        InputError,
        match=r"l\.json: #val selects a part, but .* something-something-v2 has no parts",
    ):
        read_videos(f"{put('l.json', json.dumps([{'id': '1'}]))}#val")


def test_a_path_may_start_with_a_bracket(put):
    put("[abc] x.mp4")
    assert read_videos(put("l.txt", "[abc] x.mp4 0\n")).records[0].id == "[abc] x.mp4"
