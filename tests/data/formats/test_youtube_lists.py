"""Kinetics and HACS: the file and span of a row, and errors in rows and columns."""

from __future__ import annotations

import os

import pytest

from videopool.data.lists.records import VideoList, read_videos
from videopool.errors import InputError

HEADER = "label,youtube_id,time_start,time_end,split\n"
HACS = "classname,youtube_id,subset,start,end,label\n"


def files(videos: VideoList) -> list[str]:
    return [record.id for record in videos.records]


def test_names_and_places_of_files(put, tmp_path):
    rows = [
        "dancing,aaaaaaaaaaa,5,15,train",  # the clip, in the folder of its class
        "dancing,-b_bbbbbbbb,5,15.5,train",  # the whole video, flat
        "dancing,ccccccccccc,100000,100010,train",  # the clip wins over the whole video
        "dancing,ddddddddddd,1,2,val",  # two folders below
        "dancing,eeeeeeeeeee,1,2,val",  # nowhere
        "dancing,v_fffffffff,1,2,val",  # as a downloader names what it merged
    ]
    put("dancing/aaaaaaaaaaa_000005_000015.mp4")
    put("-b_bbbbbbbb.webm")
    put("whole/ccccccccccc.mp4")
    put("clips/ccccccccccc_100000_100010.MP4")
    put("train/dancing/ddddddddddd_000001_000002.mp4")
    put("a/b/c/eeeeeeeeeee.mp4")  # too deep
    put("v_fffffffff.mp4.mkv")
    videos = read_videos(put("list.csv", HEADER + "\n".join(rows)))
    assert files(videos) == [
        "dancing/aaaaaaaaaaa_000005_000015.mp4",
        "-b_bbbbbbbb.webm@5-15.5",
        "clips/ccccccccccc_100000_100010.MP4",
        "train/dancing/ddddddddddd_000001_000002.mp4",
        "dancing/eeeeeeeeeee_000001_000002.mp4",
        "v_fffffffff.mp4.mkv@1-2",
    ]
    assert videos.note == "1 of 6 videos have no file"
    assert "1 of 6 videos have no file" in repr(videos)
    assert files(read_videos("list.csv#val", root=tmp_path)) == files(videos)[3:]


@pytest.mark.parametrize("folder", ["hurling (sport)", "hurling_(sport)", "Hurling_-sport-", "hurling_sport"])
def test_a_file_in_the_folder_of_the_class_wins(put, folder):
    put("a/xxxxxxxxxxx.mp4")
    put(f"{folder}/xxxxxxxxxxx.mp4")
    put("zz/xxxxxxxxxxx.mp4")
    source = put("list.csv", HEADER + "hurling (sport),xxxxxxxxxxx,1,2,val\nother,xxxxxxxxxxx,1,2,val\n")
    assert files(read_videos(source)) == [f"{folder}/xxxxxxxxxxx.mp4@1-2", min("a", folder) + "/xxxxxxxxxxx.mp4@1-2"]


def test_folders_are_listed_once_and_no_file_is_opened(put, monkeypatch):
    for number in range(40):
        put(f"class {number % 4}/video{number:06d}.mp4")
    source = put("list.csv", HEADER + "".join(f"class {n % 4},video{n:06d},1,2,val\n" for n in range(40)))
    listed: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(str(path)) or scandir(path))
    stats: list[str] = []
    stat = os.stat
    monkeypatch.setattr(os, "stat", lambda path, **how: stats.append(str(path)) or stat(path, **how))
    assert len(read_videos(source).records) == 40
    assert len(listed) == len(set(listed)) == 5
    assert sum(name.endswith(".mp4") for name in stats) == 1  # that some video exists


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "label,youtube_id,time_start,split\nx,abc,3,val\n",
            r"l\.csv:1: a list of Kinetics needs a column time_end",
        ),
        ("youtube_id,time_start,time_end,name\nabc,3,4,x\n", r"a list of Kinetics needs a column label"),
        ("label,time_start,time_end,split\nx,3,4,test\n", r"a list of Kinetics needs a column youtube_id"),
        (HEADER + "x,abc,3,3,val\n", r"l\.csv:2: the span from 3\.0 to 3\.0 s is empty"),
        (HEADER + "x,abc,,3,val\n", r"l\.csv:2: column time_start is empty"),
        (HEADER + ",abc,1,3,val\n", r"l\.csv:2: column label is empty\. Every row needs it"),
        (HEADER + "x,abc,soon,3,val\n", r"l\.csv:2: time_start='soon' must be a time"),
        (HEADER + 'x,abc,1,3,val\n"y,abc,1,3,val\n', r"l\.csv:\d: .*Look for a quote that is not closed"),
        (
            HEADER + "x,abc,1,3,val\n",
            r"none of the 1 videos is in root=.* as <id>_<start>_<end>\.mp4 .* is x/abc_000001_000003",
        ),
        (HACS + "x,abc,training,1,2,0\n", r"l\.csv:2: label '0' must be 1 .* or -1"),
        (HACS.replace("subset,", "") + "x,abc,1,2,1\n", r"the list of HACS clips needs a column subset"),
        (HACS.replace("label", "positive") + "x,abc,training,1,2,1\n", r"the list of HACS clips needs a column label"),
        (
            HACS + "x,abc,training,1,2,1\nx,abd,testing,1,2,1\n",
            r"more than one subset, such as training and testing",
        ),
    ],
)
def test_errors(put, text, message):
    with pytest.raises(InputError, match=message):
        read_videos(put("l.csv", text))


def test_the_test_list_has_no_labels(put, tmp_path):
    put("videos/test/abc_000001_000011.mp4")
    put("videos/def.mp4")
    rows = "youtube_id,time_start,time_end,split\nabc,1,11,test\ndef,2,12,test\nghi,0,10,test\n"
    videos = read_videos(put("test.csv", rows), root=tmp_path / "videos")
    assert (videos.unlabeled, videos.note) == (True, "1 of 3 videos have no file; the list has no labels")
    assert [record.id for record in videos.records] == [
        "test/abc_000001_000011.mp4",
        "def.mp4@2-12",
        "test/ghi_000000_000010.mp4",
    ]
    with pytest.raises(InputError, match=r"test\.csv:1: a list of Kinetics needs a column label"):
        read_videos(put("test.csv", rows.replace("split", "target")), root=tmp_path / "videos")


def test_hacs_uses_the_positive_clips_of_a_subset(put, tmp_path):
    put("Ironing_clothes/v_aaaaaaaaaaa.mp4")
    put("Archery/bbbbbbbbbbb.mp4")
    put(
        "hacs.csv",
        HACS + "Ironing clothes,aaaaaaaaaaa,training,15.5,17.5,1\n"
        "Ironing clothes,aaaaaaaaaaa,training,20,22,-1\n"
        "Archery,bbbbbbbbbbb,training,1,3,1\n"
        "Archery,ccccccccccc,training,1,3,1\n"
        ",ddddddddddd,testing,1,3,\n",
    )
    videos = read_videos("hacs.csv#training", root=tmp_path)
    assert (videos.format, videos.classes) == ("hacs", ("Archery", "Ironing clothes"))
    assert files(videos) == [
        "Ironing_clothes/v_aaaaaaaaaaa.mp4@15.5-17.5",
        "Archery/bbbbbbbbbbb.mp4@1-3",
        "Archery/v_ccccccccccc.mp4@1-3",
    ]
    assert videos.note == "1 negative clips (label -1) left out; 1 of 3 videos have no file"
    assert videos.source.endswith("hacs.csv#training")
    with pytest.raises(InputError, match="no row has 'train' in the column subset; it has training, testing"):
        read_videos("hacs.csv#train", root=tmp_path)
