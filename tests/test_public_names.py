"""The public names of videopool. A change of this list is a change for users: CHANGELOG.md gets a line."""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

ROOMS = (
    "videopool",
    *(f"videopool.{room}" for room in ("ops", "pooling", "models", "data", "engine", "export", "inference")),
)
LISTED = Path(__file__).with_name("public_names.txt")


def public_names() -> list[str]:
    return [f"{room}.{name}" for room in ROOMS for name in importlib.import_module(room).__all__]


def test_the_public_names_are_those_of_the_list() -> None:
    assert public_names() == LISTED.read_text().split(), f"run python -m {__name__} if the change is intended"


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_name_exists_once_and_is_documented(room: str) -> None:
    module = importlib.import_module(room)
    assert len(set(module.__all__)) == len(module.__all__)
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert value.__doc__, f"{room}.{name}"


@pytest.mark.parametrize("room", ["videopool", "videopool.data", "videopool.engine", "videopool.cli.main"])
def test_importing_a_room_does_not_import_torch(room: str) -> None:
    program = f"import sys, {room}; print('torch' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout == "False\n"


@pytest.mark.parametrize("room", ["videopool", "videopool.data", "videopool.engine", "videopool.config"])
def test_type_checkers_see_the_lazy_names(room: str) -> None:
    module = importlib.import_module(room)
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    typed = [alias for line in block.body if isinstance(line, ast.ImportFrom) for alias in line.names]
    assert sorted(str(alias.asname) for alias in typed) == module.__all__  # "as" makes a name public
    assert set(module.__all__) <= set(dir(module))
    with pytest.raises(AttributeError, match="no attribute 'open_vidio'"):
        module.open_vidio  # noqa: B018


if __name__ == "__main__":
    LISTED.write_text("\n".join(public_names()) + "\n")
