"""Write rows of results as Markdown, CSV and JSON. A row maps column names to plain values."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence

Row = Mapping[str, object]


def markdown(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """Return a Markdown table of ``columns``, numbers aligned right, without a final newline.

    Floats have four significant digits (format them yourself for others), bools are yes or no, and values that are
    None or missing are ``-``.
    """
    numeric = [_is_numeric([row.get(name) for row in rows]) for name in columns]
    lines = [[_escaped(name) for name in columns], ["---:" if number else "---" for number in numeric]]
    lines += [[_escaped(_cell_text(row.get(name))) for name in columns] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def csv_text(rows: Sequence[Row]) -> str:
    """Return the rows as CSV with a header and full precision (RFC 4180, but lines end with ``\\n``).

    The columns are those of all rows, in the order in which they first occur; None and missing values are empty.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def json_text(content: object) -> str:
    """Return plain values as indented standard JSON: infinite numbers become strings, NaN becomes null."""
    return json.dumps(_strict(content), indent=2, allow_nan=False) + "\n"


def _is_numeric(values: Sequence[object]) -> bool:
    """Return whether a column has only numbers and texts that start with one."""
    given = [value for value in values if value is not None]
    return bool(given) and all(
        value.lstrip("+-*")[:1].isdigit() if isinstance(value, str) else type(value) in (int, float) for value in given
    )


def _cell_text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _strict(content: object) -> object:
    if isinstance(content, Mapping):
        return {str(key): _strict(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_strict(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None if math.isnan(content) else str(content)
    return content
