"""Read the display times of the samples of an mp4 or mov from the tables in its header (ISO/IEC 14496-12)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from videopool.data.decoding.source import Source

_LARGEST_HEADER = 1 << 28  # bytes
_MOST_SAMPLES = 10_000_000


class SampleTimes(NamedTuple):
    """The times of N samples in the order of the file, in ticks of the track, without edit lists: int64 [N] each."""

    dts: np.ndarray
    pts: np.ndarray
    duration: np.ndarray


def sample_times(source: Source, track: int) -> SampleTimes | None:
    """Return the times of the samples of ``track`` (its id); None if the header lacks some, as in fragmented files."""
    header = _movie_header(source)
    if header is None or any(kind == b"mvex" for kind, _ in _boxes(header)):
        return None
    for kind, body in _boxes(header):
        if kind == b"trak" and _track_id(body) == track:
            return _times(_descend(body, b"mdia", b"minf", b"stbl"))
    return None


def _movie_header(source: Source) -> memoryview | None:
    """Return the content of the box ``moov``, without reading the samples before it."""
    place, size = 0, source.size()
    while place + 8 <= size:
        length, kind, begin = _box_header(source.read_at(place, 16))
        length = length or size - place
        if kind == b"moov":
            return memoryview(source.read_at(place + begin, min(length, _LARGEST_HEADER) - begin))
        if length < begin:
            return None
        place += length
    return None


def _box_header(data: bytes | memoryview) -> tuple[int, bytes, int]:
    """Return (size of the box in bytes, or 0 for up to the end of the file; its type; where its content begins)."""
    length, kind = int.from_bytes(data[:4], "big"), bytes(data[4:8])
    if length == 1:
        return int.from_bytes(data[8:16], "big"), kind, 16
    return length, kind, 8


def _boxes(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    place = 0
    while place + 8 <= len(data):
        length, kind, begin = _box_header(data[place : place + 16])
        length = length or len(data) - place
        if length < begin:
            return
        yield kind, data[place + begin : place + length]
        place += length


def _descend(data: memoryview, *path: bytes) -> memoryview:
    """Return the content of a nested box, empty if it does not exist."""
    for kind in path:
        data = next((body for found, body in _boxes(data) if found == kind), data[:0])
    return data


def _track_id(track: memoryview) -> int:
    header = _descend(track, b"tkhd")
    place = 20 if len(header) and header[0] == 1 else 12  # after version, flags, and two times of 8 or 4 bytes each
    return int.from_bytes(header[place : place + 4], "big")


def _times(table: memoryview) -> SampleTimes | None:
    durations = _runs(_descend(table, b"stts"))
    if durations is None or not len(durations):
        return None
    offsets = _runs(_descend(table, b"ctts"))
    if offsets is not None and len(offsets) != len(durations):
        return None
    dts = np.cumsum(durations) - durations
    return SampleTimes(dts, dts if offsets is None else dts + offsets, durations)


def _runs(box: memoryview) -> np.ndarray | None:
    """Expand a table of (count, value) pairs to int64 values; return None if there is no table."""
    if len(box) < 8:
        return None
    pairs = int.from_bytes(box[4:8], "big")
    table = np.frombuffer(box[8 : 8 + 8 * pairs], dtype=">i4").reshape(-1, 2).astype(np.int64)
    if len(table) < pairs or (table[:, 0] < 0).any() or table[:, 0].sum() > _MOST_SAMPLES:
        return None
    return np.repeat(table[:, 1], table[:, 0])
