"""The four forms of results: what is written is read back with the parsers of others."""

import csv
import io
import json

import pytest

from videopool.inference import Prediction
from videopool.inference.records import (
    COLUMNS,
    Record,
    SegmentResult,
    Unreadable,
    VideoResult,
    WindowResult,
    record_writer,
)
from videopool.inference.timeline import Segment

TOP = [Prediction("ходьба, быстро", 0.75), Prediction('say "hi"', 0.1234567)]
RECORDS: list[Record] = [
    VideoResult("a b.mp4", TOP),
    WindowResult("c.mp4", 0.0, 1.23456, TOP[:1]),
    SegmentResult("c.mp4", Segment(0.5, 2.0, "ходьба, быстро", 0.5)),
    Unreadable("bad\udce9.mp4", "has no video stream"),
]
OBJECTS = [
    {
        "kind": "video",
        "video": "a b.mp4",
        "predictions": [
            {"class": "ходьба, быстро", "probability": 0.75},
            {"class": 'say "hi"', "probability": 0.123457},
        ],
    },
    {
        "kind": "window",
        "video": "c.mp4",
        "start": 0.0,
        "end": 1.235,
        "predictions": [{"class": "ходьба, быстро", "probability": 0.75}],
    },
    {"kind": "segment", "video": "c.mp4", "start": 0.5, "end": 2.0, "class": "ходьба, быстро", "probability": 0.5},
    {"kind": "unreadable", "video": "bad\udce9.mp4", "reason": "has no video stream"},
]


def written(form: str, records: list[Record] = RECORDS, **settings: bool) -> str:
    stream = io.StringIO()
    writer = record_writer(form, stream, **settings)
    for record in records:
        writer.write(record)
    writer.close()
    stream.getvalue().encode("utf-8")
    return stream.getvalue()


def test_json_is_an_array_of_the_records() -> None:
    assert json.loads(written("json")) == OBJECTS
    assert json.loads(written("json", [])) == []


def test_json_lines_are_complete_after_every_record() -> None:
    stream = io.StringIO()
    writer = record_writer("jsonl", stream)
    for number, record in enumerate(RECORDS, start=1):
        writer.write(record)
        assert [json.loads(line) for line in stream.getvalue().splitlines()] == OBJECTS[:number]


def test_csv_has_a_row_for_each_class() -> None:
    rows = [*csv.DictReader(io.StringIO(written("csv")))]
    assert [row["kind"] for row in rows] == ["video", "video", "window", "segment", "unreadable"]
    assert tuple(rows[0]) == COLUMNS
    assert [row["class"] for row in rows[:2]] == ["ходьба, быстро", 'say "hi"']
    assert [row["rank"] for row in rows] == ["1", "2", "1", "1", ""]
    assert (rows[2]["start"], rows[2]["end"]) == ("0.000", "1.235")
    assert rows[4]["class"] == "has no video stream"


@pytest.mark.parametrize("windows", [False, True])
def test_the_table_names_a_video_once(windows: bool) -> None:
    text = written("table", windows=windows)
    assert text.count("c.mp4") == 1
    assert text.count("window") == windows
    assert 'a b.mp4\n   75.00 %  ходьба, быстро\n   12.35 %  say "hi"\nc.mp4\n' in text
    assert "  segment       0.50 -      2.00 s  50.0 % ходьба, быстро\n" in text
