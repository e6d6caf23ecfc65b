"""The processes of a run: one, or those that torchrun or another launcher started.

Tensors travel between their devices (gloo on CPU, NCCL on GPU). Values of the host, such as names or a request to stop,
travel over a separate gloo group, so that they never wait for a GPU.
"""

from __future__ import annotations

import dataclasses
import os
import socket
from datetime import timedelta
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import _set_pg_timeout

from videopool.engine.cluster.launch import Launch, read_launch
from videopool.engine.cluster.rendezvous import Peers, keep_store, meet
from videopool.errors import InputError

_peers: Peers | None = None
_groups: dict[str, dist.ProcessGroup] = {}


@dataclasses.dataclass(frozen=True)
class World:
    """The position of this process, ``rank`` of ``size``, and its ``device``.

    Attributes:
        host: name of the machine.
        local_rank: number of this process on its machine.
        hosts: the process group of values of the host; None with one process.
        timeout: seconds after which a collective operation fails.
    """

    rank: int
    size: int
    device: torch.device
    host: str = ""
    local_rank: int = 0
    hosts: dist.ProcessGroup | None = None
    timeout: float = 600.0

    @property
    def main(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def gather(self, value: Any) -> list[Any]:
        """Return the ``value`` of every process, in rank order, on every process."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self.hosts)
        return values

    def gather_to_main(self, value: Any) -> list[Any]:
        """Return the ``value`` of every process, in rank order, on the main process; an empty list on others."""
        if self.size == 1:
            return [value]
        values: list[Any] | None = [None] * self.size if self.main else None
        dist.gather_object(value, values, dst=0, group=self.hosts)
        return values or []

    def open_group(self) -> dist.ProcessGroup | None:
        """Open another group of values of the host, for use by a thread; None with one process. All must call this."""
        return dist.new_group(backend="gloo", timeout=timedelta(seconds=self.timeout)) if self.size > 1 else None

    def mean(self, tensor: torch.Tensor) -> torch.Tensor:
        """Reduce ``tensor`` to its elementwise mean over the processes, in place and on its device; return it."""
        if self.size > 1:
            dist.all_reduce(tensor, op=dist.ReduceOp.SUM)
            tensor /= self.size
        return tensor


def connect(device: Literal["auto", "cpu", "cuda"], *, timeout: float = 600.0, start_timeout: float = 60.0) -> World:
    """Join the process group if a launcher started this process as one of several; return its position and device.

    Args:
        device: auto is a GPU if there is one.
        timeout: seconds after which a collective operation fails.
        start_timeout: seconds to wait for the other processes.

    Raises:
        InputError: if ``device`` is ``"cuda"`` and CUDA is not available, there are more processes than GPUs, a process
            does not start, or the processes cannot use the same kind of device.
    """
    launch = read_launch(os.environ)
    host = socket.gethostname()
    if launch.size == 1:
        return World(0, 1, _use(_device(device, launch)), host=host)
    if not dist.is_initialized():
        join(launch, device, timeout=timeout, start_timeout=start_timeout)
    return World(
        launch.rank,
        launch.size,
        _use(_device(device, launch)),
        host=host,
        local_rank=launch.local_rank,
        hosts=_groups["hosts"],
        timeout=timeout,
    )


def alone(device: Literal["auto", "cpu", "cuda"]) -> World:
    """Return the world of this process alone, even if a launcher started several.

    Raises:
        InputError: if ``device`` is ``"cuda"`` and CUDA is not available.
    """
    return World(0, 1, _use(_device(device, Launch())), host=socket.gethostname())


def join(launch: Launch, device: Literal["auto", "cpu", "cuda"], *, timeout: float, start_timeout: float) -> None:
    """Meet the other processes and open the process groups: the default one of the device, and that of the hosts."""
    global _peers
    chosen, about = torch.device("cpu"), {}
    try:
        chosen = _device(device, launch)
        about = {"device": str(chosen), "gpu": _gpu(chosen)}
    except InputError as error:
        about = {"error": str(error)}
    _peers = meet(launch, start_timeout, about)
    try:
        check_devices(_peers)
    except InputError:
        keep_store(launch)  # the others may still read the descriptions
        raise
    _use(chosen)
    start, given = timedelta(seconds=start_timeout), timedelta(seconds=timeout)
    nccl = chosen.type == "cuda"
    try:
        dist.init_process_group(
            "nccl" if nccl else "gloo",
            store=_peers.keys("groups"),
            rank=launch.rank,
            world_size=launch.size,
            timeout=given if nccl else start,
        )
        hosts = dist.new_group(backend="gloo", timeout=start)
    except RuntimeError as error:
        raise InputError(
            f"{_peers.name(launch.rank)} could not open network connections to the other processes: "
            f"{str(error).splitlines()[0]}. Set GLOO_SOCKET_IFNAME to the network interface that connects the hosts."
        ) from error
    for group in (dist.group.WORLD, hosts):
        _set_pg_timeout(given, group)
    _groups["hosts"] = hosts


def peers() -> Peers | None:
    """Return the processes of the run; None with one process, or before ``connect``."""
    return _peers


def disconnect() -> None:
    """Leave the process group."""
    if dist.is_initialized():
        dist.destroy_process_group()


def check_devices(found: Peers) -> None:
    """Raise ``InputError`` unless every process has a device, all of one kind, and none shares a GPU with another."""
    ranks = range(len(found.about))
    for rank in ranks:
        if "error" in found.about[rank]:
            raise InputError(f"{found.name(rank)}: {found.about[rank]['error']}")
    kinds = [about["device"].partition(":")[0] for about in found.about]
    other = next((rank for rank in ranks if kinds[rank] != kinds[0]), None)
    if other is not None:
        raise InputError(
            f"{found.name(other)} uses {kinds[other]}, but {found.name(0)} uses {kinds[0]}. Set train.device, or check "
            "nvidia-smi on both hosts."
        )
    owners: dict[str, int] = {}
    for rank in ranks:
        gpu = found.about[rank]["gpu"]
        if gpu and owners.setdefault(gpu, rank) != rank:
            raise InputError(
                f"{found.name(owners[gpu])} and {found.name(rank)} use the same GPU. Start one process per GPU, each "
                "with its LOCAL_RANK."
            )


def _use(device: torch.device) -> torch.device:
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def _gpu(device: torch.device) -> str:
    """Return what identifies a GPU on all machines; "" for the CPU."""
    return str(torch.cuda.get_device_properties(device).uuid) if device.type == "cuda" else ""


def _device(name: str, launch: Launch) -> torch.device:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu" or (name == "auto" and count == 0):
        return torch.device("cpu")
    if count == 0:
        build = (
            f"this torch ({torch.__version__}) was built without CUDA"
            if not torch.version.cuda
            else "no GPU is visible"
        )
        raise InputError(
            f"train.device=cuda is not available: {build}. Use train.device=cpu, or install a CUDA build of torch and "
            "check nvidia-smi."
        )
    if launch.local_size <= count:
        return torch.device("cuda", launch.local_rank)
    if count == 1 and launch.launcher not in ("none", "torchrun"):  # SLURM can show each task only its own GPU
        return torch.device("cuda", 0)
    option = {"torchrun": "--nproc-per-node", "slurm": "--ntasks-per-node"}.get(launch.launcher)
    if option:
        raise InputError(f"{option} {launch.local_size} is more than the {count} visible GPUs; use {option} {count}")
    raise InputError(
        f"{launch.local_size} processes on one machine are more than its {count} visible GPUs; start {count}"
    )
