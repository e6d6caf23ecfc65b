"""The files of contributors: workflows, forms, hooks, images, and the spelling of all files."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import videopool
from tests.conftest import ROOT

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
FORMS = [path for path in sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")) if path.name != "config.yml"]
TARGETS = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
DOCKERFILES = [ROOT / "Dockerfile", ROOT / "Dockerfile.cuda"]


def commands(workflow: Path) -> list[str]:
    jobs = yaml.safe_load(workflow.read_text())["jobs"]
    return [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_call_targets_that_exist(workflow: Path) -> None:
    called = [command.removeprefix("make ") for command in commands(workflow) if command.startswith("make ")]
    assert "install" in called
    assert set(called) <= TARGETS
    for command in commands(workflow):  # a person can do all that a workflow does
        assert re.fullmatch(r"make [\w-]+|(sudo )?apt-get .*", command), command


def test_workflows_have_every_check() -> None:
    called = {command for path in WORKFLOWS for command in commands(path)}
    wanted = ("lint", "test", "test-long", "test-lowest", "docs", "wheel", "release-check")
    assert called >= {f"make {name}" for name in wanted}
    matrix = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())["jobs"]["test"]["strategy"]["matrix"]
    assert matrix == {"python": ["3.11", "3.12", "3.13"]}


def test_all_targets_are_phony_and_described() -> None:
    makefile = (ROOT / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert set(phony.split()) == TARGETS
    pages = (ROOT / name for name in ("CONTRIBUTING.md", "docs/release.md", "README.md"))
    text = makefile.partition("PYTHON")[0] + "".join(page.read_text() for page in pages)
    assert {name for name in TARGETS if f"make {name}" not in text} <= {"install", "clean"}


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.name)
def test_issue_forms_ask_for_the_installation(form: Path) -> None:
    described: dict[str, Any] = yaml.safe_load(form.read_text())
    assert {"name", "description", "body"} <= described.keys()
    labels = [item["attributes"]["label"] for item in described["body"]]
    assert "Output of videopool doctor --json" in labels
    assert len({item["id"] for item in described["body"]}) == len(described["body"])


def test_pull_requests_keep_the_golden_losses() -> None:
    text = (ROOT / ".github/pull_request_template.md").read_text()
    assert "A refactoring shows the golden loss curve unchanged" in text
    for path in re.findall(r"`(tests/[\w/.]+)`", text):
        assert (ROOT / path).exists()


def test_hooks_call_installed_tools() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert {hook["id"] for hook in repository["hooks"]} == {"ruff", "ruff-format", "mypy", "clang-format", "codespell"}
    for hook in repository["hooks"]:
        program = hook["entry"].split()[0].removeprefix(".venv/bin/")
        assert Path(sys.executable).with_name(program).exists(), "runs in the environment of make install"


def test_the_citation_has_the_version() -> None:
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == videopool.__version__


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_images(path: Path) -> None:
    text = path.read_text()
    lines = re.sub(r"\\\n", " ", text).splitlines()
    words = {line.split()[0] for line in lines if line and not line.startswith("#")}
    assert words <= {"FROM", "RUN", "ENV", "WORKDIR", "COPY", "ARG", "USER", "ENTRYPOINT", "CMD"}
    bases = [line.split()[1] for line in lines if line.startswith("FROM ")]
    assert all(":" in base and not base.endswith(":latest") for base in bases)
    assert [line for line in lines if line.startswith("USER ")] == ["USER videopool"]
    for line in lines:
        if "apt-get install" in line:
            assert "--no-install-recommends" in line
            assert "rm -rf /var/lib/apt/lists/*" in line
    for sources in re.findall(r"^COPY (?!--from)(\S+) ", text, re.MULTILINE):
        assert (ROOT / sources).exists()


def test_words() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("needs the list of files of git; runs in a checkout")
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    present = [name for name in files if name and (ROOT / name.decode(errors="surrogateescape")).is_file()]
    found = subprocess.run([sys.executable, "-m", "codespell_lib", *present], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout
