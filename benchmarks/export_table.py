"""Export every network family with every pooling method, and list how far the exported files differ from the network.

    python -m benchmarks.export_table [--families NAME ...] [--methods NAME ...] [--formats NAME ...] [--to FILE.md]

The networks are small, with random weights, and have the method at their pools and head, or, if they have none but the
head, at their strided shortcuts too (gated pooling cannot be at the head). A number is the largest difference of the
logits over all clips of the verification, divided by how much the logits depend on the clip. Anything else in a cell is
the reason why the network cannot be exported. Each row is printed when it is ready. Rows in FILE.md are not computed
again.
"""

from __future__ import annotations

import argparse
import datetime
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import nn

from benchmarks.timing import add_page_argument, write_page
from videopool import models
from videopool.data import Normalize
from videopool.errors import InputError
from videopool.export import FORMATS, Deployed, Description, verify
from videopool.pooling import METHODS, sites, swap

MEAN, STD = (0.45, 0.45, 0.45), (0.225, 0.225, 0.225)
CLASSES = tuple("abcde")
FAMILIES: dict[str, dict[str, int | float]] = {
    "c3d": {"frames": 8, "crop": 32, "width": 4},
    "r2plus1d": {"frames": 8, "crop": 64, "depth": 14, "width": 4},
    "slowfast": {"frames": 8, "crop": 64, "depth": 18, "width": 16},
    "x3d": {"frames": 4, "crop": 64, "depth": 0.2, "width": 0.5, "head_width": 32},
    "resnet": {"frames": 1, "crop": 64, "depth": 18, "width": 8},
    "slow": {"frames": 4, "crop": 64, "depth": 14, "width": 4},
    "c2d": {"frames": 4, "crop": 64, "depth": 14, "width": 4},
    "i3d": {"frames": 4, "crop": 64, "depth": 14, "width": 4},
    "csn": {"frames": 8, "crop": 64, "depth": 14, "width": 4},
    "r3d": {"frames": 8, "crop": 32, "width": 4},
    "mc3": {"frames": 8, "crop": 32, "width": 4},
}
FORMATS_OF_TABLE = ("weights", "program", "portable", "onnx")


def pooled(family: str, method: str) -> tuple[Deployed, Description]:
    """Return a small network with ``method`` at its pooling sites, and a description without a trained configuration.

    Raises:
        ValueError: if the method cannot take the place of one of the pools.
    """
    torch.manual_seed(0)
    size = FAMILIES[family]
    model = models.build(family, classes=len(CLASSES), **size)
    kinds = {site.kind for site in sites(model)}
    chosen = {"pool", "head"} & kinds if "pool" in kinds else {"shortcut", "head"} & kinds
    if method == "gated":  # it has a weight for each cell of its window, so it cannot be global
        chosen -= {"head"}
    frames, crop = int(size["frames"]), int(size["crop"])
    swap(model, method, chosen, example=torch.zeros(1, 3, frames, crop, crop))
    last = [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1]
    last.weight.data *= 100  # logits of a few units
    return Deployed(model, Normalize(MEAN, STD)).eval(), describe(frames, crop)


def describe(frames: int, crop: int) -> Description:
    """Return the description of a network for clips [B,3,frames,crop,crop]."""
    return Description(
        frames=frames,
        sampling="random",
        stride=1,
        fps=0.0,
        window=0.0,
        short="hold",
        short_side=crop,
        crop=crop,
        mean=MEAN,
        std=STD,
        square_pixels=False,
        deinterlace=False,
        classes=CLASSES,
        several_labels=False,
        config="",
    )


def cell(network: Deployed, description: Description, format: str) -> str:
    """Return the difference of an exported file, relative to the spread of the logits, or why there is no file."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            written = FORMATS[format](network, description, Path(folder))
            spread = verify.spread_of(verify.expected_logits(network, description).logits)
        except (InputError, RuntimeError) as error:
            return _in_a_cell(error)
    return f"{written.difference / spread:.1e}"


def rows(
    families: Sequence[str], methods: Sequence[str], formats: Sequence[str], known: Sequence[str]
) -> Iterator[str]:
    """Yield a row of the table for each family and method; those that ``known`` has already are taken from it."""
    for family in families:
        for method in methods:
            begin = f"| {family} | {method} |"
            found = [row for row in known if row.startswith(begin)]
            if found:
                yield found[0]
                continue
            try:
                network, description = pooled(family, method)
            except ValueError as error:
                yield f"{begin} {' | '.join([_in_a_cell(error)] * len(formats))} |"
                continue
            yield f"{begin} {' | '.join(cell(network, description, format) for format in formats)} |"


def _in_a_cell(error: Exception) -> str:
    return " ".join(str(error).replace("|", "/").split())


def heading(families: Sequence[str], formats: Sequence[str]) -> list[str]:
    """Return the lines above the rows."""
    explained = (__doc__ or "").split("\n\n")[2].split(" Each row")[0].replace("\n", " ")
    return [
        "# Exported networks: the largest differences of logits",
        "",
        f"    python -m benchmarks.export_table --families {' '.join(families)} --formats {' '.join(formats)}",
        "",
        f"{datetime.date.today().isoformat()}, torch {torch.__version__}, float32 on a CPU. {explained}",
        "",
        f"| network | pooling | {' | '.join(formats)} |",
        "|---|---|" + "---:|" * len(formats),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES), metavar="NAME")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="NAME")
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS_OF_TABLE), metavar="NAME")
    add_page_argument(parser)
    arguments = parser.parse_args()
    to: Path | None = arguments.to
    known = to.read_text(encoding="utf-8").splitlines() if to is not None and to.exists() else []
    lines = heading(arguments.families, arguments.formats)
    print("\n".join(lines), flush=True)
    for row in rows(arguments.families, arguments.methods, arguments.formats, known):
        lines.append(row)
        print(row, flush=True)
        write_page(lines, to)


if __name__ == "__main__":
    main()
