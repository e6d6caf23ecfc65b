"""Which package may import which, as in docs/design.md. A package not named here may not be imported."""

import ast
import re
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
    "types": set(),
    "files": set(),
    "console": set(),
    "processes": set(),
    "ops": set(),
    "pooling": {"ops", "targets"},
    "models": {"pooling", "targets"},
    "data": {"ops", "processes", "types", "files", "targets"},
    "config": set(),
    "engine": {"data", "pooling", "types", "files", "console"},
    "engine/builders/": {"config", "engine", "export", "models", "data", "pooling", "types", "files", "targets"},
    "export": {"ops", "files"},
    "report": {"pooling", "files"},
    "report/evaluation/": {"config", "data", "engine", "report", "types", "files"},
    "migrate": {"config"},
    "prepare": {"data", "report", "processes", "types", "files", "console"},
    "inference": {"config", "data", "engine", "export", "ops", "report", "types", "files"},
    "cli": {
        *("config", "data", "engine", "export", "inference", "ops", "migrate", "prepare", "processes", "report"),
        "compare",
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


def test_torchs_compiler_is_imported_at_its_first_use() -> None:  # it takes more than a second
    code = "import sys, videopool.engine.builders.training; sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


BELOW_THE_CONFIGURATION = ("data", "models", "ops", "pooling", "prepare", "processes", "report", "export")


@pytest.mark.parametrize("room", BELOW_THE_CONFIGURATION)
def test_errors_below_the_configuration_name_no_keys(room: str) -> None:
    from videopool.config.reference import keys_of
    from videopool.config.schema import Config

    keys = [key.name for key in keys_of(Config) if "." in key.name]
    for path in sorted((PACKAGE / room).rglob("*.py")):
        if path.parent == PACKAGE / "report/evaluation":  # above the configuration
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Raise):
                texts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
                named = [
                    key
                    for key in keys
                    for text in texts
                    if isinstance(text, str) and re.search(rf"\b{re.escape(key)}\b", text)
                ]
                assert not named, f"{path}:{node.lineno} names {named[0]}; pass setting= instead"
