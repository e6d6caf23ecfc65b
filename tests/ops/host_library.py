"""Build the CUDA device code for the host, once for the same sources."""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from filelock import FileLock

HERE = Path(__file__).parent
CUDA = HERE.parents[1] / "csrc/cuda"
KERNELS = sorted(path for path in CUDA.glob("*.cu") if path.name != "soft_pool.cu")
INCLUDES = [HERE.parents[1] / "csrc", Path(torch.__file__).parent / "include"]
FLAGS = ["-std=c++20", "-O1", "-fPIC", *(f"-I{path}" for path in INCLUDES), "-Wno-unknown-pragmas"]


class Call(ctypes.Structure):
    """The same fields as Call in host_kernels.cpp."""

    _fields_ = (
        ("sizes", ctypes.c_int64 * 5),
        *((name, ctypes.c_int64 * 3) for name in ("kernel", "stride", "padding", "dilation")),
        *((name, ctypes.c_int64) for name in ("adaptive", "ceil_mode", "channels_last", "detach_weights")),
        *((name, ctypes.c_int64) for name in ("relu", "type")),
        ("beta", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in ("grad", "x", "logits", "y", "dx", "dlogits")),
    )


def load(kept: Path) -> ctypes.CDLL:
    """Return the library of the folder ``kept``, built if the sources have changed.

    Raises:
        FileNotFoundError: without a C++ compiler.
    """
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        raise FileNotFoundError("no C++ compiler to build the device code for the host; CI has one")
    target = kept / f"host_kernels-{made_of(compiler)}.so"
    with FileLock(kept / "host_kernels.lock"):  # several processes run tests
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=kept) as folder:
                fresh = build(compiler, Path(folder))
                for old in kept.glob("host_kernels-*.so"):
                    old.unlink()
                fresh.replace(target)
    loaded = ctypes.CDLL(str(target))
    for name in ("forward", "backward", "recorded_kernel"):
        getattr(loaded, name).restype = ctypes.c_char_p
    loaded.recorded_parameters.restype = ctypes.c_void_p
    numbers = ("cells_of_call", "windows_of_call", "scratch_of_backward")
    for name in (*numbers, "choose_forward", "choose_backward", "record_forward", "record_backward"):
        getattr(loaded, name).restype = ctypes.c_int64
    return loaded


def kept_folder(config: pytest.Config, folders: pytest.TempPathFactory) -> Path:
    """Return a folder for what is built once for the same sources."""
    cache = getattr(config, "cache", None)  # absent with -p no:cacheprovider
    return cache.mkdir("device_code") if cache else folders.mktemp("kept")


def made_of(compiler: str) -> str:
    """Return a hash of the inputs of the library: sources, flags, compiler, and the headers of torch."""
    version = subprocess.run([compiler, "--version"], check=True, capture_output=True, text=True).stdout
    return hash_of((version, FLAGS, torch.__version__))


def hash_of(settings: object) -> str:
    """Return a hash of ``settings`` and of all native sources."""
    digest = hashlib.sha256(repr(settings).encode())
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
