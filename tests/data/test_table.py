"""Tables of videos equal the records that they are made of, in this process and in others."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from videopool.data.lists.columns import map_columns, text_columns, write_columns
from videopool.data.lists.table import VideoTable, record_id
from videopool.errors import InputError
from videopool.types import VideoRecord

BASE = Path("/videos")
_PATHS = st.text("abé /.", min_size=1, max_size=6).map(lambda text: Path("/videos/x") / text.strip("/. "))
_ABSOLUTE = st.just(Path("/elsewhere/a.mp4"))


@st.composite
def _records(draw: st.DrawFn, several: bool) -> VideoRecord:
    in_frames = draw(st.booleans())
    start = None if in_frames else draw(st.none() | st.floats(0, 100))
    end = None if in_frames else draw(st.none() | st.floats(0.5, 100).map(lambda more: (start or 0) + more))
    first = draw(st.none() | st.integers(0, 10**6)) if in_frames else None
    last = draw(st.none() | st.integers(1, 500).map(lambda more: (first or 0) + more)) if in_frames else None
    labels = tuple(sorted(draw(st.sets(st.integers(0, 9), max_size=3)))) if several else None
    label = draw(st.integers(-1, 9)) if labels is None else next(iter(labels), -1)
    part = draw(st.none() | st.tuples(st.integers(0, 2**40), st.integers(0, 2**40)))
    path = draw(_PATHS | _ABSOLUTE)
    written = path.relative_to(BASE).as_posix() if path.is_relative_to(BASE) else path.as_posix()
    frames = draw(st.none() | st.integers(1, 500))
    name = record_id(written, start, end, part, (first, last))
    return VideoRecord(name, path, label, start, end, labels, part, frames, start_frame=first, end_frame=last)


_LISTS = st.booleans().flatmap(lambda several: st.lists(_records(several)))


@pytest.mark.slow
@given(_LISTS)
def test_records_come_back(records: list[VideoRecord]) -> None:
    table = VideoTable.from_records(records, BASE)
    assert len(table) == len(records)
    assert list(table) == records
    assert [table[-1 - place] for place in range(len(records))] == records[::-1]
    assert table.label.tolist() == [record.label for record in records]
    with pytest.raises(IndexError):
        table[len(records)]


@pytest.mark.slow
@given(_LISTS.filter(bool), st.data())
def test_selections(records: list[VideoRecord], data: st.DataObject) -> None:
    table = VideoTable.from_records(records, BASE)
    wanted = data.draw(st.lists(st.integers(-len(records), len(records) - 1)))
    assert list(table.selected(wanted)) == [records[video] for video in wanted]
    assert list(table[1::2]) == records[1::2]
    with pytest.raises(IndexError, match="not among"):
        table.selected([len(records)])


@pytest.mark.slow
@given(_LISTS)
def test_pairs(records: list[VideoRecord]) -> None:
    table = VideoTable.from_records(records, BASE)
    slow = np.zeros((len(records), 10))
    for video, record in enumerate(records):
        for label in (record.label,) if record.labels is None else record.labels:
            if label >= 0:
                slow[video, label] = 1
    np.testing.assert_array_equal(np.stack(table.pairs()), np.stack(np.nonzero(slow)))


@pytest.mark.slow
@given(_LISTS, st.permutations(range(10)))
def test_relabeling(records: list[VideoRecord], numbers: list[int]) -> None:
    table = VideoTable.from_records(records, BASE)
    again = table.relabeled(numbers)
    assert [one.label for one in again] == [numbers[one.label] if one.label >= 0 else -1 for one in table]
    assert [one.labels for one in again] == [
        None if one.labels is None else tuple(numbers[label] for label in one.labels) for one in table
    ]
    assert [one.path for one in again] == [one.path for one in table]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"label": -2}, "label -2 is negative"),
        ({"start_frame": 5, "end_frame": 5}, r"the span of frames 5\.\.5 is empty"),
        ({"start_frame": -1}, "is empty or starts before 0"),
        ({"start_frame": 5, "end_seconds": 7.0}, "give a span in seconds .* or in frames .*, not both"),
    ],
)
def test_invalid_records(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VideoRecord(**{"id": "a", "path": BASE, "label": 0, **wrong})


def test_a_table_without_labels() -> None:
    records = [VideoRecord(str(number), BASE / str(number), -1) for number in range(3)]
    assert VideoTable.from_records(records, BASE).unlabeled
    records[1] = VideoRecord("1", BASE / "1", 0)
    assert not VideoTable.from_records(records, BASE).unlabeled
    none_of_several = [VideoRecord("1", BASE / "1", -1, labels=())]
    assert not VideoTable.from_records(none_of_several, BASE).unlabeled


@pytest.fixture
def mapped(tmp_path: Path) -> VideoTable:
    records = [VideoRecord(f"{number}.mp4", BASE / f"{number}.mp4", number % 3) for number in range(10_000)]
    table = VideoTable.from_records(records, BASE)
    columns = dict(table.columns)
    columns["reason"], columns["reason_ends"] = text_columns(["is empty" if n == 2 else "" for n in range(10_000)])
    write_columns(tmp_path / "videos", columns, {})
    return VideoTable(map_columns(tmp_path / "videos")[0], BASE, tmp_path / "videos")


def test_a_mapped_table_is_pickled_as_a_file_name(mapped: VideoTable) -> None:
    assert len(pickle.dumps(mapped)) < 1000
    again = pickle.loads(pickle.dumps(mapped))
    assert not again.columns["label"].flags.owndata
    assert list(again) == list(mapped)


def test_replaced_columns_are_pickled(mapped: VideoTable) -> None:
    again = pickle.loads(pickle.dumps(mapped.relabeled([2, 0, 1])))
    assert again.label.tolist() == [(2, 0, 1)[number % 3] for number in range(10_000)]
    assert not again.columns["path"].flags.owndata


def test_a_table_in_memory_is_pickled_with_its_columns(mapped: VideoTable) -> None:
    part = mapped[5:9]
    assert list(pickle.loads(pickle.dumps(part))) == list(mapped)[5:9]


@pytest.mark.slow
def test_another_process_maps_the_same_file(mapped: VideoTable, tmp_path: Path) -> None:
    (tmp_path / "pickled").write_bytes(pickle.dumps(mapped))
    code = "import pickle, sys; t = pickle.load(open(sys.argv[1], 'rb')); print(len(t), t[7].id, t.reason(2))"
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "pickled"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "10000 7.mp4 is empty\n"


def test_a_replaced_file_is_an_error(mapped: VideoTable) -> None:
    pickled = pickle.dumps(mapped)
    assert mapped.file is not None
    write_columns(mapped.file, {**mapped.columns, "label": mapped.columns["label"][::-1]}, {})
    with pytest.raises(InputError, match="was replaced while it was in use"):
        pickle.loads(pickled)


def test_reasons(mapped: VideoTable) -> None:
    assert (mapped.reason(2), mapped.reason(3), mapped.count_bad()) == ("is empty", "", 1)
    assert mapped.selected([3, 2]).reason(1) == "is empty"
    unknown = VideoTable.from_records([mapped[2]], BASE)
    assert (unknown.reason(0), unknown.count_bad()) == ("", 0)
