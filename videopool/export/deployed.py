"""An exported network, from uint8 frames to logits, and its description."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from videopool.files import strip_local_paths, write_text

_FRAMES_AT = {  # by clip.sampling
    "random": "stride / fps seconds apart (fps 0: the rate of the video), each the frame shown at that time",
    "dense": "window / frames seconds apart, each the frame shown at that time",
    "segments": "the video is divided into as many equal parts as frames, each frame from the middle of its part",
}
_WRITTEN = (
    *("frames", "sampling", "stride", "fps", "window", "short", "short_side", "crop", "mean", "std"),
    *("square_pixels", "deinterlace"),
)
_SOFTMAX = "softmax of the logits over the classes, averaged over views"
_SIGMOID = "sigmoid of each logit (a video may have several classes), averaged over views"


class Deployed(nn.Module):
    """A network from uint8 RGB clips [B,3,T,H,W], scaled and cropped, to logits [B,K]. It includes normalization."""

    def __init__(self, model: nn.Module, preprocess: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.model = model
        self.preprocess = preprocess

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Return the logits [B,K] of uint8 ``clips`` [B,3,T,H,W]."""
        return self.model(self.preprocess(clips))


@dataclasses.dataclass(frozen=True)
class Description:
    """What is needed to run an exported network.

    Attributes:
        frames, sampling, stride, fps, window, short: how clips are sampled, as in ``videopool.data.ClipSampling``; fps
            0 is the rate of the video.
        short_side, crop: pixels of the shorter side of a frame, and of the side of the square crop.
        mean, std: normalization of each channel, for values from 0 to 1.
        square_pixels, deinterlace: whether frames get their displayed shape, and are made progressive.
        classes: names in label order.
        several_labels: whether a video may have several classes; logits become probabilities by sigmoid, not softmax.
        config: the configuration as YAML.
        provenance: where the network comes from, such as the version of videopool and the step of the checkpoint.
        sample: uint8 [B,3,T,H,W], a clip of a video to verify on.
    """

    frames: int
    sampling: str
    stride: int
    fps: float
    window: float
    short: str
    short_side: int
    crop: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    square_pixels: bool
    deinterlace: bool
    classes: tuple[str, ...]
    several_labels: bool
    config: str
    provenance: Mapping[str, str | int | float] = dataclasses.field(default_factory=dict)
    sample: torch.Tensor | None = dataclasses.field(default=None, compare=False, repr=False)

    def example(self, batch: int) -> torch.Tensor:
        """Return random uint8 clips [batch,3,T,H,W] of the input shape, the same at every call."""
        generator = torch.Generator().manual_seed(0)
        shape = (batch, 3, self.frames, self.crop, self.crop)
        return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)

    def checks(self) -> dict[str, torch.Tensor]:
        """Return the clips that an exported file is verified on, by name, in batches of different sizes."""
        noise = self.example(3)
        clips = {"noise": noise, "black": torch.zeros_like(noise[:1])}
        return clips if self.sample is None else {**clips, "sample": self.sample}

    def document(self) -> str:
        """Return classes, preprocessing, provenance and configuration as JSON, without paths of this machine."""
        parts = {"classes": list(self.classes), **self._preprocessing(), "config": strip_local_paths(self.config)}
        return json.dumps(parts, indent=1)

    def write(self, folder: Path) -> None:
        """Write ``config.yaml``, ``classes.json`` and ``preprocessing.json``."""
        texts = {
            "config.yaml": self.config,
            "classes.json": json.dumps(list(self.classes), indent=1, ensure_ascii=False) + "\n",
            "preprocessing.json": json.dumps(self._preprocessing(), indent=1) + "\n",
        }
        for name, text in texts.items():
            write_text(folder / name, text)

    def _preprocessing(self) -> dict[str, Any]:
        return {
            "input": "uint8 RGB [batch, 3, frames, crop, crop]",
            "output": "logits [batch, classes]",
            "probabilities": _SIGMOID if self.several_labels else _SOFTMAX,
            "program": "import videopool.ops, then torch.export.load('program.pt2').module()",
            "portable": "torch.export.load('portable.pt2').module()",
            "frames_at": _FRAMES_AT[self.sampling],
            "scaling": "short side to short_side, bilinear with antialiasing; then a square crop, from the center",
            **{key: getattr(self, key) for key in _WRITTEN},
            "several_labels": self.several_labels,
            "normalization": "(value / 255 - mean) / std, per channel; outside model.safetensors, inside other files",
            "provenance": dict(self.provenance),
        }


@dataclasses.dataclass(frozen=True)
class Exported:
    """An exported file, and the largest difference between the logits of the reloaded file and those of the network."""

    path: Path
    difference: float


Exporter = Callable[[Deployed, Description, Path], Exported]  # writes into the folder and verifies what it wrote


def largest_difference(expected: torch.Tensor, found: torch.Tensor, *, of: str) -> float:
    """Return the largest absolute difference of two tensors of logits [B,K].

    Two runs of a float32 network may sum in another order, which changes a few units in the last place of the largest
    intermediate value. The limit of 1e-4 is far above that and far below what changes a prediction.

    Raises:
        RuntimeError: if the difference is above 1e-4 of the largest logit (or of 1, if that is larger).
    """
    difference = float((expected - found).abs().max())
    scale = max(1.0, float(expected.abs().max()))
    if not difference <= 1e-4 * scale:
        raise RuntimeError(
            f"{of}: logits of the reloaded file differ by {difference:g} (largest logit {scale:g}); not exported"
        )
    return difference
