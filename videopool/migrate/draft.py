"""A configuration in the making: its values with their sources, and what could not be carried over."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from videopool.config.keys import keys_of
from videopool.config.schema import Config


@dataclasses.dataclass
class Draft:
    """What becomes a configuration of videopool.

    Attributes:
        package: the source, such as PySlowFast.
        path: the file of the source.
        values: of dotted keys of videopool, each with a comment: the key of the source that it comes from.
        lost: sentences about keys of the source that change results and cannot be carried over.
        ignored: keys of the source that have no meaning here.
        notes: comments for the head of the file; THIS_FILE stands for its name.
    """

    package: str
    path: Path
    values: dict[str, tuple[Any, str]] = dataclasses.field(default_factory=dict)
    lost: list[str] = dataclasses.field(default_factory=list)
    ignored: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)

    def set(self, key: str, value: Any, source: str = "") -> None:
        """Set a key of videopool to ``value``, which comes from the key ``source``."""
        self.values[key] = (value, source)

    def get(self, key: str) -> Any:
        """Return the value of a key that was set."""
        return self.values[key][0]

    def lose(self, key: str, reason: str) -> None:
        """Record that ``key`` of the source cannot be carried over."""
        self.lost.append(f"{key}: {reason}")

    def tree(self) -> dict[str, Any]:
        """Return the values as nested dictionaries."""
        tree: dict[str, Any] = {}
        for key, (value, _) in self.values.items():
            group = tree
            *sections, name = key.split(".")
            for section in sections:
                group = group.setdefault(section, {})
            group[name] = value
        return tree

    def yaml(self, name: str = "FILE") -> str:
        """Return the configuration as YAML. Comments name the sources and what could not be carried over.

        Args:
            name: of the file that is written, for the command that starts the training.
        """
        lines = [f"# {self.path.name} of {self.package}, converted by videopool migrate."]
        lines += [f"# {note.replace('THIS_FILE', name)}" for note in self.notes]
        open_sections: list[str] = []
        for key in [key.name for key in keys_of(Config) if key.name in self.values]:
            *sections, name = key.split(".")
            shared = _common(sections, open_sections)
            lines += [f"{'  ' * depth}{sections[depth]}:" for depth in range(shared, len(sections))]
            open_sections = sections
            value, source = self.values[key]
            lines.append(f"{'  ' * len(sections)}{name}: {_flow(value)}" + (f"  # {source}" if source else ""))
        if self.lost:
            lines += ["", "# Not carried over:", *(f"# - {' '.join(line.split())}" for line in self.lost)]
        if self.ignored:
            text = f"{self._no_meaning}: {', '.join(self.ignored)}."
            lines += ["", *textwrap.wrap(text, 118, initial_indent="# ", subsequent_indent="# ")]
        return "\n".join(lines) + "\n"

    @property
    def _no_meaning(self) -> str:
        count = len(self.ignored)
        return f"{count} key{'s have' if count != 1 else ' has'} no meaning here"

    def summary(self) -> str:
        """Return the counts of keys in one line."""
        lost = f"{len(self.lost)} not carried over" if self.lost else "everything that changes results is carried over"
        return f"{self.package}: {len(self.values)} keys set; {lost}; {self._no_meaning}"


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """Return the number of first elements that are equal."""
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count


def _flow(value: Any) -> str:
    """Return a value as YAML in one line."""
    plain = list(value) if isinstance(value, tuple) else value
    text = yaml.safe_dump(plain, default_flow_style=True, width=10**6, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")
