"""The page of the command line, from the parsers themselves."""

from __future__ import annotations

import argparse
import importlib
import itertools
import runpy
import textwrap
from pathlib import Path
from unittest import mock

from videopool.cli.benchmark import SUBJECTS
from videopool.cli.main import SUBCOMMANDS
from videopool.cli.parsing import parser_of

_START = """# Commands

`videopool COMMAND --help` shows the same text. Arguments of the form `key=value` change
[keys of the configuration](configuration.md). Every command also has `--debug`, which shows the traceback of an error.
[Exit codes](design.md#files-of-a-run-and-exit-codes): 0 done, 2 wrong input, 1 an error of videopool, 75 stopped on
request.
"""


def commands_page() -> str:
    """Return the page: for each command its summary, usage, arguments and examples."""
    return _START + "".join(map(_section, SUBCOMMANDS))


def _section(subcommand: str) -> str:
    module = importlib.import_module(f"videopool.cli.{subcommand.replace('-', '_')}")
    parser = parser_of(f"videopool {subcommand}", module)
    parts = [_description(parser, 2)]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            parts += [_description(each, 3) for each in action.choices.values()]
    if subcommand == "benchmark":
        parts += [_description(_parser_of_script(subject), 3) for subject in SUBJECTS]
    return "".join(parts)


class _ParserError(Exception):
    """Carries the parser of a script out of it."""


def _parser_of_script(subject: str) -> argparse.ArgumentParser:
    """Return the parser of a script of ``videopool benchmark``, which its function ``main`` makes."""

    def leave(parser: argparse.ArgumentParser, *arguments: object) -> None:
        raise _ParserError(parser)

    with mock.patch.multiple(argparse.ArgumentParser, parse_args=leave, parse_intermixed_args=leave):
        try:
            runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / SUBJECTS[subject]), run_name="__main__")
        except _ParserError as error:
            parser: argparse.ArgumentParser = error.args[0]
            parser.prog = f"videopool benchmark {subject}"
            return parser
    raise AssertionError(f"benchmarks/{SUBJECTS[subject]} parses no arguments")


def _description(parser: argparse.ArgumentParser, level: int) -> str:
    lines = ["", f"{'#' * level} {parser.prog}", "", parser.description or "", "", "```text", _usage(parser), "```", ""]
    tables: dict[str, list[str]] = {}
    for group in parser._action_groups:
        title = "argument" if group.title in ("positional arguments", "options") else str(group.title)
        tables.setdefault(title, []).extend(_row(action) for action in group._group_actions if not _common(action))
    for title, rows in tables.items():
        lines += [f"| {title} | meaning |", "|---|---|", *rows, ""] if rows else []
    return "\n".join([*lines, *_epilog(parser.epilog or ""), ""])


def _common(action: argparse.Action) -> bool:
    return action.dest in ("help", "debug") or isinstance(action, argparse._SubParsersAction)


def _usage(parser: argparse.ArgumentParser) -> str:
    words = " ".join(parser.format_usage().removeprefix("usage: ").split())
    return textwrap.fill(words, 88, subsequent_indent="    ", break_on_hyphens=False)


def _row(action: argparse.Action) -> str:
    name = ", ".join(action.option_strings)
    dest = action.dest.upper() if action.option_strings else action.dest
    value = argparse.HelpFormatter("")._format_args(action, dest) if action.nargs != 0 else ""
    text = argparse.HelpFormatter("")._expand_help(action) if action.help else ""
    shown = f"{name} {value}".strip()
    return f"| `{_cell(shown)}` | {_cell(text)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _epilog(text: str) -> list[str]:
    """Return the end of a help as lines of Markdown: indented lines become blocks of code."""
    lines = [""]
    for is_code, group in itertools.groupby(text.strip().split("\n"), key=lambda line: line.startswith("  ")):
        found = [line.removeprefix("  ") for line in group]
        lines += ["", "```bash", *found, "```", ""] if is_code else found
    return lines
