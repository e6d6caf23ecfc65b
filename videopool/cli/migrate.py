"""``videopool migrate``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

SUMMARY = "Convert a configuration of PySlowFast or mmaction2."
EXAMPLES = """examples:
  videopool migrate SLOWFAST_8x8_R50.yaml --out slowfast.yaml
  videopool migrate slowonly_r50_8xb16-4x16x1-256e_kinetics400-rgb.py --out slow.yaml
  videopool train --config slowfast.yaml data.root=/data/k400 --dry-run

Python files are read as text; nothing in them is run. What cannot be carried over is listed on standard error and at
the end of the result.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``videopool migrate``."""
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="YAML file of PySlowFast, or Python file of mmaction2 1.x"
    )
    parser.add_argument("--out", type=Path, metavar="RESULT", help="write the result here, not to standard output")


def run(arguments: argparse.Namespace) -> int:
    """Convert the configuration, and print or write the result."""
    from videopool.errors import InputError
    from videopool.files import write_text
    from videopool.migrate import read

    draft = read(arguments.file)
    text = draft.yaml(str(arguments.out or "FILE"))
    if arguments.out is None:
        print(text, end="")
    elif arguments.out.resolve() == arguments.file.resolve():
        raise InputError(f"--out={arguments.out} is the file that is read; give another one")
    else:
        write_text(arguments.out, text)
    for line in draft.lost:
        print(f"not carried over: {line}", file=sys.stderr)
    print(draft.summary(), file=sys.stderr)
    return 0
