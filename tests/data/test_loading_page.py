"""The training loop of docs/loading.md runs, and needs one import line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.data.conftest import WriteVideo


@pytest.mark.slow
def test_the_loop_of_the_page_runs(tmp_path: Path, write_video: WriteVideo) -> None:
    for name in ("a/1.mp4", "a/2.mp4", "b/3.mp4", "b/4.mp4"):
        write_video(tmp_path / "videos/train" / name, 8)
    (loop,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/loading.md").read_text(encoding="utf-8"), re.DOTALL)
    assert loop.count("from videopool") == 1
    shown = loop.replace(
        "    loader.close()", "        print(epoch, tuple(clips.shape), clips.dtype)\n    loader.close()"
    )
    (tmp_path / "loop.py").write_text(shown)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "loop.py"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{epoch} (16, 3, 16, 112, 112) torch.float32" for epoch in range(10)]
