"""Load pretrained weights, of videopool or other packages, and report what was loaded."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from videopool.errors import InputError

# The keys of weights in checkpoints: videopool and many others; pytorchvideo and PySlowFast; Lightning.
_CONTAINERS = ("model", "model_state", "state_dict")
# Prefixes of DistributedDataParallel and torch.compile.
_PREFIXES = ("module.", "_orig_mod.")


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """Which tensors were loaded, by name.

    Attributes:
        loaded: copied into the model.
        missing: not in the weights; the model keeps its own.
        unexpected: in the weights, but not in the model.
        shape: in both, with different shapes; the model keeps its own.
        shapes: for each of ``shape``, the shape in the weights and that in the model.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    shape: tuple[str, ...]
    shapes: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = ()

    def __str__(self) -> str:
        total = len(self.loaded) + len(self.missing) + len(self.shape)
        sizes = [f"{list(there)} -> {list(here)}" for there, here in self.shapes]
        misshaped = [f"{name} {size}" for name, size in zip(self.shape, sizes, strict=True)]
        parts = [
            f"{len(self.loaded)} of the model's {total} tensors loaded",
            _listed("of another shape, not loaded", misshaped),
            _listed("not in the file, new", self.missing),
            _listed("of the file not in the model", self.unexpected),
        ]
        return "; ".join(part for part in parts if part)


def state_dict_of(checkpoint: Mapping[str, object]) -> dict[str, torch.Tensor]:
    """Return the weights of a checkpoint: under ``model``, ``model_state`` or ``state_dict``, or the mapping itself.

    Prefixes of DistributedDataParallel and torch.compile are removed.

    Raises:
        InputError: if it has no tensors.
    """
    for key in _CONTAINERS:
        inner = checkpoint.get(key)
        if isinstance(inner, Mapping):
            checkpoint = inner
            break
    weights = {_bare(name): value for name, value in checkpoint.items() if isinstance(value, torch.Tensor)}
    if not weights:
        keys = ", ".join(map(str, list(checkpoint)[:5])) or "nothing"
        raise InputError(f"The checkpoint has no weights under {', '.join(_CONTAINERS)} or at its top level: {keys}")
    return weights


def load_weights(
    model: nn.Module, checkpoint: Mapping[str, object], *, strict: bool = True, new_head: bool = False
) -> LoadReport:
    """Copy the weights of ``checkpoint`` that fit into ``model``, by name. An error leaves the model unchanged.

    Swapped pooling sites keep the names of the published network, so pretrained weights fit with any pooling.

    Args:
        model: the network; values are converted to its dtypes and devices.
        checkpoint: weights by name, or a mapping that has them under a key that ``state_dict_of`` knows.
        strict: every tensor must fit. Otherwise half of the model's must, and the rest is not changed.
        new_head: the classifier (the last linear layer) may have another shape, for other classes, and is then not
            changed.

    Returns:
        The names of the tensors that were loaded, and of those that were not.

    Raises:
        InputError: if too few tensors fit; the message names the first that do not.
    """
    weights, own = state_dict_of(checkpoint), model.state_dict()
    report = _compare(weights, own)
    wanted = sum(not _is_count(name) for name in own)
    loaded = sum(not _is_count(name) for name in report.loaded)
    head = _head_names(model) if new_head else ()
    complete = not (report.missing or report.unexpected or set(report.shape) - set(head))
    if 2 * loaded < wanted or (strict and not complete):
        raise InputError(_misfit(report, len(own), of_another=2 * loaded < wanted))
    model.load_state_dict({name: weights[name] for name in report.loaded}, strict=False)
    return report


def _head_names(model: nn.Module) -> tuple[str, ...]:
    linear = [path for path, module in model.named_modules() if isinstance(module, nn.Linear)]
    return (f"{linear[-1]}.weight", f"{linear[-1]}.bias") if linear else ()


def _compare(weights: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]) -> LoadReport:
    shared = [name for name in own if name in weights]
    misshaped = tuple(name for name in shared if weights[name].shape != own[name].shape)
    return LoadReport(
        loaded=tuple(name for name in shared if weights[name].shape == own[name].shape),
        missing=tuple(name for name in own if name not in weights and not _is_count(name)),
        unexpected=tuple(name for name in weights if name not in own and not _is_count(name)),
        shape=misshaped,
        shapes=tuple((tuple(weights[name].shape), tuple(own[name].shape)) for name in misshaped),
    )


def _is_count(name: str) -> bool:
    """Return whether a tensor is the batch count of a normalization, which old checkpoints lack."""
    return name.endswith("num_batches_tracked")


def _misfit(report: LoadReport, total: int, *, of_another: bool) -> str:
    """Return the message about weights that do not fit a model of ``total`` tensors."""
    misshaped = [
        f"{name} is {list(there)}, the model's {list(here)}"
        for name, (there, here) in zip(report.shape, report.shapes, strict=True)
    ]
    parts = [
        _listed("missing", report.missing, most=1),
        _listed("not in the model", report.unexpected, most=1),
        _listed("of another shape", misshaped, most=1),
    ]
    what = "are of another architecture than the model" if of_another else "do not fit the model"
    return (
        f"The weights {what}: {len(report.loaded)} of {total} tensors fit, "
        f"{', '.join(part for part in parts if part)}. Build the model of these weights (name, depth, width, classes)."
    )


def _bare(name: str) -> str:
    while name.startswith(_PREFIXES):
        name = name.partition(".")[2]
    return name


def _listed(what: str, names: Sequence[str], most: int = 3) -> str:
    """Return the number of ``names``, what they are, and the first ``most`` of them; "" if there are none."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{len(names)} {what} ({', '.join(names[:most])}{rest})" if names else ""
