"""``videopool export``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from videopool.config.settings import KEYS
from videopool.errors import InputError

if TYPE_CHECKING:
    from videopool.export import Exporter

SUMMARY = "Export a checkpoint as weights and as a program, and verify both."
EXAMPLES = """examples:
  videopool export runs/mine/checkpoints/best.pt
  videopool export runs/mine/checkpoints/best.pt --format program --to deployed

weights: model.safetensors; program: program.pt2 (torch.export), which runs without the code that built the network.
config.yaml, classes.json and preprocessing.json are written beside them.
"""
FORMATS = ("weights", "program")
SETTINGS = {**KEYS, "format": "--format"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``videopool export``."""
    parser.add_argument("checkpoint", type=Path, help="e.g. runs/mine/checkpoints/best.pt")
    parser.add_argument(
        "--format",
        nargs="+",
        default=list(FORMATS),
        metavar="NAME",
        help="weights, program, or package.module.function",
    )
    parser.add_argument(
        "--weights",
        choices=("averaged", "raw"),
        default="averaged",
        help="averaged (default): the averaged weights of a training with train.ema, if there are any; raw: the others",
    )
    parser.add_argument(
        "--to", type=Path, metavar="FOLDER", help="folder to write to (default: export/ in the run's folder)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the formats that were asked for."""
    from videopool.engine.builders.testing import load_trained
    from videopool.engine.results import run_folder

    exporters = [_exporter(name) for name in arguments.format]  # fails before the work
    trained = load_trained(arguments.checkpoint, [f"evaluate.weights={arguments.weights}"])
    network, description = trained.deployed()
    folder = arguments.to or run_folder(arguments.checkpoint, trained.config.out) / "export"
    for export in exporters:
        written = export(network, description, folder)
        print(f"written: {written.path} (reloaded; logits differ by at most {written.difference:.1e})")
    return 0


def _exporter(name: str) -> Exporter:
    from videopool import export
    from videopool.targets import import_target

    if "." in name:
        return import_target(name, setting="format")
    if name not in export.FORMATS:
        known = ", ".join(export.FORMATS)
        raise InputError(f"format={name} must be one of {known}, or package.module.function", setting="format")
    return export.FORMATS[name]
