"""From a configuration to built objects. Of the engine, only this package reads configurations."""

from videopool.engine.build.parts import (
    augmentation,
    build_model,
    clip_sampling,
    load_pretrained,
    load_weights,
    preprocessing,
    read_list,
    reading,
)
from videopool.engine.build.testing import Trained, build_test, load_trained
from videopool.engine.build.training import FREE_ON_RESUME, TrainingRun, build_training

__all__ = [
    "FREE_ON_RESUME",
    "Trained",
    "TrainingRun",
    "augmentation",
    "build_model",
    "build_test",
    "build_training",
    "clip_sampling",
    "load_pretrained",
    "load_trained",
    "load_weights",
    "preprocessing",
    "read_list",
    "reading",
]
