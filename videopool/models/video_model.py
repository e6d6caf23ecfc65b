"""The base class of videopool's video networks: one clip tensor in, logits out.

Shape legend: B batch, K classes, C channels, T frames, H rows, W columns.
"""

from __future__ import annotations

import torch
from torch import nn

from videopool.errors import InputError
from videopool.pooling import Change


class VideoModel(nn.Module):
    """A chain of blocks from clips [B,3,T,H,W] to logits [B,K], the same in training and evaluation mode.

    The blocks are registered as ``blocks.0``, ``blocks.1``, ... as in pytorchvideo, so its published weights load. The
    last block may give several predictions [B,K,t,h,w], as heads do that slide a window of the training size over a
    larger test crop; their logits are averaged.

    Args:
        blocks: the chain; the last one ends with K channels.
        classes: K.
        smallest: the smallest clip (T, H, W) that the blocks accept.
        least_frames: T of the smallest clip after ``take_any_size``.

    Attributes:
        changes: the changes of pooling sites, for ``videopool.pooling.report``; empty for the published network.
    """

    changes: tuple[Change, ...]

    def __init__(
        self, blocks: nn.ModuleList, *, classes: int, smallest: tuple[int, int, int], least_frames: int = 1
    ) -> None:
        super().__init__()
        self.blocks = blocks
        self.classes = classes
        self.smallest = smallest
        self.least_frames = least_frames
        self.changes = ()

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Return logits [B,K] of ``clips`` [B,3,T,H,W] (floating point, normalized).

        Raises:
            InputError: for a tensor of another rank, other than 3 channels, or a clip smaller than ``smallest``.
        """
        self.check_clips(clips)
        return self.average(self.features(clips))

    def features(self, clips: torch.Tensor) -> torch.Tensor:
        """Return predictions [B,K] or [B,K,t,h,w] of checked clips."""
        for block in self.blocks:
            clips = block(clips)
        return clips

    def take_any_size(self) -> None:
        """Let the head average over all positions, so that smaller clips fit, too.

        The heads of the published networks average over a window of the training size and slide it over larger clips.
        For a clip of the training size, the result differs by rounding only.
        """
        for parent in list(self.blocks.modules()):
            for name, child in parent.named_children():
                if type(child) is nn.AvgPool3d:
                    setattr(parent, name, nn.AdaptiveAvgPool3d(1))
        self.smallest = (self.least_frames, 1, 1)

    @staticmethod
    def average(predictions: torch.Tensor) -> torch.Tensor:
        """Return predictions [B,K,...] averaged over every axis after the classes."""
        return predictions if predictions.dim() == 2 else predictions.flatten(2).mean(2)

    def check_clips(self, clips: torch.Tensor) -> None:
        """Raise ``InputError`` for clips that the blocks cannot take."""
        if clips.dim() != 5 or clips.shape[1] != 3:
            raise InputError(f"The model takes clips [B,3,T,H,W], not {list(clips.shape)}")
        size = tuple(clips.shape[2:])
        if any(have < need for have, need in zip(size, self.smallest, strict=True)):
            raise InputError(
                f"Clips of {_size(size)} are too small for this model, which takes {_size(self.smallest)} or more. "
                "Build it with the frames and crop of these clips."
            )


def frames_as_images(clips: torch.Tensor) -> torch.Tensor:
    """Return a view of clips of one frame [B,3,1,H,W] as images [B,3,H,W]; channels_last_3d becomes channels_last.

    Raises:
        InputError: for another shape.
    """
    if clips.dim() != 5 or clips.shape[1] != 3 or clips.shape[2] != 1:
        raise InputError(
            f"This network takes images as clips of one frame [B,3,1,H,W], not {list(clips.shape)}. Set frames=1.",
            setting="frames",
        )
    return clips.squeeze(2)


def _size(size: tuple[int, ...]) -> str:
    frames, height, width = size
    return f"{frames} frames of {height}x{width} pixels"
