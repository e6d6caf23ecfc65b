"""``videopool similarity``."""

from __future__ import annotations

import argparse
import functools
from pathlib import Path

from videopool.cli.parsing import command_line, positive
from videopool.errors import InputError

SUMMARY = "Measure how well each pooling method preserves images and clips (SSIM, PSNR)."
EXAMPLES = """examples:
  videopool similarity --images photos --to results
  videopool similarity --images photos --videos clips --methods soft max avg --k 2 3 --to results

Each image and clip is pooled, restored to its size and compared with the original; docs/similarity.md
describes the protocol. Needs pip install 'videopool[study]'.
"""
SETTINGS = {"k": "--k", "grid_k": "--grid-k"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``videopool similarity``."""
    parser.add_argument("--images", nargs="+", default=[], metavar="PLACE", help="images, or folders of them")
    parser.add_argument("--videos", nargs="+", default=[], metavar="PLACE", help="videos, or folders of them")
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="folder to write to")
    parser.add_argument("--name", default="similarity", help="prefix of the file names (default: similarity)")
    parser.add_argument("--methods", nargs="+", default=[], metavar="METHOD", help="methods to compare (default: all)")
    parser.add_argument(
        "--k", nargs="+", type=positive, default=[2, 3, 5], help="sizes of the windows (default: 2 3 5)"
    )
    parser.add_argument("--frames", type=positive, default=16, help="frames of a clip (default: 16)")
    parser.add_argument("--stride", type=positive, default=2, help="step between the frames of a clip (default: 2)")
    parser.add_argument("--size", type=positive, default=224, help="side of a clip in pixels (default: 224)")
    parser.add_argument("--draws", type=positive, default=5, help="draws to average for random methods (default: 5)")
    parser.add_argument("--grid-k", type=positive, default=3, help="window size of the picture grids (default: 3)")
    parser.add_argument("--own", action="store_true", help="show your first image and clip in the grids")


def run(arguments: argparse.Namespace) -> int:
    """Pool, compare, and write tables, charts and picture grids."""
    from videopool.console import progress_bar
    from videopool.data.samples import demo_clip, read_clips, read_images
    from videopool.report.pictures import astronaut, clip_grid, image_grid
    from videopool.report.similarity_page import write_results
    from videopool.report.similarity_run import variants
    from videopool.report.similarity_study import run_study

    chosen, cut = variants(arguments.methods), (arguments.frames, arguments.stride, arguments.size)
    sets = {"images": read_images(arguments.images), "clips": read_clips(arguments.videos, *cut)}
    if not any(sets.values()):
        raise InputError("there is nothing to pool; give images with --images, videos with --videos, or both")
    arguments.to.mkdir(parents=True, exist_ok=True)  # fails before the work, not after it
    own = {kind: next(iter(items.values())) for kind, items in sets.items() if items and arguments.own}
    studies, grids = [], {}
    if sets["images"]:
        grids["image"] = image_grid(own.get("images", astronaut()), chosen, arguments.grid_k)
    if sets["clips"]:
        grids["clip"] = clip_grid(own.get("clips", demo_clip(*cut)), chosen, arguments.grid_k)
    with progress_bar() as progress:
        for kind in filter(sets.get, sets):
            step = functools.partial(progress.update, progress.add_task(kind, total=None))
            studies.append(run_study(kind, sets[kind], chosen, arguments.k, draws=arguments.draws, on_step=step))
    for path in write_results(arguments.to, arguments.name, studies, command=command_line(), grids=grids):
        print(f"written: {path}")
    return 0
