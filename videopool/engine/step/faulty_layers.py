"""Layers whose gradient torch computes wrongly on a CPU, and how training avoids that; see docs/known_problems.md."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

Convolution = nn.Conv2d | nn.ConvTranspose2d

# With fewer channels, the faulty kernel writes a full vector of floats past the end of its memory.
_FLOATS_IN_A_VECTOR = 8


def faulty_layers(model: nn.Module) -> dict[str, Convolution]:
    """Return the layers, by name, that must not train in channels_last order on a CPU.

    In torch 2.13.0 (oneDNN 3.12.0), on processors with AVX2 and no AVX-512 and with one thread, the weight gradient of
    a strided 1x1 convolution of fewer than 8 channels is written past the end of its memory. Measured: 2 to 7 input
    channels, 2D, float32, channels_last; also a transposed convolution with as few output channels. Grouped layers
    did not show the fault; they are included to be safe.
    """
    convolutions = {name: module for name, module in model.named_modules() if isinstance(module, Convolution)}
    return {name: layer for name, layer in convolutions.items() if _is_faulty(layer)}


def avoid_faulty_layers(model: nn.Module) -> str:
    """Make ``faulty_layers`` train in contiguous order; return a line about them, or ``""`` if there are none.

    Their weights become contiguous, and a hook copies their inputs to contiguous memory.
    """
    layers = faulty_layers(model)
    for layer in layers.values():
        # contiguous() would keep the strides of a 1x1 weight, which counts as contiguous in any order.
        layer.weight.data = layer.weight.data.clone(memory_format=torch.contiguous_format)
        layer.register_forward_pre_hook(_contiguous_in_training)
    if not layers:
        return ""
    more = f" and {len(layers) - 1} more" if len(layers) > 1 else ""
    return f"contiguous instead of channels_last: {next(iter(layers))}{more}; see docs/known_problems.md"


def _is_faulty(layer: Convolution) -> bool:
    channels = layer.in_channels if isinstance(layer, nn.Conv2d) else layer.out_channels
    pointwise = set(layer.kernel_size) == {1}
    return pointwise and max(layer.stride) > 1 and channels // layer.groups < _FLOATS_IN_A_VECTOR


def _contiguous_in_training(layer: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
    if not torch.is_grad_enabled():
        return None
    x, *others = arguments
    return (x.contiguous(), *others)


def avoid_faulty_bfloat16(model: nn.Module) -> None:
    """Make 3D convolutions compute in float32 where the kernel is deeper than the clip, instead of in bfloat16.

    In torch 2.13.0 (oneDNN 3.12.0), on processors with AVX-512 and without instructions for bfloat16, the weight
    gradient of such a layer contains uninitialized memory. Measured: 3 to 32 channels, also in groups, both orders of
    memory, one and two threads; where the clip, without its padding, has fewer frames than the kernel and the result
    has several. A transposed convolution is affected in the same way, with clip and result exchanged. Results of one
    frame, and other processors, are included to be safe.
    """
    for layer in model.modules():
        if isinstance(layer, nn.Conv3d | nn.ConvTranspose3d) and layer.kernel_size[0] > 1:
            layer.forward = types.MethodType(_convolve, layer)  # type: ignore[method-assign]


def _convolve(layer: nn.Conv3d | nn.ConvTranspose3d, x: torch.Tensor, *others: Any) -> torch.Tensor:
    extent = layer.dilation[0] * (layer.kernel_size[0] - 1) + 1
    frames = x.shape[-3]
    if isinstance(layer, nn.ConvTranspose3d):
        frames = (frames - 1) * layer.stride[0] - 2 * int(layer.padding[0]) + extent  # at least
    forward: Callable[..., torch.Tensor] = type(layer).forward
    if frames >= extent or not torch.is_grad_enabled():
        return forward(layer, x, *others)
    with torch.autocast(x.device.type, enabled=False):
        return forward(layer, x.float(), *others)
