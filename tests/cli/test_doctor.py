"""``videopool doctor``: every check, faults with their fixes, exit codes, JSON."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from videopool.cli import doctor_checks
from videopool.cli.doctor_checks import Finding, examine
from videopool.cli.main import main


@pytest.mark.slow
def test_every_check_gives_a_finding_here(tmp_path: Path) -> None:
    findings = {finding.name: finding for finding in examine(tmp_path / "runs")}
    assert list(findings) == [
        *("videopool", "python", "torch", "GPU", "kernels", "packages", "decoders", "ffmpeg", "cores"),
        *("shared memory", "run folder", "decode speed"),
    ]
    for name, finding in findings.items():
        assert finding.value or finding.fault, name
    assert "pyav" in findings["decoders"].value
    assert "frames per second" in findings["decode speed"].value
    assert not (tmp_path / "runs").exists()


def run(capsys: pytest.CaptureFixture, *arguments: str) -> tuple[int, str]:
    code = main(["doctor", *arguments])
    return code, capsys.readouterr().out


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Finding]], None]:
    return lambda findings: monkeypatch.setattr(doctor_checks, "examine", lambda out: findings)


def test_exit_code_and_text_of_a_fault(found: Callable, capsys: pytest.CaptureFixture) -> None:
    found([Finding("torch", "2.13.0"), Finding("kernels", "reference", "plain torch", "install a C++ compiler")])
    code, out = run(capsys)
    assert code == 2
    assert out.splitlines() == [
        "ok     torch    2.13.0",
        "FAULT  kernels  plain torch",
        "                fix: install a C++ compiler",
        "",
        "faults: 1",
    ]
    code, out = run(capsys, "--json")
    assert code == 2
    assert json.loads(out) == {
        "torch": "2.13.0",
        "kernels": "reference",
        "faults": {"kernels": {"fault": "plain torch", "fix": "install a C++ compiler"}},
    }


def test_without_a_fault_the_exit_code_is_0(found: Callable, capsys: pytest.CaptureFixture) -> None:
    found([Finding("torch", "2.13.0")])
    code, out = run(capsys)
    assert code == 0
    assert "everything works" in out


def test_a_folder_that_cannot_be_written_is_a_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(**_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(doctor_checks.tempfile, "TemporaryFile", full)
    finding = doctor_checks._run_folder(tmp_path)
    assert finding.fault == f"{tmp_path} cannot be written (No space left on device)"
    assert "out=" in finding.fix


def test_a_run_folder_that_is_a_file_is_a_fault(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert doctor_checks._run_folder(file).fault == f"{file} is a file, not a folder"
    assert doctor_checks._run_folder(file / "run").fault == f"{file} is a file, not a folder"


def test_missing_kernels_are_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    from videopool import ops

    monkeypatch.setattr(ops, "backend", lambda: "reference")
    finding = doctor_checks._kernels()
    assert "plain torch" in finding.fault
    assert "C++ compiler" in finding.fix


@pytest.mark.slow
def test_a_check_that_raises_is_a_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken() -> Finding:
        raise ImportError("libtorch.so is missing")

    monkeypatch.setattr(doctor_checks, "_torch", broken)
    finding = next(finding for finding in examine(tmp_path) if finding.name == "torch")
    assert finding.fault == "check failed (ImportError: libtorch.so is missing)"
    assert "reinstall" in finding.fix
