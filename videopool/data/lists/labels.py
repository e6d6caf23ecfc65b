"""From labels as a list has them, names or numbers, to positions in the classes."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from videopool.data.lists.formats.classes import CLASSES_FILE, read_classes
from videopool.data.lists.formats.entries import ListEntry, Listing, is_number, named_by_numbers
from videopool.data.lists.formats.tables import LABEL_LIMIT
from videopool.errors import InputError, did_you_mean


def find_classes(place: Path, listing: Listing, wanted: Sequence[str] | None) -> tuple[tuple[str, ...], LabelNumbers]:
    """Return the classes of a listing that was read from ``place``, and what turns its labels into numbers.

    Args:
        wanted: the classes to use, if the list does not decide them.
    """
    order, file = _prescribed_order(place, listing)
    classes = tuple(wanted) if wanted is not None else order or _class_names(listing)
    names_only = listing.numbers_are_names or named_by_numbers(order or classes)
    return classes, LabelNumbers(classes, order, file, names_only=names_only)


def _prescribed_order(place: Path, listing: Listing) -> tuple[tuple[str, ...], str]:
    """Return the classes of classes.txt, else in the order of the data set, else (); and the file that has them."""
    folders = (place, place.parent) if place.is_dir() else (place.parent,)
    beside = next((folder / CLASSES_FILE for folder in folders if (folder / CLASSES_FILE).is_file()), None)
    if beside is not None:
        return read_classes(beside), str(beside)
    return listing.classes, listing.classes_file


def _class_names(listing: Listing) -> tuple[str, ...]:
    labels = {label for entry in listing.entries for label in entry.all_labels}
    if listing.numbers_are_names:
        return tuple(sorted(labels))
    if all(is_number(label) for label in labels):
        return tuple(str(number) for number in range(_largest_label(listing.entries) + 1))
    with_id = [entry.label_id is not None for entry in listing.entries]
    if all(with_id):
        return _names_by_id(listing.entries)
    if any(with_id):
        where = listing.entries[with_id.index(False)].where
        raise InputError(f"{where}: label_id is empty, but not in other rows. Give it in all rows or none.")
    if all(map(_is_figure, labels)):
        odd, written = next((e, label) for e in listing.entries for label in e.all_labels if not is_number(label))
        raise InputError(f"{odd.where}: label {written} must be a whole number of 0 or more, or a name")
    return tuple(sorted(labels))


def _is_figure(label: str) -> bool:
    """Return whether ``label`` is a number of any kind, such as -1 and 1.0, and so not a name."""
    try:
        float(label)
    except ValueError:
        return False
    return True


def _largest_label(entries: Sequence[ListEntry]) -> int:
    numbers = ((int(label), entry) for entry in entries for label in entry.all_labels)
    largest, where = max(numbers, key=lambda pair: pair[0], default=(-1, entries[0]))
    if largest >= LABEL_LIMIT:
        raise InputError(f"{where.where}: label {largest} is too large; class numbers must be below {LABEL_LIMIT}")
    return largest


def _names_by_id(entries: Sequence[ListEntry]) -> tuple[str, ...]:
    """Return the names in the order of ``label_id``; a number without videos is its own name."""
    names: dict[int, str] = {}
    numbers: dict[str, int] = {}
    for entry in entries:
        number = entry.label_id
        assert number is not None
        if names.setdefault(number, entry.label) != entry.label:
            raise InputError(f"{entry.where}: label_id {number} is {entry.label!r} here, but {names[number]!r} above")
        if numbers.setdefault(entry.label, number) != number:
            raise InputError(
                f"{entry.where}: {entry.label!r} has label_id {number} here, but {numbers[entry.label]} above"
            )
    return tuple(names.get(number, str(number)) for number in range(max(names) + 1))


class LabelNumbers:
    """Turns labels of a list into positions in ``classes``.

    Args:
        classes: the classes to use.
        order: the classes as the list numbers them, () if it does not say.
        file: the file that gives ``order``.
        names_only: a label of digits is a name.
    """

    def __init__(self, classes: tuple[str, ...], order: tuple[str, ...], file: str, *, names_only: bool) -> None:
        self._classes = classes
        self._order = order
        self._file = file
        self._positions = {name: position for position, name in enumerate(classes)}
        self._names_only = names_only
        self._found = dict(self._positions)

    def __call__(self, entry: ListEntry, written: str) -> int:
        """Return the position of the label ``written`` of ``entry``. Raises InputError for an unknown class."""
        position = self._found.get(written)
        if position is None:
            position = self._found[written] = self._numbered(entry, written)
        return position

    def _numbered(self, entry: ListEntry, written: str) -> int:
        order = self._order or self._classes
        if self._names_only or not is_number(written) or int(written) >= len(order):
            raise self._unknown(entry, written)
        if not self._order:
            return int(written)
        name = self._order[int(written)]
        if name not in self._positions:
            raise self._unknown(entry, written, f" ({name!r} in {self._file})")
        return self._positions[name]

    def _unknown(self, entry: ListEntry, written: str, meaning: str = "") -> InputError:
        origin = f" of {self._file}" if self._order == self._classes else ""
        shown = ", ".join(self._classes[:4]) + (", ..." if len(self._classes) > 4 else "")
        numbers = "" if self._names_only else f", or numbers from 0 to {len(self._classes) - 1}"
        return InputError(
            f"{entry.where}: label {written!r}{meaning} is not among the {len(self._classes)} classes "
            f"({shown}){origin}. Labels are names{numbers}.{self._guess(entry, written)}"
        )

    def _guess(self, entry: ListEntry, written: str) -> str:
        """Return a sentence about what the label ``written`` may mean, or ""."""
        outer, inner, *below = [*entry.path.split("/"), ""]
        if self._names_only and below and inner in self._positions:
            return f" Its subfolder {inner} is a class; give the folder {outer} instead."
        if written == str(len(self._classes)):
            return " Do these numbers count from 1?"
        folded = {name.casefold(): name for name in self._classes}
        same = [folded[near] for near in difflib.get_close_matches(written.casefold(), folded, n=1, cutoff=0.8)]
        hint = did_you_mean(written, (), first=same)
        return f" {hint}" if hint else ""
