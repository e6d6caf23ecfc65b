"""The table columns that give the span of a video to use, in seconds, as time stamps or in frames."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from videopool.data.lists.formats.entries import is_number
from videopool.data.lists.formats.text import TextTable, filled, parse_seconds
from videopool.errors import InputError

_LENGTH = re.compile(
    r"(?:clip|video|span|segment)?(?:duration|length|len)(?:s|sec|secs|seconds|ms|frames)?|(?:num|n|no|total)?(?:of)?frames"
)
_FRAME_LIMIT = 2**31  # of int32 columns
_STARTS, _ENDS = ("start", "begin"), ("end", "stop")
_UNITS = ("second", "seconds", "sec", "secs", "s", "time", "timestamp", "t")
_FRAME_UNITS = ("frame", "frames")
_WORDS = r"(?:start|starts|begin|begins|beginning|end|ends|stop|stops|finish|onset|offset|until)"
_AROUND = (
    "(?:clip|video|time|timestamp|timecode|frame|frames|t|seconds?|secs?|s|ms|msecs?|millis|milliseconds?|minutes?|"
    "mins?|hours?|us|ns|ticks?|pts|dts|idx|index|num|number|no|pos|position|offset)"
)
_NAMES_A_SPAN = re.compile(rf"(?:clip|video|time|timestamp|timecode|frame|t)?{_WORDS}{_AROUND}?")
# Words that name a span only next to other such words: "clip_from" does, "from" in "recorded from" does not.
_WEAK = re.compile(rf"{_AROUND}|from|to|first|last|in|out|span|interval|segment|segments|trim|cut|action|event")
_WEAK_ALONE = {
    *("from", "to", "t0", "t1", "tmin", "tmax", "offset"),
    *("span", "timespan", "interval", "segment", "segments", "timestamps"),
}
_WEAK_PAIRED = {
    *("from", "to", "first", "last", "in", "out", "offset"),
    *("span", "interval", "segment", "segments", "trim", "cut"),
}


@dataclasses.dataclass(frozen=True)
class SpanColumns:
    """The columns that give the span of a row, "" without one; in frames if ``frames``, else in seconds."""

    start: str
    end: str
    frames: bool = False

    @property
    def columns(self) -> list[str]:
        """The columns of the span that the table has."""
        return [name for name in (self.start, self.end) if name]

    def read(self, where: str, cells: Mapping[str, str]) -> dict[str, Any]:
        """Return the span of a row as fields of ``ListEntry``. Raises InputError for an invalid cell."""
        parse, unit = (_frame, "frame") if self.frames else (parse_seconds, "seconds")
        named = {f"start_{unit}": self.start, f"end_{unit}": self.end}
        return {field: parse(where, cells[name], name) for field, name in named.items() if name}


def find_spans(table: TextTable, known: Collection[str] = ()) -> SpanColumns:
    """Return the columns of ``table`` that give the start and end of a span.

    Args:
        known: columns that have a meaning already; none of them is a span.

    Raises:
        InputError: for a column whose name suggests a span in another form, two columns for one value, a span in both
            seconds and frames, and one with a start and a length. A span is never ignored.
    """
    columns = [column for column in table.columns if column not in known]
    in_seconds, in_frames = (_of_unit(table, columns, frames) for frames in (False, True))
    used = [*in_seconds.columns, *in_frames.columns]
    odd = next((column for column in columns if column not in used and names_span(column)), None)
    if odd is not None:
        raise InputError(
            f"{table.path}:1: column {odd} seems to give a part of the video in an unknown form. Rename it to "
            "start_seconds or end_seconds (seconds or h:mm:ss), or to start_frame or end_frame (frames from 0, the end "
            "exclusive), or remove it."
        )
    if in_seconds.columns and in_frames.columns:
        raise InputError(
            f"{table.path}:1: columns {', '.join(used)} give the span in seconds and in frames. Keep one of the two."
        )
    spans = in_frames if in_frames.columns else in_seconds
    _refuse_length(table, spans)
    return spans


def _of_unit(table: TextTable, columns: Sequence[str], frames: bool) -> SpanColumns:
    """Return the columns of a span in seconds, or in ``frames``."""
    start, end = (
        _only(table, [column for column in columns if _plain(column) in _spellings(words, frames)])
        for words in (_STARTS, _ENDS)
    )
    return SpanColumns(start, end, frames)


def _refuse_length(table: TextTable, spans: SpanColumns) -> None:
    """Raise InputError for a length next to a start without an end: it is probably that of the span."""
    length = next((column for column in table.columns if _LENGTH.fullmatch(_plain(column))), None)
    if spans.start and not spans.end and length is not None:
        end = "end_frame" if spans.frames else "end_seconds"
        raise InputError(
            f"{table.path}:1: column {length} next to {spans.start} seems to be the length of a span. Give a column "
            f"{end} instead, or remove it."
        )


def refuse_spans(table: TextTable, known: Collection[str]) -> None:
    """Raise InputError for a span in columns other than the ``known`` ones of a published format."""
    spans = find_spans(table, known)
    if spans.columns:
        raise InputError(
            f"{table.path}:1: column {spans.columns[0]} gives a span, which this published format "
            f"({', '.join(known)}) does not have. Remove it, or name the files in a column path."
        )


def filled_span(where: str, row: Mapping[str, str], *columns: str) -> tuple[float, float]:
    """Return the cells of the two ``columns`` in seconds. Raises InputError for an empty cell or span."""
    start, end = (parse_seconds(where, filled(where, row, column), column) for column in columns)
    if start is None or end is None or end <= start:  # cells that are not empty are never None
        raise InputError(f"{where}: the span from {start} to {end} s is empty")
    return start, end


def names_span(column: str) -> bool:
    """Return whether the name of a column, in lowercase, suggests a start or end of a part of a video."""
    words = [word for word in re.split(r"[^a-z0-9]+", column) if word]
    if any(_NAMES_A_SPAN.fullmatch(word) for word in words if word not in ("offset", "offsets")):
        return True
    if len(words) == 1:
        return words[0] in _WEAK_ALONE
    return all(_WEAK.fullmatch(word) for word in words) and not _WEAK_PAIRED.isdisjoint(words)


def _spellings(words: Sequence[str], frames: bool) -> set[str]:
    """Return names, without word separators, of a column for ``words`` (start, begin, ...) in seconds or frames."""
    units = _FRAME_UNITS if frames else _UNITS
    pairs = {spelling for word in words for unit in units for spelling in (word + unit, unit + word)}
    return pairs if frames else pairs | set(words)


def _plain(column: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", column)


def _only(table: TextTable, columns: Sequence[str]) -> str:
    if len(columns) > 1:
        raise InputError(f"{table.path}:1: columns {' and '.join(columns)} give the same value. Keep one of them.")
    return columns[0] if columns else ""


def _frame(where: str, written: str, column: str) -> int | None:
    if not written:
        return None
    whole = written.removesuffix(".0")  # a column of whole numbers with gaps, as pandas writes it
    if not is_number(whole) or int(whole) >= _FRAME_LIMIT:
        raise InputError(
            f"{where}: {column}={written!r} must be a frame number, counted from 0. Leave the cell empty for the start "
            "or end of the file."
        )
    return int(whole)
