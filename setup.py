"""Builds the native libraries; everything else about the package is in pyproject.toml.

``videopool/ops/_C.so`` holds the CPU kernels, ``videopool/ops/_C_cuda.so`` the CUDA kernels. Both use torch's stable
ABI and no Python API, so one build serves every Python and every torch from 2.11 on. Ninja compiles what has changed;
``build/objects-*/`` has its build file and ``compile_commands.json``.

Environment:
    VIDEOPOOL_BUILD        auto (default): CPU when there is a C++ compiler, CUDA when there is nvcc and it works;
                           cpu, cuda (both, or fail), none (pure torch).
    VIDEOPOOL_CUDA_ARCHS   compute capabilities, such as "75;80"; "all": 80, 90, 100 and 120, as far as nvcc knows them,
                           for wheels. Default: those of the GPUs in this machine, or 90 without any. PTX of the last
                           one serves newer GPUs.
    VIDEOPOOL_SANITIZE     sanitizers of the C++ compiler for the CPU kernels, such as address (make test-asan).
    CXX, NVCC              the compilers, default g++ and nvcc.
"""

import gzip
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

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
ARCHS_WITHOUT_GPU = "90"
WHEEL_ARCHS = ("80", "90", "100", "120")
RECORD = "build.json"  # next to the libraries: what they were built for
BUNDLED = {"configs/**/*.yaml": "configs", "benchmarks/*.py": "bundled/benchmarks"}  # where they are in the package


def compiler() -> str:
    return os.environ.get("CXX", "g++")


def nvcc() -> str:
    return os.environ.get("NVCC", "nvcc")


def gencode_flags() -> list[str]:
    given = os.environ.get("VIDEOPOOL_CUDA_ARCHS", "").replace(",", ";").split(";")
    archs = [arch.strip().replace(".", "") for arch in given if arch.strip()]
    archs = archs_of_wheels() if archs == ["all"] else archs or archs_of_this_machine()
    flags = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in archs]
    return [*flags, f"-gencode=arch=compute_{archs[-1]},code=compute_{archs[-1]}"]


def archs_of_wheels() -> list[str]:
    known = nvcc_output("--list-gpu-arch").split()
    if not known:
        raise SystemExit(
            f"videopool: {nvcc()} --list-gpu-arch lists nothing; set NVCC to the compiler of a CUDA toolkit"
        )
    return [arch for arch in WHEEL_ARCHS if f"compute_{arch}" in known]


def archs_of_this_machine() -> list[str]:
    import torch

    devices = range(torch.cuda.device_count())
    found = {torch.cuda.get_device_capability(device) for device in devices}
    return [f"{major}{minor}" for major, minor in sorted(found)] or [ARCHS_WITHOUT_GPU]


def cuda_version_warning() -> str:
    """Return what is wrong with the versions of nvcc, torch and the driver, and what to do; "" if nothing is.

    The kernels contain nvcc's CUDA runtime, so the driver must support its major version. A driver that suits torch
    does so if the major versions are the same. A torch without CUDA does not restrict anything: only a torch with CUDA
    runs the kernels.
    """
    import torch

    release = nvcc_release()
    if not release:
        return f"{nvcc()} --version does not report a release. Set NVCC to the compiler of a CUDA toolkit."
    if torch.version.cuda is None:
        return ""
    major, name = int(release.partition(".")[0]), f"{nvcc()} is of CUDA {release}"
    less = "or set VIDEOPOOL_BUILD=cpu to leave CUDA out"
    driver = driver_version()
    if driver and major > driver // 1000:
        return (
            f"{name}, and the driver supports CUDA {driver // 1000}.{driver % 1000 // 10}. The kernels will not run. "
            f"Update the driver, set NVCC to a compiler of CUDA {driver // 1000}, {less}."
        )
    wanted = int(torch.version.cuda.partition(".")[0])
    if major != wanted:
        return (
            f"{name}, and torch of CUDA {torch.version.cuda}. A driver that suits torch may be too old for the "
            f"kernels. Set NVCC to a compiler of CUDA {wanted}, {less}."
        )
    return ""


def nvcc_release() -> str:
    """Return the version of nvcc, such as "13.0", or "" if it does not say."""
    release = re.search(r"release (\d+\.\d+)", nvcc_output("--version"))
    return release[1] if release else ""


def nvcc_output(*arguments: str) -> str:
    return subprocess.run([nvcc(), *arguments], capture_output=True, text=True, check=False).stdout


def driver_version() -> int:
    """Return the CUDA version that the driver supports, such as 12080, or 0 without a GPU."""
    import torch

    return torch._C._cuda_getDriverVersion() if torch.cuda.is_available() else 0


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


def compile_flags() -> list[str]:
    return [
        f"-DTORCH_TARGET_VERSION={TORCH_TARGET}",
        "-isystem",
        str(torch_folder() / "include"),
        "-std=c++20",
        "-O2",  # the kernels are vectors as written: -O3 takes 1.5 times as long, and its gain is lost in the noise
    ]


def cpp_command() -> list[str]:
    strict = ["-fPIC", "-fvisibility=hidden", "-fno-math-errno", "-fno-trapping-math", "-Wall"]
    # Messages of checks have names of files. Libraries do not depend on the folder that they are built in.
    names = [f"-ffile-prefix-map={ROOT}=.", f"-ffile-prefix-map={torch_folder()}=torch"]
    return [compiler(), *strict, *names, *compile_flags(), *sanitizer_flags()]


def cuda_command() -> list[str]:
    host = ["-ccbin", compiler()] if "CXX" in os.environ else []
    position = ["-Xcompiler", "-fPIC,-fvisibility=hidden"]
    return [nvcc(), *host, *position, "--threads", "0", *gencode_flags(), *compile_flags()]


def link_command(*, cuda: bool) -> list[str]:
    libraries = [f"-L{torch_folder() / 'lib'}", "-ltorch", "-ltorch_cpu"]
    # libtorch leads to libtorch_cuda where there is one, though nothing here names it. Linux only: elsewhere linkers
    # keep every library that is named.
    keep = ["--no-as-needed"] if sys.platform == "linux" else []
    if cuda:
        return [nvcc(), "-shared", "-cudart", "static", *(w for flag in keep for w in ("-Xlinker", flag)), *libraries]
    shared = ["-dynamiclib", "-undefined", "dynamic_lookup"] if sys.platform == "darwin" else ["-shared"]
    return [compiler(), *shared, *sanitizer_flags(), *(f"-Wl,{flag}" for flag in keep), *libraries]


def build_file(extensions: list[Extension], library_of: dict[str, str]) -> str:
    """What ninja does: an object for each source, a library for each extension. Paths start at the build file."""
    rules = {"cpp": cpp_command(), "cpp_link": link_command(cuda=False)}
    if any(is_cuda(extension) for extension in extensions):
        rules |= {"cuda": cuda_command(), "cuda_link": link_command(cuda=True)}
    lines = ["ninja_required_version = 1.5"]
    for name, command in rules.items():
        lines += [f"rule {name}", f"  description = {name} $out"]
        if name.endswith("_link"):
            # Libraries come after the objects that need them.
            lines.append(f"  command = {shell(command[:1])} -o $out $in {shell(command[1:])}")
        else:
            lines.append(f"  command = {shell(command)} -MD -MF $out.d -c $in -o $out")
            lines += ["  depfile = $out.d", "  deps = gcc"]
    for extension in extensions:
        objects = []
        for source in extension.sources:
            objects.append(source.replace("/", "_") + ".o")
            rule = "cuda" if source.endswith(".cu") else "cpp"
            lines.append(f"build {objects[-1]}: {rule} {escaped(str(ROOT / source))}")
        rule = "cuda_link" if is_cuda(extension) else "cpp_link"
        lines.append(f"build {library_of[extension.name]}: {rule} {' '.join(objects)}")
    return "\n".join(lines) + "\n"


def shell(command: list[str]) -> str:
    """A command for the shell, in a build file."""
    return shlex.join(command).replace("$", "$$")


def escaped(path: str) -> str:
    """A path in a build statement."""
    return path.replace("$", "$$").replace(" ", "$ ").replace(":", "$:")


def is_cuda(extension: Extension) -> bool:
    return extension.name.endswith("_C_cuda")


def ninja() -> str:
    """The program; that of the Python package of this name, unless there is another one."""
    found = shutil.which("ninja")
    if found is None:
        try:
            import ninja as package
        except ImportError as error:
            raise SystemExit("videopool: building the native libraries needs ninja; pip install ninja") from error
        found = str(Path(package.BIN_DIR) / "ninja")
    return found


class BuildNative(build_ext):
    """Has ninja call the compilers."""

    folder = ROOT / "build" / f"objects-{sysconfig.get_platform()}{'-sanitized' if sanitizer_flags() else ''}"

    def get_ext_filename(self, ext_name: str) -> str:
        return ext_name.replace(".", os.sep) + ".so"

    def run(self) -> None:
        if self.inplace and sanitizer_flags():
            raise SystemExit(
                "videopool: VIDEOPOOL_SANITIZE with --inplace replaces the normal libraries; use --build-lib FOLDER"
            )
        super().run()

    def build_extensions(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        names = {ext.name: Path(self.get_ext_filename(ext.name)).name for ext in self.extensions}
        if any(is_cuda(extension) for extension in self.extensions) and (warning := cuda_version_warning()):
            print(f"videopool: WARNING: {warning}", file=sys.stderr)
        (self.folder / "build.ninja").write_text(build_file(self.extensions, names))
        commands = self._ninja("-t", "compdb", stdout=subprocess.PIPE).stdout
        (self.folder / "compile_commands.json").write_bytes(commands)
        self._ninja("-k", "0")  # all libraries at once; one that fails does not keep the others from being built
        super().build_extensions()
        built = [ext for ext in self.extensions if Path(self.get_ext_fullpath(ext.name)).exists()]
        place = Path(self.get_ext_fullpath(self.extensions[0].name)).with_name(RECORD)
        place.write_text(json.dumps(build_record(cuda=any(map(is_cuda, built))), indent=1) + "\n", encoding="utf-8")

    def build_extension(self, ext: Extension) -> None:
        library = self.folder / Path(self.get_ext_filename(ext.name)).name
        left = self._ninja("-n", library.name, stdout=subprocess.PIPE).stdout
        if b"no work to do" not in left:
            self._fail_or_skip(ext)
            return
        place = Path(self.get_ext_fullpath(ext.name))
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)  # a process may have the old file mapped: replace it, do not write into it
        shutil.copy2(library, place)

    def _ninja(self, *arguments: str, stdout: int | None = None) -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run([ninja(), "-C", str(self.folder), *arguments], check=False, stdout=stdout)

    def _fail_or_skip(self, ext: Extension) -> None:
        """The compiler has said above what is wrong."""
        if is_cuda(ext) and build_mode() == "auto":
            place = Path(self.get_ext_fullpath(ext.name))
            place.unlink(missing_ok=True)
            ext.optional = True
            print(
                "videopool: WARNING: the CUDA kernels did not compile, so CUDA tensors will use plain torch.\n"
                "  Set VIDEOPOOL_BUILD=cuda to make this an error, or VIDEOPOOL_BUILD=cpu to leave CUDA out.",
                file=sys.stderr,
            )
            return
        less = "cpu builds without CUDA" if is_cuda(ext) else "none builds without kernels"
        raise SystemExit(f"videopool: could not build {ext.name}; see the compiler's message. VIDEOPOOL_BUILD={less}")

    def copy_extensions_to_source(self) -> None:
        built = Path(self.build_lib)
        for ext in self.extensions:
            if not (built / self.get_ext_filename(ext.name)).exists():  # an older one does not fit the other library
                (ROOT / self.get_ext_filename(ext.name)).unlink(missing_ok=True)
        record = Path(self.get_ext_filename(self.extensions[0].name)).with_name(RECORD)
        shutil.copyfile(built / record, ROOT / record)
        self.extensions = [ext for ext in self.extensions if (built / self.get_ext_filename(ext.name)).exists()]
        super().copy_extensions_to_source()


def build_record(*, cuda: bool) -> dict[str, object]:
    """What ``videopool --version`` says about the libraries."""
    import torch

    archs = [flag.rpartition("sm_")[2] for flag in gencode_flags() if "code=sm_" in flag] if cuda else []
    sets = [Path(source).stem for source in CPU_SOURCES if Path(source).stem in ("baseline", "avx2", "avx512")]
    release = nvcc_release() if cuda else ""
    return {"torch": str(torch.__version__), "cpu": sets, "cuda": archs, "nvcc": release, "commit": commit()}


def commit() -> str:
    """The commit of a checkout, "" elsewhere."""
    if not (ROOT / ".git").exists():
        return os.environ.get("VIDEOPOOL_COMMIT", "")
    found = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], check=False, capture_output=True, text=True)
    return found.stdout.strip()


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


class BuildPython(build_py):
    """Adds the configurations and the benchmark scripts, which are outside the package in a checkout, to a wheel."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for pattern, target in BUNDLED.items():
            for path in sorted(ROOT.glob(pattern)):
                place = Path(self.build_lib, "videopool", target, path.relative_to(ROOT / pattern.partition("/")[0]))
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, place)


class SourceArchive(sdist):
    """Gives all files the date SOURCE_DATE_EPOCH, if it is set, so that the archives of a commit are identical."""

    def make_distribution(self) -> None:
        super().make_distribution()
        epoch = os.environ.get("SOURCE_DATE_EPOCH")
        for name in self.archive_files if epoch else []:
            if name.endswith(".tar.gz"):
                Path(name).write_bytes(with_date(Path(name).read_bytes(), int(epoch or 0)))


def with_date(archive: bytes, epoch: int) -> bytes:
    """The .tar.gz with its files in the order of their names, of one date and without owners."""
    packed = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(archive)) as old,
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=epoch, filename="") as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=lambda member: member.name):
            member.mtime, member.uid, member.gid, member.uname, member.gname = epoch, 0, 0, "", ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            member.pax_headers = {}
            new.addfile(member, old.extractfile(member) if member.isfile() else None)
    return packed.getvalue()


COMMANDS = {"build_ext": BuildNative, "build_py": BuildPython, "bdist_wheel": PlatformWheel, "sdist": SourceArchive}
setup(ext_modules=extensions(), cmdclass=COMMANDS)
