"""Columns in one file, which is mapped into memory, so that only what is used is loaded.

It is a safetensors file whose tensors are the columns; processes that map it share its pages. A column has V rows.
Values of different lengths (text, lists of labels) are concatenated in a column ``x``, and ``x_ends`` int64 [V] has the
end of each.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from videopool.errors import InputError
from videopool.files import atomic_write

_TYPES = {"BOOL": "?", "U8": "u1", "I32": "<i4", "I64": "<i8", "F32": "<f4", "F64": "<f8"}
_LARGEST_HEADER = 100_000_000  # bytes; safetensors refuses more
_ENDS = "_ends"


def write_columns(path: Path, columns: Mapping[str, np.ndarray], about: Mapping[str, str]) -> None:
    """Write ``columns`` (bool, uint8, int32, int64, float32, float64) and the metadata ``about`` to ``path``.

    The file is written completely or not at all.

    Raises:
        OSError: with the path, if the file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    with atomic_write(path) as temporary:
        try:
            save_file({name: np.ascontiguousarray(column) for name, column in columns.items()}, temporary, dict(about))
        except SafetensorError as error:
            raise OSError(errno.EIO, f"cannot be written ({error})", str(path)) from None


def map_columns(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the columns of ``path``, mapped and read-only, and its metadata.

    Raises:
        InputError: for a missing or damaged file, and one of another kind.
    """
    try:
        # A plain array: each number from a numpy.memmap would be an object with a reference to the file.
        whole = np.memmap(path, dtype=np.uint8, mode="r").view(np.ndarray)
        length, header = _header(whole[:8].tobytes(), whole[8:])
        data = whole[8 + length :]
        return {name: _column(data, entry) for name, entry in header.items() if name != "__metadata__"}, _about(header)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path} cannot be read as a file of columns ({reason}). Write it again.") from None


def read_about(path: Path) -> dict[str, str]:
    """Return the metadata of a file of columns; {} for any other file or folder."""
    try:
        with path.open("rb") as file:
            first = file.read(8)
            if int.from_bytes(first, "little") > _LARGEST_HEADER:
                return {}
            return _about(_header(first, np.frombuffer(file.read(int.from_bytes(first, "little")), np.uint8))[1])
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _header(first: bytes, rest: np.ndarray) -> tuple[int, dict[str, dict[str, Any]]]:
    """Return (length in bytes, entries) of the header that follows the ``first`` 8 bytes of a file."""
    length = int.from_bytes(first, "little")
    if len(first) < 8 or not 0 < length <= min(_LARGEST_HEADER, len(rest)):
        raise ValueError("it has no header")
    header = json.loads(rest[:length].tobytes())
    if not isinstance(header, dict):
        raise ValueError("its header is not an object")
    return length, header


def _about(header: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    return {name: str(value) for name, value in header.get("__metadata__", {}).items()}


def _column(data: np.ndarray, entry: Mapping[str, Any]) -> np.ndarray:
    begin, end = entry["data_offsets"]
    if not 0 <= begin <= end <= len(data):
        raise ValueError("it is truncated")
    if entry["dtype"] not in _TYPES:
        raise ValueError(f"it has values of type {entry['dtype']}")
    column: np.ndarray = data[begin:end].view(_TYPES[entry["dtype"]])
    return column.reshape(entry["shape"])


def text_columns(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return texts as two columns: their concatenated UTF-8 bytes, uint8, and where each ends, int64 [V].

    File names that are not UTF-8 (surrogates, from ``os.fsdecode``) are kept.
    """
    encoded = [text.encode("utf-8", "surrogateescape") for text in texts]
    ends = np.cumsum([len(text) for text in encoded], dtype=np.int64)
    return np.frombuffer(b"".join(encoded), dtype=np.uint8), ends.reshape(len(encoded))


def text_at(characters: np.ndarray, ends: np.ndarray, row: int) -> str:
    """Return text ``row`` (0 or more) of ``text_columns``."""
    begin = int(ends[row - 1]) if row else 0
    return characters[begin : int(ends[row])].tobytes().decode("utf-8", "surrogateescape")


def take_rows(columns: Mapping[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
    """Return copies of the columns with these ``rows`` (int64 [R], 0 or more, repeats allowed), in this order."""
    taken = {}
    for name, column in columns.items():
        if name.endswith(_ENDS):
            taken[name] = np.cumsum(_lengths(column)[rows], dtype=np.int64)
        elif name + _ENDS in columns:
            taken[name] = column[_positions(columns[name + _ENDS], rows)]
        else:
            taken[name] = column[rows]
    return taken


def check_rows(columns: Mapping[str, np.ndarray], rows: int) -> None:
    """Raise ValueError unless every column has ``rows`` rows."""
    for name, column in columns.items():
        if name + _ENDS not in columns and len(column) != rows:
            raise ValueError(f"column {name} has {len(column)} rows, not {rows}")
        if name.endswith(_ENDS):
            end = len(columns[name.removesuffix(_ENDS)])
            if (_lengths(column) < 0).any() or (column[-1] if rows else 0) != end:
                raise ValueError(f"column {name} does not divide {end} values")


def _lengths(ends: np.ndarray) -> np.ndarray:
    return np.diff(ends, prepend=0)


def _positions(ends: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the positions of the values of ``rows`` in the column that ``ends`` divides, row by row."""
    lengths = _lengths(ends)[rows]
    begins = ends[rows] - lengths
    before = np.cumsum(lengths) - lengths  # values of the rows before
    return np.repeat(begins - before, lengths) + np.arange(lengths.sum())
