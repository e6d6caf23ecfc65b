"""``python misbehave.py RANK STEP ACTION SCRIPT ARGUMENTS...`` runs a tool, in which one process misbehaves.

ACTION: ``sleep`` for long, ``raise`` an error, or a signal (SIGSTOP, SIGKILL, SIGUSR1) that the process of RANK sends
to itself before STEP; ``late``: it does not start; ``key=value``: it gets this argument too.
"""

import os
import runpy
import signal
import sys
import time
from typing import Any

RANK = os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0"))


def misbehave_at(step: int, action: str) -> None:
    from videopool.engine.trainer import Trainer

    original = Trainer.update_weights

    def update_weights(self: Any, batches: Any) -> None:
        if self.step + 1 == step:
            if action == "sleep":
                time.sleep(1000)
            if action == "raise":
                raise ZeroDivisionError("at a step")
            os.kill(os.getpid(), signal.Signals[action])
        original(self, batches)

    Trainer.update_weights = update_weights


def main() -> None:
    rank, step, action, *command = sys.argv[1:]
    if rank == RANK and action == "late":
        time.sleep(1000)
    if rank == RANK and "=" in action:
        command.append(action)
    elif rank == RANK:
        misbehave_at(int(step), action)
    sys.argv = command
    runpy.run_path(command[0], run_name="__main__")


if __name__ == "__main__":
    main()
