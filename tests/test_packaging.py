"""What is installed: dependencies with true bounds, the command, the configurations in a wheel."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXACT = re.compile(r"^([\w-]+)==(\S+)$", re.MULTILINE)


def bounds(extra: str) -> dict[str, str]:
    """The lower bound of each dependency of an extra, "" without one."""
    found = {}
    for requirement in PROJECT["optional-dependencies"][extra]:
        name, _, bound = requirement.partition(";")[0].partition(">=")
        found[name.strip().lower()] = bound.strip()
    return found


def test_lower_bounds_are_those_that_are_tested() -> None:
    lowest = {name.lower(): version for name, version in EXACT.findall((ROOT / ".ci/lowest-versions.txt").read_text())}
    tested = {**bounds("train"), **bounds("study")}
    assert tested.keys() == lowest.keys()
    for name, bound in tested.items():
        assert re.fullmatch(rf"{re.escape(bound)}(\.0)*", lowest[name]), name


def test_development_versions_satisfy_the_bounds() -> None:
    pinned = dict(EXACT.findall((ROOT / "constraints.txt").read_text().lower()))
    for name, bound in {**bounds("train"), **bounds("study")}.items():
        assert numbers(pinned[name]) >= numbers(bound), name


def numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def test_the_command_and_its_version() -> None:
    command = Path(sys.executable).with_name("videopool")
    if not command.exists():
        pytest.skip("the package is not installed here; .ci/run installs it")
    ended = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert ended.stdout == f"videopool {PROJECT['version']}\n"


def test_a_missing_package_is_one_sentence() -> None:
    program = (
        "import sys; sys.modules['yaml'] = None\n"
        "from videopool.cli.main import main\n"
        "sys.exit(main(['train', '--config', 'demo', '--print-config']))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert ended.returncode == 2
    assert ended.stderr == "error: yaml is not installed. Run pip install 'videopool[train]'.\n"
    help_of_all = program.replace("'train', '--config', 'demo', '--print-config'", "'--help'")
    assert subprocess.run([sys.executable, "-c", help_of_all], capture_output=True, cwd=ROOT).returncode == 0


def test_a_wheel_has_the_configurations_and_the_benchmarks(tmp_path: Path) -> None:
    program = (
        f"import sys; sys.argv = ['setup.py', '--quiet', 'build_py', '--build-lib', {str(tmp_path)!r}]; import runpy; "
    )
    program += "runpy.run_path('setup.py', run_name='__main__')"
    environment = {"VIDEOPOOL_BUILD": "none", "PATH": "/usr/bin:/bin"}
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT, env=environment, capture_output=True)
    package = tmp_path / "videopool"
    shipped = {path.relative_to(package / "configs") for path in (package / "configs").rglob("*.yaml")}
    assert shipped == {path.relative_to(ROOT / "configs") for path in (ROOT / "configs").rglob("*.yaml")}
    assert (package / "bundled/benchmarks/pooling.py").exists()
    assert (package / "py.typed").exists()
    templates = ROOT / "videopool/report/evaluation/templates"
    assert {path.name for path in (package / "report/evaluation/templates").iterdir()} == {
        path.name for path in templates.iterdir()
    }
