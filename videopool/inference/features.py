"""Features: what a layer of the network returns for each clip, averaged over time and space.

Shape legend: N clips, C channels, V videos.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from videopool.engine.scoring.score_shards import ScoreShard
from videopool.errors import InputError, did_you_mean
from videopool.files import atomic_write
from videopool.inference.backends import BackendModule


@dataclasses.dataclass(frozen=True)
class Features:
    """The features of N clips, sorted by video and view.

    Attributes:
        values: float32 [N,C].
        video: int64 [N], the number of the video.
        seconds: float64 [N,2], start and end of the clip in its video.
    """

    values: torch.Tensor
    video: torch.Tensor
    seconds: torch.Tensor

    @staticmethod
    def of(shards: Sequence[ScoreShard], values: torch.Tensor) -> Features:
        """Return the features of an evaluation, from the ``values`` of all its clips in the order of their scores."""
        if not shards:
            return Features(values, torch.empty(0, dtype=torch.int64), torch.empty(0, 2, dtype=torch.float64))
        (shard,) = shards
        return Features(values[shard.rows], shard.video, shard.seconds)


class LayerTap:
    """Collects what a layer of a network returns while the ``with`` block runs the network.

    Args:
        model: the network.
        layer: path of the layer.

    Raises:
        InputError: if ``model`` has no such layer; in the ``with`` block, if the layer does not run exactly once in a
            forward pass, or does not return one tensor with a row for each clip.
    """

    def __init__(self, model: nn.Module, layer: str) -> None:
        self._model, self._layer, self._name = model, find_layer(model, layer), layer
        self._found: list[torch.Tensor] = []
        self._clips = 0  # of this forward pass, until the layer has run

    def __enter__(self) -> LayerTap:
        before = self._model.register_forward_pre_hook(self._begin)
        self._handles = (before, self._layer.register_forward_hook(self._record))
        return self

    def __exit__(self, kind: object, *raised: object) -> None:
        for handle in self._handles:
            handle.remove()
        if kind is None and self._clips:
            raise InputError(f"Layer {self._name!r} does not run in the forward pass. Choose another one.")

    def values(self) -> torch.Tensor:
        """Return the features of all clips so far, float32 [N,C], in the order in which the network saw them."""
        return torch.cat(self._found) if self._found else torch.empty(0, 0)

    def _begin(self, _model: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self._clips = len(inputs[0])

    def _record(self, _layer: nn.Module, _inputs: Any, output: Any) -> None:
        clips, self._clips = self._clips, 0
        if not isinstance(output, torch.Tensor) or output.dim() < 2:
            kind = f"{output.dim()}-dimensional tensor" if isinstance(output, torch.Tensor) else type(output).__name__
            raise InputError(
                f"Layer {self._name!r} returns a {kind}, not one tensor [clips, channels, ...]. Choose a layer inside "
                "it or after it."
            )
        if not clips:
            raise InputError(f"Layer {self._name!r} runs more than once in a forward pass. Choose another one.")
        if len(output) != clips:
            raise InputError(
                f"Layer {self._name!r} returns {len(output)} rows for {clips} clips, not one for each. Choose another "
                "one."
            )
        self._found.append(output.float().flatten(2).mean(2).cpu() if output.dim() > 2 else output.float().cpu())


def find_layer(model: nn.Module, name: str) -> nn.Module:
    """Return the layer ``name`` of a network.

    Raises:
        InputError: if there is none; with the names that are nearest, and with all names if there are few.
    """
    if isinstance(model, BackendModule):
        raise InputError("This form of the network has no layers to take features from. Give a checkpoint or weights.")
    layers = {path: layer for path, layer in model.named_modules() if path}
    if name not in layers:
        ends = [path for path in layers if name and path.endswith(f".{name}")]
        hint = did_you_mean(name, layers, first=ends, most=3, cutoff=0.5) or f"It has {', '.join(_tops(layers))}."
        raise InputError(f"The network has no layer {name!r}. {hint}")
    return layers[name]


def _tops(layers: dict[str, nn.Module]) -> list[str]:
    tops = [path for path in layers if "." not in path]
    return tops if len(tops) > 1 else [path for path in layers if path.count(".") == 1] or tops


class FeatureFile:
    """Write features to an ``.npz`` file, a context manager; memory does not grow with their number.

    The arrays are ``features`` float32 [N,C], ``video`` int64 [N], a position in ``videos``, ``start`` and ``end``
    float64 [N] in seconds, ``videos``, the V names, and ``layer``. The file exists once all of it is written.

    Args:
        path: the file.
        layer: name of the layer.
    """

    def __init__(self, path: Path, layer: str) -> None:
        self.path, self._layer = path, layer
        self._names: list[str] = []
        self._keys: list[np.ndarray] = []
        self._seconds: list[np.ndarray] = []
        self._shape = (0, 0)

    def __enter__(self) -> FeatureFile:
        with contextlib.ExitStack() as stack:
            self._target = stack.enter_context(atomic_write(self.path))
            self._rows_path = self._target.with_name(f"{self._target.name}-rows")
            stack.callback(self._rows_path.unlink, missing_ok=True)
            self._rows = stack.enter_context(self._rows_path.open("wb"))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None:
            self._finish()
        self._stack.__exit__(kind, error, trace)

    def add(self, features: Features, names: Sequence[str]) -> None:
        """Add the features of the videos ``names``, in the order in which ``features.video`` counts them."""
        values = np.ascontiguousarray(features.values.numpy(), dtype=np.float32)
        self._rows.write(values.data)
        self._shape = (self._shape[0] + len(values), values.shape[1] or self._shape[1])
        self._keys.append(features.video.numpy() + len(self._names))
        self._seconds.append(features.seconds.numpy())
        self._names += names

    def _finish(self) -> None:
        self._rows.flush()
        shape = self._shape
        values = np.memmap(self._rows_path, np.float32, "r", shape=shape) if all(shape) else np.empty(shape, np.float32)
        seconds = np.concatenate([*self._seconds, np.empty((0, 2))])
        with self._target.open("wb") as file:
            np.savez(
                file,
                features=values,
                video=np.concatenate([*self._keys, np.empty(0, np.int64)]),
                start=seconds[:, 0],
                end=seconds[:, 1],
                videos=np.array(self._names, dtype=np.str_),
                layer=np.array(self._layer),
            )
