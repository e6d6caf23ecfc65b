"""Compare the logits of an exported file with those of the network."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
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


@dataclasses.dataclass(frozen=True)
class Reference:
    """The logits of the network, and its own rounding error.

    Attributes:
        logits: float32 [B,K] by the name of the clips.
        rounding: largest absolute difference of ``logits`` from the same network in float64; 0 if it cannot run there.
    """

    logits: Logits
    rounding: float = 0.0


@torch.inference_mode()
def expected_logits(deployed: Deployed, description: Description) -> Reference:
    """Return the logits of the network for the clips of ``description.checks()``.

    Raises:
        InputError: if one is not finite.
    """
    clips = description.checks()
    larger = clips.pop("larger noise", None)
    logits = {name: deployed(each) for name, each in clips.items()}
    if larger is not None:
        logits["larger noise"] = _of_larger(deployed, larger, description)
    for name, values in logits.items():
        if not values.isfinite().all():
            layer = _first_non_finite(deployed, description.checks()[name])
            raise InputError(
                f"The network's logits for the {name} clip are not finite, from layer '{layer}' on. Export a "
                "checkpoint from before the training diverged."
            )
    return Reference(logits, _rounding(deployed, description, logits))


def _of_larger(deployed: Deployed, clips: torch.Tensor, description: Description) -> torch.Tensor:
    try:
        return deployed(clips)
    except RuntimeError as error:
        layer = whole_window(deployed, description)
        raise InputError(
            f"The network does not take clips of {clips.shape[-2]}x{clips.shape[-1]} pixels ({error}). Its layer "
            f"'{layer}' probably has a window of a fixed size. Export it without --any-size."
        ) from error


def compare(expected: Reference, found: Logits, *, of: str) -> float:
    """Return the largest difference of the logits over all clips.

    Raises:
        RuntimeError: if a difference is too large (``largest_difference``), or a logit is not finite.
    """
    finite_difference(expected, found, of=of)
    spread = spread_of(expected.logits)
    return max(
        largest_difference(values, found[name], of=f"{of}, {name} clip", spread=spread, rounding=expected.rounding)
        for name, values in expected.logits.items()
    )


def finite_difference(expected: Reference, found: Logits, *, of: str) -> float:
    """Return the largest difference of the logits over all clips, without a limit.

    Raises:
        RuntimeError: if a logit is not finite.
    """
    for name in expected.logits:
        if not found[name].isfinite().all():
            raise RuntimeError(f"{of}: logits of the reloaded file for the {name} clip are not finite; not exported")
    return max(float((values - found[name]).abs().max()) for name, values in expected.logits.items())


@contextlib.contextmanager
def naming_operators(find: Callable[[], list[str]]) -> Iterator[None]:
    """Add the operators that ``find`` returns to a RuntimeError of the ``with`` block."""
    try:
        yield
    except RuntimeError as error:
        different = find()
        if not different:
            raise
        raise RuntimeError(f"{error} ({', '.join(different)} differs)") from error


@torch.inference_mode()
def differing_operators(program: ExportedProgram, table: Decompositions, description: Description) -> list[str]:
    """Return the operators of ``program`` whose decompositions give other results, in the order of the graph."""
    compared = _Compared(program, table)
    for clips in description.checks().values():
        compared.run(clips)
    return [f"the decomposition of {name}" for name in dict.fromkeys(compared.different)]


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
        if other is not NotImplemented and not close(result, other):
            self.different.append(str(target))
        return result


@torch.inference_mode()
def record_results(program: ExportedProgram, clips: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the float results of all operators of ``program`` for ``clips``, by the names of the nodes, in order."""
    recorder = _Recorder(program)
    recorder.run(clips)
    return recorder.results


class _Recorder(torch.fx.Interpreter):
    """Run a program and keep the results of its operators."""

    def __init__(self, program: ExportedProgram) -> None:
        super().__init__(program.module())  # type: ignore[arg-type]
        self.results: dict[str, torch.Tensor] = {}

    def run_node(self, node: torch.fx.Node) -> Any:
        """Return the result of the node."""
        result = super().run_node(node)
        if node.op == "call_function" and isinstance(result, torch.Tensor) and result.is_floating_point():
            self.results[node.name] = result
        return result


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Return whether two results of an operator are equal but for rounding, relative to their largest element."""
    largest = float(one.abs().max()) if one.numel() else 0.0
    return torch.allclose(one, other, rtol=1e-4, atol=1e-5 * largest, equal_nan=True)


def spread_of(logits: Logits) -> float:
    """Return the largest range of the logit of a class over all clips: how much the logits depend on the input."""
    together = torch.cat(list(logits.values()))
    return float((together.amax(0) - together.amin(0)).max())


def _rounding(deployed: Deployed, description: Description, logits: Logits) -> float:
    """Return the largest difference of ``logits`` from those in float64; 0 for a network that float64 does not fit."""
    exact = copy.deepcopy(deployed.model).double()
    try:
        differences = [
            float((exact(deployed.preprocess(clips).double()) - logits[name]).abs().max())
            for name, clips in description.checks().items()
        ]
    except (RuntimeError, TypeError, ValueError):  # such as a constant that is float32
        return 0.0
    return max(differences)


@torch.inference_mode()
def whole_window(deployed: Deployed, description: Description) -> str:
    """Return the path of the first layer that reduces the frames of clips of the training size to one cell."""
    found: list[str] = []

    def record(path: str, inputs: Any, output: object) -> None:
        before = inputs[0] if inputs else None
        if not isinstance(before, torch.Tensor) or not isinstance(output, torch.Tensor):
            return
        if before.dim() == output.dim() >= 4 and before.shape[-2:].numel() > 1 == output.shape[-2:].numel():
            found.append(path)

    handles = [
        layer.register_forward_hook(lambda _layer, inputs, output, path=path: record(path, inputs, output))
        for path, layer in deployed.named_modules()
    ]
    try:
        deployed(description.example(1))
    finally:
        for handle in handles:
            handle.remove()
    return found[0].removeprefix("model.") if found else "unknown"


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
    """Return the logits of ``file`` for ``description.checks()``, from another process.

    That process cannot import videopool, which shows that the file runs without it. ``file`` may have a temporary name
    such as ``model.onnx.tmp-123``.

    Raises:
        RuntimeError: if the process fails; with its last line.
    """
    name = file.name.partition(".tmp-")[0]
    with tempfile.TemporaryDirectory() as folder:
        named = Path(folder, name)  # the readers look at the suffix
        named.symlink_to(file.absolute())
        clips, logits = Path(folder, "clips.npz"), Path(folder, "logits.npz")
        np.savez(clips, **{key: values.numpy() for key, values in description.checks().items()})  # type: ignore[arg-type]
        command = [sys.executable, "-I", str(Path(__file__).with_name("isolated.py")), str(named), str(clips)]
        ended = subprocess.run([*command, str(logits)], capture_output=True, text=True)
        if ended.returncode:
            reason = ended.stderr.strip().splitlines()[-1:] or [f"exit code {ended.returncode}"]
            raise RuntimeError(f"{name} does not run without videopool: {reason[0]}")
        with np.load(logits) as arrays:
            return {key: torch.from_numpy(arrays[key]) for key in arrays.files}
