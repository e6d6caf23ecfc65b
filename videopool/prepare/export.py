"""Export a manifest as a table, for pandas, polars, duckdb and other tools."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from videopool.data.lists.manifest import MEASURED, Manifest
from videopool.errors import InputError
from videopool.files import atomic_write, escape_surrogates

SUFFIXES = (".csv", ".parquet")

_BATCH = 65_536  # rows in memory at a time
# The names of a manifest's columns in the table; -1 and NaN are unknown.
_SPANS_AND_SIZES = {
    "start": "start_seconds",
    "end": "end_seconds",
    "start_frame": "start_frame",
    "end_frame": "end_frame",
    "part_size": "part_size",
    "frames": "frames",
}

# Numbers are masked arrays, texts lists of str or None, and several classes of a video lists of lists.
_Columns = dict[str, Any]


def export_manifest(manifest: Manifest, to: Path) -> tuple[str, ...]:
    """Write a row for each video of ``manifest`` to ``to`` (.csv or .parquet), whole or not at all.

    Unknown values are null, which is an empty cell in a csv. docs/prepare.md describes the columns.

    Returns:
        The names of the columns.

    Raises:
        InputError: for another suffix, a file that exists, and .parquet without pyarrow.
    """
    suffix = to.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{to} must end in {' or '.join(SUFFIXES)}", setting="to")
    if to.exists():
        raise InputError(f"{to} already exists. Name another file, or delete it.", setting="to")
    write = _write_csv if suffix == ".csv" else _write_parquet
    return write(manifest, to)


def _write_csv(manifest: Manifest, to: Path) -> tuple[str, ...]:
    names = tuple(_columns(manifest, slice(0, 0)))
    with atomic_write(to) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        for columns in _batches(manifest):
            writer.writerows(zip(*map(_cells, columns.values()), strict=True))
    return names


def _cells(column: Any) -> list[str]:
    """Return the cells of a column in a csv."""
    if isinstance(column, np.ma.MaskedArray):  # str(): as few digits as the type needs
        unknown = np.ma.getmaskarray(column).tolist()
        return ["" if hidden else str(value) for value, hidden in zip(column.data, unknown, strict=True)]
    return ["" if cell is None else cell if isinstance(cell, str) else ";".join(map(str, cell)) for cell in column]


def _write_parquet(manifest: Manifest, to: Path) -> tuple[str, ...]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        message = f"{to} needs pyarrow ({error}). Run pip install pyarrow, or write a .csv."
        raise InputError(message, setting="to") from None
    several = {"labels": pyarrow.list_(pyarrow.int32()), "classes": pyarrow.list_(pyarrow.string())}
    types = {
        name: pyarrow.from_numpy_dtype(column.dtype)
        if isinstance(column, np.ma.MaskedArray)
        else several.get(name, pyarrow.string())
        for name, column in _columns(manifest, slice(0, 0)).items()
    }
    about = {"root": escape_surrogates(str(manifest.table.base)), "made": manifest.made}
    schema = pyarrow.schema(types, metadata=about)
    with atomic_write(to) as temporary, parquet.ParquetWriter(temporary, schema) as writer:
        for columns in _batches(manifest):
            arrays = [
                pyarrow.array(column.data, types[name], mask=np.ma.getmaskarray(column))
                if isinstance(column, np.ma.MaskedArray)
                else pyarrow.array(column, types[name])
                for name, column in columns.items()
            ]
            writer.write_batch(pyarrow.record_batch(arrays, schema=schema))
    return tuple(types)


def _batches(manifest: Manifest) -> Iterator[_Columns]:
    for start in range(0, len(manifest.table), _BATCH):
        yield _columns(manifest, slice(start, start + _BATCH))


def _columns(manifest: Manifest, rows: slice) -> _Columns:
    """Return the columns of the table for some videos of the manifest."""
    table = manifest.table
    found, classes = table.columns, manifest.classes
    videos = range(len(table))[rows]
    records = [table[video] for video in videos]
    columns: _Columns = {
        "id": [escape_surrogates(record.id) for record in records],
        "path": [escape_surrogates(table.path_at(video)) for video in videos],
        "label": _known(found["label"][rows]),
        "class": [classes[record.label] if record.label >= 0 else None for record in records],
    }
    if table.several_labels:
        columns["labels"] = [list(record.labels or ()) for record in records]
        columns["classes"] = [[classes[label] for label in labels] for labels in columns["labels"]]
    columns |= {new: _known(found[name][rows]) for name, new in _SPANS_AND_SIZES.items() if name in found}
    if "part_size" in found:
        columns["part_offset"] = np.ma.MaskedArray(found["part_offset"][rows], found["part_size"][rows] < 0)
    if "may_be_cut" in found:
        columns["may_be_cut"] = _known(found["may_be_cut"][rows])
    columns["codec"] = [manifest.codecs[code] or None for code in found["codec"][rows].tolist()]
    measured = (name for name in MEASURED if name != "codec" and name in found)
    columns |= {name: _known(found[name][rows]) for name in measured}
    columns["reason"] = [escape_surrogates(table.reason(video)) or None for video in videos]
    if "sha256" in found:
        columns["sha256"] = [row.tobytes().hex() if row.any() else None for row in found["sha256"][rows]]
    return columns


def _known(values: np.ndarray) -> np.ma.MaskedArray[Any, Any]:
    """Return the values with the unknown ones, -1 and NaN, masked."""
    unknown = np.isnan(values) if values.dtype.kind == "f" else values < 0
    return np.ma.MaskedArray(values, unknown)
