"""The description of an exported file is read from inside it, or from the files beside it."""

import dataclasses
import json
from pathlib import Path

import pytest
import yaml

from tests.export.test_formats import description, pooled
from videopool.errors import InputError
from videopool.export import FORMATS, read_description
from videopool.export.description import is_compiled, without_paths


@pytest.mark.parametrize(
    "format",
    [
        "weights",
        "program",
        pytest.param("portable", marks=pytest.mark.slow),
        pytest.param("onnx", marks=pytest.mark.long),
    ],
)
def test_a_description_is_read_from_inside_the_file(format: str, tmp_path: Path) -> None:
    if format == "onnx":
        pytest.importorskip("onnxruntime", reason="needs videopool[onnx]")
        pytest.importorskip("onnxscript", reason="needs videopool[onnx]")
    network, described = pooled("soft")
    path = FORMATS[format](network, described, tmp_path / "folder").path.rename(tmp_path / f"alone{format}.bin")
    moved = path.rename(path.with_suffix({"weights": ".safetensors", "onnx": ".onnx"}.get(format, ".pt2")))
    expected = dataclasses.replace(described, config=without_paths(described.config))
    assert read_description(moved) == expected


@pytest.mark.slow
def test_a_program_is_not_a_compiled_package(tmp_path: Path) -> None:
    assert not is_compiled(FORMATS["portable"](*pooled("avg"), tmp_path).path)


def test_a_file_without_a_description_uses_the_files_beside_it(tmp_path: Path) -> None:
    described = description(4, 8)
    header = json.dumps({"__metadata__": {"format": "pt"}}).encode()
    file = tmp_path / "model.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(InputError, match=r"no description inside, and .*preprocessing\.json is missing"):
        read_description(file)
    described.write(tmp_path)
    assert read_description(file) == dataclasses.replace(described, config=without_paths(described.config))


def test_a_configuration_without_paths(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    config = {
        "out": str(tmp_path / "runs/a"),
        "data": {"root": "/data/some where/kinetics " + 100 * "k", "train": "list.csv", "fps": 2.5},
        "optim": {"steps": [3, 4], "init": f"module.load:{tmp_path}/w.pt", "url": "https://x.org/a"},
    }
    expected = {
        "out": "runs/a",
        "data": {"root": ".../kinetics " + 100 * "k", "train": "list.csv", "fps": 2.5},
        "optim": {"steps": [3, 4], "init": "module.load:w.pt", "url": "https://x.org/a"},
    }
    found = without_paths(yaml.safe_dump(config))
    assert yaml.safe_load(found) == expected


@pytest.mark.parametrize("name", ["a.pt2", "a.safetensors", "a.onnx"])
@pytest.mark.parametrize("content", [b"", b"no network at all, only text"])
def test_damaged_files_are_named(name: str, content: bytes, tmp_path: Path) -> None:
    if name == "a.onnx":
        pytest.importorskip("onnxruntime", reason="needs videopool[onnx]")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name} cannot be read \(.+\); export it again"):
        read_description(tmp_path / name)


def test_missing_and_unknown_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.pt2 cannot be read \(No such file or directory\)"):
        read_description(tmp_path / "a.pt2")
    with pytest.raises(InputError, match=r"a\.pt is not an exported file; expected \.pt2, \.onnx, \.safetensors"):
        read_description(tmp_path / "a.pt")


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    values = json.loads(description(4, 8).document())
    del values["crop"]
    header = json.dumps({"__metadata__": {"videopool": json.dumps(values)}}).encode()
    (tmp_path / "m.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(InputError, match="lacks 'crop'"):
        read_description(tmp_path / "m.safetensors")
