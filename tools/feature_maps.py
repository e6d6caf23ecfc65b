"""The command ``videopool feature-maps``."""

import sys

from videopool.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["feature-maps", *sys.argv[1:]]))
