"""A manifest that is exported as csv or parquet is read back with the values of the manifest."""

from __future__ import annotations

import csv
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import file_size_limit
from tests.prepare.conftest import BROKEN
from videopool.data.lists.columns import text_columns
from videopool.data.lists.manifest import MEASURED, Manifest, read_manifest
from videopool.data.lists.records import read_videos
from videopool.data.lists.table import VideoTable
from videopool.errors import InputError
from videopool.prepare import export
from videopool.prepare.export import export_manifest
from videopool.prepare.scan import scan


@pytest.fixture
def scanned(folder: Path, tmp_path: Path) -> Manifest:
    assert scan(read_videos(folder), tmp_path / "all.manifest", sha256=True, processes=2, command="a test")
    return read_manifest(tmp_path / "all.manifest")


@pytest.fixture
def spans(tmp_path: Path) -> Manifest:
    """Three videos: with two classes and a span, with one class in a tar file, and without a class or text name."""
    paths, ends = text_columns(["a.mp4", "some.tar", os.fsdecode(b"caf\xe9,.mp4")])
    unknown = {"f": np.nan, "i": -1, "u": 0}
    reason, reason_ends = text_columns(["", "", "is empty"])
    columns = {
        "path": paths, "path_ends": ends, "label": np.array([0, 1, -1], np.int32),
        "labels": np.array([0, 1, 1], np.int32), "labels_ends": np.array([2, 3, 3]),
        "start": np.array([0.25, np.nan, np.nan]), "end": np.array([1.5, np.nan, np.nan]),
        "part_offset": np.array([0, 512, 0]), "part_size": np.array([-1, 900, -1]),
        "may_be_cut": np.array([True, False, False]), "reason": reason, "reason_ends": reason_ends,
        **{name: np.full(3, unknown[np.dtype(kind).kind]).astype(kind) for name, kind in MEASURED.items()},
    }  # fmt: skip
    columns["fps"][0] = 29.97
    return Manifest(VideoTable(columns, tmp_path), ("run", "sit"), ("",), "by hand")


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_csv(scanned: Manifest, tmp_path: Path) -> None:
    names = export_manifest(scanned, tmp_path / "all.csv")
    rows = rows_of(tmp_path / "all.csv")
    assert list(rows[0]) == list(names)
    assert [row["id"] for row in rows] == [record.id for record in scanned.table]
    assert [row["class"] for row in rows] == [scanned.classes[record.label] for record in scanned.table]
    assert rows[0]["codec"] == "h264"
    assert [int(row["frames_decodable"] or -1) for row in rows] == scanned.table.columns["frames_decodable"].tolist()
    assert bytes.fromhex(rows[0]["sha256"]) == scanned.table.columns["sha256"][0].tobytes()
    broken = next(row for row in rows if row["path"] == BROKEN)
    assert broken["reason"] == "has no video stream"
    assert {broken[name] for name in ("codec", "width", "fps", "duration_seconds", "frames_listed")} == {""}
    assert broken["size_bytes"] == "900"


def test_parquet(scanned: Manifest, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="runs where pyarrow is installed (videopool[dev])")
    names = export_manifest(scanned, tmp_path / "all.parquet")
    table = parquet.read_table(tmp_path / "all.parquet")
    assert table.column_names == list(names)
    assert table.schema.metadata[b"made"] == b"a test"
    assert Path(table.schema.metadata[b"root"].decode()).resolve() == scanned.table.base.resolve()
    for name in MEASURED.keys() - {"codec"}:
        column = scanned.table.columns[name]
        unknown = np.isnan(column) if column.dtype.kind == "f" else column < 0
        expected = [None if hidden else value for value, hidden in zip(column.tolist(), unknown, strict=True)]
        assert table[name].to_pylist() == expected, name
        assert table[name].type == column.dtype.name.replace("float32", "float").replace("float64", "double")
    assert table["reason"].to_pylist() == [scanned.table.reason(n) or None for n in range(len(scanned.table))]


def test_spans_parts_and_several_classes(spans: Manifest, tmp_path: Path) -> None:
    export_manifest(spans, tmp_path / "spans.csv")
    rows = rows_of(tmp_path / "spans.csv")
    assert [row["id"] for row in rows] == ["a.mp4@0.25-1.5", "some.tar#512", r"caf\udce9,.mp4"]
    assert [(row["label"], row["class"]) for row in rows] == [("0", "run"), ("1", "sit"), ("", "")]
    assert [(row["labels"], row["classes"]) for row in rows] == [("0;1", "run;sit"), ("1", "sit"), ("", "")]
    assert [(row["start_seconds"], row["end_seconds"]) for row in rows] == [("0.25", "1.5"), ("", ""), ("", "")]
    assert [(row["part_offset"], row["part_size"]) for row in rows] == [("", ""), ("512", "900"), ("", "")]
    assert [row["may_be_cut"] for row in rows] == ["True", "False", "False"]
    assert [row["fps"] for row in rows] == ["29.97", "", ""]
    assert [row["reason"] for row in rows] == ["", "", "is empty"]


@pytest.mark.parametrize("batch", [1, 2])
def test_batches(batch: int, spans: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch of a parquet file may have no known value in a column."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="runs where pyarrow is installed (videopool[dev])")
    export_manifest(spans, tmp_path / "whole.parquet")
    monkeypatch.setattr(export, "_BATCH", batch)
    export_manifest(spans, tmp_path / "batches.parquet")
    whole, batches = (parquet.read_table(tmp_path / name) for name in ("whole.parquet", "batches.parquet"))
    assert whole.equals(batches)
    assert whole["classes"].to_pylist() == [["run", "sit"], ["sit"], []]
    assert whole["codec"].to_pylist() == [None, None, None]


def test_an_empty_manifest(spans: Manifest, tmp_path: Path) -> None:
    empty = Manifest(spans.table.selected([]), spans.classes, spans.codecs, "")
    names = export_manifest(empty, tmp_path / "empty.csv")
    assert (tmp_path / "empty.csv").read_text() == ",".join(names) + "\n"


def test_refusals(spans: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"table\.xlsx must end in \.csv or \.parquet"):
        export_manifest(spans, tmp_path / "table.xlsx")
    (tmp_path / "table.csv").write_text("precious")
    with pytest.raises(InputError, match=r"table\.csv already exists\. Name another file"):
        export_manifest(spans, tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_text() == "precious"
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"needs pyarrow .*\. Run pip install pyarrow, or write a \.csv"):
        export_manifest(spans, tmp_path / "table.parquet")
    assert not (tmp_path / "table.parquet").exists()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_full_disk_leaves_nothing(suffix: str, spans: Manifest, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow.parquet", reason="runs where pyarrow is installed (videopool[dev])")
    with file_size_limit(100), pytest.raises(OSError, match=r"too large|No space"):
        export_manifest(spans, tmp_path / f"table.{suffix}")
    assert list(tmp_path.glob("table*")) == []
