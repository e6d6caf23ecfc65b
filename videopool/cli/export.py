"""``videopool export``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

SUMMARY = "Export a checkpoint as weights and as a program, reloaded and verified."
EXAMPLES = """examples:
  videopool export runs/mine/checkpoints/best.pt
  videopool export runs/mine/checkpoints/best.pt --format program --to deployed

weights: model.safetensors; program: program.pt2 (torch.export), which runs without the code that built the network.
config.yaml, classes.json and preprocessing.json are written beside them.
"""
FORMATS = ("weights", "program")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``videopool export``."""
    parser.add_argument("checkpoint", type=Path, help="e.g. runs/mine/checkpoints/best.pt")
    parser.add_argument("--format", nargs="+", choices=FORMATS, default=list(FORMATS), help="formats to write (all)")
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="folder to write to (export/ in the run's folder)")


def run(arguments: argparse.Namespace) -> int:
    """Write the formats that were asked for."""
    from videopool.engine.build import load_trained
    from videopool.engine.results import run_folder
    from videopool.export import FORMATS as EXPORTERS

    trained = load_trained(arguments.checkpoint)
    network, description = trained.deployed()
    folder = arguments.to or run_folder(arguments.checkpoint, trained.config.out) / "export"
    for name in arguments.format:
        file, export = EXPORTERS[name]
        difference = export(network, description, folder)
        print(f"written: {folder / file} (reloaded; logits differ by at most {difference:.1e})")
    return 0


if __name__ == "__main__":
    from videopool.cli.main import main

    sys.exit(main(["export", *sys.argv[1:]]))
