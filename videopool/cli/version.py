"""``videopool --version``. This module does not import torch."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from pathlib import Path

import videopool

_OPS = Path(videopool.__file__).parent / "ops"


def describe_version() -> str:
    """Return the versions of videopool, Python and torch, and what the installed kernels were built for."""
    try:
        torch = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        torch = "not installed"
    lines = [f"videopool {videopool.__version__}", f"python {platform.python_version()}", f"torch {torch}"]
    return "\n".join([*lines, f"kernels: {describe_kernels(_OPS)}"])


def describe_kernels(folder: Path) -> str:
    """Return what the libraries in ``folder`` were built for, which ``build.json`` records."""
    if not (folder / "_C.so").exists():
        return "none (plain torch)"
    record = folder / "build.json"
    if not record.exists():
        return "built, without a record of the build"
    built = json.loads(record.read_text(encoding="utf-8"))
    cuda = ", ".join(f"{arch[:-1]}.{arch[-1]}" for arch in built["cuda"]) if (folder / "_C_cuda.so").exists() else ""
    commit = f", commit {built['commit'][:12]}" if built["commit"] else ""
    return f"CPU ({', '.join(built['cpu'])}), CUDA ({cuda or 'none'}), built with torch {built['torch']}{commit}"
