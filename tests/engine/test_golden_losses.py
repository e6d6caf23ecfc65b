"""The first training steps of the demo give the recorded losses, which a refactoring must not change.

On the recorded machine and versions, losses and weights must be identical; elsewhere the losses must agree within a
tolerance, because other processors round in another order. After a change that is meant to change them, run
``python -m tests.engine.test_golden_losses`` and commit the new file.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).with_name("golden_losses.json")
# Between instruction sets (ONEDNN_MAX_CPU_ISA, ATEN_CPU_CAPABILITY, VIDEOPOOL_ISA) the losses differ by 2e-7.
TOLERANCE = 1e-5
SETTINGS = [
    "train={epochs: 3, batch: 8, evaluate_every: 0, log_every: 1, device: cpu, seed: 5}",
    "data.workers=0",
]


def machine() -> dict[str, str]:
    """Return what the last digits depend on."""
    import av

    return {
        "torch": torch.__version__,
        "av": av.__version__,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "processor": next(
            (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").open() if "model name" in line), ""
        ),
    }


def run_demo(folder: Path, root: Path = ROOT) -> dict[str, Any]:
    """Train the demo's configuration for 12 steps with one thread; return the losses and a hash of the weights."""
    from videopool.data.synthetic import write_motion_videos

    write_motion_videos(
        folder / "videos", train_per_class=4, test_per_class=1, size=(80, 72), frames=30, fps=10, seed=3
    )
    arguments = ["--config", str(root / "configs/demo.yaml"), *SETTINGS]
    arguments += [f"data.root={folder / 'videos'}", f"out={folder / 'run'}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    command = [sys.executable, str(root / "tools/train.py"), *arguments]
    subprocess.run(command, check=True, env=environment, cwd=root, stdout=subprocess.DEVNULL)
    lines = [json.loads(line) for line in (folder / "run/log.jsonl").read_text().splitlines()]
    weights = torch.load(folder / "run/checkpoints/last.pt", weights_only=True)["model"]
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode() + weights[name].contiguous().numpy().tobytes())
    return {"losses": [line["loss"] for line in lines], "weights": digest.hexdigest(), "machine": machine()}


@pytest.mark.slow
def test_losses_and_weights_are_unchanged(tmp_path: Path) -> None:
    pytest.importorskip("av")
    golden, found = json.loads(GOLDEN.read_text()), run_demo(tmp_path)
    assert len(found["losses"]) == 12
    assert found["losses"] == pytest.approx(golden["losses"], rel=TOLERANCE)
    if found["machine"] == golden["machine"]:
        assert found["losses"] == golden["losses"]
        assert found["weights"] == golden["weights"]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        result = run_demo(Path(folder), Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
    text = json.dumps(result, indent=1) + "\n"
    if len(sys.argv) > 1:
        print(text)
    else:
        GOLDEN.write_text(text)
