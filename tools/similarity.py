"""What pooling keeps of pictures: python tools/similarity.py --images PLACE ... --videos PLACE ... --to FOLDER

Every image and clip is pooled by every method, brought back to size and compared with the original by SSIM and PSNR;
docs/similarity.md is the protocol. Tables, charts, and picture grids of one image and one clip go to FOLDER.
"""

import argparse
import functools
import sys
from pathlib import Path

from rich.progress import Progress

from videopool.data.samples import demo_clip, read_clips, read_images
from videopool.engine import command
from videopool.errors import InputError
from videopool.report.pictures import astronaut, clip_grid, image_grid
from videopool.report.similarity_page import write_results
from videopool.report.similarity_run import variants
from videopool.report.similarity_study import run_study


def main(arguments: argparse.Namespace) -> int:
    chosen, cut = variants(arguments.methods), (arguments.frames, arguments.stride, arguments.size)
    sets = {"images": read_images(arguments.images), "clips": read_clips(arguments.videos, *cut)}
    if not any(sets.values()):
        raise InputError("there is nothing to pool; name images with --images, videos with --videos, or both")
    arguments.to.mkdir(parents=True, exist_ok=True)  # before the work, not after it
    own = {kind: next(iter(items.values())) for kind, items in sets.items() if items and arguments.own}
    studies, grids = [], {}
    if sets["images"]:
        grids["image"] = image_grid(own.get("images", astronaut()), chosen, arguments.grid_k)
    if sets["clips"]:
        grids["clip"] = clip_grid(own.get("clips", demo_clip(*cut)), chosen, arguments.grid_k)
    with Progress() as progress:
        for kind in filter(sets.get, sets):
            step = functools.partial(progress.update, progress.add_task(kind, total=None))
            studies.append(run_study(kind, sets[kind], chosen, arguments.k, draws=arguments.draws, on_step=step))
    for path in write_results(arguments.to, arguments.name, studies, command=command.said(), grids=grids):
        print(f"written: {path}")
    return 0


if __name__ == "__main__":
    parser = command.parser(__doc__)
    parser.add_argument("--images", nargs="+", default=[], metavar="PLACE", help="images, or folders of them")
    parser.add_argument("--videos", nargs="+", default=[], metavar="PLACE", help="videos, or folders of them")
    parser.add_argument("--to", type=Path, required=True, help="folder to write to")
    parser.add_argument("--name", default="similarity", help="what the names of the files begin with")
    parser.add_argument("--methods", nargs="+", default=[], metavar="METHOD", help="to compare (all)")
    parser.add_argument("--k", nargs="+", type=command.positive, default=[2, 3, 5], help="sizes of the windows (2 3 5)")
    parser.add_argument("--frames", type=command.positive, default=16, help="of a clip (16)")
    parser.add_argument("--stride", type=command.positive, default=2, help="frames from one of a clip to the next (2)")
    parser.add_argument("--size", type=command.positive, default=224, help="sides of a clip in pixels (224)")
    parser.add_argument("--draws", type=command.positive, default=5, help="averaged for methods that draw (5)")
    parser.add_argument("--grid-k", type=command.positive, default=3, help="window of the picture grids (3)")
    parser.add_argument("--own", action="store_true", help="grids of the first image and clip given, not of free ones")
    sys.exit(command.run(main, parser.parse_args()))
