"""Output without a terminal is plain text."""

import os
import subprocess
import sys

PROGRAM = """
from videopool.console import console, progress_bar
with progress_bar() as bar, progress_bar(on=console()) as other:
    for each in (bar, other):
        each.advance(each.add_task("scanning", total=2, note=""))
    console().print("done")
"""


def test_no_bars_in_a_file_even_with_forced_color() -> None:
    """Jupyter sets FORCE_COLOR for the commands of its cells."""
    environment = {**os.environ, "FORCE_COLOR": "1"}
    ended = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    assert (ended.stdout, ended.stderr) == ("done\n", "")
