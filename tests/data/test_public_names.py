"""The public names of ``videopool.data``."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import videopool.data as data


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, videopool.data; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0


@pytest.mark.parametrize("name", data.__all__)
def test_every_public_name_can_be_imported(name: str) -> None:
    assert getattr(data, name).__name__ == name


def test_editors_see_the_names_that_python_finds() -> None:
    tree = ast.parse(Path(data.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    typed = {alias.name: node.module for node in imports for alias in node.names}
    assert typed == {name: module for module, names in data._NAMES.items() for name in names}
    assert sorted(typed) == sorted(data.__all__)
    assert set(data.__all__) <= set(dir(data))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'open_vidio'"):
        data.open_vidio  # noqa: B018
