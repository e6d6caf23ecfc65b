"""``videopool export``."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from videopool.config.settings import KEYS
from videopool.errors import InputError

if TYPE_CHECKING:
    import torch

    from videopool.engine.builders.testing import Trained
    from videopool.export import Exporter

SUMMARY = "Export a checkpoint as weights, as a program or as ONNX, and verify each file."
EXAMPLES = """examples:
  videopool export runs/mine/checkpoints/best.pt
  videopool export runs/mine/checkpoints/best.pt --format portable --to deployed --verify-on video.mp4

weights   model.safetensors: the weights alone
program   program.pt2: a torch.export program that needs torch and videopool.ops, for the native pooling kernels
portable  portable.pt2: a torch.export program that needs torch alone
onnx      model.onnx (opset 20), for onnxruntime and others; needs videopool[onnx]

Each file holds classes, preprocessing, configuration and provenance. config.yaml, classes.json and preprocessing.json
are written beside it. It is reloaded and compared with the network on noise, on a black clip and on --verify-on.
"""
DEFAULT_FORMATS = ("weights", "program")
SETTINGS = {**KEYS, "format": "--format", "verify_on": "--verify-on"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``videopool export``."""
    parser.add_argument("checkpoint", type=Path, help="e.g. runs/mine/checkpoints/best.pt")
    parser.add_argument(
        "--format",
        nargs="+",
        default=list(DEFAULT_FORMATS),
        metavar="NAME",
        help="weights, program, portable, onnx, or package.module.function (default: weights program)",
    )
    parser.add_argument("--verify-on", type=Path, metavar="VIDEO", help="also verify on the first clip of this video")
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
    from videopool.engine.scoring.results import run_folder

    exporters = [_exporter(name) for name in arguments.format]  # fails before the work
    trained = load_trained(arguments.checkpoint, [f"evaluate.weights={arguments.weights}"])
    network, description = trained.deployed()
    if arguments.verify_on is not None:
        description = dataclasses.replace(description, sample=_read_clip(trained, arguments.verify_on))
    folder = arguments.to or run_folder(arguments.checkpoint, trained.config.out) / "export"
    for export in exporters:
        written = export(network, description, folder)
        print(f"written: {written.path} (reloaded; logits differ by at most {written.difference:.1e})")
    return 0


def _read_clip(trained: Trained, path: Path) -> torch.Tensor:
    """Return the first test clip of a video, uint8 [1,3,T,H,W]."""
    from videopool.data.loading.dataset import TestVideos
    from videopool.engine.builders.parts import clip_sampling, reading
    from videopool.types import BadVideo, VideoRecord

    record = VideoRecord(str(path), path, 0, frames=0 if path.is_dir() else None)
    videos = TestVideos([record], clip_sampling(trained.config), clips=1, crops=1, reading=reading(trained.config))
    views = videos[0]
    if isinstance(views, BadVideo):
        raise InputError(f"{path} cannot be read: {views.reason}", setting="verify_on")
    return views[0].frames[None]


def _exporter(name: str) -> Exporter:
    from videopool import export
    from videopool.targets import import_target

    if "." in name:
        return import_target(name, setting="format")
    if name not in export.FORMATS:
        known = ", ".join(export.FORMATS)
        raise InputError(f"format={name} must be one of {known}, or package.module.function", setting="format")
    return export.FORMATS[name]
