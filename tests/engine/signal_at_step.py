"""``python signal_at_step.py STEP SIGNAL SCRIPT ARGUMENTS...`` runs a tool that gets a signal from itself once it has
logged a step: however fast the machine is, the signal arrives while that step is the last one."""

import os
import runpy
import signal
import sys
from typing import Any

from videopool.engine.log import RunLog


def main() -> None:
    step, name, *command = sys.argv[1:]
    logged = RunLog.training

    def training(self: RunLog, values: dict[str, Any]) -> None:
        logged(self, values)
        if values["step"] == int(step):
            os.kill(os.getpid(), signal.Signals[name])

    RunLog.training = training
    sys.argv = command
    runpy.run_path(command[0], run_name="__main__")


if __name__ == "__main__":
    main()
