"""The command ``videopool compare``."""

import sys

from videopool.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["compare", *sys.argv[1:]]))
