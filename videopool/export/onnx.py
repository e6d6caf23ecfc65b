"""Export a network as an ONNX file, for onnxruntime and other runtimes."""

from __future__ import annotations

import importlib.util
import logging
import math
import re
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from videopool.errors import InputError
from videopool.export import plain, trace, verify
from videopool.export.deployed import Deployed, Exported
from videopool.export.description import PROPERTY, Description
from videopool.files import atomic_write

FILE = "model.onnx"
OPSET = 20
_SMALLEST_ADDEND = 1e-8  # onnxscript drops the addition of a smaller constant


def export_onnx(deployed: Deployed, description: Description, folder: Path) -> Exported:
    """Write ``model.onnx`` (opset 20, any batch size) and the description; verify the file with onnxruntime.

    The input ``clips`` is uint8 [B,3,T,H,W], the output ``logits`` float32 [B,K]. Classes, preprocessing, provenance
    and configuration are the metadata property ``videopool``.

    Raises:
        InputError: if the packages of the extra ``onnx`` are missing, or the network has an operator that ONNX lacks.
        RuntimeError: if the file does not give the logits of the network; with the operators that differ.
    """
    _check_packages()
    expected = verify.expected_logits(deployed, description)
    native, table = trace.trace(deployed, description), _table()
    program = trace.decompose(native, table)
    content = _translate(program, description)

    def different() -> list[str]:
        decomposed = verify.differing_operators(native, table, description)
        return decomposed or first_difference(program, content, description)

    with atomic_write(folder / FILE) as path, verify.naming_operators(different):
        path.write_bytes(content)
        difference = verify.compare(expected, verify.run_isolated(path, description), of=FILE)
    description.write(folder)
    return Exported(folder / FILE, difference)


def translate(deployed: Deployed, description: Description) -> bytes:
    """Return the content of ``model.onnx``.

    Raises:
        InputError: as for ``export_onnx``.
    """
    _check_packages()
    return _translate(trace.decompose(trace.trace(deployed, description), _table()), description)


def _check_packages() -> None:
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"The format onnx needs {', '.join(missing)}; install videopool[onnx]", setting="format")


def first_difference(program: ExportedProgram, content: bytes, description: Description) -> list[str]:
    """Return the first operator of an ONNX file whose result differs from that of ``program``, or an empty list.

    The results that have the same name in both are compared, so it may be one of the few operators before it.
    """
    import onnx
    import onnxruntime

    model = onnx.load_from_string(content)
    writers = {output: node.op_type for node in model.graph.node for output in node.output}
    for clips in description.checks().values():
        expected = {name: value for name, value in verify.record_results(program, clips).items() if name in writers}
        del model.graph.output[:]
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in expected)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        found = session.run(list(expected), {"clips": clips.numpy()})
        for (name, value), other in zip(expected.items(), found, strict=True):
            if not verify.close(value, torch.from_numpy(other)):
                return [f"the ONNX operator {writers[name]}, which computes '{name}',"]
    return []


def _translate(program: ExportedProgram, description: Description) -> bytes:
    """Return the content of an ONNX file with the description inside and without names of source files."""
    # It warns that the operators of torchvision cannot be translated without torchvision.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    names: dict[str, Any] = {"input_names": ["clips"], "output_names": ["logits"]}
    try:
        with trace.without_future_warnings():
            translated: Any = torch.onnx.export(program, (), dynamo=True, opset_version=OPSET, verbose=False, **names)
    except Exception as error:  # the exporter wraps its errors in several ways
        operators = sorted(set(re.findall(r"No ONNX function found for <OpOverload\(op='([\w.]+)'", _messages(error))))
        if not operators:
            raise
        raise InputError(
            f"ONNX has no translation of {', '.join(operators)}, which the network uses. Use the format 'portable', or "
            "replace this part of the network.",
            setting="format",
        ) from error
    model = translated.model_proto
    for owner in (model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        owner.ClearField("metadata_props")
        owner.ClearField("doc_string")
    del model.metadata_props[:]
    model.metadata_props.add(key=PROPERTY, value=description.document())
    content: bytes = model.SerializeToString()
    return content


def _messages(error: BaseException | None) -> str:
    """Return the messages of an error and of its causes."""
    return "" if error is None else f"{error}\n{_messages(error.__cause__)}"


def _table() -> plain.Decompositions:
    """Return the decompositions of the ops that ONNX or its exporter lacks."""
    aten = torch.ops.aten
    own: plain.Decompositions = {
        aten.hypot.default: lambda x, y: torch.sqrt(x * x + y * y),
        aten.lgamma.default: _lgamma,
        aten.add.Tensor: _add,
    }
    return {**plain.table(), **own}


def _add(x: torch.Tensor, y: torch.Tensor | float, alpha: float = 1) -> Any:
    """Return ``max(x, y)`` for a tiny positive constant ``y``, which guards a division by 0.

    For any other ``y`` it returns NotImplemented, which leaves the operator in the program.
    """
    if isinstance(y, float) and alpha == 1 and 0 < y < _SMALLEST_ADDEND:
        return x.clamp(min=y)
    return NotImplemented


def _lgamma(x: torch.Tensor) -> torch.Tensor:
    """Return ``log(gamma(x))`` of ``x >= 1`` by Stirling's series at ``x + 8``; NaN below 1."""
    product = x
    for step in range(1, 8):
        product = product * (x + step)
    z = x + 8
    series = (z - 0.5) * z.log() - z + 0.5 * math.log(2 * math.pi) + 1 / (12 * z) - 1 / (360 * z * z * z)
    return torch.where(x >= 1, series - product.log(), math.nan)
