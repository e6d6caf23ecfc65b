"""The command ``videopool prepare``."""

import sys

from videopool.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["prepare", *sys.argv[1:]]))
