"""The processes of a run: one, or those that ``torchrun`` started.

Tensors travel between their devices (gloo on CPU, NCCL on GPU). Values of the host, such as names or a request to stop,
travel over a gloo group of their own, so that they never wait for a GPU.
"""

from __future__ import annotations

import dataclasses
import os
import socket
from typing import Any, Literal

import torch
import torch.distributed as dist

from videopool.errors import InputError


@dataclasses.dataclass(frozen=True)
class World:
    """The position of this process, ``rank`` of ``size``, and its ``device``.

    Attributes:
        host: name of the machine.
        local_rank: number of this process on its machine.
        hosts: the process group of values of the host; None with one process.
    """

    rank: int
    size: int
    device: torch.device
    host: str = ""
    local_rank: int = 0
    hosts: dist.ProcessGroup | None = None

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

    def maximum(self, tensor: torch.Tensor) -> torch.Tensor:
        """Reduce ``tensor`` to its elementwise maximum over the processes, in place and on its device; return it."""
        if self.size > 1:
            dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
        return tensor

    def mean(self, tensor: torch.Tensor) -> torch.Tensor:
        """Reduce ``tensor`` to its elementwise mean over the processes, in place and on its device; return it."""
        if self.size > 1:
            dist.all_reduce(tensor, op=dist.ReduceOp.SUM)
            tensor /= self.size
        return tensor


def connect(device: Literal["auto", "cpu", "cuda"]) -> World:
    """Join the process group if torchrun started this process; return its position and device.

    Raises:
        InputError: if ``device`` is ``"cuda"`` and CUDA is not available, or there are more processes than GPUs.
    """
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    chosen = _device(device, int(os.environ.get("LOCAL_RANK", "0")))
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if size > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    hosts = dist.new_group(backend="gloo") if size > 1 else None
    local = int(os.environ.get("LOCAL_RANK", "0"))
    return World(rank, size, chosen, host=socket.gethostname(), local_rank=local, hosts=hosts)


def disconnect() -> None:
    """Leave the process group."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _device(name: str, local_rank: int) -> torch.device:
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
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if here > count:
        raise InputError(f"--nproc-per-node {here} is more than the {count} visible GPUs; use --nproc-per-node {count}")
    return torch.device("cuda", local_rank)
