"""Lists of folders of frames: both forms, their separators, and the difference from ``path label``."""

from __future__ import annotations

import pytest

from videopool.data.lists.records import read_videos
from videopool.errors import InputError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("run/a 250 0\nwalk/b 7 1\n", [("run/a", 250, 0), ("walk/b", 7, 1)]),
        ("# comment\n\nrun/a\t250\t0\nb c, 7, 01\n", [("run/a", 250, 0), ("b c", 7, 1)]),
        ("run/a 0 57 1\nb 0 0 0\n", [("run/a", 58, 1), ("b", 1, 0)]),
        ("run/a,1,57,1\nb,0,4,0\n", [("run/a", 57, 1), ("b", 5, 0)]),
        ('"run/a 5" 57 1\nb 4 0\n', [("run/a 5", 57, 1), ("b", 4, 0)]),
        ("run/a 5 57 1\nb 4 0\n", [("run/a 5", 57, 1), ("b", 4, 0)]),  # not three numbers in every line
    ],
)
def test_both_forms(put, text, expected):
    for name in ("run/a", "run/a 5"):
        put(f"{name}/img_00001.jpg")
    videos = read_videos(put("list.txt", text))
    assert videos.format == "frames"
    assert [(record.id, record.frames, record.label) for record in videos.records] == expected
    assert videos.records[0].path.is_dir()


@pytest.mark.parametrize("line", ['"clip 12" 3', "clip12 3", "clip 12 take 3x"])
def test_lists_of_videos_that_look_similar(put, line):
    put("a.mp4")
    assert read_videos(put("list.txt", f"{line}\na.mp4 3\n")).format == "list"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a 250 0\nb.mp4 1\n", r"l\.txt:2: 'b\.mp4 1' is not 'folder frames label' like the first line"),
        ("a 0 1\n", r"l\.txt:1: a has no frames\. Leave out the line"),
        ("a 0 5 1\nb 8 20 1\n", r"l\.txt:2: the frames of b begin at 8; expected .* Quote names of folders"),
        ("a 1 0 1\n", r"l\.txt:1: a has no frames"),
        (
            'original_vido_id video_id frame_id path labels\na 0 0 a/1.jpg ""\n',
            r"l\.txt:1: this is a list of single",
        ),
        ("a 250 0\n", r"none of the 1 videos exists; the first is a below"),
    ],
)
def test_errors(put, text, message):
    with pytest.raises(InputError, match=message):
        read_videos(put("l.txt", text))
