"""Stand-ins for sbatch, srun and scontrol on one machine: ``slurm_stub.py NAME ARGUMENTS...``.

sbatch runs the script until it is not requeued any more. srun starts the tasks with the variables that SLURM sets. In
the first start of the job it sends the signal of the script's ``--signal`` option to one task when STUB_SIGNAL_AFTER
lines are in the file STUB_LOG; with STUB_CANCEL, SIGTERM to the batch script too, as scancel does. scontrol notes a
requeue in STUB_FOLDER, and lists hosts.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(os.environ["STUB_FOLDER"])
TASKS = int(os.environ.get("STUB_TASKS", "2"))


def sbatch(script: str, *arguments: str) -> int:
    text = Path(script).read_text()
    (name,) = re.findall(r"^#SBATCH --signal=(\w+)@\d+$", text, re.MULTILINE)
    job = {
        "SLURM_JOB_ID": "4711", "SLURM_NTASKS": str(TASKS), "SLURM_NNODES": "1", "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_JOB_NODELIST": "localhost",
        "SLURM_NTASKS_PER_NODE": str(TASKS), "SLURM_TASKS_PER_NODE": str(TASKS), "STUB_SIGNAL": f"SIG{name}",
    }  # fmt: skip
    for restart in range(10):
        environment = {**os.environ, **job, "SLURM_RESTART_COUNT": str(restart)}
        code = subprocess.run(["bash", script, *arguments], env=environment).returncode
        print(f"job ended with {code}", flush=True)
        requeued = FOLDER / "requeued"
        if not requeued.exists():
            return code
        requeued.unlink()
    return 99


def srun(*arguments: str) -> int:
    options = [item for item in arguments if item.startswith("--")]
    first = next(index for index, item in enumerate(arguments) if not item.startswith("--"))
    command = arguments[first:]
    tasks = 1 if "--ntasks-per-node=1" in options[:first] else TASKS
    step = {
        "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": str(tasks), "SLURM_NTASKS": str(tasks),
        "SLURM_STEP_NODELIST": "localhost", "SLURM_STEP_TASKS_PER_NODE": str(tasks),
    }  # fmt: skip
    own = [{"SLURM_PROCID": str(task), "SLURM_LOCALID": str(task)} for task in range(tasks)]
    running = [subprocess.Popen(command, env={**os.environ, **step, **task}) for task in own]
    if os.environ["SLURM_RESTART_COUNT"] == "0" and "STUB_SIGNAL_AFTER" in os.environ:
        log, lines = Path(os.environ["STUB_LOG"]), int(os.environ["STUB_SIGNAL_AFTER"])
        while all(task.poll() is None for task in running):
            if log.exists() and len(log.read_text().splitlines()) >= lines:
                if "STUB_CANCEL" in os.environ:
                    os.kill(os.getppid(), signal.SIGTERM)
                running[-1].send_signal(signal.Signals[os.environ["STUB_SIGNAL"]])
                break
            time.sleep(0.05)
    codes = [task.wait() for task in end_together(running)]
    return max(code if code >= 0 else 128 - code for code in codes)


def end_together(tasks: list[subprocess.Popen]) -> list[subprocess.Popen]:
    """Kill the tasks that run when one fails, as --kill-on-bad-exit does, and return those that ended by themselves."""
    while all(task.poll() is None or task.returncode == 0 for task in tasks):
        if all(task.returncode == 0 for task in tasks):
            return tasks
        time.sleep(0.02)
    ended = [task for task in tasks if task.poll() is not None]
    for task in tasks:
        if task not in ended:
            task.kill()
            task.wait()
    return ended


def scontrol(action: str, *arguments: str) -> int:
    if action == "requeue":
        (FOLDER / "requeued").touch()
    else:
        assert (action, *arguments) == ("show", "hostnames", "localhost")
        print(socket.gethostname())
    return 0


if __name__ == "__main__":
    sys.exit({"sbatch": sbatch, "srun": srun, "scontrol": scontrol}[sys.argv[1]](*sys.argv[2:]))
