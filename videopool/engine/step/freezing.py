"""Freezing of parameters by name, and of batch normalization."""

from __future__ import annotations

import types
from collections.abc import Collection, Sequence
from typing import Literal

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from videopool.engine.optimization.name_patterns import matching
from videopool.errors import InputError


def freeze(
    model: nn.Module, patterns: Sequence[str], *, norms: Literal["none", "frozen", "all"] = "frozen"
) -> tuple[str, ...]:
    """Freeze parts of ``model`` in place, and return the names of the frozen parameters.

    Frozen parameters have ``requires_grad`` False. A frozen batch normalization uses its running statistics and does
    not change them, also after ``model.train()``.

    Args:
        model: the network.
        patterns: ``fnmatch`` patterns of names of parameters, or of modules with everything in them.
        norms: the batch normalization to freeze, parameters included: none; frozen, those of frozen modules and those
            whose parameters are all frozen; all.

    Raises:
        InputError: if a pattern matches nothing, or nothing is left to train.
    """
    modules = [name for name, _ in model.named_modules() if name]
    parameters = [name for name, _ in model.named_parameters()]
    chosen = matching(patterns, [*modules, *parameters], setting="freeze")
    for name, parameter in model.named_parameters():
        if _is_within(name, chosen):
            parameter.requires_grad_(False)
    for path, module in model.named_modules():
        if isinstance(module, _BatchNorm) and _is_frozen(path, module, chosen, norms):
            _freeze_norm(module)
    frozen = tuple(name for name, parameter in model.named_parameters() if not parameter.requires_grad)
    if len(frozen) == len(parameters):
        raise InputError(f"freeze={list(patterns)} leaves no parameter to train. Remove a pattern.", setting="freeze")
    return frozen


def _is_within(name: str, chosen: Collection[str]) -> bool:
    """Return whether ``name``, or a module that contains it, is in ``chosen``."""
    parts = name.split(".")
    return any(".".join(parts[:count]) in chosen for count in range(1, len(parts) + 1))


def _is_frozen(path: str, module: nn.Module, chosen: Collection[str], norms: str) -> bool:
    if norms != "frozen":
        return norms == "all"
    own = list(module.parameters(recurse=False))
    return _is_within(path, chosen) or (bool(own) and not any(parameter.requires_grad for parameter in own))


def _freeze_norm(module: nn.Module) -> None:
    module.requires_grad_(False)
    module.eval()
    module.train = types.MethodType(_stay_in_evaluation, module)  # type: ignore[method-assign]


def _stay_in_evaluation(module: nn.Module, mode: bool = True) -> nn.Module:
    """Replace ``train`` of a frozen module."""
    return module
