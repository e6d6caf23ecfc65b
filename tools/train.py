"""The command ``videopool train``."""

import sys

from videopool.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
