"""Lists that give a video several classes, and lists of one class that are not mistaken for them."""

from __future__ import annotations

import pytest

from videopool.data.lists.records import VideoList, read_videos
from videopool.errors import InputError
from videopool.prepare.write_list import write_list


def labels(videos: VideoList) -> list[tuple[str, ...]]:
    return [tuple(videos.classes[label] for label in record.labels or ()) for record in videos.records]


@pytest.mark.parametrize("separator", [" ", ", ", ",", "\t", ";"])
def test_several_numbers_are_several_classes(put, separator):
    put("a.mp4")
    text = f"a.mp4{separator}0{separator}2\nb c.mp4{separator}1\nd.mp4{separator}2{separator}1{separator}2\n"
    videos = read_videos(put("l.txt", text))
    assert (videos.format, videos.several_labels) == ("list", True)
    assert labels(videos) == [("0", "2"), ("1",), ("1", "2")]
    assert [record.id for record in videos.records] == ["a.mp4", "b c.mp4", "d.mp4"]
    assert videos.note == "2 of 3 videos have several classes"


@pytest.mark.parametrize("text", ["a.mp4 0\nb.mp4 2\n", "a.mp4 high jump\nb.mp4 run 2\n", "a.mp4 0 \n", "a.mp4,0\n"])
def test_one_label_stays_one(put, text):
    put("a.mp4")
    assert not read_videos(put("l.txt", text)).several_labels


def test_folders_of_frames_stay_folders_of_frames(put):
    put("a/1.jpg")
    put("b.mp4/1.jpg")
    assert read_videos(put("l.txt", "a 250 0\n")).format == "frames"
    videos = read_videos(put("l.txt", "b.mp4 250 0\nb.mp4 3 1\n"))  # the folder has the name of the file it was
    assert [(record.frames, record.label) for record in videos.records] == [(250, 0), (3, 1)]
    assert not videos.several_labels


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.mp4 250 0\nb.mp4 30 1\n", r"l\.txt:1: the numbers 250 0 may be classes, or frames and a class\. Write"),
        ("a.mp4 1 2\nb.mp4 30 1\n", r"l\.txt:2: the numbers 30 1 may be classes, or frames"),
        ("a.mp4 0 57 14\nb.mp4 0 3 2\n", r"l\.txt:1: the numbers 0 57 14 may be classes"),
        ("a.mp4 0 2\nb.mp4 run\n", r"l\.txt:2: label 'run' is a name, but .*l\.txt:1 has several numbers"),
        ("a.mp4 -1 2\n", r"l\.txt:1: '-1 2' is not a class"),
        ("a.mp4 0 2 train\n", r"l\.txt:1: '0 2 train' is not a class"),
        (
            "a.mp4 run;walk\n",
            r"l\.txt:1: 'run;walk' contains a semicolon\. Give several classes as numbers",
        ),
        ("a.mp4 0 2\nb.mp4\n", r"l\.txt:2: 'b\.mp4' has no label, but .*l\.txt:1 has one"),
    ],
)
def test_errors(put, text, message):
    put("a.mp4")
    with pytest.raises(InputError, match=message):
        read_videos(put("l.txt", text))


def test_every_video_may_have_two_classes_in_rising_order(put):
    put("a.mp4")
    assert labels(read_videos(put("l.txt", "a.mp4 0 2\nb.mp4 1 2\n"))) == [("0", "2"), ("1", "2")]


def test_a_quoted_name_may_contain_a_semicolon(put):
    put("a.mp4")
    assert read_videos(put("l.txt", 'a.mp4 "run;walk"\n')).classes == ("run;walk",)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("path,label\na.mp4,run;walk\na.mp4,sit\n", [("run", "walk"), ("sit",)]),
        ("path,labels\na.mp4,run; walk\na.mp4,\na.mp4,sit|run\n", [("run", "walk"), (), ("run", "sit")]),
        ("path,labels\na.mp4,0 2\na.mp4,1\n", [("0", "2"), ("1",)]),
        ('path,labels\na.mp4,"0,2"\na.mp4,"1, 0"\n', [("0", "2"), ("0", "1")]),
        ('path;labels\na.mp4;"run;walk"\na.mp4;sit\n', [("run", "walk"), ("sit",)]),
        ("path\tclass\na.mp4\trun;walk;\n", [("run", "walk")]),
    ],
)
def test_tables(put, text, expected):
    put("a.mp4")
    assert labels(read_videos(put("l.csv", text))) == expected


@pytest.mark.parametrize(
    "text", ["path,labels\na.mp4,run\na.mp4,walk\n", 'path,label\na.mp4,"putting, then taking"\na.mp4,a|b\n']
)
def test_tables_of_one_label(put, text):
    put("a.mp4")
    videos = read_videos(put("l.csv", text))
    assert not videos.several_labels
    assert len(videos.classes) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\na.mp4,run;;walk\n", r"l\.csv:2: label='run;;walk' has an empty label\. Put one semicolon"),
        ("path,label,labels\na.mp4,run,run;walk\n", r"l\.csv:1: columns label and labels both give classes"),
        ("path,labels,label_id\na.mp4,run;walk,1\n", r"l\.csv:1: columns labels and label_id both give classes"),
        (
            "path,label,label_id\na.mp4,run;walk,1\n",
            r"l\.csv:2: label has several classes, but label_id has one",
        ),
        ("path,label\na.mp4,;\n", r"l\.csv:2: column label is empty"),
    ],
)
def test_errors_in_tables(put, text, message):
    put("a.mp4")
    with pytest.raises(InputError, match=message):
        read_videos(put("l.csv", text))


def test_a_name_with_a_semicolon_in_classes_txt_is_one_class(put, tmp_path):
    put("a.mp4")
    put("classes.txt", "run;walk\nsit\n")
    videos = read_videos(put("l.csv", "path,label\na.mp4,run;walk\na.mp4,sit\n"))
    assert (videos.several_labels, videos.records.label.tolist()) == (False, [0, 1])
    write_list(tmp_path / "copy/l.csv", videos.records, videos.classes)
    assert not read_videos(tmp_path / "copy/l.csv", root=tmp_path).several_labels
