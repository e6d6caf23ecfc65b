"""The table of docs/from_pyslowfast.md: keys of PySlowFast and what corresponds to them here.

``python -m videopool.migrate.tables`` writes it.
"""

from __future__ import annotations

from pathlib import Path

from videopool.config.keys import keys_of
from videopool.config.renamed import RENAMED
from videopool.config.schema import Config
from videopool.migrate.pyslowfast_keys import WITHOUT_COUNTERPART

START, END = "<!-- keys: python -m videopool.migrate.tables -->\n\n", "\n<!-- end of keys -->"


def table() -> str:
    """Return the keys of PySlowFast as a table in Markdown."""
    own = {key.name for key in keys_of(Config)} | {"model.arguments"}
    rows = {source: f"`{here}`" if _is_key(here, own) else here for source, here in RENAMED.items()}
    rows |= {source: f"– ({reason})" for source, (*_, reason) in WITHOUT_COUNTERPART.items()}
    lines = ["| PySlowFast | videopool |", "|---|---|"]
    lines += [f"| `{source}` | {here} |" for source, here in sorted(rows.items())]
    return "\n".join(lines) + "\n"


def _is_key(text: str, own: set[str]) -> bool:
    return text in own or text.rpartition(".")[0] == "model.arguments"


def with_table(page: str) -> str:
    """Return the text of a page with the table between its marks."""
    before, _, rest = page.partition(START)
    return f"{before}{START}{table()}{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    place = Path(__file__).resolve().parents[2] / "docs/from_pyslowfast.md"
    place.write_text(with_table(place.read_text(encoding="utf-8")), encoding="utf-8")
