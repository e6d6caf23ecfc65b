"""Run an exported file in a process where videopool cannot be imported. This file is run by its path.

``python -I isolated.py FILE CLIPS LOGITS`` reads arrays ``clips.npz``, each uint8 [B,3,T,H,W], and writes the logits of
each, float32 [B,K], under the same names.
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Run = Callable[[Any], Any]


def main(file: Path, clips: Path, logits: Path) -> None:
    """Run ``file`` on the arrays of ``clips`` and write ``logits``."""
    sys.modules["videopool"] = None  # type: ignore[assignment]  # an import of it raises ModuleNotFoundError
    if file.suffix == ".onnx":
        run = _load_onnx(file)
    else:
        with zipfile.ZipFile(file) as archive:
            compiled = any("/data/aotinductor/" in name for name in archive.namelist())
        run = _load_package(file) if compiled else _load_program(file)
    with np.load(clips) as arrays:
        np.savez(logits, **{name: run(arrays[name]) for name in arrays.files})


def _load_onnx(file: Path) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return lambda clips: session.run(None, {session.get_inputs()[0].name: clips})[0]


def _load_program(file: Path) -> Run:
    import torch

    with file.open("rb") as opened:
        return _of_torch(torch.export.load(opened).module())


def _load_package(file: Path) -> Run:
    import torch

    return _of_torch(torch._inductor.aoti_load_package(str(file)))


def _of_torch(program: Any) -> Run:
    import torch

    def run(clips: Any) -> Any:
        with torch.inference_mode():
            return program(torch.from_numpy(clips)).numpy()

    return run


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
