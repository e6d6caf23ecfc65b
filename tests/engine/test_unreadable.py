"""Errors about files that are not checkpoints or weights: what the file is, and what to do."""

import argparse
import gzip
import pickle
import re
import shlex
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from videopool.engine.checkpoints.files import read_checkpoint, read_weights
from videopool.errors import InputError

WEIGHTS = {"w": torch.arange(2000.0)}


class Settings:
    """A class that torch.load refuses with weights_only=True."""


def save_old_format(content: object, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def cut(write: Callable[[Path], None], keep: float) -> Callable[[Path], None]:
    def write_and_cut(path: Path) -> None:
        write(path)
        content = path.read_bytes()
        path.write_bytes(content[: int(keep * len(content))])

    return write_and_cut


def damaged(path: Path) -> None:
    torch.save({"w": torch.arange(2000.0), "s": Settings()}, path)
    content = bytearray(path.read_bytes())
    place = content.index(torch.arange(1000.0, 1010.0).numpy().tobytes())
    content[place] ^= 1
    path.write_bytes(content)


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "hello")


def tarred(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        archive.add(__file__, "test.py")


def lightning(path: Path) -> None:
    settings = argparse.Namespace(lr=0.1)
    torch.save({"state_dict": WEIGHTS, "hyper_parameters": settings, "pytorch-lightning_version": "2.0"}, path)


def exported(path: Path) -> None:
    with path.open("wb") as file:
        torch.export.save(torch.export.export(torch.nn.Linear(2, 2), (torch.ones(1, 2),)), file)


UNREADABLE = {
    "empty": (lambda path: path.write_bytes(b""), "it is empty; copy or download it again"),
    "html": (lambda path: path.write_text("\n<!DOCTYPE html><html>404</html>"), "HTML or XML page"),
    "xml": (lambda path: path.write_text("<?xml version='1.0'?><Error/>"), "HTML or XML page"),
    "lfs": (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid"), "run git lfs pull"),
    "text": (lambda path: path.write_text("hello\nworld " + "é" * 4000), "it is a text file ('hello')"),
    "bytes": (lambda path: path.write_bytes(bytes(range(1, 256)) * 4), "neither that of torch.save nor safetensors"),
    "gzip": (lambda path: path.write_bytes(gzip.compress(b"x" * 100)), "it is a gzip archive"),
    "tar": (tarred, "it is a tar archive"),
    "zip": (zipped, "zip archive not written by torch.save (notes.txt)"),
    "hdf5": (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100)), "HDF5"),
    "truncated": (cut(lambda path: torch.save(WEIGHTS, path), 0.5), "it is truncated (at "),
    "truncated before its objects": (cut(lambda path: save_old_format(WEIGHTS, path), 0.01), "truncated or damaged"),
    "truncated in its tensors": (cut(lambda path: save_old_format(WEIGHTS, path), 0.9), "it is truncated (at "),
    "truncated safetensors": (cut(lambda path: save_file(WEIGHTS, path), 0.9), "truncated or damaged safetensors file"),
    "damaged": (damaged, "it is damaged (damaged/data/0)"),
    "script": (lambda path: torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path), "TorchScript program"),
    "program": (exported, "program of torch.export"),
    "pickle": (lambda path: path.write_bytes(pickle.dumps({"blobs": Settings()})), "pickle not written by torch.save"),
    "object": (lambda path: torch.save({"model": Settings()}, path), f"contains {__name__}.Settings; only tensors"),
    "old object": (
        lambda path: save_old_format({"model": Settings()}, path),
        f"contains {__name__}.Settings; only tensors",
    ),
    "objects": (
        lambda path: torch.save({"m": Settings(), "n": argparse.Namespace(a=1)}, path),
        f"contains argparse.Namespace, {__name__}.Settings; only tensors",
    ),
    "network": (lambda path: torch.save(torch.nn.Linear(2, 2), path), ".Linear; only tensors"),
    "lightning": (lightning, "a checkpoint of PyTorch Lightning that contains argparse.Namespace; only tensors"),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("read", [read_checkpoint, read_weights])
@pytest.mark.parametrize("kind", UNREADABLE)
def test_error_names_the_format(kind: str, read: Callable, tmp_path: Path) -> None:
    write, expected = UNREADABLE[kind]
    path = tmp_path / f"{kind.replace(' ', '_')}.pt"
    write(path)
    with pytest.raises(InputError, match=re.escape(expected)) as raised:
        read(path)
    sentence = str(raised.value)
    assert str(path) in sentence
    assert sentence.isprintable()


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["plain", "it's $HOME"])
def test_suggested_conversion_works(folder: str, tmp_path: Path) -> None:
    path = tmp_path / folder / "light.ckpt"
    path.parent.mkdir()
    lightning(path)
    with pytest.raises(InputError) as raised:
        read_weights(path)
    command = re.search(r"convert it: (python -c .*); then use model\.pretrained=weights\.pt", str(raised.value))
    assert command is not None
    python = shlex.quote(sys.executable)
    subprocess.run(command[1].replace("python", python, 1), shell=True, check=True, cwd=tmp_path)
    assert torch.equal(read_weights(tmp_path / "weights.pt")["w"], WEIGHTS["w"])


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
def test_safetensors_are_recognized_by_content(name: str, tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / name)
    assert torch.equal(read_weights(tmp_path / name)["w"], WEIGHTS["w"])
    torch.save({"w": torch.ones(3)}, tmp_path / name)
    assert torch.equal(read_weights(tmp_path / name)["w"], torch.ones(3))


@pytest.mark.parametrize(
    ("content", "writer"),
    [
        ({"state_dict": WEIGHTS, "pytorch-lightning_version": "2.0"}, "PyTorch Lightning"),
        ({"epoch": 1, "model_state": WEIGHTS, "optimizer_state": {}, "cfg": "NUM_GPUS: 8"}, "PySlowFast"),
        ({"meta": {"epoch": 1}, "state_dict": WEIGHTS}, "mmaction2"),
        (WEIGHTS, "another program"),
    ],
)
def test_checkpoints_of_other_programs(content: dict, writer: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(
        InputError, match=f"written by {writer}, not by videopool train; to use its weights, set model.pre"
    ):
        read_checkpoint(tmp_path / "other.pt")
    assert read_weights(tmp_path / "other.pt").keys() == content.keys()


def test_missing_files_and_folders(tmp_path: Path) -> None:
    for read in (read_checkpoint, read_weights):
        with pytest.raises(InputError, match="No such file or directory; give an existing file"):
            read(tmp_path / "none.pt")
        with pytest.raises(InputError, match="Is a directory; give an existing file"):
            read(tmp_path)
