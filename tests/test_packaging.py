"""What is installed: dependencies with true bounds, the command, the configurations in a wheel."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest

import videopool
from tests.conftest import ROOT
from videopool.cli.version import describe_kernels, describe_version

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
    assert ended.stdout.startswith(f"videopool {videopool.__version__}\n")


def test_the_version_is_in_one_place() -> None:
    assert PROJECT["dynamic"] == ["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", videopool.__version__)
    assert describe_version().splitlines()[0] == f"videopool {videopool.__version__}"
    assert f"## {videopool.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_version_says_what_the_kernels_were_built_for(tmp_path: Path) -> None:
    assert describe_kernels(tmp_path) == "none (plain torch)"
    (tmp_path / "_C.so").touch()
    assert describe_kernels(tmp_path) == "built, without a record of the build"
    record = {"torch": "2.13.0", "cpu": ["baseline", "avx2"], "cuda": ["90", "120"], "commit": 40 * "a"}
    (tmp_path / "build.json").write_text(json.dumps(record))
    start, end = "CPU (baseline, avx2), CUDA (", "), built with torch 2.13.0, commit aaaaaaaaaaaa"
    assert describe_kernels(tmp_path) == f"{start}none{end}"
    (tmp_path / "_C_cuda.so").touch()
    assert describe_kernels(tmp_path) == f"{start}9.0, 12.0{end}"


def test_archives_do_not_depend_on_dates_and_owners(tmp_path: Path) -> None:
    program = "import setuptools, sys; setuptools.setup = lambda **_: None; sys.argv = ['setup.py']\n"
    program += "import runpy, pathlib; with_date = runpy.run_path('setup.py')['with_date']\n"
    program += "for path in map(pathlib.Path, sys.stdin.read().split()):\n"
    program += "    path.write_bytes(with_date(path.read_bytes(), 7))"
    paths = [tmp_path / "one.tar.gz", tmp_path / "two.tar.gz"]
    for number, path in enumerate(paths):
        with tarfile.open(path, "w:gz") as archive:
            for name in ("b", "a")[:: 1 - 2 * number]:
                member = tarfile.TarInfo(f"x/{name}")
                member.size, member.mtime, member.uid = 1, 1000 * number, number
                archive.addfile(member, io.BytesIO(name.encode()))
    given = "\n".join(map(str, paths))
    subprocess.run([sys.executable, "-c", program], input=given, text=True, check=True, cwd=ROOT)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with tarfile.open(paths[0]) as archive:
        assert [(member.name, member.mtime) for member in archive] == [("x/a", 7), ("x/b", 7)]


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="runs in a checkout")
def test_an_archive_made_from_an_archive_is_identical(tmp_path: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    folder = tmp_path / "checkout"
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    archives = []
    for target in ("first", "second"):
        command = [sys.executable, "setup.py", "sdist", "--formats", "gztar", "--dist-dir", tmp_path / target]
        environment = {**os.environ, "VIDEOPOOL_BUILD": "none", "SOURCE_DATE_EPOCH": "1764560000"}
        subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
        (archive,) = (tmp_path / target).iterdir()
        archives.append(archive.read_bytes())
        folder = tmp_path / f"from-{target}"
        shutil.unpack_archive(archive, folder)
        (folder,) = folder.iterdir()
    assert archives[0] == archives[1]


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
