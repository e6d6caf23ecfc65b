"""The page of the command line, from the parsers themselves."""

from __future__ import annotations

import argparse
import importlib

from videopool.cli.main import VERBS
from videopool.cli.parsing import parser_of

_START = """# Commands

`videopool COMMAND --help` shows the same text. Arguments of the form `key=value` change
[keys of the configuration](configuration.md). Every command also has `--debug`, which shows the traceback of an error.
[Exit codes](design.md#files-of-a-run-and-exit-codes): 0 done, 2 wrong input, 1 an error of videopool, 75 stopped on
request.
"""


def commands_page() -> str:
    """Return the page: for each command its summary, usage, arguments and examples."""
    return _START + "".join(map(_section, VERBS))


def _section(verb: str) -> str:
    module = importlib.import_module(f"videopool.cli.{verb.replace('-', '_')}")
    parser = parser_of(f"videopool {verb}", module)
    parts = [_description(parser, 2)]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            parts += [_description(each, 3) for each in action.choices.values()]
    return "".join(parts)


def _description(parser: argparse.ArgumentParser, level: int) -> str:
    lines = ["", f"{'#' * level} {parser.prog}", "", parser.description or "", "", "```text", _usage(parser), "```", ""]
    for group in parser._action_groups:
        rows = [_row(action) for action in group._group_actions if not _common(action)]
        if rows:
            title = "" if group.title in ("positional arguments", "options") else group.title
            lines += [f"| {title or 'argument'} | |", "|---|---|", *rows, ""]
    return "\n".join(lines) + _epilog(parser.epilog or "")


def _common(action: argparse.Action) -> bool:
    return action.dest in ("help", "debug") or isinstance(action, argparse._SubParsersAction)


def _usage(parser: argparse.ArgumentParser) -> str:
    return " ".join(parser.format_usage().removeprefix("usage: ").split())


def _row(action: argparse.Action) -> str:
    name = ", ".join(action.option_strings)
    value = argparse.HelpFormatter("")._format_args(action, action.dest) if action.nargs != 0 else ""
    text = argparse.HelpFormatter("")._expand_help(action) if action.help else ""
    shown = f"{name} {value}".strip()
    return f"| `{_cell(shown)}` | {_cell(text)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _epilog(text: str) -> str:
    """Return the end of a help as Markdown: indented lines become blocks of code."""
    lines: list[str] = []
    code = False
    for line in text.strip().split("\n"):
        if line.startswith("  ") != code and (line or not code):
            code = not code
            lines += ["", "```bash"] if code else ["```", ""]
        lines.append(line[2:] if code else line)
    return "\n".join([*lines, *(["```"] if code else []), ""])
