"""Find out from its bytes why a file cannot be loaded as a checkpoint or as weights."""

from __future__ import annotations

import io
import pickletools
import re
import shlex
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import torch

_FETCH_AGAIN = "copy or download it again"
_HEAD_BYTES = 4096
_LARGEST_HEADER = 100_000_000  # bytes; safetensors refuses more
# The format of torch.save before zip archives: this many pickles, the first one of a magic number, then the tensors.
_PICKLES = 5
_MAGIC = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"
_ARCHIVES = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"7z\xbc\xaf": "7z",
    b"Rar!": "rar",
    b"(\xb5/\xfd": "zstandard",
}
_MOST = 5  # classes that an error names
_REFUSED = re.compile(r"GLOBAL ([\w.]+)")  # in the error of torch.load with weights_only=True


class Writer(NamedTuple):
    """A program that writes checkpoints: its name, keys that identify them, and the key of the weights."""

    name: str
    keys: frozenset[str]
    weights: str


_WRITERS = (
    Writer("PyTorch Lightning", frozenset({"pytorch-lightning_version", "state_dict"}), "state_dict"),
    Writer("PySlowFast", frozenset({"model_state", "optimizer_state"}), "model_state"),
    Writer("mmaction2", frozenset({"meta", "state_dict"}), "state_dict"),
)


def find_writer(keys: Collection[object]) -> Writer | None:
    """Return the program whose checkpoints have these ``keys``, or None."""
    return next((writer for writer in _WRITERS if writer.keys <= set(keys)), None)


def is_safetensors(path: Path) -> bool:
    """Return whether the file is in the format safetensors, by its content."""
    with path.open("rb") as file:
        length, first = int.from_bytes(file.read(8), "little"), file.read(1)
    return first == b"{" and 2 <= length <= _LARGEST_HEADER


def diagnose(path: Path, error: Exception) -> str:
    """Return what the file is that failed to load with ``error``, and what to do, such as ``"it is empty; ..."``."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not head:
        return f"it is empty; {_FETCH_AGAIN}"
    if head.startswith(b"PK"):
        return _diagnose_zip(path, error)
    if is_safetensors(path):
        return f"it is a truncated or damaged safetensors file; {_FETCH_AGAIN}"
    if head[2:].startswith(_MAGIC):
        return _diagnose_old_format(path, error)
    if head.startswith(b"\x80"):
        return "it is a pickle not written by torch.save; load it with pickle and save its tensors with torch.save"
    return _diagnose_other(head)


def _diagnose_other(head: bytes) -> str:
    start = head.lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is an HTML or XML page, perhaps of a failed download; download the file itself"
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, not the file itself; run git lfs pull in its repository"
    archive = next((name for mark, name in _ARCHIVES.items() if head.startswith(mark)), "")
    archive = archive or ("tar" if head[257:262] == b"ustar" else "")
    if archive:
        return f"it is a {archive} archive; unpack it and give the file inside"
    if head.startswith(b"\x89HDF"):
        return "it is an HDF5 file, such as Keras writes; convert its weights to torch.save or safetensors"
    if _is_text(head):
        line = head.decode("utf-8", "replace").strip().partition("\n")[0]
        return f"it is a text file ({line[:40]!r}); give a file of torch.save or safetensors"
    return "its format is neither that of torch.save nor safetensors; give a file in one of these formats"


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        text = head[: error.start].decode("utf-8") if error.start > len(head) - 4 else "\0"  # the end cuts a character
    return all(character.isprintable() or character in "\t\r\n\f" for character in text)


def _diagnose_zip(path: Path, error: Exception) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names, broken = archive.namelist(), archive.testzip()
            pickled = next((name for name in names if name.endswith("data.pkl")), "")
            content = archive.read(pickled) if pickled and not broken else b""
    except (zipfile.BadZipFile, OSError, EOFError):
        return f"it is truncated (at {path.stat().st_size:,} bytes); {_FETCH_AGAIN}"
    if broken:
        return f"it is damaged ({broken}); {_FETCH_AGAIN}"
    if any(name.endswith("constants.pkl") for name in names):
        return (
            "it is a TorchScript program, not a checkpoint; to use its weights, save "
            f"torch.jit.load({str(path)!r}).state_dict() with torch.save"
        )
    if any(name.endswith("archive_format") for name in names):
        return "it is a program of torch.export, not a checkpoint; give the checkpoint or weights it was exported from"
    if not pickled:
        return f"it is a zip archive not written by torch.save ({names[0] if names else 'empty'}); unpack it"
    return _diagnose_objects(path, error, _strings(io.BufferedReader(io.BytesIO(content))))


def _diagnose_old_format(path: Path, error: Exception) -> str:
    try:
        with path.open("rb") as file:
            strings = _strings(file)
    except ValueError:
        return f"it is truncated or damaged; {_FETCH_AGAIN}"
    if "EOF" in str(error):  # in the tensors, after the pickles
        return f"it is truncated (at {path.stat().st_size:,} bytes); {_FETCH_AGAIN}"
    return _diagnose_objects(path, error, strings)


def _strings(file: io.BufferedReader) -> set[str]:
    """Return all strings in the pickles at the start of ``file``. A truncated pickle raises ValueError."""
    found = set()
    for _ in range(_PICKLES):
        if file.peek(1)[:1] == b"\x80":
            found |= {argument for _, argument, _ in pickletools.genops(file) if isinstance(argument, str)}
    return found


def _diagnose_objects(path: Path, error: Exception, strings: Collection[str]) -> str:
    """Diagnose a complete file that contains more than tensors and plain values."""
    writer = find_writer(strings)
    of = f" of {writer.name}" if writer else ""
    names = _refused_classes(path, error)
    rest = f" and {len(names) - _MOST} more classes" if len(names) > _MOST else ""
    found = f"{', '.join(names[:_MOST])}{rest}" if names else "objects other than tensors"
    return (
        f"it is a checkpoint{of} that contains {found}; only tensors and plain values are read, because other objects "
        f"can run code. If you trust the file, {_conversion(path, writer)}"
    )


def _refused_classes(path: Path, error: Exception) -> list[str]:
    """Return the classes and functions that torch.load refuses, without running them.

    All those of a zip archive; the first one of the old format, which ``error`` names.
    """
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # no zip archive, or pickle instructions that torch does not know
        refused = _REFUSED.search(str(error))
        return [refused[1]] if refused else []


def _conversion(path: Path, writer: Writer | None) -> str:
    """Return the command that converts the file at ``path`` to weights."""
    loaded = f"torch.load({str(path)!r}, weights_only=False)"
    weights = f"{loaded}[{writer.weights!r}]" if writer else loaded
    code = f"import torch; torch.save({weights}, 'weights.pt')"
    quoted = shlex.quote(code) if re.search(r'["$`\\!]', code) else f'"{code}"'
    end = "" if writer else " (with the key of its weights, or .state_dict() of a whole network)"
    return f"convert it: python -c {quoted}{end}; then use model.pretrained=weights.pt"
