"""The columns of a table that say which part of a file is meant: in seconds, as time stamps, or in frames."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence

from videopool.data.lists.formats.entries import is_number
from videopool.data.lists.formats.text import Table, seconds
from videopool.errors import InputError

_LENGTH = re.compile(
    r"(?:clip|video|span|segment)?(?:duration|length|len)(?:s|sec|secs|seconds|ms|frames)?|(?:num|n|no|total)?(?:of)?frames"
)
_FRAME_LIMIT = 2**31  # of the column of frames
_STARTS, _ENDS = ("start", "begin"), ("end", "stop")
_UNITS = ("second", "seconds", "sec", "secs", "s", "time", "timestamp", "t")
_FRAME_UNITS = ("frame", "frames")
_WORDS = r"(?:start|starts|begin|begins|beginning|end|ends|stop|stops|finish|onset|offset|until)"
_AROUND = (
    "(?:clip|video|time|timestamp|timecode|frame|frames|t|seconds?|secs?|s|ms|msecs?|millis|milliseconds?|minutes?|"
    "mins?|hours?|us|ns|ticks?|pts|dts|idx|index|num|number|no|pos|position|offset)"
)
_NAMES_A_SPAN = re.compile(rf"(?:clip|video|time|timestamp|timecode|frame|t)?{_WORDS}{_AROUND}?")
# Words that name a span only beside other words of this kind: "clip_from" does, "from" in "recorded from" does not.
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
    """The columns of a table that give the span of a row; "" where it has none. ``frames``: they count frames."""

    start: str
    end: str
    frames: bool = False

    @property
    def columns(self) -> list[str]:
        """The columns that there are."""
        return [name for name in (self.start, self.end) if name]

    def seconds(self, where: str, cells: Mapping[str, str]) -> tuple[float | None, float | None]:
        """Return (start, end) of a row in seconds; raises InputError for a cell that is no time."""
        if self.frames:
            return None, None
        start, end = (seconds(where, cells[name], name) if name else None for name in (self.start, self.end))
        return start, end

    def frame_numbers(self, where: str, cells: Mapping[str, str]) -> tuple[int | None, int | None]:
        """Return (start, end) of a row in frames; raises InputError for a cell that is no number of a frame."""
        if not self.frames:
            return None, None
        start, end = (_frame(where, cells[name], name) if name else None for name in (self.start, self.end))
        return start, end


def find_spans(table: Table, also: Collection[str] = ()) -> SpanColumns:
    """Return the columns of ``table`` that say where a span starts and ends.

    Args:
        also: columns that are read elsewhere, whatever their names.

    Raises:
        InputError: for a column whose name says a span in another way, two columns that say the same, a span in seconds
            and in frames, and one with a start and a length. A span is never ignored.
    """
    columns = [column for column in table.columns if column not in also]
    in_seconds, in_frames = (_of_unit(table, columns, frames) for frames in (False, True))
    used = [*in_seconds.columns, *in_frames.columns]
    odd = next((column for column in columns if column not in used and names_span(column)), None)
    if odd is not None:
        raise InputError(
            f"{table.path}:1: column {odd} seems to say which part of a video is meant, in a form that is not known; "
            "rename it to start_seconds or end_seconds (seconds or h:mm:ss), to start_frame or end_frame (frames from "
            "0, the end exclusive), or remove it"
        )
    if in_seconds.columns and in_frames.columns:
        raise InputError(
            f"{table.path}:1: columns {', '.join(used)} give the span in seconds and in frames; keep one of the two"
        )
    spans = in_frames if in_frames.columns else in_seconds
    _refuse_length(table, spans)
    return spans


def _of_unit(table: Table, columns: Sequence[str], frames: bool) -> SpanColumns:
    """The columns for a span in seconds, or in ``frames``."""
    start, end = (
        _only(table, [column for column in columns if _plain(column) in _spellings(words, frames)])
        for words in (_STARTS, _ENDS)
    )
    return SpanColumns(start, end, frames)


def _refuse_length(table: Table, spans: SpanColumns) -> None:
    """A length beside a start without an end is that of the span."""
    length = next((column for column in table.columns if _LENGTH.fullmatch(_plain(column))), None)
    if spans.start and not spans.end and length is not None:
        end = "end_frame" if spans.frames else "end_seconds"
        raise InputError(
            f"{table.path}:1: column {length} beside {spans.start} seems to be the length of a span; give a column "
            f"{end} instead, or remove it"
        )


def refuse_spans(table: Table, read: Collection[str]) -> None:
    """Raise InputError for a span in columns other than the ones of a published form that are ``read``."""
    spans = find_spans(table, read)
    if spans.columns:
        raise InputError(
            f"{table.path}:1: column {spans.columns[0]} gives a span, which this published form "
            f"({', '.join(read)}) has no place for; remove it, or give the files in a column path"
        )


def names_span(column: str) -> bool:
    """Whether the name of a column, in lower case, says where a part of a video starts or ends."""
    words = [word for word in re.split(r"[^a-z0-9]+", column) if word]
    if any(_NAMES_A_SPAN.fullmatch(word) for word in words if word not in ("offset", "offsets")):
        return True
    if len(words) == 1:
        return words[0] in _WEAK_ALONE
    return all(_WEAK.fullmatch(word) for word in words) and not _WEAK_PAIRED.isdisjoint(words)


def _spellings(words: Sequence[str], frames: bool) -> set[str]:
    """The names, without what separates words, of a column for ``words`` (start, begin, ...) in seconds or frames."""
    units = _FRAME_UNITS if frames else _UNITS
    pairs = {spelling for word in words for unit in units for spelling in (word + unit, unit + word)}
    return pairs if frames else pairs | set(words)


def _plain(column: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", column)


def _only(table: Table, columns: Sequence[str]) -> str:
    if len(columns) > 1:
        raise InputError(f"{table.path}:1: columns {' and '.join(columns)} say the same; keep one of them")
    return columns[0] if columns else ""


def _frame(where: str, written: str, column: str) -> int | None:
    if not written:
        return None
    whole = written.removesuffix(".0")  # a column of whole numbers with gaps, as pandas writes it
    if not is_number(whole) or int(whole) >= _FRAME_LIMIT:
        raise InputError(
            f"{where}: {written!r} is no number of a frame; frames count from 0 (column {column}); "
            "leave the cell empty for the start or end of the file"
        )
    return int(whole)
