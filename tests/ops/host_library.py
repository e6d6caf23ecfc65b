"""Build the CUDA device code for the host, once for the same sources."""

from __future__ import annotations

import hashlib
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

HERE = Path(__file__).parent
CUDA = HERE.parents[1] / "csrc/cuda"
KERNELS = sorted(path for path in CUDA.glob("*.cu") if path.name != "soft_pool.cu")
INCLUDES = [HERE.parents[1] / "csrc", Path(torch.__file__).parent / "include"]
FLAGS = ["-std=c++20", "-O1", "-fPIC", *(f"-I{path}" for path in INCLUDES), "-Wno-unknown-pragmas"]


def made_of(compiler: str) -> str:
    """Return a hash of the inputs of the library: sources, flags, compiler, and the headers of torch."""
    version = subprocess.run([compiler, "--version"], check=True, capture_output=True, text=True).stdout
    digest = hashlib.sha256(repr((version, FLAGS, torch.__version__)).encode())
    for source in sorted(path for folder in (CUDA.parent, HERE) for path in folder.rglob("*")):
        if source.suffix in (".h", ".cuh", ".cu", ".cpp"):
            digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def build(compiler: str, folder: Path) -> Path:
    """Build the library of the kernels in ``folder`` and return its path."""

    def compile_one(source: Path) -> Path:
        target = folder / f"{source.stem}.o"
        shim = ["-include", str(HERE / "cuda_host_shim.h"), "-x", "c++"]
        subprocess.run([compiler, *FLAGS, *shim, "-c", str(source), "-o", str(target)], check=True)
        return target

    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compile_one, [*KERNELS, HERE / "host_kernels.cpp"]))
    target = folder / "host_kernels.so"
    subprocess.run([compiler, "-shared", *map(str, objects), "-o", str(target)], check=True)
    return target
