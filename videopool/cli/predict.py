"""``videopool predict``."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from videopool.cli.evaluate import UNUSED
from videopool.cli.parsing import add_trust, positive, refuse_unused, seconds
from videopool.cli.published import add_published, published_classes
from videopool.config.error_keys import KEYS
from videopool.errors import InputError

SUMMARY = "Classify videos, streams and cameras with a checkpoint or an exported network."
EXAMPLES = """examples:
  videopool predict runs/mine video.mp4 other.mp4
  videopool predict runs/mine/export/model.onnx videos/ --top 3 --format csv
  videopool predict runs/mine 'videos/*.mp4' evaluate.clips=4 evaluate.crops=1
  videopool predict runs/mine long.mp4 --timeline --to segments.csv --to annotated.mp4 --to timeline.png
  videopool predict runs/mine 'videos/*.mp4' --timeline --to 'out/{name}.png'
  videopool predict runs/mine videos/ --features blocks.3 --to features.npz
  videopool predict runs/mine /dev/video0 --to live.jsonl
  videopool predict runs/mine rtsp://camera.local/1 --timeout 30
  videopool predict X3D_S.pyth video.mp4 --config kinetics400/x3d_s --classes kinetics400_names.txt

VIDEO is a file, a folder of frames or of videos, a pattern, a list (docs/lists.md), or an address that FFmpeg reads.
Each video is scored over evaluate.clips x evaluate.crops views, as by videopool evaluate.

--timeline scores windows that slide over the video, and joins those of the same class to segments. A camera or a
stream is always read in this way, until Ctrl-C. If the network is slower than the stream, frames are left out.

The suffix of --to decides what is written: .txt, .csv, .json or .jsonl the results, .mp4 the video with its classes,
.png, .svg or .pdf a picture of the timeline, .npz the features. Videos that cannot be read are reported, the others
are classified, and the exit code is 2. More: docs/predict.md.
"""
SETTINGS = {**KEYS, "classes": "--classes"}
_UNUSED = {"out": "predictions are printed, or written with --to", "data.test": "give videos as arguments"}
_OVERRIDE = re.compile(r"[A-Za-z_]\w*(\.\w+)*=.*", re.DOTALL)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``videopool predict``."""
    parser.add_argument(
        "checkpoint", type=Path, help="checkpoint, folder of a run, or exported file (.pt2, .safetensors, .onnx)"
    )
    parser.add_argument("videos", nargs="+", metavar="VIDEO", help="what to classify, and key=value overrides")
    parser.add_argument("--top", type=positive, default=5, metavar="N", help="classes to give (default: 5)")
    parser.add_argument(
        "--format", choices=("table", "json", "jsonl", "csv"), default="table", help="what to print (default: table)"
    )
    parser.add_argument(
        "--to", type=Path, action="append", default=[], metavar="FILE", help="also write FILE; may be repeated"
    )
    time = parser.add_argument_group("timelines")
    time.add_argument("--timeline", action="store_true", help="score windows, and find segments")
    time.add_argument("--hop", type=seconds, metavar="S", help="seconds between windows (default: half a window)")
    time.add_argument(
        "--smooth", type=_or_zero, metavar="S", help="average scores over this time (default: a window; 0: off)"
    )
    time.add_argument(
        "--shortest",
        type=_or_zero,
        metavar="S",
        help="merge shorter segments into their neighbors (default: half a window; 0: off)",
    )
    time.add_argument(
        "--threshold",
        type=_probability,
        metavar="P",
        help="lowest probability in a segment (default: 0; 0.5 if videos may have several classes)",
    )
    live = parser.add_argument_group("streams")
    live.add_argument("--live", action="store_true", help="read a file or a web address like a camera")
    live.add_argument(
        "--timeout", type=seconds, default=10.0, metavar="S", help="seconds without a frame that end it (default: 10)"
    )
    more = parser.add_argument_group("more")
    more.add_argument("--features", metavar="LAYER", help="also write the output of this layer for each clip, to .npz")
    more.add_argument("--font", type=Path, metavar="FILE", help="font of the class names in videos and pictures")
    add_trust(parser)
    add_published(parser)


def run(arguments: argparse.Namespace) -> int:
    """Classify what is given, print the results and write the files."""
    from videopool.inference.inputs import find_inputs

    overrides = [item for item in arguments.videos if _OVERRIDE.fullmatch(item) and not Path(item).exists()]
    given = [item for item in arguments.videos if item not in overrides]
    if not given:
        raise InputError("no video is given, only key=value; add the paths of videos")
    refuse_unused(overrides, {**UNUSED, **_UNUSED})
    roots = [item.partition("=")[2] for item in overrides if item.startswith("data.root=")]
    _check(arguments)
    from videopool.cli.predict_modes import predict
    from videopool.inference import load

    classes = published_classes(arguments)
    published = {"config": arguments.config, "classes": classes}
    classifier = load(arguments.checkpoint, overrides, workers=None, trust=arguments.trust, **published)
    if classifier.note:
        print(classifier.note, file=sys.stderr)
    images = classifier.config.clip.frames == 1
    inputs = find_inputs(given, root=roots[-1] if roots else None, images=images, live=arguments.live)
    return predict(classifier, inputs, arguments)


def _check(arguments: argparse.Namespace) -> None:
    """Raise InputError for options that contradict each other; and turn on what others imply."""
    suffixes = [path.suffix.lower() for path in arguments.to]
    if any(suffix in (".mp4", ".png", ".svg", ".pdf") for suffix in suffixes):
        arguments.timeline = True
    if any(getattr(arguments, name) is not None for name in ("hop", "smooth", "shortest", "threshold")):
        arguments.timeline = True
    if bool(arguments.features) != (".npz" in suffixes):
        given, missing = (
            ("--features", "--to FILE.npz") if arguments.features else ("--to FILE.npz", "--features LAYER")
        )
        raise InputError(f"{given} needs {missing}; add it.")
    if arguments.features and (arguments.timeline or arguments.live):
        raise InputError(
            "--features is for views, not for a timeline. For the features of sliding windows, use "
            "--features LAYER evaluate.clips=0 evaluate.hop=SECONDS, without --timeline."
        )


def _or_zero(text: str) -> float:
    return 0.0 if text in ("0", "0.0") else seconds(text)


def _probability(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a probability from 0 to 1, got {text}")
    return value
