"""``python -m videopool``: the command ``videopool``."""

import sys

from videopool.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
