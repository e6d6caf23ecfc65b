"""``videopool evaluate --from``: metrics of stored scores."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videopool.cli.parsing import refuse_unused
from videopool.config.keys import keys_of
from videopool.config.schema import Config
from videopool.errors import InputError

if TYPE_CHECKING:
    from videopool.engine.scoring.assessment import Assessment
    from videopool.engine.scoring.ensemble import Ensemble
    from videopool.engine.scoring.paired import Comparison
    from videopool.engine.scoring.score_file import ScoreFile

_AVERAGES = ("probabilities", "logits", "maximum")
_READ = ("evaluate.allow_missing", "evaluate.resamples")
_UNUSED = {key.name: "--from reads stored scores" for key in keys_of(Config) if key.name not in _READ}


def add_stored_scores(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of an evaluation of stored scores."""
    stored = parser.add_argument_group("instead of a checkpoint")
    stored.add_argument(
        "--from", dest="scores", nargs="+", default=[], metavar="SCORES", help="scores.npz; several are an ensemble"
    )
    stored.add_argument(
        "--average",
        type=_average,
        default="probabilities",
        metavar="KIND",
        help="over views and files: the mean of probabilities (default) or logits, or the maximum probability",
    )
    stored.add_argument("--against", type=Path, metavar="SCORES", help="compare with these scores of the same videos")


def _average(text: str) -> str:
    if text not in _AVERAGES:
        raise argparse.ArgumentTypeError(f"expected {', '.join(_AVERAGES[:-1])} or {_AVERAGES[-1]}, got {text}")
    return text


def evaluate_stored(arguments: argparse.Namespace) -> int:
    """Print the metrics of stored scores, and write them with ``--to``."""
    paths, overrides = _files_and_overrides(arguments)
    refuse_unused(overrides, _UNUSED)
    from videopool.config import from_plain

    settings = from_plain({}, "the overrides", overrides).evaluate
    from videopool.engine.scoring.assessment import assess
    from videopool.engine.scoring.ensemble import check_scored, combine, views_curve
    from videopool.engine.scoring.results import metrics_table
    from videopool.engine.scoring.score_file import read_scores

    files = [read_scores(path) for path in paths]
    ensemble = combine(files, arguments.average)
    check_scored(ensemble, allow_missing=settings.allow_missing)
    assessed = None
    if ensemble.truth is not None:
        assessed = assess(
            ensemble.videos,
            files[0].classes,
            targets=ensemble.targets,
            means=lambda: ensemble.scores,
            resamples=settings.resamples,
        )
    lines = [metrics_table(ensemble.metrics, assessed)]
    curve = views_curve(files, arguments.average)
    lines += ["with fewer views of each video:"] if curve else []
    lines += [f"  {number:4} views  {100 * value:6.2f} %" for number, value in curve]
    described: dict[str, Any] = {
        "scores": [str(path) for path in paths],
        "average": arguments.average,
        "views_curve": curve,
    }
    if arguments.against:
        comparison = _compare(files[0], ensemble, arguments, settings.resamples)
        lines.append(f"against {arguments.against}: {comparison}")
        described["comparison"] = {"against": str(arguments.against), **dataclasses.asdict(comparison)}
    print("\n".join(lines))
    if arguments.to:
        written = _write(arguments.to, files[0], ensemble, assessed, described)
        print("written:", ", ".join(map(str, written)))
    return 0


def _files_and_overrides(arguments: argparse.Namespace) -> tuple[list[Path], list[str]]:
    """Return the files of scores and the overrides, which argparse cannot tell apart."""
    given = [*([] if arguments.checkpoint is None else [str(arguments.checkpoint)]), *arguments.overrides]
    if wrong := [item for item in given if "=" not in item]:
        option = "--from" if arguments.scores else "--against"
        raise InputError(f"{wrong[0]} and {option} were given; give a checkpoint or stored scores")
    overrides = [item for item in arguments.scores if "=" in item and not Path(item).exists()]
    paths = [Path(item) for item in arguments.scores if item not in overrides]
    if not paths:
        raise InputError("--against needs the scores to compare with; give them with --from SCORES")
    return paths, [*given, *overrides]


def _compare(first: ScoreFile, ensemble: Ensemble, arguments: argparse.Namespace, resamples: int) -> Comparison:
    """Compare ``ensemble``, of the list of ``first``, with the scores of ``--against``."""
    from videopool.engine.scoring.ensemble import combine
    from videopool.engine.scoring.paired import compare
    from videopool.engine.scoring.score_file import check_same_list, read_scores

    other = read_scores(arguments.against)
    check_same_list([first, other])
    return compare(ensemble, combine([other], arguments.average), resamples)


def _write(
    folder: Path, first: ScoreFile, ensemble: Ensemble, assessed: Assessment | None, described: dict[str, Any]
) -> Sequence[Path]:
    from videopool.engine.scoring.results import predictions, write_metrics
    from videopool.files import write_text

    further = ({} if assessed is None else assessed.values()) | {"list_sha256": first.list_sha256, **described}
    table = predictions(ensemble.videos, first.names, first.classes, ensemble.truth)
    return (
        write_metrics(folder, ensemble.metrics, further),
        write_text(folder / "predictions.csv", table),
    )
