"""One lock for all rooms: busy or waiting, and released when its process is killed."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from videopool.errors import InputError
from videopool.processes.lock import locked

HOLD = """
import sys, time
from pathlib import Path
from videopool.processes.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_held_lock_is_refused_or_waited_for_until_its_process_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "folder" / ".lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, cwd=ROOT) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(InputError, match="somebody works here"), locked(path, busy="somebody works here"):
            pass
        threading.Thread(target=lambda: (time.sleep(0.3), holder.kill()), daemon=True).start()
        with locked(path):
            assert holder.wait(10) == -9
    with locked(path, busy="free again"):
        pass
