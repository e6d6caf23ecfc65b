"""Results of predictions as a table, JSON, JSON lines or CSV, written one by one as they come."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Sequence
from typing import Any, Protocol, TextIO

from videopool.files import escape_surrogates
from videopool.inference.classifier import Prediction
from videopool.inference.timeline import Segment

COLUMNS = ("kind", "video", "start", "end", "rank", "class", "probability")


class Record(Protocol):
    """A result about a video."""

    @property
    def video(self) -> str:
        """The name of the video."""
        ...

    def values(self) -> dict[str, Any]:
        """Return the record as an object of JSON."""
        ...

    def rows(self) -> list[tuple[Any, ...]]:
        """Return its rows of CSV, with ``COLUMNS``."""
        ...

    def lines(self) -> list[str]:
        """Return its lines of the table, below the name of the video."""
        ...


@dataclasses.dataclass(frozen=True)
class VideoResult:
    """The most probable classes of a video."""

    video: str
    predictions: Sequence[Prediction]

    def values(self) -> dict[str, Any]:
        return {"kind": "video", "video": self.video, "predictions": _listed(self.predictions)}

    def rows(self) -> list[tuple[Any, ...]]:
        return _ranked(("video", self.video, "", ""), self.predictions)

    def lines(self) -> list[str]:
        return [f"  {100 * each.probability:6.2f} %  {each.label}" for each in self.predictions]


@dataclasses.dataclass(frozen=True)
class WindowResult:
    """The most probable classes of a window of a video, from ``start`` to ``end`` seconds."""

    video: str
    start: float
    end: float
    predictions: Sequence[Prediction]

    def values(self) -> dict[str, Any]:
        times = {"start": round(self.start, 3), "end": round(self.end, 3)}
        return {"kind": "window", "video": self.video, **times, "predictions": _listed(self.predictions)}

    def rows(self) -> list[tuple[Any, ...]]:
        return _ranked(("window", self.video, f"{self.start:.3f}", f"{self.end:.3f}"), self.predictions)

    def lines(self) -> list[str]:
        found = ", ".join(f"{100 * each.probability:.1f} % {each.label}" for each in self.predictions)
        return [f"  window   {self.start:9.2f} - {self.end:9.2f} s  {found}"]


@dataclasses.dataclass(frozen=True)
class SegmentResult:
    """A segment of a video."""

    video: str
    segment: Segment

    def values(self) -> dict[str, Any]:
        found = self.segment
        times = {"start": round(found.start, 3), "end": round(found.end, 3)}
        scored = {"class": found.label, "probability": round(found.score, 6)}
        return {"kind": "segment", "video": self.video, **times, **scored}

    def rows(self) -> list[tuple[Any, ...]]:
        found = self.segment
        times = (f"{found.start:.3f}", f"{found.end:.3f}")
        return [("segment", self.video, *times, 1, found.label, f"{found.score:.6f}")]

    def lines(self) -> list[str]:
        found = self.segment
        return [f"  segment  {found.start:9.2f} - {found.end:9.2f} s  {100 * found.score:.1f} % {found.label}"]


@dataclasses.dataclass(frozen=True)
class Unreadable:
    """A video that cannot be read, and why."""

    video: str
    reason: str

    def values(self) -> dict[str, Any]:
        return {"kind": "unreadable", "video": self.video, "reason": self.reason}

    def rows(self) -> list[tuple[Any, ...]]:
        return [("unreadable", self.video, "", "", "", self.reason, "")]

    def lines(self) -> list[str]:
        return [f"  not read: {self.reason}"]


class RecordWriter(Protocol):
    """Writes records to a text file or to standard output."""

    def write(self, record: Record) -> None:
        """Write a record, and flush it."""
        ...

    def close(self) -> None:
        """Write what ends the document; the stream stays open."""
        ...


class TableWriter:
    """Lines for people: the name of a video, and its results below it.

    Args:
        stream: where to write.
        windows: whether windows are written too, not only segments.
    """

    def __init__(self, stream: TextIO, *, windows: bool = False) -> None:
        self._stream, self._windows, self._video = stream, windows, ""

    def write(self, record: Record) -> None:
        if isinstance(record, WindowResult) and not self._windows:
            return
        heading = [] if record.video == self._video else [record.video]
        self._video = record.video
        _put(self._stream, "\n".join([*heading, *record.lines()]) + "\n")

    def close(self) -> None:
        """Do nothing."""


class JsonLinesWriter:
    """An object of JSON on each line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, record: Record) -> None:
        _put(self._stream, _json(record) + "\n")

    def close(self) -> None:
        """Do nothing."""


class JsonWriter:
    """One array of JSON with an object for each record."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._before = stream, "[\n"

    def write(self, record: Record) -> None:
        _put(self._stream, self._before + _json(record))
        self._before = ",\n"

    def close(self) -> None:
        _put(self._stream, "[]\n" if self._before == "[\n" else "\n]\n")


class CsvWriter:
    """A table with ``COLUMNS``; in the row of a video that cannot be read, the reason is in the column ``class``."""

    def __init__(self, stream: TextIO) -> None:
        self._rows = csv.writer(stream, lineterminator="\n")
        self._stream = stream
        self._rows.writerow(COLUMNS)

    def write(self, record: Record) -> None:
        self._rows.writerows([[escape_surrogates(str(value)) for value in row] for row in record.rows()])
        self._stream.flush()

    def close(self) -> None:
        """Do nothing."""


def record_writer(form: str, stream: TextIO, *, windows: bool = False) -> RecordWriter:
    """Return the writer of a form: table, json, jsonl or csv; ``windows`` as for ``TableWriter``."""
    if form == "table":
        return TableWriter(stream, windows=windows)
    writers: dict[str, type[JsonWriter] | type[JsonLinesWriter] | type[CsvWriter]] = {
        "json": JsonWriter,
        "jsonl": JsonLinesWriter,
        "csv": CsvWriter,
    }
    return writers[form](stream)


def _json(record: Record) -> str:
    return json.dumps(record.values(), ensure_ascii=False)


def _put(stream: TextIO, text: str) -> None:
    stream.write(escape_surrogates(text))
    stream.flush()


def _listed(predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
    return [{"class": each.label, "probability": round(each.probability, 6)} for each in predictions]


def _ranked(start: tuple[Any, ...], predictions: Sequence[Prediction]) -> list[tuple[Any, ...]]:
    return [(*start, rank, each.label, f"{each.probability:.6f}") for rank, each in enumerate(predictions, start=1)]
