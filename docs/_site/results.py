"""The pages of benchmarks/results: their index by subject, with date, hardware and command of each."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

# The first subject whose words are in the name of a file is its subject.
_SUBJECTS = {
    "GPU kernels": ("cuda",),
    "Numerics": ("numerics", "export", "world-sizes"),
    "Evidence": ("evidence", "compare", "weizmann", "similarity"),
    "Faults": ("faults",),
    "Loading": ("loader", "manifest", "augment"),
    "Scale": ("scale", "processes"),
    "Pooling": ("pooling", "methods", "stem"),
    "Training and inference": ("",),
}
_NAME = re.compile(r"(\d{4}-\d\d-\d\d)-(.+)")
_HARDWARE = re.compile(r"^((?:epyc|xeon)-\d+-(?:cores?|threads?)|cpu|cuda|[a-z0-9]+-\d+-(?:cores?|threads?|gpus?))-?")
_COMMAND = re.compile(r"(?:^    |`)((?:\w+=\S+ )*(?:python|videopool) [^`\n]+)", re.MULTILINE)


class Result(NamedTuple):
    """One file of results: its page, title, date, hardware and command."""

    uri: str
    title: str
    date: str
    hardware: str
    command: str


def results_index(folder: Path) -> str:
    """Return the README of the results, followed by a table of all files for each subject."""
    lines = [(folder / "README.md").read_text(encoding="utf-8"), "## Files, with command, date and hardware"]
    for subject, results in _by_subject(folder).items():
        lines += ["", f"### {subject}", "", "| file | command | date | hardware |", "|---|---|---|---|"]
        lines += map(_row, results)
    return "\n".join(lines) + "\n"


def _row(one: Result) -> str:
    link = f"[{one.title}]({one.uri.removeprefix('results/')})"
    return f'| {link} | {one.command} | <span class="nowrap">{one.date}</span> | {one.hardware} |'


def results_navigation(folder: Path) -> list[dict[str, list[dict[str, str]]]]:
    """Return the navigation of the results: a section for each subject."""
    return [{subject: [{one.title: one.uri} for one in results]} for subject, results in _by_subject(folder).items()]


def _by_subject(folder: Path) -> dict[str, list[Result]]:
    found: dict[str, list[Result]] = {subject: [] for subject in _SUBJECTS}
    for path in sorted(folder.glob("2*.md")):
        subject = next(name for name, words in _SUBJECTS.items() if any(word in path.stem for word in words))
        found[subject].append(_read(path))
    return {subject: results for subject, results in sorted(found.items()) if results}


def _read(path: Path) -> Result:
    text = path.read_text(encoding="utf-8")
    date, rest = _NAME.fullmatch(path.stem).groups()  # type: ignore[union-attr]
    hardware = _HARDWARE.match(rest)
    command = _COMMAND.search(text)
    title = text.partition("\n")[0].removeprefix("# ").replace("|", "&#124;")
    shown = f"`{command[1].strip()}`" if command else "in the file"
    return Result(f"results/{path.name}", title, date, _words(hardware[1] if hardware else ""), shown)


def _words(hardware: str) -> str:
    """Return "2 cores of a Xeon" for ``xeon-2-cores``."""
    parts = re.fullmatch(r"(\w+)-(\d+-\w+)", hardware)
    if not parts:
        return {"cpu": "any CPU", "cuda": "no GPU: machine code"}.get(hardware, hardware)
    name = {"epyc": "AMD EPYC", "xeon": "Intel Xeon"}.get(parts[1], parts[1])
    return f"{name}, {parts[2].replace('-', ' ')}"
