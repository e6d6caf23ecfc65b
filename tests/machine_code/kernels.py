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
from tests.ops.host_library import INCLUDES, KERNELS, Call, hash_of

ARCHITECTURE = "sm_90"
FLAGS = ["-cubin", f"-arch={ARCHITECTURE}", "-std=c++20", "-O3", "-Xptxas", "-v"]
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


def tools() -> tuple[str, str]:
    """Return the paths of nvcc and nvdisasm.

    Raises:
        FileNotFoundError: if one is missing.
    """
    compiler = shutil.which(os.environ.get("NVCC", "nvcc"))
    if compiler is None:
        raise FileNotFoundError("no nvcc to compile the CUDA kernels; CI has it")
    packaged = Path(sysconfig.get_path("purelib"), "nvidia/cu13/bin/nvdisasm")
    disassembler = shutil.which("nvdisasm") or (str(packaged) if packaged.exists() else None)
    if disassembler is None:
        raise FileNotFoundError("no nvdisasm; run pip install nvidia-cuda-nvdisasm")
    return compiler, disassembler


def compile_kernels(kept: Path) -> Compiled:
    """Return the kernels' machine code, from the folder ``kept`` if the sources are the same.

    Raises:
        FileNotFoundError: without nvcc and nvdisasm.
    """
    compiler, disassembler = tools()
    version = subprocess.run([compiler, "--version"], check=True, capture_output=True, text=True).stdout
    folder = kept / f"machine-code-{hash_of((version, FLAGS, torch.__version__))}"
    with FileLock(kept / "machine-code.lock"):  # several processes run tests
        if not folder.exists():
            for old in kept.glob("machine-code-*/"):
                shutil.rmtree(old)
            with tempfile.TemporaryDirectory(dir=kept) as fresh, ThreadPoolExecutor(os.cpu_count()) as pool:
                list(pool.map(lambda source: _compile(source, Path(fresh), compiler, disassembler), KERNELS))
                shutil.copytree(fresh, folder)
    listings: dict[str, str] = {}
    registers: dict[str, int] = {}
    shared: dict[str, int] = {}
    stack: dict[str, int] = {}
    for source in KERNELS:
        listings |= bodies((folder / f"{source.stem}.sass").read_text())
        name = ""
        for line in (folder / f"{source.stem}.log").read_text().splitlines():
            if entry := re.search(r"Compiling entry function '(\S+)'", line):
                name = entry[1]
            elif frame := re.search(r"(\d+) bytes stack frame", line):
                stack[name] = int(frame[1])
            elif used := re.search(r"Used (\d+) registers", line):
                registers[name] = int(used[1])
                found = re.search(r"(\d+) bytes smem", line)
                shared[name] = int(found[1]) if found else 0
    return Compiled(listings, registers, shared, stack)


def _compile(source: Path, folder: Path, compiler: str, disassembler: str) -> None:
    target = folder / f"{source.stem}.cubin"
    include = [flag for path in INCLUDES for flag in ("-isystem", str(path))]
    done = subprocess.run([compiler, *FLAGS, *include, str(source), "-o", str(target)], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{source.name} does not compile:\n{done.stderr}")
    (folder / f"{source.stem}.log").write_text(done.stdout + done.stderr)
    listing = subprocess.run([disassembler, str(target)], check=True, capture_output=True, text=True).stdout
    (folder / f"{source.stem}.sass").write_text(listing)
    target.unlink()


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
