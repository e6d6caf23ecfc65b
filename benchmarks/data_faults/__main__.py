"""Check that broken files stop neither training nor testing, and change no samples but their own.

    python -m benchmarks.data_faults [--videos N] [--folder FOLDER] [--to FILE.md]

The script writes real H.264 videos and breaks 10 % of the training and of the test files in twelve ways (nine leave
nothing to decode, three are unusual but readable). It runs an epoch of ``TrainLoader`` and a test of ``TestLoader`` on
whole and on broken files and compares them; then it runs videopool train and videopool evaluate on the broken files. It
exits with 1 if a check fails.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import datetime
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.data_faults.checks import WORKERS
from benchmarks.data_faults.files import reads_everything
from benchmarks.data_faults.report import measure
from benchmarks.timing import add_page_argument, write_page
from videopool.data.synthetic import MOTIONS
from videopool.errors import InputError


def obey_permissions() -> None:
    """If the superuser runs this command, start it again without the right to read files without permission."""
    marker = "DATA_FAULTS_AGAIN"
    with tempfile.TemporaryDirectory() as folder:
        if marker in os.environ or not reads_everything(Path(folder)):
            return
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP, in effect after exec
    os.environ[marker] = "1"
    os.execv(sys.executable, [sys.executable, "-m", "benchmarks.data_faults", *sys.argv[1:]])


@contextlib.contextmanager
def chosen_folder(folder: Path | None) -> Iterator[Path]:
    """Return ``folder``, which must be new or empty, or a temporary one."""
    if folder is None:
        with tempfile.TemporaryDirectory() as temporary:
            yield Path(temporary)
        return
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise InputError(f"--folder {folder} is not empty; give a new one")
    yield folder.resolve()


def main() -> int:
    program = "python -m benchmarks.data_faults"
    parser = argparse.ArgumentParser(prog=program, description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--videos", type=int, default=360, help="videos, two thirds of them for training (360)")
    parser.add_argument("--folder", type=Path, help="folder for the videos and the run (a temporary one)")
    add_page_argument(parser)
    arguments = parser.parse_args()
    obey_permissions()
    test_per_class = max(2, arguments.videos // (3 * len(MOTIONS)))
    about = (
        f"    {program} --videos {arguments.videos}\n\n{datetime.date.today().isoformat()}, "
        f"torch {torch.__version__}, {WORKERS} workers, load average {os.getloadavg()[0]:.1f} at the start."
    )
    try:
        with chosen_folder(arguments.folder) as folder:
            text, holds = measure(folder, 2 * test_per_class, test_per_class, 0.1, about)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(text)
    write_page([text], arguments.to)
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
