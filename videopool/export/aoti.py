"""Export a network as a package that AOTInductor compiled for CPUs: needs torch (or libtorch in C++), no compiler."""

from __future__ import annotations

import contextlib
import json
import platform
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from videopool.errors import InputError
from videopool.export import plain, trace, verify
from videopool.export.deployed import Deployed, Exported
from videopool.export.description import METADATA, PROPERTY, Description
from videopool.files import atomic_write

FILE = "aoti.pt2"
_ARCHIVE = "aoti"  # the folder inside the package
_MODEL = "/data/aotinductor/"
# The bits of the vectors that Inductor writes its code for; None: those of this processor. 1 leaves it to the compiler.
_VECTORS = {"native": None, "x86-64": 1, "x86-64-v2": 1}


def export_aoti(deployed: Deployed, description: Description, folder: Path, *, march: str = "") -> Exported:
    """Write ``aoti.pt2`` (any batch size) and the description; verify the file.

    The package maps uint8 clips [B,3,T,H,W] to logits [B,K]. The native pooling ops are replaced by torch's own ops and
    compiled together with the operators around them. It is verified in a process where videopool cannot be imported.

    Args:
        deployed, description, folder: as for every format.
        march: the processor, as for the option ``-march`` of GCC; ``native`` is this one. Empty: x86-64-v3 (AVX2) on
            x86, otherwise the compiler's default.

    Raises:
        InputError: if there is no C++ compiler, or the network has an operator of another library.
        RuntimeError: if the file does not give the logits of the network; with the operators that differ.
    """
    if shutil.which(_compiler()) is None:
        raise InputError(f"The format aoti needs the C++ compiler {_compiler()}; install it (apt install g++)")
    reference = verify.expected_logits(deployed, description)
    native, table = trace.trace(deployed, description), plain.table()
    program = trace.decompose(native, table)
    with tempfile.TemporaryDirectory() as temporary, atomic_write(folder / FILE) as path:
        package = Path(temporary, "package.pt2")
        _compile(program, package, march, description)
        _write_without_paths(package, path, keep_processor=march == "native", description=description)
        with verify.naming_operators(lambda: verify.differing_operators(native, table, description)):
            difference = verify.compare(reference, verify.run_isolated(path, description), of=FILE)
    description.write(folder)
    return Exported(folder / FILE, difference)


def _compile(program: ExportedProgram, package: Path, march: str, description: Description) -> None:
    from torch._inductor.utils import fresh_cache

    target = march or ("x86-64-v3" if platform.machine() in ("x86_64", "AMD64") else "")
    options: dict[str, Any] = {
        "aot_inductor.metadata": {PROPERTY: description.document()},
        "aot_inductor.enable_line_tables": False,  # they name the source files of this machine
        "cpp.dynamic_threads": True,  # the number of threads of the machine that runs it
    }
    if target:
        options["cpp.march"] = target
    if target and target != "native":
        options |= {"cpp.simdlen": _VECTORS.get(target, 256), "cpp.vec_isa_ok": True}
    with fresh_cache(), _contiguous_convolutions(), trace.without_future_warnings(), torch.no_grad():
        torch._inductor.aoti_compile_and_package(program, package_path=str(package), inductor_configs=options)


@contextlib.contextmanager
def _contiguous_convolutions() -> Iterator[None]:
    """Let Inductor give contiguous tensors to convolutions.

    For small batches of one clip, torch computes 3D convolutions without oneDNN, and the result of a channels_last
    input is contiguous. Inductor (torch 2.13) expects channels_last as for larger batches, and reads wrong values.
    """
    from torch._inductor import lowering

    constraints = lowering._maybe_layout_constraints
    convolution = torch.ops.aten.convolution.default
    before = constraints.get(convolution)
    constraints[convolution] = lowering.require_contiguous
    try:
        yield
    finally:
        if before is None:
            del constraints[convolution]
        else:
            constraints[convolution] = before


def _write_without_paths(package: Path, to: Path, *, keep_processor: bool, description: Description) -> None:
    """Copy the compiled library and its metadata without the source code and the paths of this machine.

    Unless ``keep_processor``, the vector instructions of this processor are removed from the metadata. Torch compares
    them with the processor that loads the package and warns if they differ.
    """
    with zipfile.ZipFile(package) as read, zipfile.ZipFile(to, "w") as written:
        for name in read.namelist():
            content = read.read(name)
            if name.endswith(".cpp"):
                continue
            if name.endswith("_metadata.json") and not keep_processor:
                values = {key: value for key, value in json.loads(content).items() if key != "AOTI_CPU_ISA"}
                content = json.dumps(values).encode()
            elif name.endswith(".so"):
                content = _blank_paths(content)
            written.writestr(f"{_ARCHIVE}/{name.partition('/')[2]}", content)
        written.writestr(f"{_ARCHIVE}/extra/{METADATA}", description.document())


def _blank_paths(library: bytes) -> bytes:
    """Return a compiled library with the folders of source files, in messages of errors, replaced by dots."""
    for folder in (str(Path(torch.__file__).parent.parent), tempfile.gettempdir()):
        prefix = folder.encode() + b"/"
        library = library.replace(prefix, b"." * len(prefix))
    return library


def _compiler() -> str:
    from torch._inductor import config

    command: str = config.cpp.cxx[1]
    return command
