"""``videopool export``."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
from pathlib import Path
from typing import TYPE_CHECKING

from videopool.cli.parsing import add_trust
from videopool.cli.published import add_published, published_classes, published_config, results_folder
from videopool.config.error_keys import KEYS
from videopool.errors import InputError

if TYPE_CHECKING:
    import torch

    from videopool.engine.builders.testing import Trained
    from videopool.export import Exporter
    from videopool.types import VideoRecord

SUMMARY = "Export a checkpoint as weights, a program, ONNX or compiled code, and verify it."
EXAMPLES = """examples:
  videopool export runs/mine/checkpoints/best.pt
  videopool export runs/mine/checkpoints/best.pt --format portable --to deployed --verify-on video.mp4
  videopool export runs/mine/checkpoints/best.pt --format onnx int8 --calibrate-on train/*.mp4
  videopool export X3D_S.pyth --config kinetics400/x3d_s --format onnx

weights   model.safetensors: the weights alone
program   program.pt2: a torch.export program that needs torch and videopool.ops, for the native pooling kernels
portable  portable.pt2: a torch.export program that needs torch alone
onnx      model.onnx (opset 20), for onnxruntime and others; needs videopool[onnx]
int8      int8.onnx: convolutions in 8-bit integers, for onnxruntime; prints its size, agreement with float32, and speed
aoti      aoti.pt2: compiled for CPUs by AOTInductor, for torch or C++; needs a C++ compiler here, none where it runs

Each file holds classes, preprocessing, configuration and provenance. config.yaml, classes.json and preprocessing.json
are written beside it. It is reloaded and compared with the network on noise, on a black clip and on a video.
"""
DEFAULT_FORMATS = ("weights", "program")
CALIBRATION_VIDEOS = 32
_TRIED = 5  # videos of the training list
SETTINGS = {
    **KEYS,
    "classes": "--classes",
    "format": "--format",
    "verify_on": "--verify-on",
    "calibrate_on": "--calibrate-on",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``videopool export``."""
    parser.add_argument("checkpoint", type=Path, help="e.g. runs/mine/checkpoints/best.pt")
    parser.add_argument(
        "--format",
        nargs="+",
        default=list(DEFAULT_FORMATS),
        metavar="NAME",
        help="weights, program, portable, onnx, int8, aoti, or package.module.function (default: weights program)",
    )
    parser.add_argument(
        "--verify-on", type=Path, metavar="VIDEO", help="verify on this video (default: one of the training list)"
    )
    parser.add_argument(
        "--calibrate-on",
        type=Path,
        nargs="+",
        metavar="VIDEO",
        help=f"videos to calibrate int8 on (default: {CALIBRATION_VIDEOS} videos of the training list)",
    )
    parser.add_argument(
        "--any-size",
        action="store_true",
        help="take clips of any height and width, if the head of the network averages over all cells",
    )
    parser.add_argument(
        "--march",
        default="",
        metavar="CPU",
        help="processor that aoti is compiled for, as for gcc -march; native: this one (default: x86-64-v3, with AVX2)",
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
    add_trust(parser)
    add_published(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the formats that were asked for."""
    from videopool.engine.builders.provenance import provenance

    exporters = [_exporter(name, arguments.march) for name in arguments.format]  # fails before the work
    trained = _load(arguments)
    run = results_folder(arguments, trained.config)
    network, description = trained.deployed(any_size=arguments.any_size)
    clips, labels = _calibration(trained, arguments.calibrate_on) if "int8" in arguments.format else (None, ())
    published = "" if arguments.config is None else arguments.checkpoint.name
    found = provenance(trained.config, run, trained.step, trained.weights, published=published)
    description = dataclasses.replace(
        description,
        provenance={**description.provenance, **found},
        sample=_sample(trained, arguments.verify_on),
        calibration=clips,
        calibration_labels=labels,
    )
    for export in exporters:
        written = export(network, description, arguments.to or run / "export")
        print(f"written: {written.path} (reloaded; logits differ by at most {written.difference:.1e})")
        for note in written.notes:
            print(f"  {note}")
    return 0


def _load(arguments: argparse.Namespace) -> Trained:
    """Return the network to export: of a checkpoint, or of weights of another package with ``--config``."""
    from videopool.engine.builders.published import load_published
    from videopool.engine.builders.testing import load_trained

    classes = published_classes(arguments)
    chosen = [f"evaluate.weights={arguments.weights}"]
    if arguments.config is None:
        return load_trained(arguments.checkpoint, chosen, trust=arguments.trust)
    trained = load_published(arguments.checkpoint, published_config(arguments, chosen), classes)
    print(trained.note)
    return trained


def _calibration(trained: Trained, videos: list[Path] | None) -> tuple[torch.Tensor, tuple[int, ...]]:
    """Return one test clip, uint8 [N,3,T,H,W], of each of ``videos``, or of videos spread over the training list.

    The labels of the latter follow, if each video has one class.
    """
    from videopool.engine.builders.parts import read_list

    if videos is not None:
        return _clips(trained, _records(videos), "calibrate_on"), ()
    listed = read_list(trained.config, trained.config.data.train, trained.classes).records
    count = min(CALIBRATION_VIDEOS, len(listed))
    chosen = [listed[place * len(listed) // count] for place in range(count)]
    labels = () if trained.several_labels else tuple(record.label for record in chosen)
    return _clips(trained, chosen, "calibrate_on"), labels


def _sample(trained: Trained, video: Path | None) -> torch.Tensor | None:
    """Return the first test clip, uint8 [1,3,T,H,W], of ``video``, or of the first training video that can be read.

    Return None without such a training video: exports do not need the data set.
    """
    from videopool.engine.builders.parts import read_list

    if video is not None:
        return _clips(trained, _records([video]), "verify_on")
    with contextlib.suppress(InputError, OSError):
        listed = read_list(trained.config, trained.config.data.train, trained.classes).records
        for record in listed[:_TRIED]:
            with contextlib.suppress(InputError):
                return _clips(trained, [record], "verify_on")
    return None


def _records(paths: list[Path]) -> list[VideoRecord]:
    from videopool.types import VideoRecord

    return [VideoRecord(str(path), path, 0, frames=0 if path.is_dir() else None) for path in paths]


def _clips(trained: Trained, records: list[VideoRecord], setting: str) -> torch.Tensor:
    """Return the first test clip of each video, uint8 [N,3,T,H,W].

    Raises:
        InputError: if a video cannot be read.
    """
    import torch

    from videopool.data.loading.dataset import TestVideos
    from videopool.engine.builders.parts import clip_sampling, reading
    from videopool.types import BadVideo

    videos = TestVideos(records, clip_sampling(trained.config), clips=1, crops=1, reading=reading(trained.config))
    clips = []
    for number, record in enumerate(records):
        views = videos[number]
        if isinstance(views, BadVideo):
            raise InputError(f"{record.path} cannot be read: {views.reason}", setting=setting)
        clips.append(views[0].frames)
    return torch.stack(clips)


def _exporter(name: str, march: str) -> Exporter:
    from videopool import export
    from videopool.targets import import_target

    if "." in name:
        return import_target(name, setting="format")
    if name not in export.FORMATS:
        known = ", ".join(export.FORMATS)
        raise InputError(f"format={name} must be one of {known}, or package.module.function", setting="format")
    return functools.partial(export.aoti.export_aoti, march=march) if name == "aoti" else export.FORMATS[name]
