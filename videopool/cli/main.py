"""The entry point of the command ``videopool``."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

from videopool.cli.parsing import run_command
from videopool.errors import did_you_mean

# Each subcommand is the module of its name, with "_" for "-". In the order of the help.
SUBCOMMANDS = (
    "demo", "train", "evaluate", "report", "predict", "explain", "export", "prepare", "compare", "similarity",
    "feature-maps", "migrate", "benchmark", "doctor",
)  # fmt: skip
_WIDTH = max(map(len, SUBCOMMANDS))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``videopool COMMAND ...`` and return the exit code.

    Args:
        arguments: the command and its arguments; None: those of the process.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help", "help"):
        print(_help())
        return 0 if given else 2
    name, *rest = given
    if name == "--version":
        from videopool.cli.version import describe_version

        print(describe_version())
        return 0
    if name not in SUBCOMMANDS:
        hint = did_you_mean(name, SUBCOMMANDS, cutoff=0.4)
        advice = f". {hint}" if hint else f"; choose one of {', '.join(SUBCOMMANDS)}"
        print(f"error: unknown command {name!r}{advice}", file=sys.stderr)
        return 2
    if name != "benchmark":  # which measures with the settings that it is given
        # Idle threads of an operator sleep instead of spinning. The loader's workers need the cores: on two of them a
        # training step of the demo took 0.19 s instead of 0.32 s. torch reads this when it is imported.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    return run_command(f"videopool {name}", _module(name), rest)


def _module(name: str) -> Any:
    return importlib.import_module(f"videopool.cli.{name.replace('-', '_')}")


def _help() -> str:
    subcommands = "\n".join(f"  {name:<{_WIDTH}}  {_module(name).SUMMARY}" for name in SUBCOMMANDS)
    return f"""usage: videopool COMMAND [arguments]

Train, evaluate and deploy 3D-CNN video classifiers with SoftPool.

{subcommands}

examples (videopool COMMAND --help shows the arguments of a command, and more examples):
  videopool demo
  videopool train --config small/c3d data.root=my_videos out=runs/mine
  videopool predict runs/mine/checkpoints/best.pt video.mp4"""


if __name__ == "__main__":
    sys.exit(main())
