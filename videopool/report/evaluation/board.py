"""Show notable predictions of an evaluation in TensorBoard: a film strip and a text for each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from videopool.files import escape_surrogates
from videopool.report.evaluation.strips import FilmStrips
from videopool.report.evaluation.tables import Prediction
from videopool.report.tables import markdown

FOLDER = "tensorboard"


def write_board(folder: Path, predictions: Sequence[Prediction], strips: FilmStrips, step: int) -> Path:
    """Write the ``predictions`` to TensorBoard events in ``folder`` and return it.

    The text ``mistakes`` is a table of all of them; the images ``mistakes/01``, ... are the film strips of those whose
    video can be read.

    Args:
        folder: created if it does not exist.
        predictions: in the order of the pictures.
        strips: their film strips.
        step: the step of the checkpoint.
    """
    from torch.utils.tensorboard import SummaryWriter

    rows = []
    with SummaryWriter(str(folder)) as board:
        for number, one in enumerate(predictions, start=1):
            strip = strips.strip(one.video)
            name = f"mistakes/{number:02d} {escape_surrogates(one.predicted)}"
            if strip.pixels is not None:
                board.add_image(name, strip.pixels, step, dataformats="HWC")
            rows.append(
                {
                    "number": number,
                    "predicted": one.predicted,
                    "score": f"{100 * one.probability:.1f} %",
                    "label": ", ".join(one.labels) or "none",
                    "video": one.name,
                    "picture": strip.reason or "yes",
                }
            )
        table = markdown(rows, list(rows[0])) if rows else "No wrong prediction."
        board.add_text("mistakes", escape_surrogates(table), step)
    return folder
