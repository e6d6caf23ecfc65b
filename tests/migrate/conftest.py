"""What the tests of converted configurations share."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable

import pytest
import torch

from videopool.config import Config
from videopool.models import build


@functools.cache
def _parameters(name: str, arguments: str, frames: int) -> int:
    with torch.device("meta"):
        model = build(name, classes=400, frames=frames, crop=64, **json.loads(arguments))
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.fixture(scope="session")
def count_parameters() -> Callable[[Config], int]:
    """Return a function that counts the parameters of the network of a configuration, with 400 classes."""

    def count(config: Config) -> int:
        # Neither the crop nor the frames change the parameters.
        return _parameters(config.model.name, json.dumps(config.model.arguments), config.clip.frames)

    return count
