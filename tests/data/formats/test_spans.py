"""Spans in tables, in seconds, as time stamps or in frames: none is ignored."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest

from videopool.data.clip_times import place_clips
from videopool.data.decoding.decode import open_video
from videopool.data.decoding.reader import Timing
from videopool.data.lists.formats.spans import names_span
from videopool.data.lists.records import read_videos
from videopool.data.lists.table import VideoTable
from videopool.data.loading.dataset import TestVideos, times_in_span
from videopool.data.sampling import ClipSampling
from videopool.errors import InputError
from videopool.prepare.write_list import write_list
from videopool.types import VideoRecord


def spans(put, text: str) -> list[tuple[float | None, float | None]]:
    put("a.mp4")
    return [(one.start_seconds, one.end_seconds) for one in read_videos(put("list.csv", text)).records]


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("start_seconds", "end_seconds"),
        ("start", "end"),
        ("Start_Time", "End_Time"),
        ("start_sec", "stop_sec"),
        ("start_s", "end_s"),
        ("t_start", "t_end"),
        ("time_start", "time_end"),
        ("begin", "end"),
        ("begin_time", "stop_time"),
        ("startTime", "endTime"),
        ("start_timestamp", "stop_timestamp"),
        ("start (s)", "end (s)"),
    ],
)
def test_usual_names_of_spans_in_seconds(put, start, end):
    assert spans(put, f"path,label,{start},{end}\na.mp4,x,1.5,4\na.mp4,y,,2\n") == [(1.5, 4.0), (None, 2.0)]


@pytest.mark.parametrize(
    ("written", "expected"),
    [("1:02:03.5", 3723.5), ("00:00:00.14", 0.14), ("2:05", 125.0), ("90", 90.0), ("0", 0.0)],
)
def test_time_stamps(put, written, expected):
    assert spans(put, f"path,label,start\na.mp4,x,{written}\n") == [(expected, None)]


@pytest.mark.parametrize("written", ["1:75", "1:2:3:4", "12,5", "500ms", "-1", "nan"])
def test_invalid_times(put, written):
    put("a.mp4")
    with pytest.raises(InputError, match=r"l\.csv:2: start='.*' must be a time of 0 or more, in seconds or h:mm:ss"):
        read_videos(put("l.csv", f'path,label,start\na.mp4,x,"{written}"\n'))


@pytest.mark.parametrize(
    "column",
    [
        *("start_ms", "begin_offset", "clip_from", "stop_pts", "clip_to", "from", "to", "end_index", "t0", "segment"),
        *("first_frame", "last_frame", "start_minutes", "onset", "time_offset", "startms", "clip_span", "endtime_ms"),
    ],
)
def test_columns_of_spans_in_unknown_forms(put, column):
    put("a.mp4")
    with pytest.raises(InputError, match=rf"l\.csv:1: column {column} seems to give a part .* Rename it to start_sec"):
        read_videos(put("l.csv", f"path,label,{column}\na.mp4,x,5\n"))


@pytest.mark.parametrize(
    "column",
    [
        *(
            "subject",
            "duration",
            "fps",
            "num_frames",
            "gender",
            "legend",
            "weekend",
            "trend",
            "frame_rate",
            "to_be_used",
        ),
        *(
            "segment_id",
            "clip_id",
            "timestamp",
            "event_time",
            "recorded from",
            "width",
            "group",
            "stoplight",
            "backend",
        ),
    ],
)
def test_columns_that_are_not_spans(column):
    assert not names_span(column)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("start,start_time", r"columns start and start_time give the same value\. Keep one of them"),
        ("start_frame,frame_start", r"columns start_frame and frame_start give the same value"),
        ("start_seconds,end_frame", r"columns start_seconds, end_frame give the span in seconds and in frames"),
    ],
)
def test_two_columns_for_one_value(put, header, message):
    put("a.mp4")
    with pytest.raises(InputError, match=rf"l\.csv:1: {message}"):
        read_videos(put("l.csv", f"path,label,{header}\na.mp4,x,1,2\n"))


@pytest.mark.parametrize(
    ("header", "end"),
    [
        ("start,duration", "end_seconds"),
        ("start_time,clip_length", "end_seconds"),
        ("start_frame,num_frames", "end_frame"),
        ("start_frame,length", "end_frame"),
    ],
)
def test_a_length_next_to_a_start_is_an_error(put, header, end):
    put("a.mp4")
    start, length = header.split(",")
    expected = rf"l\.csv:1: column {length} next to {start} seems to be the length of a span\. Give a column {end}"
    with pytest.raises(InputError, match=expected):
        read_videos(put("l.csv", f"path,label,{header}\na.mp4,x,1,2\n"))
    assert read_videos(put("l.csv", f"path,label,{length}\na.mp4,x,2\n")).records[0].id == "a.mp4"


def test_published_tables_have_no_other_spans(put):
    put("abc.mp4")
    header = "label,youtube_id,time_start,time_end,split,start_frame"
    with pytest.raises(InputError, match=r"l\.csv:1: column start_frame gives a span, which this published format"):
        read_videos(put("l.csv", f"{header}\nx,abc,1,2,val,30\n"))


def test_a_copy_of_kinetics_with_paths_may_be_cut(put):
    put("a.mp4")
    header = "path,label,youtube_id,time_start,time_end"
    (record,) = read_videos(put("l.csv", f"{header}\na.mp4,x,abc,417,427\n")).records
    assert (record.start_seconds, record.end_seconds, record.may_be_cut) == (417.0, 427.0, True)


# --- frames --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("start", "end"), [("start_frame", "end_frame"), ("frame_start", "stop_frame")])
def test_spans_in_frames(put, tmp_path, start, end):
    put("a.mp4")
    source = put("l.csv", f"path,label,{start},{end}\na.mp4,x,12,40\na.mp4,y,,7\na.mp4,x,,\na.mp4,x,30.0,\n")
    videos = read_videos(source)
    found = [(one.id, one.start_frame, one.end_frame) for one in videos.records]
    expected = [("a.mp4@f12-40", 12, 40), ("a.mp4@f-7", None, 7), ("a.mp4", None, None), ("a.mp4@f30-", 30, None)]
    assert found == expected
    again = VideoTable.from_records(list(videos.records), tmp_path)
    for name, column in videos.records.columns.items():
        np.testing.assert_array_equal(column, again.columns[name], err_msg=name)
    write_list(tmp_path / "copy.csv", videos.records, videos.classes)
    copied = read_videos(tmp_path / "copy.csv").records
    assert [(one.id, one.start_frame, one.end_frame) for one in copied] == expected


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("5,5", r"l\.csv:2: the span from frame 5 to 5 is empty\. The end is the first frame after"),
        ("-1,5", r"l\.csv:2: start_frame='-1' must be a frame number, counted from 0"),
        ("1.5,5", r"l\.csv:2: start_frame='1\.5' must be a frame number"),
        ("1,00:05", r"l\.csv:2: end_frame='00:05' must be a frame number"),
        ("1,99999999999", r"l\.csv:2: end_frame='99999999999' must be a frame number"),
    ],
)
def test_errors_in_frames(put, row, message):
    put("a.mp4")
    with pytest.raises(InputError, match=message):
        read_videos(put("l.csv", f"path,label,start_frame,end_frame\na.mp4,x,{row}\n"))


@pytest.mark.parametrize("fps", [10, 30])
def test_frames_are_those_of_the_file_at_its_own_rate(put, tmp_path, write_video, read_numbers, fps):
    pytest.importorskip("av")
    write_video(tmp_path / "a.mp4", 60, fps=fps)
    source = put("l.csv", "path,label,start_frame,end_frame\na.mp4,x,12,16\na.mp4,y,40,\na.mp4,z,,4\n")
    sampling = ClipSampling(frames=4, stride=1, scale=(48, 48), crop=48, test_scale=48, test_crop=48)

    def numbers(record: VideoRecord) -> list[int]:
        sample = functools.partial(place_clips, sampling=sampling, clips=1)
        with open_video(record) as video:
            return read_numbers(video.frames_at(times_in_span(record, video.timing, sample).ravel()))

    first, second, third = map(numbers, read_videos(source).records)
    assert first == [12, 13, 14, 15]
    assert second == [48, 49, 50, 51]  # the middle of frames 40 to 59
    assert third == [0, 1, 2, 3]


def test_a_span_of_frames_after_the_end_of_the_file(put, tmp_path, write_video):
    pytest.importorskip("av")
    write_video(tmp_path / "a.mp4", 20)
    source = put("l.csv", "path,label,start_frame\na.mp4,x,25\n")
    sampling = ClipSampling(frames=4, stride=1, scale=(48, 48), crop=48, flip=False, test_scale=48, test_crop=48)
    bad = TestVideos(read_videos(source).records, sampling, clips=1, crops=1)[0]
    assert "does not hold the listed span: the span starts at 2.5 s" in bad.reason


@pytest.mark.parametrize("fps", [10.0, 24000 / 1001, 25.0, 30000 / 1001, 59.94])
@pytest.mark.parametrize("start", [0, 1, 7, 999])
def test_frames_become_seconds_exactly(fps, start):
    """At any frame rate, the sampler gets the span that starts with the listed frame."""
    record = VideoRecord("a", Path("a"), 0, start_frame=start, end_frame=start + 3)
    given = {}
    times_in_span(record, Timing(100.0, fps, 6000), lambda **span: given.update(span))
    assert given["start"] * fps == pytest.approx(start, abs=1e-6)
    assert given["end"] * fps == pytest.approx(start + 3, abs=1e-6)


def test_a_decimal_comma(put):
    put("a.mp4")
    with pytest.raises(InputError, match=r"l\.csv:2: end='1,5' must be a time .* Write a decimal point"):
        read_videos(put("l.csv", "path;label;end\na.mp4;x;1,5\n"))
