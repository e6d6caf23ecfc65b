"""The pages of the documentation, their blocks of code, and the commands in them.

The tests run a block unless a comment before it says why not, such as ``<!-- not run: needs a GPU -->``. The commands
of such a block are still parsed.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.conftest import ROOT

_OTHERS = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "data/README.md")
PAGES = sorted([*(ROOT / "docs").glob("*.md"), *(ROOT / name for name in _OTHERS)])
_MARK = re.compile(r"<!-- not run: (.+) -->")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# First words that show that an indented block is one of commands.
_PROGRAM = "videopool|python|pip|make|torchrun|sbatch|srun|ffmpeg|duckdb|docker|source|module"
_SETTING = re.compile(r"[A-Z_]+=")
_COMMENT = re.compile(r"(?:^|(?<=\s))#.*", re.MULTILINE)


class Block(NamedTuple):
    """A block of code of a page: where it starts, its language, its text, and why it is not run ("": it is)."""

    page: str
    line: int
    language: str
    text: str
    reason: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


class Command(NamedTuple):
    """A command of a block: its environment variables, and its words."""

    settings: dict[str, str]
    words: list[str]


def name_of(page: Path) -> str:
    """Return the path of a page in the repository."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        before = text[: match.start()]
        mark = _MARK.fullmatch(before.rstrip("\n").rpartition("\n")[2])
        found.append(Block(name_of(page), before.count("\n") + 1, match[1], match[2], mark[1] if mark else ""))
    return found


def unfenced_commands(page: Path) -> list[str]:
    """Return the first lines of the indented blocks that are commands."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return re.findall(rf"^\n    ((?:[A-Z_]+=\S+ )*(?:{_PROGRAM}) .*)", text, re.MULTILINE)


def commands(block: Block) -> Iterator[Command]:
    """Yield the commands of a block of bash in their order; ``a && b`` is two."""
    text = _COMMENT.sub("", block.text.replace("\\\n", " "))
    lexer = shlex.shlex(text, posix=True, punctuation_chars="&;|<>\n")
    lexer.whitespace_split, lexer.commenters, lexer.whitespace = True, "", " \t"
    words: list[str] = []
    for word in [*lexer, "\n"]:
        if not set(word) <= set("&;|\n"):
            words.append(word)
        elif words:
            yield _command(words)
            words = []


def _command(words: list[str]) -> Command:
    start = next((n for n, word in enumerate(words) if not _SETTING.match(word)), len(words))
    settings = dict(word.split("=", 1) for word in words[:start])
    return Command(settings, words[start:])


def inline_commands(page: Path) -> list[str]:
    """Return the commands in the sentences and tables of a page, such as ``videopool benchmark infer CHECKPOINT``."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return re.findall(r"(?<!`)`((?:videopool|python -m|python benchmarks/|make) [^`]+)`(?!`)", text)


if __name__ == "__main__":
    found = [block for page in PAGES for block in blocks(page) if block.language in ("bash", "python")]
    for block in found:
        if block.reason:
            print(f"{block}: {block.reason}")
    print(f"{sum(bool(block.reason) for block in found)} of {len(found)} blocks are not run")
