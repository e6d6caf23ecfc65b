"""Compare the logits of an exported file with those of the network."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram

from videopool.errors import InputError
from videopool.export.deployed import Deployed, largest_difference
from videopool.export.description import Description
from videopool.export.plain import Decompositions

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
            layer = _first_non_finite(deployed, description.checks()[name])
            raise InputError(
                f"The network's logits for the {name} clip are not finite, from layer '{layer}' on. Export a "
                "checkpoint from before the training diverged."
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


@contextlib.contextmanager
def naming_operators(program: ExportedProgram, table: Decompositions, description: Description) -> Iterator[None]:
    """Add to a RuntimeError of the ``with`` block the operators of ``program`` whose decomposition differs."""
    try:
        yield
    except RuntimeError as error:
        different = differing_operators(program, table, description)
        if not different:
            raise
        raise RuntimeError(f"{error} (the decomposition of {', '.join(different)} differs)") from error


@torch.inference_mode()
def differing_operators(program: ExportedProgram, table: Decompositions, description: Description) -> list[str]:
    """Return the operators of ``program`` whose decompositions give other results, in the order of the graph."""
    compared = _Compared(program, table)
    for clips in description.checks().values():
        compared.run(clips)
    return list(dict.fromkeys(compared.different))


class _Compared(torch.fx.Interpreter):
    """Run a program, and compare the result of each operator with that of its decomposition in ``table``."""

    def __init__(self, program: ExportedProgram, table: Decompositions) -> None:
        super().__init__(program.module())  # type: ignore[arg-type]
        self.table = table
        self.different: list[str] = []

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Return the result of the operator."""
        result = super().call_function(target, args, kwargs)
        other = self.table[target](*args, **kwargs) if target in self.table else NotImplemented
        if other is not NotImplemented and not torch.allclose(result, other, rtol=1e-4, atol=1e-5, equal_nan=True):
            self.different.append(str(target))
        return result


def _first_non_finite(deployed: Deployed, clips: torch.Tensor) -> str:
    """Return the path of the first layer whose result has NaN or infinities."""
    found: list[str] = []

    def record(path: str, output: object) -> None:
        if isinstance(output, torch.Tensor) and not output.isfinite().all():
            found.append(path)

    handles = [
        layer.register_forward_hook(lambda _layer, _inputs, output, path=path: record(path, output))
        for path, layer in deployed.named_modules()
    ]
    try:
        deployed(clips)
    finally:
        for handle in handles:
            handle.remove()
    return found[0].removeprefix("model.")


def run_isolated(file: Path, description: Description) -> Logits:
    """Return the logits of ``file`` (.pt2 or .onnx) for ``description.checks()``, from another process.

    That process cannot import videopool, which shows that the file runs without it.

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
