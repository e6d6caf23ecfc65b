"""Count what the CUDA kernels make the hardware issue, from their machine code; needs nvcc and nvdisasm but no GPU.

    python -m benchmarks.issue_slots [--to FILE.md]

Runs some blocks of each kernel's machine code for sm_90 in an emulator (tests/machine_code) and counts, for each cell
of the input: issue slots, the work of the units, memory sectors. From these follows the share of copy speed that the
kernel can reach at most if nothing ever waits: the time to read and write each tensor once at copy speed, over the time
that the busiest unit needs.
"""

from __future__ import annotations

import argparse
import ctypes
import datetime
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from tests.machine_code.kernels import Compiled, Launch, MachineCode, compile_kernels
from tests.ops.host_library import Call, load

ROOT = Path(__file__).resolve().parents[1]
DTYPES = {"float32": (torch.float32, 1), "bfloat16": (torch.bfloat16, 3)}  # and Call.type
SHAPE = (8, 64, 8, 112, 112)
SAMPLED = 4  # blocks of a launch

# An H200 at its boost clock (NVIDIA H100 Tensor Core GPU architecture; CUDA C++ programming guide, arithmetic
# instructions): multiprocessors, and what each does in a clock, in lanes of warps or in lines of 128 bytes.
PROCESSORS, CLOCK, COPY_BYTES = 132, 1.98e9, 4.3e12  # copy speed in bytes/s, read and written
RATES = {"issue": 128, "integer": 64, "float": 128, "special": 16, "lines": 1}
REGISTERS, SHARED, THREADS, BLOCKS = 65536, 228 * 1024, 2048, 32  # of a multiprocessor

UNITS = {
    "integer": "IADD3 LOP3 ISETP FSETP FSEL SEL FMNMX VIMNMX VIMNMX3 VIADDMNMX SHF PRMT LEA PLOP3 P2R R2P MOV VIADD "
    "FSET CS2R F2FP IABS POPC",
    "float": "FADD FMUL FFMA HADD2 HFMA2 IMAD",
    "special": "MUFU I2F I2FP F2I",
}
UNIT_OF = {name: unit for unit, names in UNITS.items() for name in names.split()}


class Case(NamedTuple):
    """One row: a window, the shape of the input, and what is unusual about the input."""

    name: str
    kernel: tuple[int, int, int]
    stride: tuple[int, int, int]
    padding: tuple[int, int, int] = (0, 0, 0)
    shape: tuple[int, int, int, int, int] = SHAPE
    spread: float = 1.0
    infinite: bool = False


CASES = [
    Case("2x2x2", (2, 2, 2), (2, 2, 2)),
    Case("1x2x2", (1, 2, 2), (1, 2, 2)),
    Case("1x3x3 s2", (1, 3, 3), (1, 2, 2), (0, 1, 1)),
    Case("3x3x3 s2", (3, 3, 3), (2, 2, 2), (1, 1, 1)),
    Case("3x3x3 s1", (3, 3, 3), (1, 1, 1), (1, 1, 1)),
    Case("2x7x7", (2, 7, 7), (2, 7, 7)),
    Case("4x7x7, whole", (4, 7, 7), (4, 7, 7), shape=(16, 2048, 4, 7, 7)),
    Case("8x28x28, whole", (8, 28, 28), (8, 28, 28), shape=(8, 64, 8, 28, 28)),
    Case("1x3x3 s2, width 14", (1, 3, 3), (1, 2, 2), (0, 1, 1), shape=(8, 256, 8, 14, 14)),
    Case("3x3x3 s1, width 7", (3, 3, 3), (1, 1, 1), (1, 1, 1), shape=(8, 512, 8, 7, 7)),
    Case("1x3x3 s2, x * 20", (1, 3, 3), (1, 2, 2), (0, 1, 1), spread=20.0),
    Case("3x3x3 s1, x * 20", (3, 3, 3), (1, 1, 1), (1, 1, 1), spread=20.0),
    Case("3x3x3 s1, infinities in grad", (3, 3, 3), (1, 1, 1), (1, 1, 1), infinite=True),
]


class Count(NamedTuple):
    """What a launch costs: per cell of the input, and on a multiprocessor."""

    kernel: str
    slots: float
    clocks: dict[str, float]  # of a multiprocessor for a cell, by unit, and "copy"
    sectors: float  # times those of reading and writing each tensor once
    registers: int
    warps: int

    @property
    def cap(self) -> tuple[float, str]:
        """The share of copy speed that is left, and the unit that limits it."""
        unit = max((unit for unit in self.clocks if unit != "copy"), key=lambda unit: self.clocks[unit])
        share = self.clocks["copy"] / max(self.clocks["copy"], self.clocks[unit])
        return share, unit if share < 1 else ""


def sizes_of(case: Case) -> tuple[int, int]:
    """Return the numbers of cells and of windows."""
    axes = zip(case.shape[2:], case.kernel, case.stride, case.padding, strict=True)
    windows = [(size + 2 * p - k) // s + 1 for size, k, s, p in axes]
    planes = case.shape[0] * case.shape[1]
    return planes * int(np.prod(case.shape[2:])), planes * int(np.prod(windows))


def count(code: MachineCode, compiled: Compiled, case: Case, dtype: str, channels_last: bool, direction: str) -> Count:
    """Return the costs of the launches of one call."""
    kind, number = DTYPES[dtype]
    cells, windows = sizes_of(case)
    rng = torch.Generator().manual_seed(0)
    tensors = {name: torch.randn(cells if name == "x" else windows, generator=rng).to(kind) for name in ("x", "grad")}
    tensors["x"] *= case.spread
    if case.infinite:
        tensors["grad"][:: max(1, windows // 1000)] = float("inf")
    tensors |= {"y": torch.empty(windows, dtype=kind), "dx": torch.empty(cells, dtype=kind)}
    call = Call(case.shape, case.kernel, case.stride, case.padding, (1, 1, 1))
    call.channels_last, call.beta, call.type = channels_last, 1.0, number
    for name, tensor in tensors.items():
        setattr(call, name, tensor.data_ptr())
    scratch = torch.empty(3 * windows + 4)
    memory = code.memory_of(call, direction)
    memory.allow(scratch.data_ptr(), 4 * scratch.numel(), "scratch", writable=True)
    slots: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    launches = code.launches(ctypes.byref(call), direction, scratch.data_ptr())
    for launch in launches:
        memory.counts.clear()
        machine = code.machine(launch, memory)
        blocks = np.random.default_rng(1).choice(launch.blocks, min(SAMPLED, launch.blocks), replace=False)
        for block in blocks:
            machine.run(int(block))
        share = len(blocks) / launch.blocks
        for total, found in ((slots, machine.slots), (counts, memory.counts)):
            for name, value in found.items():
                total[name] += value / share
    return costs(
        launches[-1], compiled, slots, counts, cells, cells + windows + (cells if direction == "backward" else 0), kind
    )


def costs(
    launch: Launch,
    compiled: Compiled,
    slots: Counter[str],
    counts: Counter[str],
    cells: int,
    numbers: int,
    dtype: torch.dtype,
) -> Count:
    """Return the costs of a cell, if ``numbers`` are read and written."""
    per_unit: Counter[str] = Counter()
    for name, warps in slots.items():
        per_unit["issue"] += 32 * warps / cells
        unit = UNIT_OF.get(name.split(".")[0])
        if unit:
            per_unit[unit] += (
                (2 if name.startswith("IMAD") else 1) * 32 * warps / cells
            )  # a product of integers: half rate
    per_unit["lines"] = (counts["load lines"] + counts["store lines"] + counts["shared wavefronts"]) / cells
    clocks = {unit: per_unit[unit] / rate for unit, rate in RATES.items()}
    moved = numbers * dtype.itemsize
    clocks["copy"] = moved / cells / COPY_BYTES * CLOCK * PROCESSORS
    sectors = 32 * (counts["load sectors"] + counts["store sectors"]) / moved
    registers = compiled.registers[launch.kernel]
    return Count(launch.kernel, per_unit["issue"], clocks, sectors, registers, resident_warps(launch, compiled))


def resident_warps(launch: Launch, compiled: Compiled) -> int:
    """Return how many warps a multiprocessor can hold."""
    warps = -(-launch.threads // 32)
    of_warp = -(-compiled.registers[launch.kernel] * 32 // 256) * 256
    blocks = min(REGISTERS // (of_warp * warps), THREADS // (32 * warps), BLOCKS)
    shared = compiled.shared[launch.kernel]
    return warps * (min(blocks, SHARED // (shared + 1024)) if shared else blocks)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", default="", help="rows whose name contains this text")
    parser.add_argument("--to", type=Path, help="write the table to this file")
    arguments = parser.parse_args()
    lines = [
        "# Issue slots of the CUDA kernels",
        "",
        f"{datetime.date.today()}. Machine code for sm_90, {SAMPLED} blocks of each launch in the emulator of "
        "`tests/machine_code`; no GPU. Slots: issue slots of a lane for each cell of the input. Cap: the share of copy "
        f"speed ({COPY_BYTES / 1e12:g} TB/s of an H200) that is left if every slot is used, and what limits it. "
        "Sectors: 32-byte sectors that loads and stores touch, over those of each tensor once. Warps: that fit a "
        "multiprocessor.",
        "",
        "    python -m benchmarks.issue_slots",
        "",
        "| window | direction | layout | dtype | slots | cap % | limit | sectors | registers | warps |",
        "|---|---|---|---|---:|---:|---|---:|---:|---:|",
    ]
    print("\n".join(lines))
    kept = ROOT / "build/machine_code"
    kept.mkdir(parents=True, exist_ok=True)
    compiled = compile_kernels(kept)
    code = MachineCode(load(kept), compiled)
    for case in CASES:
        if arguments.only not in case.name:
            continue
        for direction in ("backward",) if case.infinite else ("forward", "backward"):
            for channels_last in (False, True):
                for dtype in DTYPES:
                    found = count(code, compiled, case, dtype, channels_last, direction)
                    cap, unit = found.cap
                    layout = "channels_last" if channels_last else "contiguous"
                    lines.append(
                        f"| {case.name} | {direction} | {layout} | {dtype} | {found.slots:.1f} | {100 * cap:.0f} | "
                        f"{unit} | {found.sectors:.2f} | {found.registers} | {found.warps} |"
                    )
                    print(lines[-1], flush=True)
    if arguments.to:
        arguments.to.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
