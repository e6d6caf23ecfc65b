"""pytorchvideo without torchvision, with a broken one, and with a real one."""

import subprocess
import sys
import textwrap

import pytest

from videopool.errors import InputError
from videopool.models import build
from videopool.models.third_party import torchvision_or_placeholder


@pytest.fixture
def torchvision(tmp_path, monkeypatch):
    """Write a package named torchvision that imports of the test find first."""

    def write(init: str, ops: str) -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            monkeypatch.delitem(sys.modules, name)
        package = tmp_path / "torchvision"
        package.mkdir()
        (package / "__init__.py").write_text(init, encoding="utf-8")
        (package / "ops.py").write_text(ops, encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)

    yield write
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]


def loaded() -> list[str]:
    return sorted(name for name in sys.modules if name.partition(".")[0] == "torchvision")


def test_broken_torchvision_is_replaced_within_the_block_only(torchvision):
    torchvision("import torchvision.ops", "raise RuntimeError('operator torchvision::nms does not exist')")
    with torchvision_or_placeholder():
        from torchvision.ops import RoIAlign

        assert loaded() == ["torchvision", "torchvision.ops"]
    assert loaded() == []
    with pytest.raises(ImportError, match="need a torchvision"):
        RoIAlign(7)


def test_placeholder_goes_also_when_the_import_fails(torchvision):
    torchvision("raise OSError('libtorch_cuda.so')", "")
    with pytest.raises(KeyError), torchvision_or_placeholder():
        raise KeyError
    assert loaded() == []


def test_working_torchvision_is_used_and_stays(torchvision):
    torchvision("", "class RoIAlign: real = True")
    with torchvision_or_placeholder():
        from torchvision.ops import RoIAlign

        assert RoIAlign.real
    assert loaded() == ["torchvision", "torchvision.ops"]


@pytest.mark.slow
def test_network_is_built_beside_a_torchvision_that_cannot_load(tmp_path):
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text("raise RuntimeError('built for another torch')")
    program = f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        from videopool import models
        models.build("x3d", classes=3, frames=4, crop=32, depth=0.2, width=0.5, head_width=8)
        assert not [name for name in sys.modules if name.startswith("torchvision")]
        print("built")
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "built", run.stderr


def test_missing_pytorchvideo_has_an_error_with_the_fix(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorchvideo.models.x3d", None)
    with pytest.raises(InputError, match=r"needs pytorchvideo.*not installed.*pip install"):
        build("x3d", classes=3, frames=4, crop=32)
