"""Columns in a file: mapped, shared, complete or an error."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from videopool.data.lists.columns import (
    check_rows,
    map_columns,
    read_about,
    take_rows,
    text_at,
    text_columns,
    write_columns,
)
from videopool.errors import InputError

COLUMNS = {
    "flag": np.array([True, False, True]),
    "byte": np.arange(3, dtype=np.uint8),
    "small": np.array([-1, 0, 2**31 - 1], dtype=np.int32),
    "large": np.array([-(2**62), 0, 2**62]),
    "single": np.array([0.5, np.nan, np.inf], dtype=np.float32),
    "double": np.array([1 / 3, np.nan, -0.0]),
    "hash": np.arange(96, dtype=np.uint8).reshape(3, 32),
    "none": np.empty(0, dtype=np.uint8),
}
ABOUT = {"format": "a test", "classes": '["ä", "b"]'}


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "below" / "some.columns"
    write_columns(path, COLUMNS, ABOUT)
    return path


def test_columns_are_written_and_mapped(written: Path) -> None:
    found, about = map_columns(written)
    assert about == ABOUT == read_about(written)
    assert found.keys() == COLUMNS.keys()
    for name, column in COLUMNS.items():
        assert found[name].dtype == column.dtype
        np.testing.assert_array_equal(found[name], column)


def test_the_file_is_a_safetensors_file(written: Path) -> None:
    from safetensors.numpy import load_file

    for name, column in load_file(written).items():
        np.testing.assert_array_equal(column, COLUMNS[name])


def test_mapped_columns_are_read_only(written: Path) -> None:
    column = map_columns(written)[0]["large"]
    assert not column.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        column[0] = 1
    with written.open("r+b") as file:  # a mapped column shows the content of the file
        file.seek(written.read_bytes().index(np.int64(2**62).tobytes()))
        file.write(np.int64(7).tobytes())
    assert column[2] == 7


def test_truncated_files(written: Path, tmp_path: Path) -> None:
    whole = written.read_bytes()
    cut = tmp_path / "cut"
    for length in [0, 1, 7, 8, 9, 100, len(whole) // 2, len(whole) - 1]:
        cut.write_bytes(whole[:length])
        with pytest.raises(InputError, match="cut cannot be read as a file of columns"):
            map_columns(cut)


@pytest.mark.parametrize(
    "content",
    [
        b"path,label\na.mp4,0\n" * 10,
        b"\x02\0\0\0\0\0\0\0[]",
        b"\x04\0\0\0\0\0\0\0null",
        b"\x0a\0\0\0\0\0\0\0" + b'{"a": [0]}',
        b"\xff\xff\xff\xff\xff\xff\xff\xff{}",
    ],
)
def test_files_of_other_kinds(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "other"
    path.write_bytes(content)
    assert read_about(path) == {}
    with pytest.raises(InputError, match="other cannot be read as a file of columns"):
        map_columns(path)


def test_numbers_of_another_type(tmp_path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F16", "shape": [1], "data_offsets": [0, 2]}}).encode()
    path = tmp_path / "half"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0")
    with pytest.raises(InputError, match="type F16"):
        map_columns(path)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    assert read_about(tmp_path) == read_about(tmp_path / "none") == {}
    with pytest.raises(InputError, match=r"none cannot be read .*No such file"):
        map_columns(tmp_path / "none")


TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("äé日\udc80\udcff"), max_size=9))


@given(TEXTS)
def test_texts_come_back(texts: list[str]) -> None:
    characters, ends = text_columns(texts)
    assert characters.dtype == np.uint8
    assert ends.dtype == np.int64
    assert [text_at(characters, ends, row) for row in range(len(texts))] == texts


@given(st.lists(st.tuples(st.text(max_size=4), st.lists(st.integers(0, 9), max_size=3)), min_size=1), st.data())
def test_taken_rows_equal_a_slow_reference(rows: list[tuple[str, list[int]]], data: st.DataObject) -> None:
    wanted = data.draw(st.lists(st.integers(0, len(rows) - 1)))
    taken = take_rows(columns_of(rows), np.array(wanted, dtype=np.int64))
    for name, column in columns_of([rows[row] for row in wanted]).items():
        np.testing.assert_array_equal(taken[name], column)
        assert taken[name].dtype == column.dtype


def columns_of(rows: list[tuple[str, list[int]]]) -> dict[str, np.ndarray]:
    characters, text_ends = text_columns([text for text, _ in rows])
    return {
        "text": characters,
        "text_ends": text_ends,
        "labels": np.array([label for _, labels in rows for label in labels], dtype=np.int32),
        "labels_ends": np.array([sum(len(b) for _, b in rows[: row + 1]) for row in range(len(rows))], dtype=np.int64),
        "first": np.array([len(text) for text, _ in rows], dtype=np.float64),
    }


@pytest.mark.parametrize(
    ("name", "column", "message"),
    [
        ("first", np.zeros(3), "first has 3 rows, not 2"),
        ("text_ends", np.array([1]), "text_ends has 1 rows"),
        ("text_ends", np.array([2, 1]), "does not divide 2 values"),
        ("text_ends", np.array([1, 3]), "does not divide 2 values"),
    ],
)
def test_contradicting_rows(name: str, column: np.ndarray, message: str) -> None:
    columns = columns_of([("a", [1]), ("b", [])])
    check_rows(columns, 2)
    with pytest.raises(ValueError, match=message):
        check_rows({**columns, name: column}, 2)
