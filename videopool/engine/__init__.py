"""Training and evaluation. Only ``videopool.engine.build`` reads configurations.

A name is imported when it is first used, so ``import videopool.engine`` does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from videopool.engine.build import (
        Trained,
        TrainingRun,
        build_model,
        build_test,
        build_training,
        load_trained,
        read_list,
    )
    from videopool.engine.checkpoint import CheckpointFolder, read_checkpoint
    from videopool.engine.distributed import World, connect, disconnect
    from videopool.engine.evaluation import Evaluation, EvaluationPlan, evaluate
    from videopool.engine.optim import build_optimizer
    from videopool.engine.schedule import build_schedule
    from videopool.engine.scores import ClipScores, Metrics, average_precision, top_k
    from videopool.engine.stop import StopRequest
    from videopool.engine.trainer import Intervals, RunFiles, StepHook, Trainer, Update

_NAMES = {
    "build": ("Trained", "TrainingRun", "build_model", "build_test", "build_training", "load_trained", "read_list"),
    "checkpoint": ("CheckpointFolder", "read_checkpoint"),
    "distributed": ("World", "connect", "disconnect"),
    "evaluation": ("Evaluation", "EvaluationPlan", "evaluate"),
    "optim": ("build_optimizer",),
    "schedule": ("build_schedule",),
    "scores": ("ClipScores", "Metrics", "average_precision", "top_k"),
    "stop": ("StopRequest",),
    "trainer": ("Intervals", "RunFiles", "StepHook", "Trainer", "Update"),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "CheckpointFolder",
    "ClipScores",
    "Evaluation",
    "EvaluationPlan",
    "Intervals",
    "Metrics",
    "RunFiles",
    "StepHook",
    "StopRequest",
    "Trained",
    "Trainer",
    "TrainingRun",
    "Update",
    "World",
    "average_precision",
    "build_model",
    "build_optimizer",
    "build_schedule",
    "build_test",
    "build_training",
    "connect",
    "disconnect",
    "evaluate",
    "load_trained",
    "read_checkpoint",
    "read_list",
    "top_k",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
