"""The machine code of the CUDA kernels, and calls of the ops that run it in the emulator."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from filelock import FileLock

from tests.machine_code.listing import bodies, parse
from tests.machine_code.machine import Machine
from tests.machine_code.memory import FaultError, GlobalMemory
from tests.ops.host_library import CUDA, INCLUDES, KERNELS, Call, hash_of

ARCHITECTURE = "sm_90"
# Those of setup.py, without the host code, which is all that its -O2 is for.
FLAGS = ["-cubin", f"-arch={ARCHITECTURE}", "-std=c++20"]
LIBRARY = CUDA.parents[1] / "videopool/ops/_C_cuda.so"
RESERVED = 1024  # bytes of shared memory that every block has for the system
BYTES = (8, 4, 2, 2)  # of the dtypes, in the order of Call.type


class Launch(NamedTuple):
    """A launch that the host code makes: the mangled name of the kernel, the grid, and the bytes of the parameters."""

    kernel: str
    blocks: int
    threads: int
    parameters: bytes


class Compiled(NamedTuple):
    """All kernels by their mangled names: listings, registers of a thread, bytes of shared memory and of the stack."""

    listings: dict[str, str]
    registers: dict[str, int]
    shared: dict[str, int]
    stack: dict[str, int]


def tool(name: str) -> str:
    """Return the path of a program of the CUDA toolkit, which may come from a Python package.

    Raises:
        FileNotFoundError: if it is missing.
    """
    packaged = Path(sysconfig.get_path("purelib"), "nvidia/cu13/bin", name)
    found = shutil.which(name) or (str(packaged) if packaged.exists() else None)
    if found is None:
        raise FileNotFoundError(f"no {name}; run pip install nvidia-cuda-{name}")
    return found


def compiler() -> str:
    """Return the path of nvcc.

    Raises:
        FileNotFoundError: if it is missing.
    """
    found = shutil.which(os.environ.get("NVCC", "nvcc"))
    if found is None:
        raise FileNotFoundError("no nvcc to compile the CUDA kernels; CI has it")
    return found


def compile_kernels(kept: Path) -> Compiled:
    """Return the kernels' machine code, from the folder ``kept`` if the sources are the same.

    The code is that of the installed library if it is newer than all sources. Otherwise, the sources are compiled.

    Raises:
        FileNotFoundError: without nvcc, nvdisasm or cuobjdump.
    """
    version = output(compiler(), "--version")
    folder = kept / f"machine-code-{hash_of((version, FLAGS, torch.__version__))}"
    with FileLock(kept / "machine-code.lock"):  # several processes run tests
        if not folder.exists():
            for old in kept.glob("machine-code-*/"):
                shutil.rmtree(old)
            with tempfile.TemporaryDirectory(dir=kept) as fresh, ThreadPoolExecutor(os.cpu_count()) as pool:
                list(pool.map(describe, installed_code(Path(fresh)) or compiled_code(Path(fresh))))
                shutil.copytree(fresh, folder)
    return read_code(folder)


def installed_code(folder: Path) -> list[Path]:
    """Write the code in the installed library to ``folder``; return the files, none if a source is newer."""
    sources = [path for path in CUDA.parent.rglob("*") if path.is_file()]
    if not LIBRARY.exists() or LIBRARY.stat().st_mtime < max(path.stat().st_mtime for path in sources):
        return []
    output(tool("cuobjdump"), "-xelf", f"{ARCHITECTURE}.cubin", str(LIBRARY), folder=folder)
    return sorted(folder.glob("*.cubin"))


def compiled_code(folder: Path) -> list[Path]:
    """Compile the kernels into ``folder``; return the files."""
    include = [flag for path in INCLUDES for flag in ("-isystem", str(path))]

    def compile_one(source: Path) -> Path:
        target = folder / f"{source.stem}.cubin"
        output(compiler(), *FLAGS, *include, str(source), "-o", str(target))
        return target

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(compile_one, KERNELS))


def describe(cubin: Path) -> None:
    """Replace a file of machine code by its listing, and by what its kernels use."""
    cubin.with_suffix(".sass").write_text(output(tool("nvdisasm"), str(cubin)))
    cubin.with_suffix(".usage").write_text(output(tool("cuobjdump"), "-res-usage", str(cubin)))
    cubin.unlink()


def output(*command: str, folder: Path | None = None) -> str:
    """Return what a program prints.

    Raises:
        RuntimeError: if it fails.
    """
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def read_code(folder: Path) -> Compiled:
    """Return what ``compile_kernels`` has written to ``folder``."""
    code = Compiled({}, {}, {}, {})
    for listing in sorted(folder.glob("*.sass")):
        code.listings.update(bodies(listing.read_text()))
        usage = re.findall(
            r"Function (\S+):\s+REG:(\d+) STACK:(\d+) SHARED:(\d+)", listing.with_suffix(".usage").read_text()
        )
        for name, registers, stack, shared in usage:
            code.registers[name], code.stack[name] = int(registers), int(stack)
            code.shared[name] = max(int(shared) - RESERVED, 0)
    return code


class MachineCode:
    """The functions of the host library, but with machine code in the emulator in place of the kernels.

    Args:
        host: the host library, which chooses the kernels and their launches.
        compiled: the kernels.
    """

    def __init__(self, host: ctypes.CDLL, compiled: Compiled) -> None:
        self._host, self._compiled = host, compiled
        self.choose_forward, self.choose_backward = host.choose_forward, host.choose_backward

    def forward(self, call: Any) -> bytes:
        """Run the forward op of a ``Call``, given by reference; return what went wrong, or an empty text."""
        return self._run(call, "forward")

    def backward(self, call: Any) -> bytes:
        """The same for the backward op."""
        return self._run(call, "backward")

    def _run(self, call: Any, direction: str) -> bytes:
        scratch = np.zeros(self._host.scratch_of_backward(call) // 4 + 4, np.float32)
        memory = self.memory_of(call._obj, direction)
        memory.allow(scratch.ctypes.data, scratch.nbytes, "scratch", writable=True)
        try:
            for launch in self.launches(call, direction, scratch.ctypes.data):
                machine = self.machine(launch, memory)
                for block in range(launch.blocks):
                    machine.run(block)
        except (FaultError, NotImplementedError) as error:
            return f"{launch.kernel}: {error}".encode()
        return b""

    def memory_of(self, call: Call, direction: str) -> GlobalMemory:
        """Return memory with the tensors of a call."""
        size = BYTES[call.type]
        cells, windows = (
            function(ctypes.byref(call)) * size for function in (self._host.cells_of_call, self._host.windows_of_call)
        )
        outputs = {"y"} if direction == "forward" else {"dx", "dlogits"}
        memory = GlobalMemory()
        for name in ("x", "logits", *(() if direction == "forward" else ("grad",)), *outputs):
            address = getattr(call, name)
            if address:
                memory.allow(address, windows if name in ("y", "grad") else cells, name, writable=name in outputs)
        return memory

    def launches(self, call: Any, direction: str, scratch: int = 0) -> list[Launch]:
        """Return the launches of a call, given by reference."""
        host, sizes = self._host, (ctypes.c_int64 * 3)()
        count = (
            host.record_forward(call)
            if direction == "forward"
            else host.record_backward(call, ctypes.c_void_p(scratch))
        )
        found = []
        for number in range(count):
            host.recorded_sizes(number, sizes)
            parameters = ctypes.string_at(host.recorded_parameters(number), sizes[2])
            found.append(Launch(host.recorded_kernel(number).decode(), sizes[0], sizes[1], parameters))
        return found

    def machine(self, launch: Launch, memory: GlobalMemory) -> Machine:
        """Return a machine that runs the blocks of a launch."""
        kernel = parse(self._compiled.listings[launch.kernel])
        return Machine(kernel, memory, launch.parameters, launch.threads, launch.blocks)
