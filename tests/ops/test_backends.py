"""The libraries: each instruction set, no library, torch alone, the CUDA library with a CPU-only torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from videopool import ops
from videopool.ops import native

PACKAGE = Path(native.__file__).parent
ROOT = PACKAGE.parents[1]  # of a copy of the package with other libraries, that copy's

NAMES = ("soft_pool3d", "adaptive_soft_pool3d", "softmax_pool3d")
needs_native = pytest.mark.skipif(ops.backend() == "reference", reason="no native library was built; CI builds it")


def run(code: str, folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **environment},
    )


def has_instruction_set(name: str) -> bool:
    flags = Path("/proc/cpuinfo").read_text().split() if Path("/proc/cpuinfo").exists() else []
    needed = {"avx2": {"avx2", "fma", "f16c"}, "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl"}}.get(
        name, set()
    )
    return needed <= set(flags)


COMPARE = """
import torch
from oracle import CASES, cells_per_window, soft_pool, tolerance
from pooled_gradients import DTYPES, public_gradient
from videopool import ops
print(ops.backend())
torch.manual_seed(0)
for dtype in DTYPES:
    for name in ("3x3x3 s2 p1 ceil", "non-cubic dilated"):
        x = torch.randn(1, 19, 3, 4, 35).to(dtype)
        y, grad, dx = public_gradient(x, CASES[name], 1.0)
        want_y, want_dx = soft_pool(x, CASES[name], 1.0, grad)
        rtol, atol = tolerance(dtype, cells_per_window(CASES[name]), 10.0)
        torch.testing.assert_close(y.double(), want_y, rtol=rtol, atol=atol)
        torch.testing.assert_close(dx.double(), want_dx, rtol=rtol, atol=4 * atol)
"""


@pytest.mark.slow
@needs_native
@pytest.mark.parametrize("name", ["baseline", "avx2", "avx512"])
def test_each_instruction_set(name):
    """Run the numerical tests with this instruction set; this process runs them with the best one."""
    if not has_instruction_set(name):
        pytest.skip(f"this processor has no {name}; a machine that has it runs this")
    if f"({name})" in ops.backend():
        pytest.skip("this process runs these tests with it")
    files = [str(Path(__file__).parent / f"test_{part}.py") for part in ("numerics", "general", "plans", "properties")]
    code = (
        "import sys, pytest; from videopool import ops\n"
        f"assert '({name})' in ops.backend(), ops.backend()\n"
        f"sys.exit(pytest.main(['-q', '-x', '-p', 'no:cacheprovider', *{files!r}]))"
    )
    done = run(code, VIDEOPOOL_ISA=name)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.mark.slow
@needs_native
def test_huge_pages_change_nothing_but_time():
    code = (
        "import torch; from videopool import ops; torch.manual_seed(0); x = torch.randn(1, 8, 32, 96, 96)\n"
        "x.requires_grad_(); y = ops.soft_pool3d(x, 2); y.square().sum().backward(); print(float(x.grad.sum()))"
    )
    on, off, wrong = (run(code, VIDEOPOOL_HUGE_PAGES=value) for value in ("1", "0", "yes"))
    assert on.returncode == off.returncode == 0, on.stderr + off.stderr
    assert on.stdout == off.stdout
    assert "VIDEOPOOL_HUGE_PAGES=yes is neither 0 nor 1" in wrong.stderr


@pytest.mark.slow
@needs_native
def test_unknown_instruction_set_is_refused():
    done = run("from videopool import ops; ops.backend()", VIDEOPOOL_ISA="mmx")
    assert done.returncode != 0
    assert "VIDEOPOOL_ISA=mmx" in done.stderr


@pytest.mark.slow
def test_without_libraries_the_reference_runs_with_one_warning():
    done = run(COMPARE, VIDEOPOOL_BUILD="none")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "reference"
    assert done.stderr.count("RuntimeWarning") == 1


@pytest.mark.slow
def test_the_fallback_compiles_exports_and_differentiates_twice():
    done = run(
        "import torch, warnings; warnings.simplefilter('ignore')\n"
        "from videopool import ops\n"
        "f = lambda x: ops.soft_pool3d(x, 3, 2, 1)\n"
        "x = torch.randn(1, 2, 4, 5, 6, dtype=torch.float64, requires_grad=True)\n"
        "torch.testing.assert_close(torch.compile(f, backend='aot_eager', fullgraph=True)(x), f(x))\n"
        "assert torch.autograd.gradgradcheck(f, x[:, :1, :2, :3, :3].detach().requires_grad_())\n"
        "torch.export.export(ops.SoftPool3d(2), (x.detach(),))\n",
        VIDEOPOOL_BUILD="none",
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_import_needs_only_torch():
    done = run(
        "import sys\n"
        "import torch\n"
        "class Block:\n"
        "    names = ('decord', 'av', 'fvcore', 'pytorchvideo', 'yaml', 'rich', 'safetensors', 'matplotlib',\n"
        "             'tensorboard', 'torchvision', 'numpy', 'hypothesis')\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in self.names: raise ImportError('blocked: ' + name)\n"
        "        if name.startswith('videopool.') and not name.startswith(('videopool.ops', 'videopool.lazy')):\n"
        "            raise ImportError('videopool.ops imports ' + name)\n"
        "sys.meta_path.insert(0, Block())\n"
        "import videopool.ops\n"
        "assert videopool.ops.soft_pool3d(torch.ones(1, 1, 2, 2, 2), 2).item() == 1\n"
    )
    assert done.returncode == 0, done.stderr


@needs_native
def test_cuda_library_loads_beside_this_torch():
    library = PACKAGE / "_C_cuda.so"
    if not library.exists():
        pytest.skip("the CUDA library was not built: there was no nvcc at build time; CI has it")
    assert native._LOADED.cuda, native._LOADED.problem
    assert "+cuda" in ops.backend()
    for op in (f"{name}{part}" for name in NAMES for part in ("", "_backward")):
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"videopool::{op}", "CUDA")
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"videopool::{op}", "CPU")


@pytest.mark.slow
@needs_native
def test_cuda_tensors_without_the_cuda_library_get_the_reference(tmp_path):
    """No GPU needed: a copy of the package without _C_cuda.so must not choose the native op for CUDA tensors."""
    copy = tmp_path / "videopool"
    (copy / "ops").mkdir(parents=True)
    (copy / "__init__.py").write_text("")
    for file in [*PACKAGE.glob("*.py"), PACKAGE / "_C.so"]:
        (copy / "ops" / file.name).write_bytes(file.read_bytes())
    done = run(
        "import torch, videopool.ops as ops; from videopool.ops import native\n"
        "assert 'cuda' not in ops.backend(), ops.backend()\n"
        "assert native.runs_on(torch.device('cpu')) and not native.runs_on(torch.device('cuda'))\n"
        "for _ in range(2): native.warn_once_about_fallback(torch.device('cuda'))\n",
        folder=tmp_path,
        PYTHONPATH=str(tmp_path),
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("RuntimeWarning") == 1
    assert "_C_cuda.so was not built" in done.stderr


@pytest.mark.parametrize(("driver", "fits"), [(12080, False), (13000, True), (0, True)])
def test_cuda_kernels_that_the_driver_cannot_run_are_not_loaded(tmp_path, monkeypatch, driver, fits):
    (tmp_path / "build.json").write_text('{"nvcc": "13.0"}')
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch._C, "_cuda_getDriverVersion", lambda: driver, raising=False)
    expected = (
        "_C_cuda.so was built by nvcc of CUDA 13.0, and the driver supports CUDA 12.8. Update the driver, or build "
        "videopool with nvcc of CUDA 12"
    )
    assert native.driver_problem(tmp_path) == ("" if fits else expected)
    monkeypatch.setattr(torch.version, "cuda", None)
    assert native.driver_problem(tmp_path) == ""
