"""Loading pretrained weights, ours or pytorchvideo's, and saying what was loaded and what was not."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from videopool.errors import InputError

# Where checkpoints keep their weights: ours and many others', pytorchvideo's and PySlowFast's, Lightning's.
_CONTAINERS = ("model", "model_state", "state_dict")
# What DistributedDataParallel and torch.compile put before every name.
_PREFIXES = ("module.", "_orig_mod.")


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """Names of tensors: ``loaded``; ``missing`` in the weights; ``unexpected`` in the model; of another ``shape``."""

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    shape: tuple[str, ...]

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} tensors loaded"]
        parts += [_first("missing", self.missing), _first("not in the model", self.unexpected)]
        parts += [_first("of another shape", self.shape)]
        return ", ".join(part for part in parts if part)


def state_dict_of(checkpoint: Mapping[str, object]) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint: those under ``model``, ``model_state`` or ``state_dict``, or the mapping itself.

    Prefixes that DistributedDataParallel and torch.compile add are taken off.

    Raises:
        InputError: when there are no tensors in it.
    """
    for key in _CONTAINERS:
        inner = checkpoint.get(key)
        if isinstance(inner, Mapping):
            checkpoint = inner
            break
    weights = {_bare(name): value for name, value in checkpoint.items() if isinstance(value, torch.Tensor)}
    if not weights:
        keys = ", ".join(map(str, list(checkpoint)[:5])) or "nothing"
        raise InputError(f"the checkpoint has no weights under {', '.join(_CONTAINERS)} or by itself; it has: {keys}")
    return weights


def load_weights(
    model: nn.Module, checkpoint: Mapping[str, object], *, strict: bool = True, new_head: bool = False
) -> LoadReport:
    """Copy the weights of ``checkpoint`` that fit into ``model``, by name; nothing is copied when it raises.

    Swapped pooling sites keep the names of the published network, so pretrained weights fit with any pooling.

    Args:
        model: the network; values are converted to its dtypes and devices.
        checkpoint: weights by name, or a mapping that has them under a key that ``state_dict_of`` knows.
        strict: every tensor must fit. Otherwise half of the model's must, and the others stay as they are.
        new_head: the classifier (the last linear layer) may be of another shape, for other classes, and then stays
            as it is.

    Returns:
        What was loaded and what was not.

    Raises:
        InputError: when fewer tensors fit than must, with the first that do not.
    """
    weights, own = state_dict_of(checkpoint), model.state_dict()
    report = _compare(weights, own)
    wanted = sum(not _is_count(name) for name in own)
    loaded = sum(not _is_count(name) for name in report.loaded)
    head = _head_names(model) if new_head else ()
    complete = not (report.missing or report.unexpected or set(report.shape) - set(head))
    if 2 * loaded < wanted or (strict and not complete):
        raise InputError(_misfit(report, weights, own, of_another=2 * loaded < wanted))
    model.load_state_dict({name: weights[name] for name in report.loaded}, strict=False)
    return report


def _head_names(model: nn.Module) -> tuple[str, ...]:
    linear = [path for path, module in model.named_modules() if isinstance(module, nn.Linear)]
    return (f"{linear[-1]}.weight", f"{linear[-1]}.bias") if linear else ()


def _compare(weights: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]) -> LoadReport:
    shared = [name for name in own if name in weights]
    return LoadReport(
        loaded=tuple(name for name in shared if weights[name].shape == own[name].shape),
        missing=tuple(name for name in own if name not in weights and not _is_count(name)),
        unexpected=tuple(name for name in weights if name not in own and not _is_count(name)),
        shape=tuple(name for name in shared if weights[name].shape != own[name].shape),
    )


def _is_count(name: str) -> bool:
    """Whether a tensor is the batch count of a normalisation: it fits any network, and old checkpoints lack it."""
    return name.endswith("num_batches_tracked")


def _misfit(
    report: LoadReport,
    weights: Mapping[str, torch.Tensor],
    own: Mapping[str, torch.Tensor],
    *,
    of_another: bool,
) -> str:
    """The sentence that says what differs."""
    shape = ""
    if report.shape:
        name = report.shape[0]
        there, here = list(weights[name].shape), list(own[name].shape)
        shape = f"{len(report.shape)} of another shape ({name} is {there}, the model's {here})"
    parts = [_first("missing", report.missing), _first("not in the model", report.unexpected), shape]
    what = "are of another architecture than the model" if of_another else "do not fit the model"
    return (
        f"the weights {what}: {len(report.loaded)} of {len(own)} tensors fit, "
        f"{', '.join(part for part in parts if part)}; build the model (name, depth, width, classes) that they are of"
    )


def _bare(name: str) -> str:
    while name.startswith(_PREFIXES):
        name = name.partition(".")[2]
    return name


def _first(what: str, names: Sequence[str]) -> str:
    return f"{len(names)} {what} ({names[0]}{', ...' if len(names) > 1 else ''})" if names else ""
