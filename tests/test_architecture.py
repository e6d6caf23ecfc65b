"""Which package may import which, as in docs/design.md. A package not named here may not be imported."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = {
    "errors": set(),
    "ranges": set(),
    "lazy": set(),
    "targets": set(),
    "types": {"errors"},
    "files": set(),
    "console": set(),
    "processes": set(),
    "ops": set(),
    "pooling": {"ops", "types", "targets"},
    "models": {"pooling", "types", "targets"},
    "data": {"ops", "processes", "types", "files", "ranges", "targets"},
    "config": {"types"},
    "engine": {"data", "pooling", "types", "files", "console"},
    "engine/build/": {"config", "engine", "export", "models", "data", "pooling", "types", "files", "targets"},
    "export": {"models", "types", "files"},
    "report": {"pooling", "types", "files"},
    "prepare": {"data", "report", "processes", "types", "files", "console"},
    "inference": {"config", "data", "engine", "export", "models", "ops", "types"},
    "cli": {
        *("config", "data", "engine", "export", "inference", "ops", "prepare", "processes", "report", "compare"),
        *("types", "files", "console", "targets"),
    },
    "__main__": {"cli"},
    "compare": {"console", "engine", "config", "data", "pooling", "processes", "report", "types", "files"},
}


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = (
                [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "videopool" else [node.module]
            )
        rooms |= {name.split(".")[1] for name in names if name.startswith("videopool.")}
    return rooms


PACKAGE = ROOT / "videopool"
SOURCES = [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_design(path: Path) -> None:
    inside = path.relative_to(ROOT / "videopool")
    room = inside.parts[0].removesuffix(".py")
    place = next((name for name in ALLOWED if "/" in name and str(inside).startswith(name)), room)
    allowed = ALLOWED[place] | {room, "errors", "ranges", "lazy"}
    assert imported_rooms(path) <= allowed


LAYERS_OF_DATA = ("decoding", "lists", "loading")  # a layer may import the ones before it


@pytest.mark.parametrize("number", range(len(LAYERS_OF_DATA)))
def test_layers_of_data(number: int) -> None:
    for path in sorted((PACKAGE / "data" / LAYERS_OF_DATA[number]).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        assert not [above for above in LAYERS_OF_DATA[number + 1 :] if f"videopool.data.{above}" in text], path


def test_entry_files_are_short() -> None:
    for path in (ROOT / "tools").glob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 60, path


def test_config_does_not_import_torch() -> None:
    code = "import sys, videopool.config, videopool.cli.main; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
