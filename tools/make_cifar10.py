"""Write CIFAR-10 as image files, from one npz file with all its JPEGs."""

import argparse
import sys
from pathlib import Path

import numpy as np
from rich.progress import track

from videopool.cli.parsing import run_command
from videopool.errors import InputError
from videopool.files import atomic_write

SUMMARY = "Write the 60,000 JPEG images of CIFAR-10 from one npz file; every tenth training image is for validation."
EXAMPLES = """example:
  python tools/make_cifar10.py cifar10_jpeg.npz --to data/cifar10

The file has the arrays jpeg (the bytes of all images, uint8), offset [N+1], label [N], is_test [N] and classes [K]."""

VALIDATE_EVERY = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("npz", type=Path, metavar="NPZ", help="the file with all images")
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="for train/, val/ and test/CLASS")


def run(arguments: argparse.Namespace) -> int:
    if not arguments.npz.exists():
        raise InputError(f"{arguments.npz} does not exist")
    with np.load(arguments.npz) as arrays:
        missing = {"jpeg", "offset", "label", "is_test", "classes"} - set(arrays)
        if missing:
            raise InputError(f"{arguments.npz} has no array {', '.join(sorted(missing))}; see --help for its arrays")
        jpeg, offset, label, test, classes = (arrays[k] for k in ("jpeg", "offset", "label", "is_test", "classes"))
    names = [str(name) for name in classes]
    for number in track(range(len(label)), "writing images"):
        split = "test" if test[number] else "val" if number % VALIDATE_EVERY == VALIDATE_EVERY - 1 else "train"
        with atomic_write(arguments.to / split / names[label[number]] / f"{number:05}.jpg") as path:
            path.write_bytes(jpeg[offset[number] : offset[number + 1]].tobytes())
    print(f"{len(label)} images, {len(names)} classes: {arguments.to}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command("make_cifar10.py", sys.modules[__name__], sys.argv[1:]))
