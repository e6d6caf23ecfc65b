"""Training and evaluation. Only ``videopool.engine.build`` reads configurations.

A name is imported when it is first used, so ``import videopool.engine`` does not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from videopool.lazy import lazy_names

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
    "videopool.engine.build": (
        "Trained",
        "TrainingRun",
        "build_model",
        "build_test",
        "build_training",
        "load_trained",
        "read_list",
    ),
    "videopool.engine.checkpoint": ("CheckpointFolder", "read_checkpoint"),
    "videopool.engine.distributed": ("World", "connect", "disconnect"),
    "videopool.engine.evaluation": ("Evaluation", "EvaluationPlan", "evaluate"),
    "videopool.engine.optim": ("build_optimizer",),
    "videopool.engine.schedule": ("build_schedule",),
    "videopool.engine.scores": ("ClipScores", "Metrics", "average_precision", "top_k"),
    "videopool.engine.stop": ("StopRequest",),
    "videopool.engine.trainer": ("Intervals", "RunFiles", "StepHook", "Trainer", "Update"),
}

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

__getattr__, __dir__ = lazy_names(__name__, _NAMES)
