"""What a run measures beside accuracy: time of the steps, memory, the machine, the weights that it begins with."""

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
    """Seconds of every training step, from the clips being there to the weights being changed, without loading.

    A run that was stopped goes on with the times in ``path``; times of steps that a killed run lost are unknown.
    """

    def __init__(self, trainer: Trainer, path: Path) -> None:
        self._trainer, self._path = trainer, path
        self._since = 0.0
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        self.seconds: dict[int, float] = {int(step): s for step, s in known.items() if int(step) <= trainer.step}
        prepare = trainer.prepare

        def timed(clips: torch.Tensor) -> torch.Tensor:
            self._start()
            return prepare(clips)

        trainer.prepare = timed
        trainer.optimizer.register_step_post_hook(lambda *_: self._stop())

    def save(self) -> None:
        """Leaves the times for a run that goes on from here."""
        write_text(self._path, json.dumps(self.seconds))

    def figures(self) -> dict[str, Any]:
        """Median step, and the sum over all steps (unknown ones count as the mean of the known); seconds."""
        known = list(self.seconds.values())
        if not known:
            return {"train_seconds": None, "step_seconds": None, "steps_timed": 0}
        total = sum(known) / len(known) * self._trainer.total_steps
        return {"train_seconds": total, "step_seconds": statistics.median(known), "steps_timed": len(known)}

    def _start(self) -> None:
        self._synchronize()
        self._since = time.perf_counter()

    def _stop(self) -> None:
        self._synchronize()
        self.seconds[self._trainer.step + 1] = time.perf_counter() - self._since

    def _synchronize(self) -> None:
        if self._trainer.world.device.type == "cuda":
            torch.cuda.synchronize(self._trainer.world.device)


def peak_memory(device: torch.device) -> int:
    """Bytes: on a GPU the most that torch held there, else the largest resident size of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count the process that this one was forked from, where it was larger
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def hardware(device: torch.device) -> str:
    """Processor or GPU, and the threads of torch, in one line."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    threads = torch.get_num_threads()
    return f"{name or platform.processor() or platform.machine()}, {os.cpu_count()} cores, {threads} thread(s) a run"


def weights_hash(model: nn.Module) -> str:
    """SHA-256 of all weights and buffers by name, those of pooling layers left out: the same for every method."""
    pools = tuple(f"{path}." for path, module in model.named_modules() if isinstance(module, Pool))
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if not name.startswith(pools):
            digest.update(f"{name} {tuple(tensor.shape)} ".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def parameters(model: nn.Module) -> dict[str, int]:
    """Number of parameters, of all and of the pooling layers alone."""
    pools = {id(p) for module in model.modules() if isinstance(module, Pool) for p in module.parameters()}
    every = list(model.parameters())
    return {
        "parameters": sum(p.numel() for p in every),
        "pooling_parameters": sum(p.numel() for p in every if id(p) in pools),
    }
