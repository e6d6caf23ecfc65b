"""``videopool prepare``: scan, split, stats, transcode, verify, export."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from videopool.cli.parsing import command_line, positive, seconds, whole
from videopool.errors import InputError
from videopool.processes.cores import usable_cores

if TYPE_CHECKING:
    import numpy as np

    from videopool.data.lists.records import VideoList

SUMMARY = "Check, measure, split, transcode or export a data set."
EXAMPLES = """examples:
  videopool prepare verify train.csv --root /data/k400 --test val.csv
  videopool prepare transcode train.csv --root /data/k400 --to /data/small
  videopool prepare scan /data/small/videos.csv --to /data/small/train.manifest
  videopool prepare stats /data/small/train.manifest

videopool prepare scan --help shows the arguments of scan, with an example."""
INTERLEAVED = False
SETTINGS = {
    "root": "--root",
    "to": "--to",
    "test": "--test",
    "classes": "--classes",
    "parts": "--parts",
    "group": "--group",
    "group_column": "--group-column",
    "short_side": "--short-side",
    "keyframe_interval": "--keyframes",
    "crf": "--crf",
    "preset": "--preset",
    "processes": "--processes",
    "timeout": "--timeout",
}

_Stopped = Callable[[], bool]
_Run = Callable[[argparse.Namespace, _Stopped], int]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add scan, split, stats, transcode, verify and export."""
    names = ("scan", "split", "stats", "transcode", "verify", "export")
    subcommands = parser.add_subparsers(required=True, metavar="|".join(names))

    def add(name: str, run: _Run, summary: str, example: str) -> argparse.ArgumentParser:
        added = subcommands.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog=f"example:\n  videopool prepare {name} {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        added.set_defaults(run_subcommand=run)
        return added

    _add_scan(add("scan", _scan, "measure every file of a list and write a manifest", "train.csv --to train.manifest"))
    _add_split(
        add("split", _split, "split a list into training and test lists", r"all.csv --to lists --group '_(g\d+)_'")
    )
    _add_stats(add("stats", _stats, "describe a manifest in tables and charts", "train.manifest"))
    _add_transcode(
        add("transcode", _transcode, "write smaller videos that decode faster, without sound", "videos --to small")
    )
    _add_verify(
        add("verify", _verify, "check a list and its files; exit with 2 if anything is wrong", "a.csv --test b.csv")
    )
    _add_export(
        add("export", _export, "write a manifest as a table for other tools", "train.manifest --to train.parquet")
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the chosen subcommand and return the exit code."""
    from videopool.engine.cluster.stop import StopRequest

    with StopRequest() as stop:
        return int(arguments.run_subcommand(arguments, lambda: stop.requested))


def _add_scan(parser: argparse.ArgumentParser) -> None:
    _add_list(parser)
    parser.add_argument("--to", type=Path, required=True, metavar="FILE", help="the new manifest, e.g. train.manifest")
    parser.add_argument("--quick", action="store_true", help="list packets instead of decoding every frame")
    parser.add_argument("--sha256", action="store_true", help="store the SHA-256 hash of each file")
    parser.add_argument("--strict", action="store_true", help="exit with 2 if any file is unreadable")
    _add_workers(parser, timeout=60)


def _scan(arguments: argparse.Namespace, stopped: _Stopped) -> int:
    from videopool.data.lists.manifest import read_manifest
    from videopool.prepare.scan import bad_list, scan

    finished = scan(
        _read(arguments.list, arguments.root),
        arguments.to,
        quick=arguments.quick,
        sha256=arguments.sha256,
        processes=arguments.processes,
        timeout=arguments.timeout,
        command=command_line(),
        stopped=stopped,
    )
    if not finished:
        return _report_stop("Results are kept; run the same command again to resume.")
    manifest = read_manifest(arguments.to)
    bad = sum(1 for _ in manifest.bad_videos())
    print(f"{arguments.to}: {len(manifest.table)} videos, {len(manifest.classes)} classes, {bad} unreadable")
    if bad:
        print(f"unreadable videos stay in the manifest; see {bad_list(arguments.to)}")
    return 2 if bad and arguments.strict else 0


def _add_split(parser: argparse.ArgumentParser) -> None:
    _add_list(parser)
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="the folder of the new lists")
    default = [("train", 0.8), ("test", 0.2)]
    parser.add_argument(
        "--parts", nargs="+", type=_part, default=default, metavar="NAME=FRACTION", help="default: train=0.8 test=0.2"
    )
    groups = parser.add_mutually_exclusive_group()
    groups.add_argument("--group", metavar="REGEX", help="keep together videos in whose paths it matches the same text")
    groups.add_argument("--group-column", metavar="NAME", help="keep together videos with the same cell in this column")
    parser.add_argument("--seed", type=whole, default=0, help="seed of the random order of the videos (default: 0)")


def _split(arguments: argparse.Namespace, stopped: _Stopped) -> int:
    from videopool.prepare.split import groups_by_column, groups_by_path, split

    parts = dict(arguments.parts)
    if len(parts) < len(arguments.parts):
        raise InputError("Two parts have the same name. Rename one of them.", setting="parts")
    videos = _read(arguments.list, arguments.root)
    groups = None
    if arguments.group is not None:
        groups = groups_by_path(videos.records, arguments.group)
    elif arguments.group_column is not None:
        groups = groups_by_column(videos, arguments.group_column)
    rows = split(videos, arguments.to, parts, groups=groups, seed=arguments.seed, command=command_line())
    for part, indices in rows.items():
        members = "" if groups is None else f", {len({groups[row] for row in indices.tolist()})} groups"
        print(f"{part}: {len(indices)} videos{members}{_missing_classes(videos, indices)}")
    start = "" if videos.format == "manifest" else f"; train on them with data.root={videos.records.base}"
    print(f"written to {arguments.to}{start}")
    return 0


def _missing_classes(videos: VideoList, rows: np.ndarray) -> str:
    """Return the end of a line that names the classes without videos among ``rows``."""
    import numpy as np

    counts = np.bincount(videos.records.selected(rows).pairs()[1], minlength=len(videos.classes))
    names = [videos.classes[number] for number in np.flatnonzero(counts == 0)]
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f", without {len(names)} of {len(counts)} classes ({shown})" if names else ""


def _add_stats(parser: argparse.ArgumentParser) -> None:
    _add_manifest(parser)
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="folder to write to (default: that of the manifest)")


def _stats(arguments: argparse.Namespace, stopped: _Stopped) -> int:
    from videopool.data.lists.manifest import read_manifest
    from videopool.files import write_text
    from videopool.prepare.stats import describe
    from videopool.prepare.stats_plot import draw_charts

    manifest = read_manifest(arguments.manifest)
    name = arguments.manifest.name
    folder = arguments.to or arguments.manifest.parent
    text = describe(manifest, name)
    page = write_text(folder / f"{name}.stats.md", text)
    chart = draw_charts(folder / f"{name}.stats", manifest, name)
    print(text)
    print(f"written: {page}, {chart}")
    return 0


def _add_transcode(parser: argparse.ArgumentParser) -> None:
    _add_list(parser)
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="the folder of the new videos")
    parser.add_argument(
        "--short-side",
        type=int,
        default=320,
        metavar="PIXELS",
        help="largest short side; smaller videos keep their size (default: 320)",
    )
    parser.add_argument(
        "--keyframes",
        type=int,
        default=12,
        metavar="FRAMES",
        help="at least one keyframe in this many frames (default: 12)",
    )
    parser.add_argument("--crf", type=int, default=20, help="quality of x264, 0 to 51, lower is better (default: 20)")
    parser.add_argument("--preset", default="fast", help="preset of x264, ultrafast to veryslow (default: fast)")
    parser.add_argument("--deinterlace", action="store_true", help="turn interlaced frames into progressive ones")
    parser.add_argument(
        "--uncompressed",
        action="store_true",
        help="write y4m, which is large and needs no decoding; --keyframes, --crf and --preset have no effect then",
    )
    _add_workers(parser, timeout=600)


def _transcode(arguments: argparse.Namespace, stopped: _Stopped) -> int:
    from videopool.prepare.encode import Encoding
    from videopool.prepare.transcode import FAILED, LIST, transcode

    encoding = Encoding(
        arguments.short_side,
        arguments.keyframes,
        arguments.crf,
        arguments.preset,
        arguments.deinterlace,
        arguments.uncompressed,
    )
    videos = _read(arguments.list, arguments.root)
    workers = {"processes": arguments.processes, "timeout": arguments.timeout}
    result = transcode(videos, arguments.to, encoding, **workers, stopped=stopped)
    if not result.finished:
        return _report_stop(f"{result.files} files are finished and kept; run the same command again to resume.")
    before, after = result.source_bytes, result.target_bytes
    change = 100 * (after / before - 1) if before else 0.0
    share = f", {abs(change):.0f} % {'less' if change < 0 else 'more'}" if before else ""
    print(f"{arguments.to / LIST}: {result.files} files, {after / 1e6:.1f} MB instead of {before / 1e6:.1f} MB{share}")
    if result.failed:
        print(f"files that could not be encoded: {len(result.failed)}; see {arguments.to / FAILED}")
    return 2 if result.failed and not result.files else 0


def _add_verify(parser: argparse.ArgumentParser) -> None:
    _add_list(parser)
    parser.add_argument(
        "--test", metavar="LIST", help="a second list, which must have the same classes and other videos"
    )
    parser.add_argument("--classes", metavar="FILE|NUMBER", help="file of class names in label order, or their number")
    parser.add_argument("--decode", action="store_true", help="decode every file to its last frame")
    parser.add_argument("--sha256", action="store_true", help="find files with the same content")
    parser.add_argument("--to", type=Path, metavar="FILE", help="write all problems, one JSON object per line")
    _add_workers(parser, timeout=60)


def _verify(arguments: argparse.Namespace, stopped: _Stopped) -> int:
    import dataclasses
    import json

    from videopool.files import write_text
    from videopool.prepare.verify import problem_table, verify

    train = _read(arguments.list, arguments.root)
    test = None if arguments.test is None else _read(arguments.test, arguments.root)
    problems = verify(
        train,
        test,
        classes=_classes(arguments.classes, train),
        decode=arguments.decode,
        sha256=arguments.sha256,
        processes=arguments.processes,
        timeout=arguments.timeout,
        stopped=stopped,
    )
    if stopped():
        return _report_stop("Nothing is kept; the same command starts from the beginning.")
    if arguments.to is not None:
        write_text(arguments.to, "".join(json.dumps(dataclasses.asdict(problem)) + "\n" for problem in problems))
    lists = train.source if test is None else f"{train.source}, {test.source}"
    print(problem_table(problems) if problems else f"{lists}: no problems")
    return 2 if problems else 0


def _classes(written: str | None, train: VideoList) -> tuple[str, ...] | None:
    """Return the classes of ``--classes``; None without it."""
    from videopool.data.lists.formats.classes import read_classes

    if written is None:
        return None
    return train.classes[: int(written)] if written.isdecimal() else read_classes(written)


def _add_export(parser: argparse.ArgumentParser) -> None:
    _add_manifest(parser)
    parser.add_argument("--to", type=Path, required=True, metavar="FILE", help="a new .csv or .parquet (needs pyarrow)")


def _export(arguments: argparse.Namespace, stopped: _Stopped) -> int:
    from videopool.data.lists.manifest import read_manifest
    from videopool.prepare.export import export_manifest

    columns = export_manifest(read_manifest(arguments.manifest), arguments.to)
    print(f"{arguments.to}: columns {', '.join(columns)}")
    return 0


def _report_stop(sentence: str) -> int:
    from videopool.engine.cluster.stop import EXIT_STOPPED

    print(f"stopped on request. {sentence}", file=sys.stderr)
    return EXIT_STOPPED


def _add_list(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("list", help="class folders, a list of any format, or a manifest, as for data.train")
    parser.add_argument("--root", metavar="FOLDER", help="folder where paths start (default: that of the list)")


def _add_manifest(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("manifest", type=Path, help="a manifest, written by scan")


def _add_workers(parser: argparse.ArgumentParser, *, timeout: float) -> None:
    cores = usable_cores()
    parser.add_argument(
        "--processes", type=positive, default=cores, help="files to process at a time (default: one per core)"
    )
    parser.add_argument(
        "--timeout", type=seconds, default=timeout, help=f"longest time for a file, in seconds (default: {timeout:g})"
    )


def _read(source: str, root: str | None) -> VideoList:
    from videopool.data.lists.records import read_videos

    videos = read_videos(source, root)
    if videos.note:
        print(f"{videos.source}: {videos.note}")
    return videos


def _part(text: str) -> tuple[str, float]:
    """Return the name and the fraction of ``NAME=FRACTION``; a type for argparse."""
    name, _, fraction = text.partition("=")
    try:
        value = float(fraction)
    except ValueError:
        value = -1.0
    if not re.fullmatch(r"[\w-]+", name) or not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"expected NAME=FRACTION with a fraction between 0 and 1, got {text}")
    return name, value
