"""ONNX files give the logits of the network in onnxruntime, for every family and pooling method."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.conftest import ROOT
from tests.export.test_formats import MEAN, STD, deployed, description, pooled
from tests.models.small_models import CLASSES, SMALL
from videopool.data import Normalize
from videopool.errors import InputError
from videopool.export import FORMATS, Deployed
from videopool.export import onnx as onnx_format
from videopool.pooling import METHODS

pytestmark = pytest.mark.long

onnx = pytest.importorskip("onnx", reason="needs videopool[onnx]")
pytest.importorskip("onnxruntime", reason="needs videopool[onnx]")
pytest.importorskip("onnxscript", reason="needs videopool[onnx]")


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_every_family(name: str, tmp_path: Path) -> None:
    network, described = deployed(name)
    assert FORMATS["onnx"](network, described, tmp_path).difference < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_method(method: str, tmp_path: Path) -> None:
    network, described = pooled(method)
    assert FORMATS["onnx"](network, described, tmp_path).difference < 1e-5


def test_the_file_is_described_and_names_no_sources(tmp_path: Path) -> None:
    network, described = pooled("edscw")  # its tiny constant guards 0 / 0, which the black clip gives
    path = FORMATS["onnx"](network, described, tmp_path).path
    content = path.read_bytes()
    assert str(ROOT).encode() not in content
    assert b".py" not in content
    model = onnx.load(path)
    onnx.checker.check_model(model)
    assert {entry.domain: entry.version for entry in model.opset_import}[""] == 20
    clips = model.graph.input[0]
    assert clips.name == "clips"
    assert clips.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    sizes = [size.dim_param or size.dim_value for size in clips.type.tensor_type.shape.dim]
    assert isinstance(sizes[0], str)
    assert sizes[1:] == [3, 4, 8, 8]
    document = json.loads(next(entry.value for entry in model.metadata_props if entry.key == "videopool"))
    assert document["classes"] == list("abcde")
    assert document["provenance"] == {"videopool": "0.1.0", "step": 7}


def test_log_gamma_equals_torchs() -> None:
    x = torch.arange(1, 400, dtype=torch.float64)
    found = onnx_format._lgamma(x)
    # The first term that Stirling's series leaves out is 1 / (1260 z^5), with z at least 9.
    torch.testing.assert_close(found, torch.lgamma(x), rtol=1e-14, atol=1 / (1260 * 9**5))
    assert onnx_format._lgamma(torch.tensor([0.5, -2.5])).isnan().all()


def test_the_first_wrong_operator_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    translate = onnx_format._translate

    def wrong(*arguments: object) -> bytes:
        model = onnx.load_from_string(translate(*arguments))
        node = [node for node in model.graph.node if node.op_type == "Exp"][2]
        node.op_type = "Tanh"
        return model.SerializeToString()

    monkeypatch.setattr(onnx_format, "_translate", wrong)
    with pytest.raises(RuntimeError, match=r"the ONNX operator Tanh, which computes 'exp_2', differs"):
        FORMATS["onnx"](*pooled("soft"), tmp_path)
    assert not list(tmp_path.iterdir())


class _Untranslated(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.digamma(x.mean((2, 3, 4)).abs() + 1).repeat(1, 2)[:, :CLASSES]


def test_an_operator_that_onnx_lacks_is_named(tmp_path: Path) -> None:
    network = Deployed(_Untranslated(), Normalize(MEAN, STD)).eval()
    with pytest.raises(InputError, match=r"ONNX has no translation of \w+\.digamma"):
        FORMATS["onnx"](network, description(4, 8), tmp_path)
    assert not list(tmp_path.iterdir())


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(onnx_format.importlib.util, "find_spec", lambda name: None if name == "onnxscript" else name)
    with pytest.raises(InputError, match=r"needs onnxscript; install videopool\[onnx\]"):
        FORMATS["onnx"](*pooled("avg"), tmp_path)
