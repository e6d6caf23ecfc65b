"""int8 files have integer convolutions, nearly the logits of the network, and notes about size, agreement and time."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from tests.conftest import ROOT
from tests.export.test_formats import deployed
from videopool.errors import InputError
from videopool.export import FORMATS, read_description

pytestmark = pytest.mark.long

onnx = pytest.importorskip("onnx", reason="needs videopool[onnx]")
pytest.importorskip("onnxruntime", reason="needs videopool[onnx]")
pytest.importorskip("onnxscript", reason="needs videopool[onnx]")


def test_int8_of_a_small_network(tmp_path: Path) -> None:
    network, described = deployed("c3d")
    clips = described.example(6)
    with torch.inference_mode():
        classes = network(clips).argmax(1).tolist()
    classes[3] = (classes[3] + 1) % 5  # one of the three clips that are not calibrated on gets a wrong label
    described = dataclasses.replace(described, calibration=clips, calibration_labels=tuple(classes))
    written = FORMATS["int8"](network, described, tmp_path)
    # 8 bits in each of 5 layers: a relative error of about 2^-8 in each, and logits of a few units.
    assert 0 < written.difference < 5 * 5 / 2**8
    size, agreement, accuracy, times = written.notes
    assert size.startswith("int8.onnx has")
    assert agreement.endswith("for 3 of 3 clips")
    assert accuracy == "it is the label for 2 of them in int8 and 2 in float32"
    assert "ms in int8" in times
    assert read_description(written.path).classes == described.classes
    model = onnx.load(written.path)
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    dequantized = {name for node in model.graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    assert convolutions
    assert all(set(node.input[:2]) <= dequantized for node in convolutions)
    assert str(ROOT).encode() not in written.path.read_bytes()
    assert json.loads((tmp_path / "classes.json").read_text()) == list("abcde")


def test_missing_calibration_clips(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="int8 needs clips to calibrate on; give --calibrate-on VIDEO"):
        FORMATS["int8"](*deployed("c3d"), tmp_path)
