"""Packages of AOTInductor give the logits of the network, hold their description, and name no path of this machine."""

import dataclasses
import json
import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.conftest import ROOT
from tests.export.test_formats import MEAN, STD, description
from videopool.data import Normalize
from videopool.errors import InputError
from videopool.export import FORMATS, Deployed, Description, aoti, read_description
from videopool.export.description import is_compiled, without_paths
from videopool.pooling import make_pool

pytestmark = pytest.mark.timeout(900)  # Inductor compiles the package for a minute, longer if the machine is busy
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="runs where g++ is, as in CI")


def small_network() -> tuple[Deployed, Description]:
    """Return a network of two convolutions and SoftPools, with few channels.

    For one clip, torch computes the second convolution without oneDNN.
    """
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv3d(3, 4, 3, padding=1),
        nn.BatchNorm3d(4),
        make_pool("soft", 3, (1, 3, 3), (1, 2, 2), (0, 1, 1), channels=4),
        nn.Conv3d(4, 5, 1),
        make_pool("soft", 3, kernel_size=None, channels=5),
        nn.Flatten(),
    )
    return Deployed(model, Normalize(MEAN, STD)).eval(), description(4, 8)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return FORMATS["aoti"](*small_network(), tmp_path_factory.mktemp("aoti")).path


@needs_compiler
@pytest.mark.long
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_logits_of_any_batch_size(package: Path, batch: int) -> None:
    network, described = small_network()
    clips = described.example(batch)
    with torch.inference_mode():
        expected, found = network(clips), torch._inductor.aoti_load_package(str(package))(clips)
    assert float((found - expected).abs().max()) < 1e-6 * float(expected.abs().max())


@needs_compiler
@pytest.mark.long
def test_no_file_names_this_machine(package: Path) -> None:
    with zipfile.ZipFile(package) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    assert [name for name in contents if name.endswith(".so")]
    assert not [name for name in contents if name.endswith(".cpp")]
    for folder in (str(ROOT), str(Path(torch.__file__).parent), tempfile.gettempdir() + "/", str(Path.home()) + "/"):
        for name, content in {**contents, "the package": package.read_bytes()}.items():
            assert folder.encode() not in content, (folder, name)


@needs_compiler
@pytest.mark.long
def test_the_description_is_inside_for_python_and_for_cpp(package: Path, caplog: pytest.LogCaptureFixture) -> None:
    _, described = small_network()
    alone = shutil.copy(package, package.parent.parent / "alone.pt2")
    assert read_description(Path(alone)) == dataclasses.replace(described, config=without_paths(described.config))
    assert is_compiled(Path(alone))
    inside = torch._inductor.aoti_load_package(str(alone)).get_metadata()["videopool"]
    assert json.loads(inside)["classes"] == list("abcde")
    assert not caplog.records  # torch warns if the vector instructions of this processor are others


@needs_compiler
@pytest.mark.skipif(shutil.which("cmake") is None, reason="runs where cmake is, as in CI")
@pytest.mark.long
def test_the_example_in_cpp(package: Path, tmp_path: Path) -> None:
    network, described = small_network()
    clips = described.example(2)
    clips.numpy().tofile(tmp_path / "clips.raw")
    source, build = str(ROOT / "examples/cpp"), str(tmp_path / "build")
    subprocess.run(
        ["cmake", "-S", source, "-B", build, f"-DCMAKE_PREFIX_PATH={torch.utils.cmake_prefix_path}"], check=True
    )
    subprocess.run(["cmake", "--build", build], check=True)
    command = [f"{build}/classify", package, tmp_path / "clips.raw", "4", "8"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    found = torch.tensor([[float(number) for number in line.split()] for line in lines])
    with torch.inference_mode():
        torch.testing.assert_close(found, network(clips), rtol=1e-4, atol=1e-5)  # 6 digits are printed


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(aoti.shutil, "which", lambda name: None)
    with pytest.raises(InputError, match=r"needs the C\+\+ compiler g\+\+; install it"):
        FORMATS["aoti"](*small_network(), tmp_path)


@pytest.mark.slow
def test_the_layouts_of_inductor_are_restored() -> None:
    from torch._inductor import lowering

    before = dict(lowering._maybe_layout_constraints)
    with aoti._contiguous_convolutions():
        assert lowering._maybe_layout_constraints != before
    assert lowering._maybe_layout_constraints == before
