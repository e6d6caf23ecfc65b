"""The section ``model``."""

from __future__ import annotations

import dataclasses
from typing import Literal

from videopool.config.section import Plain, Section, Target, key, require
from videopool.ranges import BELOW_ONE

Pooling = Literal[
    "soft", "max", "avg", "lp", "stochastic", "s3", "mixed", "gated", "lip", "dpp", "adapool", "edscw", "em", "blur",
    "none",
]  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Model(Section):
    """The network: a built-in one (``name``) or any other (``target``)."""

    name: str = key(
        "c3d",
        "Built-in network: c2d, c3d, csn, i3d, mc3, r2plus1d, r3d, slow, slowfast, x3d, or resnet (for images).",
    )
    target: str = key(
        "", "Custom network: package.module.function, called with (classes=, frames=, crop=, **arguments)."
    )
    takes: Literal["auto", "clips", "images"] = key(
        "auto",
        "Input of a custom network: clips [B,3,T,H,W] or images [B,3,H,W]. auto: images if clip.frames is 1 and the "
        "network has 2D convolutions but no 3D ones.",
    )
    pooling: Pooling | Target = key(
        "soft", "Pooling method, or a class of yours. none: keep the published architecture."
    )
    pooling_arguments: Plain = key(
        {}, "Arguments of the pooling method, such as {beta: 2.0} for soft or {p: 3.0} for lp."
    )
    pooling_sites: tuple[str, ...] = key(
        (),
        "Where to use the method: kinds of sites (pool, head, shortcut, stride) or paths of layers. []: the default of "
        "the network.",
    )
    dropout: float = key(0.5, "Dropout before the classifier.", BELOW_ONE)
    drop_path: float = key(
        0.0,
        "Drop path (stochastic depth): in training, the last residual block is left out of a clip with this "
        "probability, earlier blocks with less, linearly. For all built-in networks but c3d.",
        BELOW_ONE,
    )
    arguments: Plain = key({}, "Further arguments of the network, such as depth and width.")
    pretrained: str = key(
        "",
        "Checkpoint or safetensors file with initial weights, of videopool, pytorchvideo, PySlowFast, mmaction2 or "
        "torchvision (docs/pretrained.md). Another number of classes keeps the new classifier; missing weights are "
        "reported.",
    )
    freeze: tuple[str, ...] = key(
        (), "Patterns of names of parameters or modules that are not trained, such as blocks.0 or '*.norm*'."
    )
    freeze_norms: Literal["none", "frozen", "all"] = key(
        "frozen",
        "Batch normalization that keeps its running statistics and parameters: that of the modules in freeze, all, or "
        "none.",
    )
    checkpoint_activations: tuple[str, ...] = key(
        (),
        "Activation checkpointing: patterns of names of stages, such as 'blocks.[0-2]' ('*': all), which keep only "
        "their input and run again in the backward pass. Less memory, about a third more computation, equal results.",
    )

    def check(self) -> None:
        require(
            self.takes == "auto" or bool(self.target),
            f"takes={self.takes} is for target only, the networks of name take clips; remove it",
            "takes",
        )
