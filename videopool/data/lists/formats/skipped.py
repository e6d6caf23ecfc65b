"""Sentences about the files of a source that are not read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import PurePath

from videopool.data.lists.formats.entries import counted

_MOST_KINDS = 6


def skipped_note(names: Iterable[str]) -> str:
    """Return "skipped 12 files: 10 .txt, 2 .nfo" for the names of files that are not read, "" for none."""
    kinds = Counter(PurePath(name).suffix.lower() or "without suffix" for name in names)
    return f"skipped {counted(sum(kinds.values()), 'file')}: {kinds_of_files(kinds)}" if kinds else ""


def kinds_of_files(kinds: Counter[str]) -> str:
    """Return the counts of files by suffix, the most frequent first: "10 .txt, 2 .nfo"."""
    first = [f"{count} {kind}" for kind, count in kinds.most_common(_MOST_KINDS)]
    return ", ".join([*first, *(["..."] if len(kinds) > _MOST_KINDS else [])])
