"""setup.py: the GPU architectures, and warnings about versions of CUDA that do not fit. nvcc is a script here."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import setuptools
import torch

from tests.conftest import ROOT


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return setup.py as a module that builds nothing."""
    monkeypatch.setattr(setuptools, "setup", lambda **_: None)
    monkeypatch.setenv("VIDEOPOOL_BUILD", "none")
    spec = importlib.util.spec_from_file_location("videopool_setup", ROOT / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def set_nvcc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that makes NVCC a script with this output."""

    def set_to(output: str) -> None:
        script = tmp_path / "nvcc"
        script.write_text(f"#!/bin/sh\ncat <<END\n{output}\nEND\n")
        script.chmod(0o755)
        monkeypatch.setenv("NVCC", str(script))

    return set_to


def version(release: str) -> str:
    return f"nvcc: NVIDIA (R) Cuda compiler driver\nCuda compilation tools, release {release}, V{release}.88"


@pytest.mark.parametrize(
    ("nvcc", "of_torch", "driver", "wrong"),
    [
        ("13.0", None, 0, ""),
        ("13.0", "13.0", 0, ""),
        ("12.4", "12.8", 12020, ""),
        ("13.0", "12.8", 0, "A driver that suits torch may be too old"),
        ("12.8", "13.0", 13000, "torch of CUDA 13.0"),
        ("13.0", "12.8", 12080, "the driver supports CUDA 12.8. The kernels will not run"),
        ("13.0", "13.0", 12080, "Update the driver"),
    ],
)
def test_versions_of_cuda(build, set_nvcc, monkeypatch, nvcc, of_torch, driver, wrong) -> None:
    set_nvcc(version(nvcc))
    monkeypatch.setattr(torch.version, "cuda", of_torch)
    monkeypatch.setattr(build, "driver_version", lambda: driver)
    warning = build.cuda_version_warning()
    assert wrong in warning
    assert bool(warning) == bool(wrong)
    if wrong:
        assert f"of CUDA {nvcc}" in warning
        assert "VIDEOPOOL_BUILD=cpu" in warning


def test_an_nvcc_without_a_release_is_named(build, set_nvcc) -> None:
    set_nvcc("not a compiler")
    assert "does not report a release" in build.cuda_version_warning()


def test_wheels_have_the_architectures_that_nvcc_knows_and_ptx_of_the_last(build, set_nvcc, monkeypatch) -> None:
    set_nvcc("\n".join(f"compute_{arch}" for arch in (75, 80, 86, 90, 100)))
    monkeypatch.setenv("VIDEOPOOL_CUDA_ARCHS", "all")
    native = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in (80, 90, 100)]
    assert build.gencode_flags() == [*native, "-gencode=arch=compute_100,code=compute_100"]


def test_other_architectures_on_request(build, monkeypatch) -> None:
    monkeypatch.setenv("VIDEOPOOL_CUDA_ARCHS", "7.5, 90")
    assert build.gencode_flags() == [
        "-gencode=arch=compute_75,code=sm_75",
        "-gencode=arch=compute_90,code=sm_90",
        "-gencode=arch=compute_90,code=compute_90",
    ]


def test_a_compiler_that_knows_no_architecture_is_an_error(build, set_nvcc, monkeypatch) -> None:
    set_nvcc("")
    monkeypatch.setenv("VIDEOPOOL_CUDA_ARCHS", "all")
    with pytest.raises(SystemExit, match="lists nothing"):
        build.gencode_flags()
