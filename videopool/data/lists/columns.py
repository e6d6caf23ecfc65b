"""Columns in one file, read by mapping it into memory: nothing is loaded before it is looked at.

The file is one of safetensors, whose tensors are the columns; processes that map it share its pages. A column has a row
for each of V things. What differs in length (a text, a list of labels) is a column ``x`` of all of it, one behind the
other, and ``x_ends`` int64 [V], where each ends.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from videopool.errors import InputError
from videopool.files import written_whole

_TYPES = {"BOOL": "?", "U8": "u1", "I32": "<i4", "I64": "<i8", "F32": "<f4", "F64": "<f8"}
_LARGEST_HEADER = 100_000_000  # bytes; safetensors refuses more
_ENDS = "_ends"


def write_columns(path: Path, columns: Mapping[str, np.ndarray], about: Mapping[str, str]) -> None:
    """Write ``columns`` (bool, uint8, int32, int64, float32, float64) and the texts ``about``, whole or not at all.

    Raises:
        OSError: with the path, where it cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    with written_whole(path) as temporary:
        try:
            save_file({name: np.ascontiguousarray(column) for name, column in columns.items()}, temporary, dict(about))
        except SafetensorError as error:
            raise OSError(errno.EIO, f"cannot be written ({error})", str(path)) from None


def map_columns(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The columns of ``path``, read-only and mapped from the file, and what is said about them.

    Raises:
        InputError: for a file that is missing, damaged or of another kind.
    """
    try:
        # A plain array: numpy's memmap would make each number that is looked at an object that knows of its file.
        whole = np.memmap(path, dtype=np.uint8, mode="r").view(np.ndarray)
        length, header = _header(whole[:8].tobytes(), whole[8:])
        data = whole[8 + length :]
        return {name: _column(data, entry) for name, entry in header.items() if name != "__metadata__"}, _about(header)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read as a file of columns ({reason}); write it anew") from None


def read_about(path: Path) -> dict[str, str]:
    """What a file of columns says about itself; nothing for any other file or folder."""
    try:
        with path.open("rb") as file:
            first = file.read(8)
            if int.from_bytes(first, "little") > _LARGEST_HEADER:
                return {}
            return _about(_header(first, np.frombuffer(file.read(int.from_bytes(first, "little")), np.uint8))[1])
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _header(first: bytes, rest: np.ndarray) -> tuple[int, dict[str, dict[str, Any]]]:
    """(length in bytes, entries) of the header that follows the ``first`` 8 bytes of a file."""
    length = int.from_bytes(first, "little")
    if len(first) < 8 or not 0 < length <= min(_LARGEST_HEADER, len(rest)):
        raise ValueError("it has no header")
    header = json.loads(rest[:length].tobytes())
    if not isinstance(header, dict):
        raise ValueError("its header is of another kind")
    return length, header


def _about(header: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    return {name: str(value) for name, value in header.get("__metadata__", {}).items()}


def _column(data: np.ndarray, entry: Mapping[str, Any]) -> np.ndarray:
    begin, end = entry["data_offsets"]
    if not 0 <= begin <= end <= len(data):
        raise ValueError("it is truncated")
    if entry["dtype"] not in _TYPES:
        raise ValueError(f"it has numbers of type {entry['dtype']}")
    column: np.ndarray = data[begin:end].view(_TYPES[entry["dtype"]])
    return column.reshape(entry["shape"])


def text_columns(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Texts as two columns: uint8, their bytes (UTF-8) one behind the other, and int64 [V], where each ends.

    Names of files that are no text (surrogates, as ``os.fsdecode`` gives them) survive.
    """
    encoded = [text.encode("utf-8", "surrogateescape") for text in texts]
    ends = np.cumsum([len(text) for text in encoded], dtype=np.int64)
    return np.frombuffer(b"".join(encoded), dtype=np.uint8), ends.reshape(len(encoded))


def text_at(characters: np.ndarray, ends: np.ndarray, row: int) -> str:
    """Text ``row`` (0 or more) of ``text_columns``."""
    begin = int(ends[row - 1]) if row else 0
    return characters[begin : int(ends[row])].tobytes().decode("utf-8", "surrogateescape")


def take_rows(columns: Mapping[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
    """The columns of these ``rows`` (int64 [R], 0 or more, repeats allowed) in this order, in memory."""
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
            raise ValueError(f"column {name} has {len(column)} rows where {rows} are expected")
        if name.endswith(_ENDS):
            end = len(columns[name.removesuffix(_ENDS)])
            if (_lengths(column) < 0).any() or (column[-1] if rows else 0) != end:
                raise ValueError(f"column {name} does not divide {end} values")


def _lengths(ends: np.ndarray) -> np.ndarray:
    return np.diff(ends, prepend=0)


def _positions(ends: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Where the values of ``rows`` stand in the column that ``ends`` divides, row by row."""
    lengths = _lengths(ends)[rows]
    begins = ends[rows] - lengths
    before = np.cumsum(lengths) - lengths  # how many values the rows before take
    return np.repeat(begins - before, lengths) + np.arange(lengths.sum())
