"""How a process was started: alone, or as one of several by torchrun, SLURM, Open MPI or PMI.

The functions read a mapping of environment variables and nothing else. This module does not import torch.
"""

from __future__ import annotations

import dataclasses
import re
import zlib
from collections.abc import Mapping
from typing import Literal

from videopool.errors import InputError

Launcher = Literal["none", "torchrun", "environment", "slurm", "openmpi", "pmi"]

_FIRST_SPECIAL_STEP = 2**32 - 16  # SLURM's numbers of the batch, interactive and extern steps are above
_FIRST_PORT, _PORTS = 20_000, 10_000  # below the ports that Linux gives to clients


@dataclasses.dataclass(frozen=True)
class Launch:
    """The position of this process among those of its run, and where they meet.

    Attributes:
        rank, size: number of this process, from 0, and how many there are.
        local_rank, local_size: the same among the processes on this machine.
        address, port: where the process of rank 0 (or torchrun) listens; "" and 0 with one process.
        launcher: what started the process.
        agent_store: whether torchrun, not the process of rank 0, listens at ``address``.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    address: str = ""
    port: int = 0
    launcher: Launcher = "none"
    agent_store: bool = False

    def __post_init__(self) -> None:
        if not (0 <= self.rank < self.size and 0 <= self.local_rank < self.local_size <= self.size):
            raise InputError(
                f"The environment ({self.launcher}) describes process {self.rank} of {self.size}, {self.local_rank} of "
                f"{self.local_size} on this machine. Numbers start at 0; start all processes with one launcher."
            )

    @property
    def serves(self) -> bool:
        """Whether this process keeps the store open in which the processes meet."""
        return self.rank == 0 and not self.agent_store


def read_launch(environment: Mapping[str, str]) -> Launch:
    """Return how this process was started.

    torchrun and other launchers set RANK and WORLD_SIZE. Without them, the variables of Open MPI, of PMI (MPICH, Intel
    MPI) and of a SLURM job step with several tasks count, in this order: mpirun inside a SLURM job starts its daemons
    as a job step, whose variables the processes inherit. A shell inside a SLURM allocation is one process, even if the
    allocation is for several tasks.

    Raises:
        InputError: for variables that contradict each other, or do not say where the processes meet.
    """
    if "RANK" in environment or _number(environment, "WORLD_SIZE", 1) > 1:
        return _from_torch(environment)
    if "OMPI_COMM_WORLD_RANK" in environment:
        return _from_openmpi(environment)
    if "PMI_RANK" in environment and "PMI_SIZE" in environment:
        return _from_pmi(environment)
    if _slurm_tasks(environment) > 1:
        return _from_slurm(environment)
    if _number(environment, "PMIX_RANK", 0) > 0 and "SLURM_JOB_ID" not in environment:
        raise InputError(
            f"PMIX_RANK={environment['PMIX_RANK']} is set without the number of processes. Start them with torchrun, "
            "or set RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT."
        )
    return Launch()


def expand_hosts(hosts: str) -> list[str]:
    """Return the names in a SLURM host list such as ``node[01-03,7],login``, in order.

    Raises:
        InputError: for text that is not a host list.
    """
    if not re.fullmatch(r"(?:[^\s\[\],]|,(?=[^\s,\]])|\[[\d,-]+\])+", hosts):
        raise InputError(f"{hosts!r} is not a SLURM host list such as node[01-03,7]")
    return [name for item in re.findall(r"(?:[^\[,]|\[[^\]]*\])+", hosts) for name in _expand(item)]


def _expand(item: str) -> list[str]:
    """Return the names of one item, whose brackets multiply: ``r[1-2]n[1-2]`` is four names."""
    start, bracket, rest = item.partition("[")
    if not bracket:
        return [item]
    numbers, _, rest = rest.partition("]")
    return [
        f"{start}{number}{name}" for part in numbers.split(",") for number in _numbers(part) for name in _expand(rest)
    ]


def _numbers(part: str) -> list[str]:
    """Return the numbers of ``01-03``, with their leading zeros."""
    first, _, last = part.partition("-")
    return [f"{number:0{len(first)}}" for number in range(int(first), int(last or first) + 1)]


def _from_torch(environment: Mapping[str, str]) -> Launch:
    size = _number(environment, "WORLD_SIZE", 1)
    if size == 1:
        return Launch()
    torchrun = "TORCHELASTIC_RUN_ID" in environment
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not environment.get(name)]
    if missing:
        raise InputError(
            f"WORLD_SIZE={size} is set without {' and '.join(missing)}. Set RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR "
            "and MASTER_PORT for each process, or start them with torchrun."
        )
    local = _number(environment, "LOCAL_RANK", 0)
    return Launch(
        rank=_number(environment, "RANK", 0),
        size=size,
        local_rank=local,
        local_size=_number(environment, "LOCAL_WORLD_SIZE", local + 1),
        address=environment["MASTER_ADDR"],
        port=_number(environment, "MASTER_PORT", 0),
        launcher="torchrun" if torchrun else "environment",
        agent_store=environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
    )


def _from_openmpi(environment: Mapping[str, str]) -> Launch:
    size = _number(environment, "OMPI_COMM_WORLD_SIZE", 1)
    local = _number(environment, "OMPI_COMM_WORLD_LOCAL_RANK", 0)
    local_size = _number(environment, "OMPI_COMM_WORLD_LOCAL_SIZE", local + 1)
    job = environment.get("PMIX_NAMESPACE", environment.get("OMPI_MCA_ess_base_jobid", ""))
    address, port = _meeting_point(environment, "mpirun", job, alone=local_size == size)
    rank = _number(environment, "OMPI_COMM_WORLD_RANK", 0)
    return Launch(rank, size, local, local_size, address, port, "openmpi") if size > 1 else Launch()


def _from_pmi(environment: Mapping[str, str]) -> Launch:
    rank, size = _number(environment, "PMI_RANK", 0), _number(environment, "PMI_SIZE", 1)
    if size == 1:
        return Launch()
    names = ("MPI_LOCALRANKID", "PMI_LOCAL_RANK", "SLURM_LOCALID")
    local = next((_number(environment, name, 0) for name in names if name in environment), 0)
    counts = ("MPI_LOCALNRANKS", "PMI_LOCAL_SIZE")
    local_size = next((_number(environment, name, 1) for name in counts if name in environment), local + 1)
    job = environment.get("SLURM_JOB_ID", "")  # PMI names no job: PMI_ID is the number of the process
    address, port = _meeting_point(environment, "mpiexec", job, alone=local_size == size)
    return Launch(rank, size, local, local_size, address, port, "pmi")


def _meeting_point(environment: Mapping[str, str], command: str, job: str, *, alone: bool) -> tuple[str, int]:
    """Return the address and port for launchers that set none. ``alone``: all processes are on this machine."""
    hosts = environment.get("SLURM_JOB_NODELIST", "")
    address = environment.get("MASTER_ADDR") or ("127.0.0.1" if alone else expand_hosts(hosts)[0] if hosts else "")
    if not address:
        raise InputError(
            f"MASTER_ADDR is not set. {command} does not say where the processes meet: set MASTER_ADDR to the host of "
            "the first process (and MASTER_PORT to a free port), or start with torchrun."
        )
    return address, _number(environment, "MASTER_PORT", _port_of(job))


def _slurm_tasks(environment: Mapping[str, str]) -> int:
    """Return the number of tasks of the SLURM job step that this process is a task of; 0 outside of job steps.

    SLURM_NTASKS is not enough: sbatch and salloc set it for the one shell that they start. Only ``srun`` sets the
    number of a step; those of the batch script and of interactive shells are special.
    """
    step = _number(environment, "SLURM_STEP_ID", _number(environment, "SLURM_STEPID", -1))
    if "SLURM_PROCID" not in environment or not 0 <= step < _FIRST_SPECIAL_STEP:
        return 0
    return _number(environment, "SLURM_STEP_NUM_TASKS", _number(environment, "SLURM_NTASKS", 1))


def _from_slurm(environment: Mapping[str, str]) -> Launch:
    local = _number(environment, "SLURM_LOCALID", 0)
    hosts = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST", "")
    address = environment.get("MASTER_ADDR") or (expand_hosts(hosts)[0] if hosts else "")
    if not address:
        raise InputError("Neither SLURM_STEP_NODELIST nor MASTER_ADDR is set. Set MASTER_ADDR to the first host.")
    job = f"{environment.get('SLURM_JOB_ID', '')}.{environment.get('SLURM_STEP_ID', '')}"
    tasks = environment.get("SLURM_STEP_TASKS_PER_NODE") or environment.get("SLURM_TASKS_PER_NODE", "")
    return Launch(
        rank=_number(environment, "SLURM_PROCID", 0),
        size=_slurm_tasks(environment),
        local_rank=local,
        local_size=_tasks_here(tasks, _number(environment, "SLURM_NODEID", 0), local + 1),
        address=address,
        port=_number(environment, "MASTER_PORT", _port_of(job)),
        launcher="slurm",
    )


def _tasks_here(tasks: str, node: int, default: int) -> int:
    """Return the number of tasks on a node from SLURM's list, such as ``2(x3),1`` for 2, 2, 2 and 1."""
    counts: list[int] = []
    for count, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", tasks):
        counts += [int(count)] * int(times or 1)
    return counts[node] if node < len(counts) else default


def _port_of(job: str) -> int:
    """Return a port for a job: the same in all of its processes, and usually another one for another job."""
    return _FIRST_PORT + zlib.crc32(job.encode()) % _PORTS


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, "")
    if not text:
        return default
    if not text.isdecimal():
        raise InputError(f"{name}={text} is not a whole number. Unset it, or let the launcher set it.")
    return int(text)
