"""The command ``videopool similarity``."""

import sys

from videopool.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["similarity", *sys.argv[1:]]))
