"""The subcommands of tools/prepare.py: their options, and what each does."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from videopool.data.lists.formats.classes import read_classes
from videopool.data.lists.manifest import read_manifest
from videopool.data.lists.records import VideoList
from videopool.errors import InputError
from videopool.files import write_text
from videopool.prepare import stats_plot
from videopool.prepare.encode import Encoding
from videopool.prepare.listed import read_list
from videopool.prepare.scan import Scanning, bad_list, scan
from videopool.prepare.split import groups_by_column, groups_by_path, split
from videopool.prepare.stats import describe
from videopool.prepare.transcode import FAILED, LIST, transcode
from videopool.prepare.verify import Verifying, problems_of_files, problems_of_lists, table_of

_PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")


class Call(NamedTuple):
    """How a subcommand was called: the command line for results to quote, and whether a stop was requested."""

    said: str
    stopped: Callable[[], bool]


class Stopped(Exception):  # noqa: N818  # it is no error
    """Work was stopped on request; the message says what is kept."""


def add_subcommands(parser: argparse.ArgumentParser) -> None:
    """Add scan, split, stats, transcode and verify; call ``run`` of the parsed arguments."""
    verbs = parser.add_subparsers(required=True, metavar="scan|split|stats|transcode|verify")
    for add in (_add_scan, _add_split, _add_stats, _add_transcode, _add_verify):
        add(verbs)


def _add_scan(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser("scan", help="measure every file of a list; write its manifest")
    _add_list(verb)
    verb.add_argument("--to", type=Path, required=True, metavar="FILE", help="the manifest, e.g. train.manifest")
    verb.add_argument("--quick", action="store_true", help="list packets only, without decoding to the last frame")
    verb.add_argument("--sha256", action="store_true", help="hash the files")
    verb.add_argument("--strict", action="store_true", help="exit code 2 if a file cannot be read")
    _add_workers(verb, timeout=60)
    verb.set_defaults(run=_scan)


def _scan(arguments: argparse.Namespace, call: Call) -> int:
    videos = _read(arguments.list, arguments.root)
    how = Scanning(arguments.quick, arguments.sha256, arguments.processes, arguments.timeout)
    if not scan(videos, arguments.to, how, made=call.said, stopped=call.stopped):
        raise Stopped("results are kept; the same command goes on from there")
    manifest = read_manifest(arguments.to)
    bad = int(np.count_nonzero(~manifest.good))
    print(f"{arguments.to}: {len(manifest.table)} videos, {len(manifest.classes)} classes, {bad} cannot be read")
    if bad:
        print(f"those are in the manifest with their reasons, and listed in {bad_list(arguments.to)}")
    return 2 if bad and arguments.strict else 0


def _add_split(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser("split", help="deal the videos of a list out to train and test, class by class")
    _add_list(verb)
    verb.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="where the new lists go")
    default = [("train", 0.8), ("test", 0.2)]
    verb.add_argument(
        "--parts", nargs="+", type=_part, default=default, metavar="NAME=FRACTION", help="train=0.8 test=0.2"
    )
    groups = verb.add_mutually_exclusive_group()
    groups.add_argument("--group", metavar="REGEX", help="what it finds in the path stays together, e.g. '_(g[0-9]+)_'")
    groups.add_argument("--group-column", metavar="NAME", help="videos with the same cell in it stay together")
    verb.add_argument("--seed", type=_whole(0), default=0, help="of the order in which videos are dealt out")
    verb.set_defaults(run=_split)


def _split(arguments: argparse.Namespace, call: Call) -> int:
    videos = _read(arguments.list, arguments.root)
    groups = None
    if arguments.group is not None:
        groups = groups_by_path(videos.records, arguments.group)
    elif arguments.group_column is not None:
        groups = groups_by_column(videos, arguments.group_column)
    if len(dict(arguments.parts)) < len(arguments.parts):
        raise InputError("--parts: two parts have the same name; give each another")
    parts = split(videos, groups, dict(arguments.parts), to=arguments.to, seed=arguments.seed, made=call.said)
    for part, rows in parts.items():
        members = "" if groups is None else f", groups: {len({groups[row] for row in rows.tolist()})}"
        print(f"{part}: {len(rows)} videos{members}{_lacking(videos, rows)}")
    start = "" if videos.format == "manifest" else f"; their paths start from {videos.records.base} (data.root)"
    print(f"written to {arguments.to}{start}")
    return 0


def _lacking(videos: VideoList, rows: np.ndarray) -> str:
    """Which classes no video of ``rows`` has."""
    counts = np.bincount(videos.records.selected(rows).pairs()[1], minlength=len(videos.classes))
    names = [videos.classes[number] for number in np.flatnonzero(counts == 0)]
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f", without {len(names)} of the {len(counts)} classes ({shown})" if names else ""


def _add_stats(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser("stats", help="tables and charts of a manifest: classes, durations, sizes, codecs")
    verb.add_argument("manifest", type=Path, help="a file that scan has written")
    verb.add_argument("--to", type=Path, metavar="FOLDER", help="where they go; beside the manifest by default")
    verb.set_defaults(run=_stats)


def _stats(arguments: argparse.Namespace, call: Call) -> int:
    manifest = read_manifest(arguments.manifest)
    folder = arguments.to or arguments.manifest.parent
    page, picture = (folder / f"{arguments.manifest.name}.{suffix}" for suffix in ("stats.md", "stats.png"))
    text = describe(manifest, arguments.manifest.name)
    write_text(page, text)
    stats_plot.draw(picture, manifest, arguments.manifest.name)
    print(text)
    print(f"written: {page}, {picture}")
    return 0


def _add_transcode(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser("transcode", help="a smaller copy of the videos, quicker to read, without sound")
    _add_list(verb)
    verb.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="where the copies go, and their list")
    verb.add_argument("--short-side", type=_whole(2), default=320, metavar="PIXELS", help="never enlarged (320)")
    verb.add_argument("--keyframes", type=_whole(1), default=12, metavar="FRAMES", help="from one to the next (12)")
    verb.add_argument("--crf", type=_whole(0, 51), default=20, help="quality of x264, less is better (20)")
    verb.add_argument("--preset", choices=_PRESETS, default="fast", help="speed of x264 against size (fast)")
    verb.add_argument("--deinterlace", action="store_true", help="turn interlaced frames into progressive ones")
    _add_workers(verb, timeout=600)
    verb.set_defaults(run=_transcode)


def _transcode(arguments: argparse.Namespace, call: Call) -> int:
    videos = _read(arguments.list, arguments.root)
    encoding = Encoding(
        arguments.short_side, arguments.keyframes, arguments.crf, arguments.preset, arguments.deinterlace
    )
    workers = {"processes": arguments.processes, "timeout": arguments.timeout}
    result = transcode(videos, arguments.to, encoding, **workers, stopped=call.stopped)
    if not result.finished:
        raise Stopped(f"{result.files} files are done and kept; the same command goes on from there")
    before, after = result.source_bytes, result.target_bytes
    change = 100 * (after / before - 1) if before else 0.0
    share = f", {abs(change):.0f} % {'less' if change < 0 else 'more'}" if before else ""
    print(f"{arguments.to / LIST}: {result.files} files, {after / 1e6:.1f} MB instead of {before / 1e6:.1f} MB{share}")
    if result.failed:
        print(f"{len(result.failed)} could not be encoded and are missing, see {arguments.to / FAILED}")
    return 0


def _add_verify(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser("verify", help="a list against the disk; exit code 2 if anything is wrong")
    _add_list(verb)
    verb.add_argument("--test", metavar="LIST", help="a second list: of the same classes, without videos of the first")
    verb.add_argument(
        "--classes", metavar="FILE|NUMBER", help="names, one a line in label order, or how many there are"
    )
    verb.add_argument("--decode", action="store_true", help="decode every file to its last frame")
    verb.add_argument("--sha256", action="store_true", help="find files of the same content")
    verb.add_argument("--to", type=Path, metavar="FILE", help="all problems, a JSON object a line")
    _add_workers(verb, timeout=60)
    verb.set_defaults(run=_verify)


def _verify(arguments: argparse.Namespace, call: Call) -> int:
    train = _read(arguments.list, arguments.root)
    test = None if arguments.test is None else _read(arguments.test, arguments.root)
    problems = list(problems_of_lists(train, test, _classes(arguments.classes, train)))
    how = Verifying(arguments.decode, arguments.sha256, arguments.processes, arguments.timeout)
    problems += problems_of_files([train] if test is None else [train, test], how, call.stopped)
    if call.stopped():
        raise Stopped("nothing is kept; the same command begins anew")
    if arguments.to is not None:
        write_text(arguments.to, "".join(json.dumps(dataclasses.asdict(one)) + "\n" for one in problems))
    print(table_of(problems) if problems else f"{train.source}{'' if test is None else f', {test.source}'}: clean")
    return 2 if problems else 0


def _classes(written: str | None, train: VideoList) -> tuple[str, ...]:
    if written is None:
        return train.classes
    return train.classes[: int(written)] if written.isdecimal() else read_classes(written)


def _add_list(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("list", help="a folder, list or manifest, as data.train names it (docs/lists.md)")
    verb.add_argument("--root", metavar="FOLDER", help="what its paths start from; its own folder by default")


def _add_workers(verb: argparse.ArgumentParser, *, timeout: float) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    verb.add_argument(
        "--processes", type=_whole(1), default=cores, help="files at a time; one for each core by default"
    )
    verb.add_argument("--timeout", type=_seconds, default=timeout, help=f"seconds for one file ({timeout:g})")


def _read(source: str, root: str | None) -> VideoList:
    videos = read_list(source, root)
    if videos.note:
        print(f"{videos.source}: {videos.note}")
    return videos


def _part(text: str) -> tuple[str, float]:
    name, _, fraction = text.partition("=")
    try:
        value = float(fraction)
    except ValueError:
        value = -1.0
    if not re.fullmatch(r"[\w-]+", name) or not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"expected NAME=FRACTION with a fraction between 0 and 1, got {text}")
    return name, value


def _whole(least: int, most: int | None = None) -> Callable[[str], int]:
    def read(text: str) -> int:
        value = int(text) if text.isdecimal() else -1
        if value < least or (most is not None and value > most):
            limits = f"of {least} or more" if most is None else f"from {least} to {most}"
            raise argparse.ArgumentTypeError(f"expected a whole number {limits}, got {text}")
        return value

    return read


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected seconds above 0, got {text}")
    return value
