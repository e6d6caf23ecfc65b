"""What a tool tells the person who watches; whoever watches may leave."""

from __future__ import annotations

import os
import sys
from typing import Any

from rich.console import Console


def console(*, quiet: bool = False) -> Console:
    """A console on standard output, as it is at each line. Where that has no reader any more (its pipe was closed, its
    terminal hung up), what is said is dropped, and work goes on."""
    output: Any = _Output()
    return Console(file=output, quiet=quiet, highlight=False, soft_wrap=True, markup=False, emoji=False)


def drop_output() -> None:
    """From now on nobody reads standard output: also not what Python still holds back for it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


class _Output:
    def write(self, text: str) -> int:
        try:
            return sys.stdout.write(text)
        except OSError:
            drop_output()
            return len(text)

    def flush(self) -> None:
        try:
            sys.stdout.flush()
        except OSError:
            drop_output()

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stdout, name)
