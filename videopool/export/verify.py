"""Compare the logits of an exported file with those of the network."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from videopool.errors import InputError
from videopool.export.deployed import Deployed, Description, largest_difference

Logits = dict[str, torch.Tensor]  # [B,K] by the name of the clips


@torch.inference_mode()
def expected_logits(deployed: Deployed, description: Description) -> Logits:
    """Return the logits of the network for the clips of ``description.checks()``.

    Raises:
        InputError: if one is not finite.
    """
    logits = {name: deployed(clips) for name, clips in description.checks().items()}
    for name, values in logits.items():
        if not values.isfinite().all():
            raise InputError(
                f"The network's logits for the {name} clip are not finite. Export a checkpoint from before the "
                "training diverged."
            )
    return logits


def compare(expected: Logits, found: Logits, *, of: str) -> float:
    """Return the largest difference of the logits over all clips.

    Raises:
        RuntimeError: if a difference is too large, or a logit is not finite.
    """
    differences = []
    for name, values in expected.items():
        if not found[name].isfinite().all():
            raise RuntimeError(f"{of}: logits of the reloaded file for the {name} clip are not finite; not exported")
        differences.append(largest_difference(values, found[name], of=f"{of}, {name} clip"))
    return max(differences)


def run_isolated(file: Path, description: Description) -> Logits:
    """Return the logits of ``file`` (.pt2 or .onnx) for ``description.checks()``, from another process.

    That process cannot import videopool, so it shows that the file runs without it.

    Raises:
        RuntimeError: if the process fails; with its last line.
    """
    with tempfile.TemporaryDirectory() as folder:
        clips, logits = Path(folder, "clips.npz"), Path(folder, "logits.npz")
        np.savez(clips, **{name: values.numpy() for name, values in description.checks().items()})  # type: ignore[arg-type]
        command = [sys.executable, "-I", str(Path(__file__).with_name("isolated.py")), str(file), str(clips)]
        ended = subprocess.run([*command, str(logits)], capture_output=True, text=True)
        if ended.returncode:
            reason = ended.stderr.strip().splitlines()[-1:] or [f"exit code {ended.returncode}"]
            raise RuntimeError(f"{file.name} does not run without videopool: {reason[0]}")
        with np.load(logits) as arrays:
            return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
