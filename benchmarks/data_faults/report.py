"""The page of results: what became of each fault, the checks, and the times."""

from __future__ import annotations

import collections
import os
from pathlib import Path

import torch

from benchmarks.data_faults.checks import (
    TIMEOUT,
    LoaderOutput,
    Split,
    command_checks,
    make_splits,
    test_checks,
    test_pass,
    train_checks,
    train_pass,
)
from benchmarks.data_faults.files import FAULTS
from benchmarks.timing import this_machine
from videopool.files import strip_local_paths
from videopool.report.tables import Row, markdown


def fault_rows(train: Split, test: Split, trained: LoaderOutput, tested: LoaderOutput, folder: Path) -> list[Row]:
    """Return a row for each fault: the numbers of files and their outcomes."""
    return [
        {
            "fault": fault,
            "files, training": list(train.faults.values()).count(fault),
            "files, test": list(test.faults.values()).count(fault),
            "in training": _outcome(train, trained, fault, "replaced"),
            "in the test": _outcome(test, tested, fault, "unscored"),
            "reason": _reason(train, trained, fault, folder),
        }
        for fault in FAULTS
    ]


def _outcome(split: Split, output: LoaderOutput, fault: str, word: str) -> str:
    failed = {bad.video for bad in output.bad}
    counts = collections.Counter(
        word if video in failed else "read" for video, its_fault in split.faults.items() if its_fault == fault
    )
    return ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())) or "not tried"


def _reason(split: Split, output: LoaderOutput, fault: str, folder: Path) -> str:
    reasons = {strip_local_paths(bad.reason, folder) for bad in output.bad if split.faults.get(bad.video) == fault}
    return "; ".join(sorted(reasons)) or "-"


def page(rows: list[Row], checks: dict[str, bool], seconds: dict[str, tuple[float, float]], about: str) -> str:
    """Return the results as Markdown."""
    times = [
        {"pass": name, "without broken files, s": f"{whole:.1f}", "with them, s": f"{broken:.1f}"}
        for name, (whole, broken) in seconds.items()
    ]
    verdicts: list[Row] = [{"check": check, "holds": "yes" if holds else "**NO**"} for check, holds in checks.items()]
    untried = [
        f"Not tried: {row['fault']}, because this user may read every file."
        for row in rows
        if not row["files, training"]
    ]
    return "\n".join(
        [
            f"# Broken files, {this_machine(torch.device('cpu'), 'malloc').hardware}, {os.cpu_count()} cores",
            "",
            about,
            "",
            markdown(rows, list(rows[0])),
            "",
            "A vanishing file is deleted just before it is opened. The script makes the decoder hang at some files and "
            "kill its process at others (as the system does when memory runs out). If the superuser runs the script, "
            "it gives up the right to read files without permission.",
            "",
            *untried,
            "The last three faults are unusual files that can be read. A single frame fills a whole clip, a file that "
            "was cut without decoding starts at its first displayed frame and not at the keyframe before it, and the "
            "suffix of a file does not matter. Their samples must be bit-identical to those of a span of the whole "
            "file.",
            "",
            markdown(verdicts, ["check", "holds"]),
            "",
            "Times are approximate, because other work shared the machine. A video that kills its worker is tried "
            "twice and costs two restarts, each with half a second until the dead worker is noticed. A hanging video "
            f"costs its worker data.decode_timeout, here {TIMEOUT:g} s, each time that it is drawn.",
            "",
            markdown(times, list(times[0])),
            "",
        ]
    )


def measure(folder: Path, train_per_class: int, test_per_class: int, part: float, about: str) -> tuple[str, bool]:
    """Return the report, and whether every check holds."""
    train, test = make_splits(folder, train_per_class, test_per_class, part)
    train_whole, test_whole = train_pass(train.whole), test_pass(test.whole)
    trained, tested = train_pass(train.broken), test_pass(test.broken)
    checks = {**train_checks(train, trained, train_whole), **test_checks(test, tested, test_whole)}
    checks |= command_checks(folder, train, test)
    seconds = {
        f"an epoch of {len(train.whole)} clips": (train_whole.seconds, trained.seconds),
        f"a test of {len(test.whole)} videos": (test_whole.seconds, tested.seconds),
    }
    return page(fault_rows(train, test, trained, tested, folder), checks, seconds, about), all(checks.values())
