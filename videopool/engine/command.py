"""What every tool shares: its argument parser's common part, and how errors become one sentence and an exit code.

Imported before anything that imports torch, which reads the setting below when it is loaded.
"""

from __future__ import annotations

import argparse
import io
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from videopool.console import drop_output
from videopool.errors import InputError
from videopool.files import strip_local_paths

# Idle threads of an operator sleep instead of spinning: on a machine whose cores the loader's workers share, a training
# step of the demo took 0.19 s instead of 0.32 s.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def parser(description: str) -> argparse.ArgumentParser:
    """A parser with what every tool takes: ``--debug`` and ``key=value`` overrides (added by the tool)."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return made


def positive(text: str) -> int:
    """An option's whole number of 1 or more, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of 1 or more, got {text}")
    return int(text)


def said() -> str:
    """The command line of this process as results quote it, without the places of this machine."""
    tool = "/".join(Path(sys.argv[0]).parts[-2:])
    return shlex.join(["python", tool, *map(strip_local_paths, sys.argv[1:])])


def run(main: Callable[[argparse.Namespace], int], arguments: argparse.Namespace) -> int:
    """Runs ``main``; exit code 0 done, 2 the user's input (one sentence), 1 ours (traceback), 130 interrupted, 141
    when nobody reads its output any more."""
    _print_any_name()
    try:
        code = main(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever read the output has enough, as head has
        drop_output()
        return 128 + signal.SIGPIPE
    except InputError as error:
        return _user_error(arguments, str(error))
    except OSError as error:
        if error.filename is None:
            raise
        return _user_error(arguments, f"{error.filename}: {error.strerror}; name another place, or mend this one")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _print_any_name() -> None:
    """Let standard output and error escape what they cannot encode, such as names of files that are not UTF-8."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _user_error(arguments: argparse.Namespace, sentence: str) -> int:
    if arguments.debug:
        traceback.print_exc()
    rank = os.environ.get("RANK", "0")
    print(f"error: {sentence}" if rank == "0" else f"error (process {rank}): {sentence}", file=sys.stderr)
    return 2
