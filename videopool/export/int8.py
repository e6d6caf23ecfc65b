"""Export a network as an ONNX file whose convolutions compute in 8-bit integers, for onnxruntime."""

from __future__ import annotations

import contextlib
import io
import logging
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from videopool.errors import InputError
from videopool.export import onnx, verify
from videopool.export.deployed import Deployed, Exported
from videopool.export.description import PROPERTY, Description
from videopool.files import atomic_write

FILE = "int8.onnx"
_RUNS = 15  # of each network, for its time


def export_int8(deployed: Deployed, description: Description, folder: Path) -> Exported:
    """Write ``int8.onnx`` and the description; verify the file.

    Weights (one scale for each channel) and inputs (one scale for each convolution) of the convolutions are 8-bit
    integers, as QuantizeLinear and DequantizeLinear operators (QDQ). The ranges of the inputs are measured on the even
    clips of ``description.calibration``; the odd ones show how often the most probable class remains the same.

    The result has ``notes`` about size, agreement, accuracy (with ``description.calibration_labels``) and time, in
    comparison with the float32 file.

    Raises:
        InputError: without calibration clips or the packages of the extra ``onnx``, or for an operator that ONNX lacks.
        RuntimeError: if the file does not run without videopool, or has logits that are not finite.
    """
    if description.calibration is None:
        raise InputError("The format int8 needs clips to calibrate on; give --calibrate-on VIDEO", setting="format")
    reference = verify.expected_logits(deployed, description)
    content = onnx.translate(deployed, description)
    clips = description.calibration
    odd = slice(1, None, 2) if len(clips) > 1 else slice(None)
    held_out, labels = clips[odd], description.calibration_labels[odd]
    with atomic_write(folder / FILE) as path:
        quantized = quantize(content, clips[::2], description)
        path.write_bytes(quantized)
        found = verify.run_isolated(path, description)
        difference = verify.finite_difference(reference, found, of=FILE)
    description.write(folder)
    notes = (_sizes(content, quantized), *_comparison(content, quantized, held_out, labels))
    return Exported(folder / FILE, difference, notes)


def quantize(content: bytes, clips: torch.Tensor, description: Description) -> bytes:
    """Return the ONNX file ``content`` with its convolutions in int8, calibrated on uint8 ``clips`` [N,3,T,H,W]."""
    import onnx as onnx_package
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Clips(CalibrationDataReader):
        def __init__(self) -> None:
            self.remaining = iter(clips)

        def get_next(self) -> dict[str, Any] | None:
            clip = next(self.remaining, None)
            return None if clip is None else {"clips": clip[None].numpy()}

    with tempfile.TemporaryDirectory() as folder, _quiet():
        source, prepared, result = (Path(folder, name) for name in ("float.onnx", "prepared.onnx", "int8.onnx"))
        source.write_bytes(content)
        quant_pre_process(source, prepared, skip_symbolic_shape=True)  # it fails on shapes of symbols
        quantize_static(
            prepared,
            result,
            Clips(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        model = onnx_package.load(result)
    for owner in (model.graph, *model.graph.node):
        owner.ClearField("doc_string")
    del model.metadata_props[:]
    model.metadata_props.add(key=PROPERTY, value=description.document())
    quantized: bytes = model.SerializeToString()
    return quantized


def _comparison(content: bytes, quantized: bytes, clips: torch.Tensor, labels: tuple[int, ...]) -> list[str]:
    """Return sentences: how often the classes of ``clips`` agree and, with ``labels``, are right; times of a clip."""
    import onnxruntime

    sessions = [onnxruntime.InferenceSession(each, providers=["CPUExecutionProvider"]) for each in (content, quantized)]
    classes = [
        [int(session.run(None, {"clips": clip[None].numpy()})[0].argmax()) for clip in clips] for session in sessions
    ]
    same = sum(one == other for one, other in zip(*classes, strict=True))
    times: list[list[float]] = [[], []]
    for _ in range(_RUNS):
        for session, taken in zip(sessions, times, strict=True):
            start = time.perf_counter()
            session.run(None, {"clips": clips[:1].numpy()})
            taken.append(time.perf_counter() - start)
    slow, fast = (1000 * statistics.median(taken) for taken in times)
    notes = [f"int8 and float32 have the same most probable class for {same} of {len(clips)} clips"]
    if labels:
        whole, small = (sum(map(int.__eq__, found, labels)) for found in classes)
        notes.append(f"it is the label for {small} of them in int8 and {whole} in float32")
    return [*notes, f"one clip takes {fast:.1f} ms in int8 and {slow:.1f} ms in float32 ({fast / slow:.2f} of it)"]


def _sizes(content: bytes, quantized: bytes) -> str:
    whole, small = (len(each) / 1e6 for each in (content, quantized))
    return f"int8.onnx has {small:.2f} MB, the float32 file {whole:.2f} MB"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide what onnxruntime's quantization prints and logs about steps that videopool takes itself."""
    logger = logging.getLogger()
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(before)
