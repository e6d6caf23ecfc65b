"""The command ``videopool``: help, unknown commands, what is imported, the wording of settings."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from videopool.cli.main import SUBCOMMANDS, main
from videopool.cli.parsing import worded
from videopool.errors import InputError


def test_help_fits_a_screen_and_names_every_verb(capsys: pytest.CaptureFixture) -> None:
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 100
    assert [line.split()[0] for line in lines if line.startswith("  ") and line.split()[0] in SUBCOMMANDS] == list(
        SUBCOMMANDS
    )
    assert sum(line.startswith("  videopool ") for line in lines) == 3


@pytest.mark.parametrize("subcommand", SUBCOMMANDS)
def test_help_of_every_subcommand_has_examples_of_it(subcommand: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as end:
        main([subcommand, "--help"])
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert f"usage: videopool {subcommand}" in out
    assert f"\n  videopool {subcommand}" in out.partition("examples:")[2]


@pytest.mark.parametrize(
    ("given", "answer"),
    [("trian", "Did you mean 'train'?"), ("eval", "Did you mean 'evaluate'?"), ("xyzzy", "choose one of demo, train,")],
)
def test_an_unknown_verb_gets_the_nearest(given: str, answer: str, capsys: pytest.CaptureFixture) -> None:
    assert main([given]) == 2
    assert answer in capsys.readouterr().err


def test_no_verb_prints_the_help_and_fails(capsys: pytest.CaptureFixture) -> None:
    assert main([]) == 2
    assert "usage: videopool COMMAND" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        *(([subcommand, "--help"], 0) for subcommand in SUBCOMMANDS),
        (["train", "--lst"], 2),
        (["train", "--config", "small/c3d", "optim.lr=-1"], 2),
        (["train", "--config", "small/c3dd"], 2),
        (["train", "--config", "small/c3d", "--print-config"], 0),
        (["evaluate", "last.pt", "out=x"], 2),
        (["compare"], 2),
    ],
    ids=str,
)
def test_help_and_wrong_arguments_do_not_wait_for_torch(arguments: list[str], code: int) -> None:
    program = (
        "import sys; from videopool.cli.main import main\n"
        f"try: code = main({arguments!r})\n"
        "except SystemExit as end: code = end.code\n"
        "print(code, 'torch' in sys.modules, 'numpy' in sys.modules, file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert ended.stderr.splitlines()[-1] == f"{code} False False", ended.stderr


@pytest.mark.parametrize("path", sorted((ROOT / "tools").glob("*.py")), ids=lambda path: path.name)
def test_every_tool_runs_and_has_help(path: Path) -> None:
    if path.name == "make_digits.py":
        pytest.importorskip("PIL")
    ended = subprocess.run([sys.executable, str(path), "--help"], capture_output=True, text=True, check=True)
    assert "usage:" in ended.stdout
    assert len(path.read_text().splitlines()) <= 60


@pytest.mark.parametrize("module", ["videopool", "videopool.cli.train", "videopool.cli.evaluate"])
def test_modules_run_as_programs(module: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert ended.stdout.startswith("usage: videopool")


def test_an_error_names_the_key_or_option_that_sets_what_is_wrong() -> None:
    error = InputError("root=/x is not a folder", setting="root")
    assert worded(error, {"root": "data.root"}) == "data.root=/x is not a folder"
    assert worded(error, {"root": "--root"}) == "--root=/x is not a folder"
    assert worded(error, {}) == "root=/x is not a folder"
    other = InputError("/x is not a folder", setting="root")
    assert worded(other, {"root": "data.root"}) == "data.root: /x is not a folder"
    advised = InputError("/x is not a folder. Set root to one.", setting="root")
    assert worded(advised, {"root": "data.root"}) == "/x is not a folder. Set data.root to one."
    named = InputError("data.root=/x is not a folder", setting="root")
    assert worded(named, {"root": "data.root"}) == "data.root=/x is not a folder"
