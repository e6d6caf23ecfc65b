"""The command ``videopool predict``."""

import sys

from videopool.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["predict", *sys.argv[1:]]))
