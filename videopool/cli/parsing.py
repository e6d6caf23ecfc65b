"""What the subcommands share: option types, ``key=value`` overrides, the wording of errors, exit codes."""

from __future__ import annotations

import argparse
import io
import re
import shlex
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from videopool.config.error_keys import KEYS, worded
from videopool.errors import InputError, did_you_mean
from videopool.files import strip_local_paths

_TRAIN = ("numpy", "av", "pytorchvideo", "filelock", "fvcore", "PIL", "yaml", "rich", "safetensors", "jinja2")
# The extra that brings a module.
_EXTRAS = {**dict.fromkeys(_TRAIN, "train"), "matplotlib": "study", "skimage": "study"}

_OS_ERRORS = {
    FileExistsError: "is a file, but a folder is needed. Give another path.",
    NotADirectoryError: "is inside a file, not a folder. Give another path.",
    PermissionError: "cannot be read or written (Permission denied). Give another path, or change its permissions.",
}


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {self._reworded(message.removeprefix('argument '))}\n")

    def _reworded(self, message: str) -> str:
        help_command = f"see {self.prog} --help"
        start, _, names = message.partition(": ")
        if start == "the following arguments are required":
            if "|" in names:
                return f"the command is missing; choose one of {names.replace('|', ', ')}"
            return f"{names} {'are' if ', ' in names else 'is'} missing; {help_command}"
        if start == "unrecognized arguments":
            options = re.findall(r"--[a-z][a-z0-9-]*", self.format_usage())
            wrong = next((word for word in names.split() if word.startswith("-")), names).partition("=")[0]
            hint = did_you_mean(wrong, options)
            return f"unknown argument {wrong}. {hint}" if hint else f"unknown argument {wrong}; {help_command}"
        choice = re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message)
        if choice:
            known = choice[2].replace("'", "")
            wrong = f"{start}={choice[1]}" if start.startswith("-") else f"unknown command {choice[1]!r}"
            hint = did_you_mean(choice[1], known.split(", "))
            return f"{wrong}. {hint}" if hint else f"{wrong}; choose one of {known}"
        return f"{message}; {help_command}"


def parser_of(program: str, command: Any) -> argparse.ArgumentParser:
    """Return the parser of a command: its arguments, examples, and ``--debug``. ``program`` is shown in its help."""
    parser = _Parser(
        prog=program,
        description=command.SUMMARY,
        epilog=command.EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def add_overrides(parser: argparse.ArgumentParser, example: str) -> None:
    """Add the positional ``key=value`` overrides of the configuration, with an ``example`` in the help."""
    about = f"keys to change, e.g. {example}"
    parser.add_argument("overrides", nargs="*", default=[], metavar="key=value", help=about)


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Add ``--trust``: whether functions that the file of a network names are called."""
    about = "call functions of other packages that the file names, such as that of model.target; they can run any code"
    parser.add_argument("--trust", action="store_true", help=about)


def positive(text: str) -> int:
    """Return an option's whole number of 1 or more; a type for argparse."""
    return whole(text, least=1)


def whole(text: str, least: int = 0) -> int:
    """Return an option's whole number of ``least`` or more; a type for argparse."""
    value = int(text) if text.isdecimal() else -1
    if value < least:
        raise argparse.ArgumentTypeError(f"expected a whole number of {least} or more, got {text}")
    return value


def seconds(text: str) -> float:
    """Return an option's number of seconds above 0; a type for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected seconds above 0, got {text}")
    return value


def command_line() -> str:
    """Return the command line of this process as results quote it, without paths of this machine."""
    start = Path(sys.argv[0])
    tool = (
        "videopool" if start.stem in ("videopool", "__main__", "main") else f"python {start.parent.name}/{start.name}"
    )
    return f"{tool} {shlex.join(map(strip_local_paths, sys.argv[1:]))}"


def refuse_unused(overrides: Sequence[str], unused: Mapping[str, str]) -> None:
    """Raise ``InputError`` for an override that the subcommand does not read.

    Args:
        overrides: ``key=value`` texts.
        unused: what to do instead, for each key or section (``optim``) that is not read.
    """
    for item in overrides:
        key = item.partition("=")[0]
        for name, instead in unused.items():
            if key == name or key.startswith(f"{name}."):
                raise InputError(f"{item} has no effect here; {instead}")


def run_command(program: str, command: Any, given: Sequence[str]) -> int:
    """Parse the arguments ``given`` to a command (a module, see ``videopool.cli``), run it, and return the exit code.

    0: done; 2: the input is wrong (one sentence is printed); 1: an error of videopool (with its traceback); 75: stopped
    on request; 130: interrupted; 141: nobody reads the output.
    """
    parser = parser_of(program, command)
    interleaved = getattr(command, "INTERLEAVED", True)
    arguments = parser.parse_intermixed_args(given) if interleaved else parser.parse_args(given)
    _escape_unprintable_names()
    try:
        code = command.run(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        from videopool.console import drop_output

        drop_output()
        return 128 + signal.SIGPIPE
    except InputError as error:
        settings: Mapping[str, str] = getattr(command, "SETTINGS", KEYS)
        return _report(arguments, worded(error, settings))
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name not in _EXTRAS:
            raise
        return _report(arguments, f"{name} is not installed. Run pip install 'videopool[{_EXTRAS[name]}]'.")
    except OSError as error:
        if error.filename is None:
            raise
        reason = _OS_ERRORS.get(type(error))
        text = f" {reason}" if reason else f": {error.strerror}. Check the path, or give another one."
        return _report(arguments, f"{error.filename}{text}")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        from videopool.engine.cluster.reporting import record_exception

        record_exception(error)
        raise


def _escape_unprintable_names() -> None:
    """Let standard output and error escape what they cannot encode, such as file names that are not UTF-8."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _report(arguments: argparse.Namespace, sentence: str) -> int:
    from videopool.engine.cluster.reporting import report_error

    if arguments.debug:
        traceback.print_exc()
    distributed = sys.modules.get("videopool.engine.cluster.distributed")
    report_error(sentence, distributed.peers() if distributed else None)
    return 2
