"""Time a trained network in all of its exported forms.

    python -m benchmarks.infer CHECKPOINT [--forms NAME ...] [--batches 1 8] [--rounds N] [--to FILE.md]

``eager`` is the network in torch's contiguous order, ``channels_last`` in the order that videopool trains in, and
``compile`` the latter by torch.compile. The others are the files of ``videopool export``, each verified before it is
timed. The forms take turns in one process, with the same threads and the same clips (noise).
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import datetime
import functools
import sys
import tempfile
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

if __name__ == "__main__":  # run by its path, as `videopool benchmark infer` does
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.timing import (
    Machine,
    Run,
    Spread,
    add_page_argument,
    cpu_clock,
    spread,
    this_machine,
    time_undisturbed,
    write_page,
)
from videopool.engine.builders.testing import Trained, load_trained
from videopool.export import FORMATS, Deployed, Description
from videopool.inference.backends import Backend, PackageBackend, ProgramBackend, SessionBackend

REFERENCE = "eager"
IN_MEMORY = (REFERENCE, "channels_last", "compile")
IN_FILES: dict[str, Callable[[Path], Backend]] = {
    "program": lambda path: ProgramBackend(path, torch.device("cpu")),
    "portable": lambda path: ProgramBackend(path, torch.device("cpu")),
    "onnx": SessionBackend,
    "aoti": PackageBackend,
    "int8": SessionBackend,
}
FORMS = (*IN_MEMORY, *IN_FILES)
CALIBRATION_CLIPS = 8  # of noise: enough for int8's time, not for its accuracy

Score = Callable[[torch.Tensor], torch.Tensor]  # from uint8 clips [B,3,T,H,W] to logits [B,K]


class Row(NamedTuple):
    """The time of one form for a batch of clips."""

    form: str
    batch: int
    taken: Spread
    ratio: float  # of the medians, to REFERENCE in the same rounds


def in_memory(deployed: Deployed) -> dict[str, Score]:
    """Return the forms of a network that need no file; its weights are in channels_last order."""
    plain = copy.deepcopy(deployed)
    for parameter in plain.parameters():
        parameter.data = parameter.data.contiguous()
    return {
        "eager": lambda clips: plain.model(plain.preprocess(clips).contiguous()),
        "channels_last": deployed,
        "compile": torch.compile(deployed),
    }


def make_forms(trained: Trained, names: Sequence[str], folder: Path) -> tuple[dict[str, Score], dict[str, float]]:
    """Return the forms ``names``, and the megabytes of those that are files, which are written to ``folder``."""
    deployed, description = trained.deployed()
    described: Description = dataclasses.replace(description, calibration=description.example(CALIBRATION_CLIPS))
    ready = in_memory(deployed)
    forms: dict[str, Score] = {}
    sizes = {}
    for name in names:
        if name in ready:
            forms[name] = ready[name]
            continue
        path = FORMATS[name](deployed, described, folder).path
        forms[name], sizes[name] = IN_FILES[name](path).scores, path.stat().st_size / 1e6
    return forms, sizes


@torch.inference_mode()
def _score(form: Score, clips: torch.Tensor, turn: int) -> None:
    form(clips)


def measure(forms: dict[str, Score], clips: torch.Tensor, rounds: int) -> tuple[list[Row], float]:
    """Return a row for each form, and the share of the machine that other processes used.

    Args:
        forms: REFERENCE and others.
        clips: uint8 [B,3,T,H,W].
        rounds: turns of each form; one more, before them, is not counted.
    """
    runs: dict[Hashable, Run] = {name: functools.partial(_score, form, clips) for name, form in forms.items()}
    times, others = time_undisturbed(runs, cpu_clock, rounds=rounds, seconds=0, warm_up=2)
    unit = spread(times[REFERENCE]).median_ms
    rows = [Row(name, len(clips), taken := spread(times[name]), taken.median_ms / unit) for name in forms]
    return rows, others


def table(rows: Sequence[Row], sizes: dict[str, float]) -> list[str]:
    """Return the rows as a Markdown table."""
    lines = [
        f"| form | file, MB | batch | ms | ms a clip | spread | of {REFERENCE} |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for form, batch, taken, ratio in rows:
        size = f"{sizes[form]:.1f}" if form in sizes else ""
        width = (taken.high_ms - taken.low_ms) / taken.median_ms
        each = taken.median_ms / batch
        lines.append(f"| {form} | {size} | {batch} | {taken.median_ms:.1f} | {each:.1f} | {width:.0%} | {ratio:.2f} |")
    return lines


def heading(arguments: argparse.Namespace, machine: Machine, trained: Trained, others: float) -> list[str]:
    """Return the lines above the table: the command, the machine and the meaning of the columns."""
    options = f"--forms {' '.join(arguments.forms)} --batches {' '.join(map(str, arguments.batches))}"
    clip, model = trained.config.clip, trained.config.model
    return [
        f"# A trained network in its exported forms, {machine.hardware}, {machine.threads} threads",
        "",
        f"    videopool benchmark infer CHECKPOINT {options} --rounds {arguments.rounds}",
        "",
        f"{datetime.date.today().isoformat()}, torch {machine.torch}, {model.target or model.name} with pooling "
        f"{model.pooling}, clips of {clip.frames} frames of {trained.config.test_crop} pixels; other processes used at "
        f"most {others:.0%} of the machine. Medians of {arguments.rounds} interleaved rounds; spread is the distance "
        "of the quartiles divided by the median.",
        "",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    defaults = [name for name in FORMS if name != "int8"]
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=defaults, metavar="NAME", help=", ".join(FORMS))
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8], metavar="B")
    parser.add_argument("--rounds", type=int, default=15)
    add_page_argument(parser)
    arguments = parser.parse_args()
    trained = load_trained(arguments.checkpoint)
    machine = this_machine(torch.device("cpu"), "malloc")
    found: list[Row] = []
    most = 0.0
    with tempfile.TemporaryDirectory() as folder:
        names = list(dict.fromkeys([REFERENCE, *arguments.forms]))
        forms, sizes = make_forms(trained, names, Path(folder))
        for batch in arguments.batches:
            rows, others = measure(forms, trained.deployed()[1].example(batch), arguments.rounds)
            found, most = found + rows, max(most, others)
    lines = [*heading(arguments, machine, trained, most), *table(found, sizes)]
    print("\n".join(lines))
    write_page(lines, arguments.to)


if __name__ == "__main__":
    main()
