"""Grad-CAM in space and time: which pixels and frames of a clip raise the score of a class.

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV 2017,
equations 1 and 2, with time as a third axis.

Shape legend: K classes, C channels, T frames, H rows, W columns; t, h, w of a feature map.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from videopool.errors import InputError, did_you_mean


@dataclasses.dataclass(frozen=True)
class Explanation:
    """What raises the score of a class for one clip.

    Attributes:
        heat: float32 [T,H,W] on the CPU, 0 or more; all 0 if nothing at this layer raises the score.
        layer: the path of the layer.
        label: the class, 0 to K-1.
        logits: float32 [K] on the CPU.
    """

    heat: torch.Tensor
    layer: str
    label: int
    logits: torch.Tensor


def grad_cam(model: nn.Module, clip: torch.Tensor, *, layer: str = "", label: int | None = None) -> Explanation:
    """Return the Grad-CAM of ``label`` at ``layer`` of ``model`` in eval mode, enlarged to the size of the clip.

    The map of a layer is the sum of its channels, each weighted by the sum over t, h and w of the gradient of the
    logit. (The paper takes the mean, which is the same up to a factor.) If a layer has several outputs, such as the
    pathways of SlowFast, their maps are enlarged and added. With the sum, the maps of all pathways have the unit of the
    logit, also if their numbers of frames differ: before a global average pool and a linear classifier, the averages of
    the maps add up to the logit without its bias. Negative values then become 0.

    Args:
        model: from ``clip`` to logits [1,K]; its mode is restored.
        clip: a preprocessed input [1,3,T,H,W] on the model's device.
        layer: the path of a module; "" for ``default_layer``.
        label: a class; None: the class of the largest logit.

    Raises:
        InputError: if there is no such layer, if it has no feature maps, or if the logit does not depend on it.
    """
    layer = layer or default_layer(model, clip)
    maps, logits, label = pathway_maps(model, clip, layer=layer, label=label)
    size = tuple(clip.shape[2:])
    enlarged = [functional.interpolate(one[None, None], size, mode="trilinear")[0, 0] for one in maps]
    heat = torch.stack(enlarged).sum(0).relu()
    return Explanation(heat.cpu(), layer, label, logits.cpu())


def pathway_maps(
    model: nn.Module, clip: torch.Tensor, *, layer: str, label: int | None
) -> tuple[list[torch.Tensor], torch.Tensor, int]:
    """Return the map [t,h,w] of each output of ``layer`` with its negative values, the logits [K], and the label.

    Takes what ``grad_cam`` takes; an image network has maps of t = 1.
    """
    module = _module(model, layer)
    outputs: list[torch.Tensor] = []

    def detach(_: nn.Module, __: object, output: Any) -> Any:
        outputs[:] = [part.detach().requires_grad_() for part in _feature_maps(output, layer)]
        copies = [part.clone() for part in outputs]  # a later layer may work in place
        return copies if isinstance(output, list | tuple) else copies[0]

    with torch.enable_grad(), _evaluating(model), _hooked(module, detach):
        logits = model(clip)
        if not outputs:
            raise InputError(f"The layer {layer} does not run in the forward pass. Choose another one.")
        label = int(logits[0].argmax()) if label is None else label
        gradients = torch.autograd.grad(logits[0, label], outputs, allow_unused=True) if logits.requires_grad else []
    if not any(gradient is not None for gradient in gradients):
        raise InputError(f"The scores do not depend on the layer {layer}. Choose another one.")
    pairs = zip(outputs, gradients, strict=True)
    maps = [_weighted(part.detach(), gradient) for part, gradient in pairs if gradient is not None]
    return maps, logits.detach()[0].float(), label


def _weighted(output: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Return the sum of the channels of ``output`` [1,C,(t,)h,w], weighted by their summed gradients, [t,h,w]."""
    weights = gradient.flatten(2).sum(2)[0]
    weighted = torch.einsum("c,c...->...", weights, output[0])
    return (weighted if weighted.dim() == 3 else weighted[None]).float()


def default_layer(model: nn.Module, clip: torch.Tensor) -> str:
    """Return the path of the last layer with parameters and feature maps of several rows and columns before the head.

    The head of a network with ``blocks`` is the last block. Layers count in the order in which they end.

    Raises:
        InputError: for a network without such a layer.
    """
    blocks = getattr(model, "blocks", None)
    head = f"blocks.{len(blocks) - 1}" if isinstance(blocks, nn.ModuleList) else None
    found = ""

    def note(path: str) -> Callable[[nn.Module, object, Any], None]:
        def hook(module: nn.Module, _: object, output: Any) -> None:
            nonlocal found
            if _has_rows_and_columns(output) and any(True for _ in module.parameters()):
                found = path

        return hook

    with torch.no_grad(), _evaluating(model), contextlib.ExitStack() as hooks:
        for path, module in model.named_modules():
            if path and (head is None or not f"{path}.".startswith(f"{head}.")):
                hooks.enter_context(_hooked(module, note(path)))
        model(clip)
    if not found:
        raise InputError("No layer of the network has feature maps with rows and columns, which Grad-CAM needs.")
    return found


def _has_rows_and_columns(output: Any) -> bool:
    parts = output if isinstance(output, list | tuple) else [output]
    return bool(parts) and all(
        isinstance(part, torch.Tensor) and part.dim() in (4, 5) and min(part.shape[-2:]) > 1 for part in parts
    )


def _module(model: nn.Module, layer: str) -> nn.Module:
    modules = {path: module for path, module in model.named_modules() if path}
    if layer not in modules:
        hint = did_you_mean(layer, modules, most=3) or f"The last ones are {', '.join([*modules][-5:])}."
        raise InputError(f"Unknown layer {layer!r}. {hint}", setting="layer")
    return modules[layer]


def _feature_maps(output: Any, layer: str) -> list[torch.Tensor]:
    """Return the outputs of a layer; raise InputError unless each is [1,C,t,h,w] or [1,C,h,w]."""
    parts = list(output) if isinstance(output, list | tuple) else [output]
    for part in parts:
        if not isinstance(part, torch.Tensor) or part.dim() not in (4, 5) or len(part) != 1:
            shape = list(part.shape) if isinstance(part, torch.Tensor) else type(part).__name__
            raise InputError(
                f"The output of the layer {layer} is {shape}, not feature maps [1,C,T,H,W] or [1,C,H,W] of a clip. "
                "Choose another layer.",
                setting="layer",
            )
    return parts


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


@contextlib.contextmanager
def _hooked(module: nn.Module, hook: Callable[..., Any]) -> Iterator[None]:
    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
