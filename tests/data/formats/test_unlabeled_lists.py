"""Lists without labels, and the error for lists in which only some videos have a label."""

from __future__ import annotations

import json

import numpy as np
import pytest

from videopool.data.lists.records import read_videos
from videopool.errors import InputError

ID = json.dumps([{"id": "a"}, {"id": "b"}])


@pytest.mark.parametrize(
    ("name", "text", "paths"),
    [
        ("l.txt", "a.mp4\nb c.mp4\n", ["a.mp4", "b c.mp4"]),
        ("l.txt", '# test\n"a.mp4"\na.mp4 copy.mp4\n', ["a.mp4", "a.mp4 copy.mp4"]),
        ("l.txt", "a\nb\n", ["a.mp4", "b"]),
        ("l.csv", "path\na.mp4\nb.mp4\n", ["a.mp4", "b.mp4"]),
        ("l.csv", "path,start,end\na.mp4,1,2\nb.mp4,,\n", ["a.mp4@1-2", "b.mp4"]),
        ("l.csv", "path,labels\na.mp4,\nb.mp4,\n", ["a.mp4", "b.mp4"]),
        ("l.json", ID, ["a.mp4", "b.webm"]),
    ],
)
def test_forms(put, name, text, paths):
    put("a.mp4")
    videos = read_videos(put(name, text), classes=["run", "walk"])
    assert videos.unlabeled
    assert not videos.several_labels
    assert [record.id for record in videos.records] == paths
    assert videos.records.label.tolist() == [-1, -1]
    assert "the list has no labels" in videos.note
    assert read_videos(put(name, text)).classes == ()
    np.testing.assert_array_equal(np.stack(videos.records.pairs()), np.zeros((2, 0)))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "l.txt",
            "a.mp4 0\na.mp4\n",
            r"l\.txt:2: 'a\.mp4' has no label, but .*l\.txt:1 has one\. Give every video a lab",
        ),
        ("l.txt", "a.mp4\na.mp4 0\n", r"l\.txt:1: 'a\.mp4' has no label, but .*l\.txt:2 has one"),
        (
            "l.csv",
            "path,label\na.mp4,run\na.mp4,\n",
            r"l\.csv:3: column label is empty\. Give every video a label, or re",
        ),
        (
            "l.csv",
            "path,subject\na.mp4,ann\n",
            r"no column label, class or label_id, .* a list without labels has only the c",
        ),
    ],
)
def test_labels_of_only_some_videos(put, name, text, message):
    put("a.mp4")
    with pytest.raises(InputError, match=message):
        read_videos(put(name, text))


def test_a_note_for_labels_that_count_from_one(put):
    put("a.mp4")
    expected = "no video has label 0. Labels count from 0; if these count from 1, subtract 1 from each"
    assert read_videos(put("l.txt", "a.mp4 1\na.mp4 2\n")).note == expected
    assert read_videos(put("l.csv", "path,label,label_id\na.mp4,run,1\na.mp4,walk,2\n")).note == expected
    assert read_videos(put("l.txt", "a.mp4 0\na.mp4 2\n")).note == ""
    assert read_videos(put("l.txt", "a.mp4 1\na.mp4 2\n"), classes=["a", "b", "c"]).note == ""
    with pytest.raises(InputError, match=r"label '2' is not among the 2 classes .* Do these numbers count from 1\?"):
        read_videos(put("l.txt", "a.mp4 1\na.mp4 2\n"), classes=["a", "b"])
