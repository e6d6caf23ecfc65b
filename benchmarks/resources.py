"""Report the registers, shared memory and occupancy of the CUDA kernels; needs nvcc but no GPU.

    python benchmarks/resources.py --to benchmarks/results/DATE-cuda-resources.md

The script compiles csrc/cuda for the compute capabilities of wheels, 8.0, 9.0, 10.0 and 12.0, and lists registers,
shared memory, stack, spills and the resulting occupancy from the compiler's report. It exits with 1 if a kernel spills.
What the kernels make the hardware issue is in benchmarks/issue_slots.py.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import torch

ROOT = Path(__file__).resolve().parents[1]
CUDA = ROOT / "csrc/cuda"
ARCHS = ("80", "90", "100", "120")  # those of wheels
# Limits of a multiprocessor: threads, KiB of shared memory, blocks (CUDA C++ programming guide).
THREADS = {"80": 2048, "90": 2048, "100": 2048, "120": 1536}
SHARED = {"80": 164, "90": 228, "100": 228, "120": 100}
BLOCKS = {"80": 32, "90": 32, "100": 32, "120": 24}
REGISTERS = 65536


class Usage(NamedTuple):
    """The resources of one kernel on one architecture: registers of a thread, and bytes."""

    registers: int
    shared: int
    stack: int
    spilled: int

    def occupancy(self, arch: str, threads: int) -> float:
        """Return the largest share of a multiprocessor's threads that can run at a time."""
        by_registers = REGISTERS // (-(-self.registers // 8) * 8 * threads)
        by_shared = SHARED[arch] * 1024 // (self.shared + 1024) if self.shared else BLOCKS[arch]
        blocks = min(by_registers, by_shared, THREADS[arch] // threads, BLOCKS[arch])
        return blocks * threads / THREADS[arch]


def threads_of(kernel: str) -> int:
    """Return the threads of a block."""
    return 128 if kernel.startswith("overlapping") else 256


def readable(names: list[str]) -> list[str]:
    """Return demangled kernel names with their template arguments, without common prefixes."""
    done = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True)
    short = []
    for name in done.stdout.splitlines():
        name = re.sub(r"\(videopool::\w+\)", "", name)  # the type of an enumerator among the template arguments
        name = re.sub(r"\(.*", "", name).replace("void ", "")
        for prefix in ("videopool::", "c10::"):
            name = name.replace(prefix, "")
        short.append(name.replace("> >", ">>"))
    return short


def compile_one(source: Path, arch: str, folder: Path) -> str:
    """Compile one file and return the compiler's report."""
    target = folder / f"{source.stem}-{arch}.cubin"
    include = Path(torch.__file__).parent / "include"
    command = [os.environ.get("NVCC", "nvcc"), "-cubin", f"-arch=sm_{arch}", "-std=c++20", "-O3", "-Xptxas", "-v"]
    command += ["-isystem", str(include), str(source), "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{source.name} does not compile for sm_{arch}:\n{done.stderr}")
    return done.stderr


def parse(report: str) -> dict[str, Usage]:
    """Return the resources of each kernel in a compiler's report."""
    found: dict[str, Usage] = {}
    name, stack, spilled = "", 0, 0
    for line in report.splitlines():
        if entry := re.search(r"Compiling entry function '(\S+)'", line):
            name = entry[1]
        elif frame := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            stack, spilled = int(frame[1]), int(frame[2]) + int(frame[3])
        elif used := re.search(r"Used (\d+) registers", line):
            shared = re.search(r"(\d+) bytes smem", line)
            found[name] = Usage(int(used[1]), int(shared[1]) if shared else 0, stack, spilled)
    return dict(zip(readable(list(found)), found.values(), strict=True))


def main(arguments: argparse.Namespace) -> None:
    sources = sorted(path for path in CUDA.glob("*.cu") if path.name != "soft_pool.cu")
    usage: dict[str, dict[str, Usage]] = {arch: {} for arch in ARCHS}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = {(s, arch): pool.submit(compile_one, s, arch, Path(folder)) for s in sources for arch in ARCHS}
        for (_, arch), job in jobs.items():
            usage[arch] |= parse(job.result())
    text = markdown(usage)
    arguments.to.write_text(text)
    spilling = [name for arch in ARCHS for name, one in usage[arch].items() if one.spilled or one.stack]
    print(f"{len(usage[ARCHS[0]])} kernels, {len(spilling)} with spills or a stack; {arguments.to}")
    sys.exit(1 if spilling else 0)


def markdown(usage: dict[str, dict[str, Usage]]) -> str:
    """Return the results as Markdown."""
    version = subprocess.run([os.environ.get("NVCC", "nvcc"), "--version"], capture_output=True, text=True).stdout
    lines = [
        "# Resources of the CUDA kernels",
        "",
        "From the compiler's report, without a GPU. Template arguments: overlapping and large: the kind of op (0:",
        "SoftPool, 1: after a ReLU, 2: general); others: whether it is the general op; the dtype; owned: cells along",
        "D, lanes along a row, lanes of an access; overlapping, before the others: Patch<cells along D, stride, rows,",
        "cells along W, channels innermost, ragged>; large: lanes and windows of an access; general: index type.",
        "",
        f"Compiler: {version.strip().splitlines()[-1]}. Command: `python benchmarks/resources.py`.",
        f"For sm_{' / sm_'.join(ARCHS)}: registers of a thread; sum of stack and spilled bytes; occupancy, the share",
        "of a multiprocessor's threads that can run at a time given its registers and shared memory.",
    ]
    head = "| kernel | threads | shared bytes | registers | stack + spills | occupancy % |"
    lines += ["", head, "|---" * (head.count("|") - 1) + "|"]
    for name in sorted(usage[ARCHS[0]]):
        each = [usage[arch][name] for arch in ARCHS]
        threads = threads_of(name)
        occupancy = " / ".join(
            f"{100 * one.occupancy(arch, threads):.0f}" for arch, one in zip(ARCHS, each, strict=True)
        )
        lines.append(
            f"| `{name}` | {threads} | {each[-1].shared} | {' / '.join(str(one.registers) for one in each)} "
            f"| {' / '.join(str(one.stack + one.spilled) for one in each)} | {occupancy} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, required=True, metavar="FILE", help="write the table to this Markdown file")
    main(parser.parse_args())
