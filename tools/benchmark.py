"""The command ``videopool benchmark``."""

import sys

from videopool.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["benchmark", *sys.argv[1:]]))
