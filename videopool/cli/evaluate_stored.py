"""``videopool evaluate --from``: metrics of stored scores."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videopool.cli.parsing import refuse_unused
from videopool.config.keys import keys_of
from videopool.config.schema import Config
from videopool.errors import InputError

if TYPE_CHECKING:
    from videopool.engine.scoring.assessment import Assessment
    from videopool.engine.scoring.ensemble import Average, Ensemble
    from videopool.engine.scoring.evaluation import Metric

_AVERAGES = ("probabilities", "logits", "maximum")
_READ = ("evaluate.allow_missing", "evaluate.metrics", "evaluate.resamples")
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
    stored.add_argument(
        "--against",
        nargs="+",
        default=[],
        metavar="SCORES",
        help="compare with these scores of the same videos; several are an ensemble",
    )


def _average(text: str) -> str:
    if text not in _AVERAGES:
        raise argparse.ArgumentTypeError(f"expected {', '.join(_AVERAGES[:-1])} or {_AVERAGES[-1]}, got {text}")
    return text


def evaluate_stored(arguments: argparse.Namespace) -> int:
    """Print the metrics of stored scores, and write them with ``--to``."""
    paths, others, overrides = _files_and_overrides(arguments)
    refuse_unused(overrides, _UNUSED)
    from videopool.config import from_plain
    from videopool.engine.builders.testing import custom_metrics
    from videopool.engine.scoring.assessment import assess_scores
    from videopool.engine.scoring.ensemble import check_scored, combine_scores
    from videopool.engine.scoring.results import metrics_table
    from videopool.engine.scoring.score_file import read_scores

    settings = from_plain({}, "the overrides", overrides).evaluate
    metrics = custom_metrics(settings.metrics)
    ensemble = combine_scores([read_scores(path) for path in paths], arguments.average)
    check_scored(ensemble, allow_missing=settings.allow_missing)
    assessed = None if ensemble.truth is None else assess_scores(ensemble, settings.resamples)
    custom = _custom(ensemble, metrics)
    described: dict[str, Any] = {
        **({"custom": custom} if custom else {}),
        "scores": [str(path) for path in paths],
        **_weights(ensemble),
        "average": arguments.average,
    }
    lines = [metrics_table(ensemble.metrics, assessed), *(f"{name:<22} {value:.6g}" for name, value in custom.items())]
    lines += _add_curve(described, ensemble, arguments.average)
    if others:
        lines.append(_add_comparison(described, ensemble, others, arguments.average, settings.resamples))
    print("\n".join(lines))
    if arguments.to:
        written = _write(arguments.to, ensemble, assessed, described)
        print("written:", ", ".join(map(str, written)))
    return 0


def _custom(ensemble: Ensemble, metrics: Mapping[str, Metric]) -> dict[str, float]:
    """Return the values of custom metrics; none without labels."""
    from videopool.engine.scoring.evaluation import custom_values

    if ensemble.truth is None:
        return {}
    scored = ensemble.videos.complete
    return custom_values(metrics, ensemble.scores[scored], ensemble.truth[scored])


def _weights(ensemble: Ensemble) -> dict[str, Any]:
    """Return the entry ``weights``: those of one evaluation, or a list for an ensemble; none if a file lacks them."""
    weights = [file.weights for file in ensemble.files]
    if not all(weights):
        return {}
    return {"weights": weights if len(weights) > 1 else weights[0]}


def _add_curve(described: dict[str, Any], ensemble: Ensemble, average: Average) -> list[str]:
    """Add the metric with fewer views to ``described``, and return lines about it."""
    from videopool.engine.scoring.ensemble import views_curve

    described["views_curve"] = curve = views_curve(ensemble.files, average)
    title = ["with fewer views of each video:"] if curve else []
    return title + [f"  {number:4} views  {100 * value:6.2f} %" for number, value in curve]


def _add_comparison(
    described: dict[str, Any], ensemble: Ensemble, others: Sequence[Path], average: Average, resamples: int
) -> str:
    """Add the comparison with the scores in ``others`` to ``described``, and return a line about it."""
    from videopool.engine.scoring.ensemble import combine_scores
    from videopool.engine.scoring.paired import compare_scores
    from videopool.engine.scoring.score_file import read_scores

    names = [str(path) for path in others]
    second = combine_scores([read_scores(path) for path in others], average)
    comparison = compare_scores(ensemble, second, resamples)
    against = names if len(names) > 1 else names[0]
    described["comparison"] = {"against": against, **dataclasses.asdict(comparison)}
    return f"against {', '.join(names)}: {comparison}"


def _files_and_overrides(arguments: argparse.Namespace) -> tuple[list[Path], list[Path], list[str]]:
    """Return the files of ``--from`` and ``--against`` and the overrides, which argparse cannot tell apart."""
    given = [*([] if arguments.checkpoint is None else [str(arguments.checkpoint)]), *arguments.overrides]
    if wrong := [item for item in given if "=" not in item]:
        option = "--from" if arguments.scores else "--against"
        raise InputError(f"{wrong[0]} and {option} were given; give a checkpoint or stored scores")
    files: list[list[Path]] = []
    overrides = given
    for items in (arguments.scores, arguments.against):
        changed = [item for item in items if "=" in item and not Path(item).exists()]
        overrides = [*overrides, *changed]
        files.append([Path(item) for item in items if item not in changed])
    if not files[0]:
        raise InputError("--against needs the scores to compare with; give them with --from SCORES")
    if arguments.against and not files[1]:
        raise InputError("--against needs a file of scores, such as runs/b/evaluation/scores.npz")
    return files[0], files[1], overrides


def _write(folder: Path, ensemble: Ensemble, assessed: Assessment | None, described: dict[str, Any]) -> Sequence[Path]:
    from videopool.engine.scoring.results import REPORT, predictions, write_metrics
    from videopool.files import write_text

    first = ensemble.files[0]
    (folder / REPORT).unlink(missing_ok=True)  # of an earlier evaluation
    further = ({} if assessed is None else assessed.values()) | {"list_sha256": first.list_sha256, **described}
    table = predictions(ensemble.videos, first.names, first.classes, ensemble.truth)
    return (
        write_metrics(folder, ensemble.metrics, further),
        write_text(folder / "predictions.csv", table),
    )
