"""What a run measures besides accuracy: step times, memory, the hardware, a hash of the initial weights."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from videopool.engine.trainer import Trainer
from videopool.files import write_text
from videopool.pooling import Pool


class StepClock:
    """Time every training step, without loading: from the clips being on their device to the weights being changed.

    A hook of ``trainer``. A resumed run continues with the times in ``path``; times of steps that a killed run lost are
    unknown.
    """

    def __init__(self, trainer: Trainer, path: Path) -> None:
        self._trainer, self._path = trainer, path
        self._since = 0.0
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        self.seconds: dict[int, float] = {int(step): s for step, s in known.items() if int(step) <= trainer.step}
        trainer.train_step.hooks.append(self)

    def before_step(self, step: int) -> None:
        """Start the clock."""
        self._synchronize()
        self._since = time.perf_counter()

    def after_step(self, step: int) -> None:
        """Stop the clock."""
        self._synchronize()
        self.seconds[step] = time.perf_counter() - self._since

    def save(self) -> None:
        """Write the times to ``path``, for a run that resumes."""
        write_text(self._path, json.dumps(self.seconds))

    def figures(self) -> dict[str, Any]:
        """Return the median step and the sum of all steps, in seconds; unknown steps count as the mean of the rest."""
        known = list(self.seconds.values())
        if not known:
            return {"train_seconds": None, "step_seconds": None, "steps_timed": 0}
        total = sum(known) / len(known) * self._trainer.total_steps
        return {"train_seconds": total, "step_seconds": statistics.median(known), "steps_timed": len(known)}

    def _synchronize(self) -> None:
        if self._trainer.world.device.type == "cuda":
            torch.cuda.synchronize(self._trainer.world.device)


def peak_memory(device: torch.device) -> int:
    """Return the peak memory in bytes: what torch held on a GPU, otherwise the resident size of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = _system_value(Path("/proc/self/status"), "VmHWM")
    if peak:  # getrusage would include the process that this one was forked from
        return int(peak.split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def hardware(device: torch.device) -> str:
    """Return the processor or GPU, and the threads of torch, in one line."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = _system_value(Path("/proc/cpuinfo"), "model name")
    threads = torch.get_num_threads()
    return f"{name or platform.processor() or platform.machine()}, {os.cpu_count()} cores, {threads} thread(s) a run"


def _system_value(path: Path, name: str) -> str:
    """Return the first value of ``name`` in a file of ``name: value`` lines; "" without the file or the name."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def weights_hash(model: nn.Module) -> str:
    """Return the SHA-256 of all weights and buffers except those of pooling layers: equal for every method."""
    pools = tuple(f"{path}." for path, module in model.named_modules() if isinstance(module, Pool))
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if not name.startswith(pools):
            digest.update(f"{name} {tuple(tensor.shape)} ".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def parameters(model: nn.Module) -> dict[str, int]:
    """Return the number of parameters, in total and in pooling layers."""
    pools = {id(p) for module in model.modules() if isinstance(module, Pool) for p in module.parameters()}
    every = list(model.parameters())
    return {
        "parameters": sum(p.numel() for p in every),
        "pooling_parameters": sum(p.numel() for p in every if id(p) in pools),
    }
