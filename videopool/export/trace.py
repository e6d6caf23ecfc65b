"""Trace a network as a ``torch.export`` program, without the paths of the machine that traced it."""

from __future__ import annotations

import contextlib
import copy
import io
import operator
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.export import Dim, ExportedProgram

from videopool.errors import InputError
from videopool.export import verify
from videopool.export.deployed import Deployed
from videopool.export.description import METADATA, Description
from videopool.export.fold import fold_batch_norm
from videopool.export.plain import Decompositions
from videopool.files import atomic_write

_TORCHS_OWN = ("aten", "prims", "higher_order")  # namespaces of operators that every torch has


@torch.no_grad()
def trace(deployed: Deployed, description: Description) -> ExportedProgram:
    """Return the program of ``deployed`` for uint8 clips [B,3,T,H,W] with any B, and with ``any_size`` any H and W.

    Batch normalization is folded into convolutions.

    Raises:
        InputError: if ``description.any_size`` is set and a layer needs clips of the size that it was made for.
    """
    deployed = copy.deepcopy(deployed).eval()
    for parameter in deployed.parameters():
        parameter.data = parameter.data.contiguous()  # the order that the archive stores them in
    dynamic: dict[int, Any] = {0: Dim("batch", min=1)}
    if description.any_size:
        program = _trace_any_size(deployed, description, dynamic)
    else:
        program = torch.export.export(deployed, (description.example(2),), dynamic_shapes=(dynamic,))
    fold_batch_norm(program)
    _remove_sources(program)
    return program


def _trace_any_size(deployed: Deployed, description: Description, dynamic: dict[int, Any]) -> ExportedProgram:
    # From large clips: torch restricts the program to the sizes of axes that have one element.
    clips = description.larger_example()
    sizes = {**dynamic, 3: Dim.DYNAMIC, 4: Dim.DYNAMIC}
    try:
        program = torch.export.export(deployed, (clips,), dynamic_shapes=(sizes,))
        for check in description.checks().values():
            program.module()(check)
    except (AssertionError, RuntimeError) as error:  # torch's UserError and NotImplementedError are RuntimeErrors
        layer = verify.whole_window(deployed, description)
        raise InputError(
            f"The network cannot be exported for clips of any size, probably because layer '{layer}' has a window of a "
            "fixed size. Export it without --any-size, or give it an average pool as head."
        ) from error
    return program


def decompose(program: ExportedProgram, table: Decompositions) -> ExportedProgram:
    """Return ``program`` with the operators of ``table`` replaced by their decompositions.

    Raises:
        InputError: if an operator that torch does not have remains.
    """
    with without_future_warnings():
        decomposed = program.run_decompositions(dict(table))
    _check_operators(decomposed)
    _remove_sources(decomposed)
    return decomposed


@contextlib.contextmanager
def without_future_warnings() -> Iterator[None]:
    """Hide FutureWarning: torch 2.13 warns of classes that it uses itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


@contextlib.contextmanager
def written(program: ExportedProgram, description: Description, file: Path) -> Iterator[Path]:
    """Write ``program`` with the description inside; yield a temporary path that becomes ``file`` at the end."""
    content = io.BytesIO()  # torch ends the process if it writes to a full disk
    torch.export.save(program, content, extra_files={METADATA: description.document()})
    with atomic_write(file) as path:
        path.write_bytes(content.getbuffer())
        yield path


def operators(program: ExportedProgram) -> list[str]:
    """Return the names of the operators in ``program``, sorted."""
    nodes = program.graph_module.graph.nodes
    return sorted({str(node.target) for node in nodes if node.op == "call_function" and not _is_builtin(node.target)})


def _is_builtin(target: object) -> bool:
    return getattr(target, "__module__", None) in (operator.__name__, "_operator", "builtins", "math")


def _check_operators(program: ExportedProgram) -> None:
    foreign = [name for name in operators(program) if name.split(".")[0] not in _TORCHS_OWN]
    if foreign:
        raise InputError(
            f"The network uses {', '.join(foreign)}, which torch does not have without the library that defines it. "
            "Use the format 'program', or replace this part of the network.",
            setting="format",
        )


def _remove_sources(program: ExportedProgram) -> None:
    """Remove the names of source files that torch stores with each node."""
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                for key in ("stack_trace", "source_fn_stack", "from_node"):
                    node.meta.pop(key, None)
