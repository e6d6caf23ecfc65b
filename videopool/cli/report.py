"""``videopool report``."""

from __future__ import annotations

import argparse
from pathlib import Path

from videopool.cli.parsing import add_overrides, add_trust, whole
from videopool.errors import InputError

SUMMARY = "Write a page about an evaluation: charts, confusions, film strips of mistakes."
EXAMPLES = """examples:
  videopool report runs/mine
  videopool report results data.root=/videos --pictures 50
  videopool report runs/mine --tensorboard

report.html is written to the folder of the evaluation. It is one file that makes no network requests. The film strips
show the wrong predictions with the highest scores; they need the videos, so give data.root= if these were moved.
"""

PICTURES = 24


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``videopool report``."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder of a run or of an evaluation")
    add_overrides(parser, "data.root=/videos")
    parser.add_argument("--pictures", type=whole, default=PICTURES, metavar="N", help="most film strips (default: 24)")
    parser.add_argument(
        "--tensorboard", action="store_true", help="also write the wrong predictions to tensorboard/ of the run"
    )
    add_trust(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the report."""
    for item in arguments.overrides:
        if not item.startswith("data."):
            raise InputError(f"{item} has no effect here; only keys of data, which tell where the videos are, are read")
    options = {"board": arguments.tensorboard, "trust": arguments.trust}
    for path in write_reports(arguments.folder, arguments.overrides, arguments.pictures, **options):
        print(f"written: {path}")
    return 0


def write_reports(
    folder: Path, overrides: list[str], pictures: int = PICTURES, *, board: bool = False, trust: bool = False
) -> list[Path]:
    """Write the report about the evaluation in ``folder`` and, with ``board``, TensorBoard events; return their paths.

    Args:
        folder: of a run or of an evaluation.
        overrides: keys of data.
        pictures: the largest number of film strips.
        board: whether to write the wrong predictions to TensorBoard.
        trust: whether the run's configuration may name a function that reads the list of videos.
    """
    from videopool.report.evaluation.board import FOLDER, write_board
    from videopool.report.evaluation.page import write_report
    from videopool.report.evaluation.stored import read_evaluation
    from videopool.report.evaluation.strips import FilmStrips, config_of
    from videopool.report.evaluation.tables import notable_predictions

    stored = read_evaluation(folder)
    config = config_of(stored, overrides, trust=trust)
    strips = FilmStrips(stored, config if pictures else None)
    written = [write_report(stored, config, strips, pictures)]
    if board:
        place = (stored.run or stored.folder) / FOLDER
        step = int(stored.metrics.get("step") or 0)
        written.append(write_board(place, notable_predictions(stored, pictures), strips, step))
    return written
