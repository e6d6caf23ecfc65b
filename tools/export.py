"""The command ``videopool export``."""

import sys

from videopool.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["export", *sys.argv[1:]]))
