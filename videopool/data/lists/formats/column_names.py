"""The names of table columns. A first line with these names is a header; ``spans`` has the names of span columns."""

from __future__ import annotations

from collections.abc import Sequence

from videopool.data.lists.formats.entries import SUFFIXES

PATH_COLUMNS = ("path", "video", "image", "file")
LABEL_COLUMNS = ("label", "class", "labels", "label_id")
PART_COLUMNS = ("split", "subset")

# Columns of published tables. Those of the first four sets are in the tables of one data set only.
ONLY_KINETICS = frozenset({"youtube_id", "time_start", "time_end"})
ONLY_HACS = frozenset({"classname", "subset"})
ONLY_CHARADES = frozenset({"actions", "script"})
ONLY_EPIC_KITCHENS = frozenset({"narration_id", "narration_timestamp", "verb_class", "noun_class"})
_PUBLISHED = frozenset().union(
    *(ONLY_KINETICS, ONLY_HACS, ONLY_CHARADES, ONLY_EPIC_KITCHENS),
    ("video_id", "start_timestamp", "stop_timestamp", "id", "split", "is_cc", "start", "end", "length"),
)


def is_header(columns: Sequence[str]) -> bool:
    """Return whether ``columns``, the cells of a first line in lowercase, are the header of a table.

    A header has a column for paths or labels, or two columns of published tables. A line with a video is not one, even
    if its class is named "label".
    """
    if any(column.endswith(SUFFIXES) for column in columns):
        return False
    return not {*PATH_COLUMNS, *LABEL_COLUMNS}.isdisjoint(columns) or len(_PUBLISHED.intersection(columns)) > 1
