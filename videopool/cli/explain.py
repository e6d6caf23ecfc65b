"""``videopool explain``."""

from __future__ import annotations

import argparse
import contextlib
import sys
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from videopool.cli.evaluate import UNUSED
from videopool.cli.parsing import add_trust, refuse_unused
from videopool.cli.published import add_published, published_classes
from videopool.config.error_keys import KEYS
from videopool.errors import InputError, did_you_mean

if TYPE_CHECKING:
    import torch

    from videopool.engine.builders.testing import Trained
    from videopool.engine.cluster.distributed import World
    from videopool.report.grad_cam import Explanation
    from videopool.types import VideoRecord

SUMMARY = "Show which pixels and frames of videos raise the score of a class (Grad-CAM)."
EXAMPLES = """examples:
  videopool explain runs/mine video.mp4 other.mp4 --to explained
  videopool explain runs/mine video.mp4 --class waving --layer blocks.2 --to explained

The command uses the center crop of the middle clip, prepared as for videopool evaluate. For each video it writes a
picture (png) and, unless it is an image, a video (mp4) of the clip with the heat over it. The default layer is the last
one with rows and columns before the head; the default class is the most probable one.
"""
SETTINGS = {**KEYS, "layer": "--layer", "label": "--class", "classes": "--classes"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``videopool explain``."""
    parser.add_argument("checkpoint", type=Path, help="checkpoint, folder of a run, or weights (.safetensors)")
    parser.add_argument(
        "videos", nargs="+", metavar="VIDEO", help="videos, folders and lists of videos, and key=value overrides"
    )
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument("--layer", default="", metavar="NAME", help="path of a layer, such as blocks.3")
    parser.add_argument("--class", dest="label", metavar="NAME", help="the class to explain")
    add_trust(parser)
    add_published(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write a picture and a video for each video."""
    overrides = [item for item in arguments.videos if "=" in item and not Path(item).exists()]
    given = [item for item in arguments.videos if item not in overrides]
    if not given:
        raise InputError("no video is given, only key=value; add the paths of videos")
    refuse_unused(overrides, {**UNUSED, "evaluate": "the clip is the middle one, center crop"})
    from videopool.engine.builders.testing import build_test
    from videopool.report.figures import file_name
    from videopool.report.grad_cam import grad_cam

    trained, world = _read_network(arguments, overrides)
    records = _find_videos(given, trained)
    label = None if arguments.label is None else _class_number(trained.classes, arguments.label)
    model = trained.model.to(world.device)
    loader, plan = build_test(trained, records, world)
    reasons: dict[int, str] = {}
    with contextlib.closing(loader):
        for batch in plan.batches:
            reasons |= {bad.video: bad.reason for bad in batch.bad}
            for row, video in enumerate(batch.video.tolist()):
                clip = batch.clips[row : row + 1]
                found = grad_cam(model, trained.preprocess(clip.to(world.device)), layer=arguments.layer, label=label)
                assert batch.seconds is not None
                times = _frame_times(batch.seconds[row].tolist(), clip.shape[2], records[video], trained)
                stem = arguments.to / file_name(video + 1, Path(records[video].id).stem)
                _write(stem, records[video].id, clip[0], times, found, trained)
    if reasons:
        listed = "; ".join(f"{records[video].id} {reason}" for video, reason in sorted(reasons.items()))
        raise InputError(f"{len(reasons)} of {len(records)} videos could not be read: {listed}")
    return 0


def _read_network(arguments: argparse.Namespace, overrides: list[str]) -> tuple[Trained, World]:
    """Return the network and this process.

    Raises:
        InputError: for a form of the network without layers.
    """
    from videopool.inference.backends import BackendModule
    from videopool.inference.trained import read_network

    fixed = ["evaluate.clips=1", "evaluate.hop=0", "evaluate.crops=1", "data.workers=0"]
    network = read_network(
        arguments.checkpoint,
        [*overrides, *fixed],
        trust=arguments.trust,
        config=arguments.config,
        classes=published_classes(arguments),
    )
    if network.trained.note:
        print(network.trained.note, file=sys.stderr)
    if isinstance(network.trained.model, BackendModule):
        raise InputError(f"{network.path} has no layers to explain. Give a checkpoint or weights (.safetensors).")
    return network.trained, network.world


def _find_videos(given: list[str], trained: Trained) -> tuple[VideoRecord, ...]:
    """Return the videos that the texts of ``given`` name.

    Raises:
        InputError: for web addresses, streams and cameras.
    """
    from videopool.inference.inputs import find_inputs

    found = find_inputs(given, root=trained.config.data.root or None, images=trained.config.clip.frames == 1)
    elsewhere = [*found.addresses, *(stream.name for stream in found.streams)]
    if elsewhere:
        raise InputError(f"{elsewhere[0]} is not a file. Download it, or record a video of it.")
    return found.records


def _class_number(classes: tuple[str, ...], name: str) -> int:
    if name not in classes:
        shown = ", ".join(classes[:10]) + (" ..." if len(classes) > 10 else "")
        hint = did_you_mean(name, classes, most=3) or f"It has {shown}."
        raise InputError(f"{name!r} is not a class of the network. {hint}", setting="label")
    return classes.index(name)


def _frame_times(span: list[float], frames: int, record: VideoRecord, trained: Trained) -> list[float]:
    """Return the times of the frames of a clip, in seconds, evenly spread.

    Args:
        span: start of the first frame and end of the last one.
        frames: T.
        record: the video.
        trained: the network.
    """
    from videopool.engine.builders.parts import reading

    with reading(trained.config).open(record) as video:
        half = 0.5 / video.timing.fps
    first, last = span[0] + half, span[1] - half
    return [first + (last - first) * number / max(1, frames - 1) for number in range(frames)]


def _write(
    stem: Path,
    video: str,
    clip: torch.Tensor,
    times: list[float],
    found: Explanation,
    trained: Trained,
) -> None:
    """Write the picture and the video of a ``clip`` uint8 [3,T,H,W], and print what they show.

    Args:
        stem: path of the files without their suffix.
        video: the name of the video.
        clip: its frames.
        times: of the frames, in seconds.
        found: the explanation.
        trained: the network.
    """
    from videopool.data.video_file import write_video
    from videopool.inference.fonts import Fonts
    from videopool.report.figures import save
    from videopool.report.overlay import draw_strip, side_by_side

    frames, heat = clip.permute(1, 2, 3, 0).cpu().numpy(), found.heat.numpy()
    scores = found.logits.sigmoid() if trained.several_labels else found.logits.softmax(0)
    shown = f"{trained.classes[found.label]} {100 * float(scores[found.label]):.1f} %, layer {found.layer}"
    if not found.heat.any():
        shown += ": nothing there raises the score"
    moves = times[-1] - times[0] > 1e-6  # not an image, nor a video of one frame
    title = f"{Path(video).name}: {shown}"
    strip = draw_strip(frames, heat, times if moves else [], title, font=Fonts([title]).path(title))
    written = save(strip, stem)
    if moves:
        target = stem.with_name(f"{stem.name}.mp4")
        rate = Fraction((len(times) - 1) / (times[-1] - times[0])).limit_denominator(1001)
        write_video(target, side_by_side(frames, heat), rate)
        written.append(target)
    print(f"{video}: {shown}")
    print(f"written: {', '.join(map(str, written))}")
