"""``python signal_at_step.py STEP SIGNAL SCRIPT ARGUMENTS...`` runs a tool that sends itself a signal after it has
logged a step, so that the signal arrives at that step on any machine."""

import os
import runpy
import signal
import sys
from typing import Any

from videopool.engine.watching.log import RunLog


def main() -> None:
    step, name, *command = sys.argv[1:]
    original = RunLog.training

    def training(self: RunLog, values: dict[str, Any]) -> None:
        original(self, values)
        if values["step"] == int(step):
            os.kill(os.getpid(), signal.Signals[name])

    RunLog.training = training
    sys.argv = command
    runpy.run_path(command[0], run_name="__main__")


if __name__ == "__main__":
    main()
