"""Ship a checkpoint: python tools/export.py CHECKPOINT [--format weights program] [--to DIR]

weights: model.safetensors; program: program.pt2 (torch.export). Config, classes and preprocessing lie beside them.
"""

import argparse
import sys
from pathlib import Path

from videopool.config import dump
from videopool.engine import command
from videopool.engine.build import load_trained, preparation
from videopool.engine.results import run_folder
from videopool.export.deployed import Deployed, Description
from videopool.export.program import export_program
from videopool.export.weights import export_weights

FORMATS = {"weights": ("model.safetensors", export_weights), "program": ("program.pt2", export_program)}


def main(arguments: argparse.Namespace) -> int:
    config, classes, model, state = load_trained(arguments.checkpoint)
    deployed = Deployed(model, preparation(config)).eval()
    description = Description(
        frames=config.clip.frames,
        sampling=config.clip.sampling,
        stride=config.clip.stride,
        fps=config.clip.fps,
        window=config.clip.window,
        short=config.clip.short,
        short_side=config.test_scale,
        crop=config.test_crop,
        mean=config.clip.mean,
        std=config.clip.std,
        square_pixels=config.data.square_pixels,
        deinterlace=config.data.deinterlace,
        classes=classes,
        several_labels=state["several_labels"],
        config=dump(config),
    )
    folder = arguments.to or run_folder(arguments.checkpoint, config.out) / "export"
    for name in arguments.format:
        file, export = FORMATS[name]
        difference = export(deployed, description, folder)
        print(f"written: {folder / file} (reloaded; logits differ by at most {difference:.1e})")
    return 0


if __name__ == "__main__":
    parser = command.parser(__doc__)
    parser.add_argument("checkpoint", type=Path, help="e.g. runs/demo/checkpoints/best.pt")
    parser.add_argument("--format", nargs="+", choices=FORMATS, default=list(FORMATS), help="default: all")
    parser.add_argument("--to", type=Path, help="folder to write to; default: export/ in the run's folder")
    sys.exit(command.run(main, parser.parse_intermixed_args()))
