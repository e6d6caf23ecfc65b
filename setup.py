"""Builds the native libraries; everything else about the package is in pyproject.toml.

``videopool/ops/_C.so`` holds the CPU kernels, ``videopool/ops/_C_cuda.so`` the CUDA kernels. Both use torch's stable
ABI and no Python API, so one build serves every Python and every torch from 2.11 on.

Environment:
    VIDEOPOOL_BUILD        auto (default): CPU when there is a C++ compiler, CUDA when there is nvcc and it works;
                           cpu, cuda (both, or fail), none (pure torch).
    VIDEOPOOL_CUDA_ARCHS   compute capabilities, default "75;80;90"; PTX of the last serves newer GPUs.
    VIDEOPOOL_SANITIZE     sanitizers of the C++ compiler for the CPU kernels, such as address (make test-asan).
    CXX, NVCC              the compilers, default g++ and nvcc.
"""

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # setuptools below 70.1
    from wheel.bdist_wheel import bdist_wheel

ROOT = Path(__file__).resolve().parent
TORCH_TARGET = "0x020b000000000000"  # the stable ABI of torch 2.11
# What takes longest comes first, so that all processors end together.
CPU_SOURCES = ["cpu/baseline.cpp", "cpu/avx2.cpp", "cpu/avx512.cpp", "cpu/soft_pool.cpp", "cpu/resample.cpp", "ops.cpp"]
CUDA_SOURCES = [
    *(f"cuda/{name}.cu" for name in ("overlapping_backward", "owned", "overlapping_forward", "large", "general")),
    "cuda/soft_pool.cu",
]


class BuildError(Exception):
    """A compiler failed; its own output has been printed."""


def compiler() -> str:
    return os.environ.get("CXX", "g++")


def nvcc() -> str:
    return os.environ.get("NVCC", "nvcc")


def gencode_flags() -> list[str]:
    archs = os.environ.get("VIDEOPOOL_CUDA_ARCHS", "75;80;90").replace(",", ";").split(";")
    archs = [arch.strip().replace(".", "") for arch in archs if arch.strip()]
    flags = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in archs]
    return [*flags, f"-gencode=arch=compute_{archs[-1]},code=compute_{archs[-1]}"]


def torch_folder() -> Path:
    try:
        import torch
    except ImportError as error:
        raise SystemExit(
            "videopool: building the native libraries needs torch; install it first and use "
            "`pip install --no-build-isolation`, or set VIDEOPOOL_BUILD=none"
        ) from error
    return Path(torch.__file__).parent


def sanitizer_flags() -> list[str]:
    sanitizers = os.environ.get("VIDEOPOOL_SANITIZE", "")
    return ["-O1", "-g", "-fno-omit-frame-pointer", f"-fsanitize={sanitizers}"] if sanitizers else []


def compile_command(source: Path, target: Path) -> list[str]:
    shared = [
        f"-DTORCH_TARGET_VERSION={TORCH_TARGET}",
        "-isystem",
        str(torch_folder() / "include"),
        "-std=c++20",
        "-O2",  # the kernels are vectors as written: -O3 takes 1.5 times as long, and its gain is lost in the noise
    ]
    files = ["-MD", "-MF", f"{target}.d", "-c", str(source), "-o", str(target)]
    if source.suffix == ".cu":
        host = ["-ccbin", compiler()] if "CXX" in os.environ else []
        return [
            nvcc(),
            *host,
            "-Xcompiler",
            "-fPIC,-fvisibility=hidden",
            "--threads",
            "0",
            *gencode_flags(),
            *shared,
            *files,
        ]
    strict = ["-fPIC", "-fvisibility=hidden", "-fno-math-errno", "-fno-trapping-math", "-Wall"]
    return [compiler(), *strict, *shared, *sanitizer_flags(), *files]


def link_command(objects: list[Path], target: Path) -> list[str]:
    libraries = [f"-L{torch_folder() / 'lib'}", "-ltorch", "-ltorch_cpu"]
    files = ["-o", str(target), *map(str, objects)]
    # --no-as-needed: libtorch leads to libtorch_cuda where there is one, though nothing here names it.
    if any(".cu" in path.suffixes for path in objects):
        return [nvcc(), "-shared", "-cudart", "static", *files, "-Xlinker", "--no-as-needed", *libraries, "-ldl"]
    return [compiler(), "-shared", *sanitizer_flags(), *files, "-Wl,--no-as-needed", *libraries]


def newest(paths: list[Path]) -> float:
    return max((path.stat().st_mtime for path in paths if path.exists()), default=0.0)


def dependencies(source: Path, target: Path) -> list[Path]:
    """What the compiler read for ``target`` the last time, from its make-style list."""
    listing = Path(f"{target}.d")
    if not listing.exists():
        return [source]
    words = listing.read_text().replace("\\\n", " ").split(":", 1)[1].replace("\\ ", "\0").split()
    return [source, *(Path(word.replace("\0", " ")) for word in words)]


def run_if_stale(command: list[str], target: Path, inputs: list[Path]) -> None:
    """Run ``command`` unless ``target`` was made by the same command from inputs that have not changed since."""
    stamp = Path(f"{target}.command")
    digest = hashlib.sha256("\0".join(command).encode()).hexdigest()
    same = stamp.exists() and stamp.read_text() == digest
    if same and all(path.exists() for path in inputs) and target.exists() and target.stat().st_mtime >= newest(inputs):
        return
    begin = time.monotonic()
    stamp.unlink(missing_ok=True)
    try:
        subprocess.run(command, check=True, cwd=ROOT)
    except OSError as error:
        raise BuildError(f"{error}, running: {' '.join(command)}") from error
    except subprocess.CalledProcessError as error:
        raise BuildError(f"exit status {error.returncode} of: {' '.join(command)}") from error
    stamp.write_text(digest)
    print(f"videopool: {target.name} in {time.monotonic() - begin:.1f} s", file=sys.stderr)


class BuildNative(build_ext):
    """Calls g++ and nvcc directly; recompiles only what changed."""

    def get_ext_filename(self, ext_name: str) -> str:
        return ext_name.replace(".", os.sep) + ".so"

    objects_folder = ROOT / "build" / f"objects-{sysconfig.get_platform()}{'-sanitized' if sanitizer_flags() else ''}"

    def run(self) -> None:
        if self.inplace and sanitizer_flags():
            raise SystemExit(
                "videopool: VIDEOPOOL_SANITIZE with --inplace replaces the normal libraries; use --build-lib FOLDER"
            )
        super().run()

    def build_extensions(self) -> None:
        self.objects_folder.mkdir(parents=True, exist_ok=True)
        pool = ThreadPoolExecutor(min(os.cpu_count() or 1, 8))
        try:
            # The sources of all libraries at once; each library is linked when its own are done.
            self._compiled = {
                ext.name: [pool.submit(self._compile, name) for name in ext.sources] for ext in self.extensions
            }
            super().build_extensions()
        finally:
            pool.shutdown(cancel_futures=True)

    def build_extension(self, ext: Extension) -> None:
        try:
            self._link(ext, [compiled.result() for compiled in self._compiled[ext.name]])
        except BuildError as error:
            self._fail_or_skip(ext, error)

    def _compile(self, name: str) -> Path:
        source = ROOT / name
        target = self.objects_folder / (name.replace("/", "_") + ".o")
        run_if_stale(compile_command(source, target), target, dependencies(source, target))
        return target

    def _link(self, ext: Extension, objects: list[Path]) -> None:
        library = self.objects_folder / Path(self.get_ext_filename(ext.name)).name
        run_if_stale(link_command(objects, library), library, objects)
        place = Path(self.get_ext_fullpath(ext.name))
        place.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            place.unlink()  # a process may have the old file mapped: replace it, do not write into it
        shutil.copy2(library, place)

    def _fail_or_skip(self, ext: Extension, error: BuildError) -> None:
        is_cuda = ext.name.endswith("_C_cuda")
        if is_cuda and build_mode() == "auto":
            place = Path(self.get_ext_fullpath(ext.name))
            place.unlink(missing_ok=True)
            ext.optional = True
            print(
                "videopool: WARNING: the CUDA kernels did not compile, so CUDA tensors will use plain torch.\n"
                f"  {error}\n"
                "  Set VIDEOPOOL_BUILD=cuda to make this an error, or VIDEOPOOL_BUILD=cpu to leave CUDA out.",
                file=sys.stderr,
            )
            return
        hint = "VIDEOPOOL_BUILD=cpu builds without CUDA" if is_cuda else "VIDEOPOOL_BUILD=none builds without kernels"
        raise SystemExit(f"videopool: could not build {ext.name} ({hint}):\n  {error}")

    def copy_extensions_to_source(self) -> None:
        built = Path(self.build_lib)
        for ext in self.extensions:
            if not (built / self.get_ext_filename(ext.name)).exists():  # an older one does not fit the other library
                (ROOT / self.get_ext_filename(ext.name)).unlink(missing_ok=True)
        self.extensions = [ext for ext in self.extensions if (built / self.get_ext_filename(ext.name)).exists()]
        super().copy_extensions_to_source()


class PlatformWheel(bdist_wheel):
    """Tags the wheel py3-none-<platform>: the libraries do not depend on the Python version."""

    def get_tag(self) -> tuple[str, str, str]:
        platform = super().get_tag()[2]
        return ("py3", "none", platform) if self.distribution.ext_modules else ("py3", "none", "any")


def build_mode() -> str:
    mode = os.environ.get("VIDEOPOOL_BUILD", "auto")
    if mode not in ("auto", "cpu", "cuda", "none"):
        raise SystemExit(f"videopool: VIDEOPOOL_BUILD={mode} is unknown; give auto, cpu, cuda or none")
    return mode


def extensions() -> list[Extension]:
    mode = build_mode()
    if mode == "none":
        return []
    if shutil.which(compiler()) is None:
        if mode != "auto":
            raise SystemExit(f"videopool: VIDEOPOOL_BUILD={mode} needs a C++ compiler; {compiler()} was not found")
        print(f"videopool: no C++ compiler ({compiler()}), installing the plain torch form only", file=sys.stderr)
        return []
    headers = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "csrc").rglob("*.*h"))  # for the source archive
    found = [Extension("videopool.ops._C", [f"csrc/{name}" for name in CPU_SOURCES], depends=headers)]
    has_nvcc = shutil.which(nvcc()) is not None
    if mode == "cuda" and not has_nvcc:
        raise SystemExit(f"videopool: VIDEOPOOL_BUILD=cuda needs the CUDA compiler; {nvcc()} was not found")
    if mode == "cuda" or (mode == "auto" and has_nvcc):
        found.append(Extension("videopool.ops._C_cuda", [f"csrc/{name}" for name in CUDA_SOURCES], depends=headers))
    return found


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildNative, "bdist_wheel": PlatformWheel})
