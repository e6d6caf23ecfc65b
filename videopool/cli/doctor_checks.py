"""The checks of ``videopool doctor``. They do not depend on one another."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from videopool.processes.cores import usable_cores

_PACKAGES = (
    "torch",
    "numpy",
    "av",
    "decord",
    "torchcodec",
    "pytorchvideo",
    "fvcore",
    "pillow",
    "safetensors",
    "tensorboard",
)
_LEAST_FREE = 2**30  # bytes in the folder of the runs: some checkpoints
_INSTALL = "pip install --no-build-isolation 'videopool[train]'"


@dataclasses.dataclass(frozen=True)
class Finding:
    """One result: its name, what was found, and for a fault the sentence and its fix."""

    name: str
    value: str
    fault: str = ""
    fix: str = ""


def examine(out: Path) -> list[Finding]:
    """Return all findings; ``out`` is the folder of the runs.

    A check that fails in an unexpected way becomes a fault with its error.
    """
    checks: dict[str, Callable[[], Finding]] = {
        "videopool": _videopool,
        "python": _python,
        "torch": _torch,
        "GPU": _gpu,
        "kernels": _kernels,
        "packages": _packages,
        "decoders": _decoders,
        "ffmpeg": _ffmpeg,
        "cores": _cores,
        "shared memory": _shared_memory,
        "run folder": lambda: _run_folder(out),
        "decode speed": _decode_speed,
    }
    return [_checked(name, check) for name, check in checks.items()]


def _checked(name: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except Exception as error:  # a broken installation may raise anything
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return Finding(name, "", f"check failed ({reason})", f"reinstall: {_INSTALL}")


def _videopool() -> Finding:
    import videopool

    return Finding("videopool", f"{videopool.__version__}, {Path(videopool.__file__).parent}")


def _python() -> Finding:
    return Finding("python", f"{platform.python_version()}, {platform.platform()}, {sys.executable}")


def _torch() -> Finding:
    import torch

    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU only"
    return Finding("torch", f"{torch.__version__}, {build}, {torch.get_num_threads()} threads")


def _gpu() -> Finding:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
        return Finding("GPU", ", ".join(names))
    driver = shutil.which("nvidia-smi") and subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True)
    if driver and driver.returncode == 0 and driver.stdout.strip():
        seen = driver.stdout.strip().splitlines()[0]
        if not torch.version.cuda:
            return Finding("GPU", seen, f"{seen}, but torch is built without CUDA", "install a CUDA build of torch")
        fix = f"install a driver for CUDA {torch.version.cuda}, and check CUDA_VISIBLE_DEVICES"
        return Finding("GPU", seen, f"{seen}, but torch cannot use it", fix)
    return Finding("GPU", "none")


def _kernels() -> Finding:
    import torch

    from videopool import ops
    from videopool.ops.native import load_problem

    backend, problem = ops.backend(), load_problem()
    if backend == "reference":
        fix = "install a C++ compiler, then reinstall: pip install --no-build-isolation --force-reinstall videopool"
        return Finding("kernels", backend, f"plain torch, several times slower ({problem})", fix)
    if torch.cuda.is_available() and "cuda" not in backend:
        fix = "put nvcc on the PATH, then reinstall: pip install --no-build-isolation --force-reinstall videopool"
        return Finding("kernels", backend, f"{backend}: no kernels for the GPU ({problem})", fix)
    return Finding("kernels", f"{backend}{f' ({problem})' if problem else ''}")


def _packages() -> Finding:
    versions = {name: _version(name) for name in _PACKAGES}
    text = ", ".join(f"{name} {version or 'missing'}" for name, version in versions.items())
    optional = {"decord", "torchcodec"}  # PyAV is the default decoder
    missing = [name for name, version in versions.items() if not version and name not in optional]
    if missing:
        return Finding("packages", text, f"{', '.join(missing)} missing", _INSTALL)
    return Finding("packages", text)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _decoders() -> Finding:
    from videopool.data.decoding.decode import DECODERS, check_decoder
    from videopool.errors import InputError

    loaded, others = [], []
    for decoder in (name for name in DECODERS if name != "auto"):
        try:
            check_decoder(decoder)
            loaded.append(decoder)
        except InputError as error:
            if decoder == "pyav":
                return Finding("decoders", "", str(error), "pip install -U 'av>=18.1'")
            others.append(f"{decoder} not available")
    return Finding("decoders", ", ".join([*loaded, *others]))


def _ffmpeg() -> Finding:
    import av

    libraries = ", ".join(f"{name} {'.'.join(map(str, found))}" for name, found in sorted(av.library_versions.items()))
    program = shutil.which("ffmpeg")
    return Finding("ffmpeg", f"in PyAV: {libraries}; program: {program or 'none (not needed)'}")


def _cores() -> Finding:
    return Finding("cores", f"{usable_cores()} of {os.cpu_count()} usable")


def _shared_memory() -> Finding:
    place = Path("/dev/shm")
    if not place.is_dir():
        return Finding("shared memory", "no /dev/shm")
    free = shutil.disk_usage(place).free
    note = "; only evaluate.clips=0 needs more" if free < 2**28 else ""
    return Finding("shared memory", f"{free / 2**20:,.0f} MiB free in /dev/shm{note}")


def _run_folder(out: Path) -> Finding:
    fix = "free space, fix the permissions, or give another folder with out= (here: --out)"
    existing = next(path for path in (out, *out.resolve().parents) if path.exists())
    if not existing.is_dir():
        return Finding("run folder", str(out), f"{existing} is a file, not a folder", fix)
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(bytes(2**20))
            file.flush()
    except OSError as error:
        return Finding("run folder", str(out), f"{existing} cannot be written ({error.strerror})", fix)
    free = shutil.disk_usage(existing).free
    if free < _LEAST_FREE:
        return Finding("run folder", str(out), f"{existing} has {free / 2**20:,.0f} MiB free", fix)
    return Finding("run folder", f"{out}: writable, {free / 2**30:,.1f} GiB free")


def _decode_speed() -> Finding:
    import numpy as np

    from videopool.data.decoding.decode import open_video
    from videopool.data.synthetic import motion_frames
    from videopool.data.video_file import write_video

    frames = motion_frames("left", size=(256, 340), frames=90, rng=np.random.default_rng(0))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_video(path, frames, 30)
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            with open_video(path) as video:
                pixels = video.frames_at(np.arange(90) / 30)
            seconds.append(time.perf_counter() - start)
    difference = np.abs(pixels.permute(1, 2, 3, 0).numpy().astype(int) - frames).mean()
    if difference > 16:
        return Finding("decode speed", "", f"decoded pixels differ from the written ones by {difference:.0f}", _INSTALL)
    return Finding("decode speed", f"{90 / min(seconds):,.0f} frames per second (H.264, 340x256, one core)")
