"""Every command of the documentation is understood by the program that it names."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import re
import runpy
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.docs.pages import PAGES, Block, Command, blocks, commands, inline_commands, name_of, unfenced_commands
from videopool.cli.benchmark import SUBJECTS
from videopool.cli.main import SUBCOMMANDS, main
from videopool.cli.parsing import parser_of
from videopool.config import load
from videopool.config.comparison import load_comparison

BLOCKS = [block for page in PAGES for block in blocks(page)]
SHELL = [block for block in BLOCKS if block.language == "bash"]
# Programs that videopool does not bring; their options are not checked.
FOREIGN = {"awk", "docker", "duckdb", "export", "ffmpeg", "module", "pip", "printf", "sbatch", "source", "srun"}


class ParsedError(Exception):
    """A parser has accepted its arguments, which are ``args[0]``."""


@pytest.fixture
def only_parse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every program end with ``ParsedError`` after it has parsed its arguments."""
    for name in ("parse_args", "parse_intermixed_args"):
        original = getattr(argparse.ArgumentParser, name)

        def parse(self, args=None, namespace=None, *, original=original):
            raise ParsedError(original(self, args, namespace))

        monkeypatch.setattr(argparse.ArgumentParser, name, parse)


def parse(words: list[str], monkeypatch: pytest.MonkeyPatch) -> argparse.Namespace | None:
    """Return the arguments of a command; None for a program of others.

    Raises:
        AssertionError: if the command is not understood.
    """
    program, *rest = words[: words.index(">")] if ">" in words else words
    try:
        if program == "videopool" and rest[0] == "benchmark":
            return parse_module(f"benchmarks.{Path(SUBJECTS[rest[1]]).stem}", rest[2:], monkeypatch)
        if program == "videopool":
            main(rest)
        elif program == "torchrun":
            from torch.distributed.run import parse_args

            parse_args(rest)
        elif program.endswith("python") and rest[0] == "-m":
            return parse_module(rest[1], rest[2:], monkeypatch)
        elif program.endswith("python") and rest[0].startswith("tools/"):
            monkeypatch.setattr(sys, "argv", rest)
            runpy.run_path(str(ROOT / rest[0]), run_name="__main__")
        elif program.endswith("python") and rest[0] == "-c":
            compile(rest[1], "-c", "exec")
            return None
        elif program == "make":
            targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
            assert {word for word in rest if "=" not in word} <= targets
            return None
        else:
            assert program in FOREIGN or (ROOT / program).exists(), f"unknown program {program}"
            return None
    except ParsedError as parsed:
        return parsed.args[0]
    except SystemExit as end:
        if end.code == 0 and "--help" in rest:
            return None
        raise AssertionError(f"{' '.join(words)}: exit code {end.code}") from end
    raise AssertionError(f"{' '.join(words)} has no parser")


def parse_module(name: str, rest: list[str], monkeypatch: pytest.MonkeyPatch) -> argparse.Namespace | None:
    """Return the arguments of ``python -m name rest``."""
    if name.startswith("videopool.cli."):
        return parse(["videopool", name.rpartition(".")[2], *rest], monkeypatch)
    assert importlib.util.find_spec(name), f"there is no module {name}"
    if name.startswith("benchmarks."):
        monkeypatch.setattr(sys, "argv", [name, *rest])
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    return None


@pytest.mark.parametrize("block", SHELL, ids=str)
@pytest.mark.usefixtures("only_parse")
def test_commands_are_understood(block: Block, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    for command in commands(block):
        arguments = parse(command.words, monkeypatch)
        if arguments is None:
            continue
        if command.words[0] == "torchrun":
            training = command.words[command.words.index("-m") :]
            arguments = parse(["python", *training], monkeypatch)
        check_settings(arguments)
    assert capsys.readouterr().err == ""


def check_settings(arguments: argparse.Namespace) -> None:
    """Load the configuration that a command names, with its overrides."""
    overrides = [word for word in getattr(arguments, "overrides", []) if word != "..."]
    config = getattr(arguments, "config", None)
    if config == "...":
        config = None
    if config and "compare" in config:
        load_comparison(config, overrides)
    elif config or overrides:
        load(config, overrides)


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "yaml"], ids=str)
def test_configurations_load(block: Block, tmp_path: Path) -> None:
    (tmp_path / "shown.yaml").write_text(block.text)
    load(tmp_path / "shown.yaml")


@pytest.mark.parametrize("subcommand", SUBCOMMANDS)
@pytest.mark.usefixtures("only_parse")
def test_examples_of_the_help_are_understood(subcommand: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module(f"videopool.cli.{subcommand.replace('-', '_')}")
    lines = [line for line in module.EXAMPLES.splitlines() if re.match(r"  (videopool|python|torchrun) ", line)]
    assert lines
    for command in commands(Block(subcommand, 0, "bash", "\n".join(lines), "")):
        parse(command.words, monkeypatch)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_are_fenced(page: Path) -> None:
    assert unfenced_commands(page) == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_in_sentences_exist(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in inline_commands(page):
        words = text.split()
        if words[0] == "make":
            parse(words, monkeypatch)
        elif words[0] == "python":
            assert importlib.util.find_spec(words[2]), text
        elif words[1] not in ("COMMAND", "--version"):
            known = options(words[1])
            assert words[1] == "benchmark" or {word for word in words if word.startswith("--")} <= known, text


def options(subcommand: str) -> set[str]:
    """Return the options of a command of videopool and of its own commands."""
    assert subcommand in SUBCOMMANDS
    parser = parser_of(subcommand, importlib.import_module(f"videopool.cli.{subcommand.replace('-', '_')}"))
    nested = [action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    parsers = [parser, *(each for choices in nested for each in choices.values())]
    return {option for each in parsers for action in each._actions for option in action.option_strings}


def test_most_blocks_run() -> None:
    """``python -m tests.docs.pages`` lists the others, with the reasons."""
    code = [block for block in BLOCKS if block.language in ("bash", "python")]
    left_out = [block for block in code if block.reason]
    assert len(left_out) < len(code) / 2
    assert not [
        str(block) for block in left_out if not re.match(r"(?:needs|takes|runs|builds|installs) \S", block.reason)
    ]
    assert sum(block.language == "python" for block in left_out) <= 1
    assert {block.language for block in BLOCKS} <= {"bash", "python", "yaml", "docker", "text"}


def test_every_command_of_videopool_is_shown() -> None:
    shown = {command.words[1] for block in SHELL for command in commands(block) if command.words[0] == "videopool"}
    assert shown >= set(SUBCOMMANDS)


def test_a_renamed_option_is_found(only_parse: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for words in (["predict", "runs/mine", "a.mp4", "--to-file", "x"], ["train", "--configs", "demo"]):
        with pytest.raises(AssertionError, match="exit code 2"):
            parse(["videopool", *words], monkeypatch)


def test_the_parts_of_a_line() -> None:
    block = Block("page", 1, "bash", "A=1 b c  # comment\n\\\nd --x 'y z'  && e {1}\n", "")
    assert [*commands(block)] == [
        Command({"A": "1"}, ["b", "c"]),
        Command({}, ["d", "--x", "y z"]),
        Command({}, ["e", "{1}"]),
    ]
