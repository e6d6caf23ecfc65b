"""What the CUDA kernels take of a multiprocessor, from the compiler's report; no GPU needed.

    python benchmarks/resources.py --to benchmarks/results/DATE-cuda-resources.md [--cuobjdump PATH]

Compiles csrc/cuda for compute capability 7.5, 8.0 and 9.0 and lists registers, shared memory, stack, spills and the
occupancy that these allow. With --cuobjdump, also how wide the accesses of the machine code for 9.0 are. Exit status 1
if a kernel spills.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import torch

ROOT = Path(__file__).resolve().parents[1]
CUDA = ROOT / "csrc/cuda"
ARCHS = ("75", "80", "90")
# Threads, KiB of shared memory and blocks that a multiprocessor holds, by the CUDA C++ programming guide.
THREADS = {"75": 1024, "80": 2048, "90": 2048}
SHARED = {"75": 64, "80": 164, "90": 228}
BLOCKS = {"75": 16, "80": 32, "90": 32}
REGISTERS = 65536


class Usage(NamedTuple):
    """One kernel on one architecture; bytes."""

    registers: int
    shared: int
    stack: int
    spilled: int

    def occupancy(self, arch: str, threads: int) -> float:
        """The largest share of the threads of a multiprocessor that can be at work."""
        by_registers = REGISTERS // (-(-self.registers // 8) * 8 * threads)
        by_shared = SHARED[arch] * 1024 // (self.shared + 1024) if self.shared else BLOCKS[arch]
        blocks = min(by_registers, by_shared, THREADS[arch] // threads, BLOCKS[arch])
        return blocks * threads / THREADS[arch]


def threads_of(kernel: str) -> int:
    return 128 if kernel.startswith("overlapping_forward") else 256


def readable(names: list[str]) -> list[str]:
    """Kernel names with their template arguments, without what all have in common."""
    done = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True)
    short = []
    for name in done.stdout.splitlines():
        name = re.sub(r"\(.*", "", name).replace("void ", "")
        for prefix in ("videopool::", "c10::"):
            name = name.replace(prefix, "")
        short.append(name.replace("> >", ">>"))
    return short


def compile_one(source: Path, arch: str, folder: Path) -> tuple[str, Path]:
    """-> the compiler's report, and the machine code."""
    target = folder / f"{source.stem}-{arch}.cubin"
    include = Path(torch.__file__).parent / "include"
    command = [os.environ.get("NVCC", "nvcc"), "-cubin", f"-arch=sm_{arch}", "-std=c++20", "-O3", "-Xptxas", "-v"]
    command += ["-isystem", str(include), str(source), "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{source.name} does not compile for sm_{arch}:\n{done.stderr}")
    return done.stderr, target


def parse(report: str) -> dict[str, Usage]:
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


def accesses(cuobjdump: str, cubin: Path) -> dict[str, Counter[str]]:
    """How often loads, stores and exponentials of each kind stand in the machine code of each kernel."""
    text = subprocess.run([cuobjdump, "-sass", str(cubin)], capture_output=True, text=True, check=True).stdout
    parts = text.split("Function : ")[1:]
    names = readable([part.split("\n", 1)[0].strip() for part in parts])
    operation = re.compile(r"/\*[0-9a-f]{4,5}\*/\s+(?:@!?U?P\d+\s+)?([A-Z0-9_.]+)")
    return {name: Counter(operation.findall(part)) for name, part in zip(names, parts, strict=True)}


def width_summary(counts: Counter[str]) -> str:
    def total(prefix: str, width: str) -> int:
        return sum(count for name, count in counts.items() if name.startswith(prefix) and width in name)

    loads, stores = (f"{total(kind, '.128')}/{total(kind, '.64')}" for kind in ("LDG", "STG"))
    return f"{loads} | {stores} | {counts['MUFU.EX2']} | {sum(counts.values())}"


def main(arguments: argparse.Namespace) -> None:
    sources = sorted(path for path in CUDA.glob("*.cu") if path.name != "soft_pool.cu")
    usage: dict[str, dict[str, Usage]] = {arch: {} for arch in ARCHS}
    widths: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = {(s, arch): pool.submit(compile_one, s, arch, Path(folder)) for s in sources for arch in ARCHS}
        for (_, arch), job in jobs.items():
            report, cubin = job.result()
            usage[arch] |= parse(report)
            if arch == ARCHS[-1] and arguments.cuobjdump:
                widths |= accesses(arguments.cuobjdump, cubin)
    text = markdown(usage, widths)
    arguments.to.write_text(text)
    spilling = [name for arch in ARCHS for name, one in usage[arch].items() if one.spilled or one.stack]
    print(f"{len(usage[ARCHS[0]])} kernels, {len(spilling)} with spills or a stack; {arguments.to}")
    sys.exit(1 if spilling else 0)


def markdown(usage: dict[str, dict[str, Usage]], widths: dict[str, Counter[str]]) -> str:
    version = subprocess.run([os.environ.get("NVCC", "nvcc"), "--version"], capture_output=True, text=True).stdout
    lines = [
        "# What the CUDA kernels take of a multiprocessor",
        "",
        "From the compiler's report, not from a GPU. Template arguments: whether it is the general op, the dtype, then",
        "owned: cells along D, lanes along a row, lanes of an access; overlapping: Patch<cells along D, stride, lanes,",
        "rows>; large: lanes; general: index type.",
        "",
        f"Compiler: {version.strip().splitlines()[-1]}. Command: `python benchmarks/resources.py`.",
        "For each of sm_75 / sm_80 / sm_90: registers of a thread; stack and spilled bytes together; occupancy, the",
        "share of a multiprocessor's threads that registers and shared memory let run at a time.",
    ]
    head = "| kernel | threads | shared bytes | registers | stack + spills | occupancy % |"
    if widths:
        lines += [
            "sm_90 machine code: loads and stores of 16 / 8 bytes, powers (MUFU.EX2) and instructions, as they stand:",
            "quick and careful form together, and twice where there is a copy with ReLU and one without.",
        ]
        head += " loads 16/8 | stores 16/8 | powers | instructions |"
    lines += ["", head, "|---" * (head.count("|") - 1) + "|"]
    for name in sorted(usage[ARCHS[0]]):
        each = [usage[arch][name] for arch in ARCHS]
        threads = threads_of(name)
        occupancy = " / ".join(
            f"{100 * one.occupancy(arch, threads):.0f}" for arch, one in zip(ARCHS, each, strict=True)
        )
        row = (
            f"| `{name}` | {threads} | {each[-1].shared} | {' / '.join(str(one.registers) for one in each)} "
            f"| {' / '.join(str(one.stack + one.spilled) for one in each)} | {occupancy} |"
        )
        lines.append(row + (f" {width_summary(widths[name])} |" if widths else ""))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, required=True, metavar="FILE", help="where the table goes")
    parser.add_argument("--cuobjdump", metavar="PATH", help="CUDA's disassembler, for the widths of accesses")
    main(parser.parse_args())
