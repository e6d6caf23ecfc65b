"""Load pretrained weights, of videopool or other packages, and report what was loaded."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import nn

from videopool.errors import InputError
from videopool.models.weight_names import WeightSource, find_source, renamed, unwrapped, without_prefixes
from videopool.models.weight_values import can_inflate, fold_shortcut_norms, inflate, same_but_for_ones

# The keys of weights in checkpoints: averaged weights of timm and torchvision's scripts; videopool and many others;
# pytorchvideo and PySlowFast; Lightning and mmaction2.
_CONTAINERS = ("model_ema", "state_dict_ema", "model", "model_state", "model_state_dict", "state_dict")
# Counts, which old checkpoints lack: batches of a normalization, and updates of averaged weights.
_COUNTS = ("num_batches_tracked", "n_averaged")


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """Which tensors were loaded, by name.

    Attributes:
        loaded: copied into the model.
        missing: not in the weights; the model keeps its own.
        unexpected: in the weights, but not in the model; the names in the file.
        shape: in both, with different shapes; the model keeps its own.
        shapes: for each of ``shape``, the shape in the weights and that in the model.
        source: the networks that the weights come from, such as ``PySlowFast X3D``; "" for videopool and pytorchvideo.
        renamed: for each loaded tensor with another name in the file, both: the name in the file and in the model.
        inflated: names of loaded 3D convolutions that are 2D in the file.
        reshaped: names of other loaded tensors of another shape in the file, with the same values.
        folded: tensors of the file, by its names, that were merged into loaded tensors.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    shape: tuple[str, ...]
    shapes: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = ()
    source: str = ""
    renamed: tuple[tuple[str, str], ...] = ()
    inflated: tuple[str, ...] = ()
    reshaped: tuple[str, ...] = ()
    folded: tuple[str, ...] = ()

    def __str__(self) -> str:
        total = len(self.loaded) + len(self.missing) + len(self.shape)
        sizes = [f"{list(there)} -> {list(here)}" for there, here in self.shapes]
        misshaped = [f"{name} {size}" for name, size in zip(self.shape, sizes, strict=True)]
        parts = [
            f"{len(self.loaded)} of the model's {total} tensors loaded"
            + (f" from {self.source}" if self.source else ""),
            f"{len(self.renamed)} renamed" if self.renamed else "",
            f"{len(self.inflated)} inflated from 2D" if self.inflated else "",
            f"{len(self.reshaped)} reshaped" if self.reshaped else "",
            _listed("merged into others", self.folded, most=1),
            _listed("of another shape, not loaded", misshaped),
            _listed("not in the file, new", self.missing),
            _listed("of the file not in the model", self.unexpected),
        ]
        return "; ".join(part for part in parts if part)

    def details(self) -> Iterator[str]:
        """Yield a line for every tensor of the model and of the file: what was done with it."""
        before = {new: old for old, new in self.renamed}
        for name in self.loaded:
            how = "inflated" if name in self.inflated else "reshaped" if name in self.reshaped else "loaded"
            yield f"{how}: {before[name]} -> {name}" if name in before else f"{how}: {name}"
        for name in self.folded:
            yield f"merged: {name}"
        for name, (there, here) in zip(self.shape, self.shapes, strict=True):
            yield f"not loaded: {name} is {list(there)} in the file, {list(here)} in the model"
        yield from (f"new: {name} is not in the file" for name in self.missing)
        yield from (f"not used: {name} is not in the model" for name in self.unexpected)


def state_dict_of(checkpoint: Mapping[str, object]) -> dict[str, torch.Tensor]:
    """Return the weights of a checkpoint: under one of several keys, such as ``model``, or the mapping itself.

    The keys are ``model_ema``, ``state_dict_ema``, ``model``, ``model_state``, ``model_state_dict`` and ``state_dict``;
    the first that the checkpoint has. Prefixes of DistributedDataParallel and torch.compile are removed.

    Raises:
        InputError: if it has no tensors.
    """
    for key in _CONTAINERS:
        inner = checkpoint.get(key)
        if isinstance(inner, Mapping) and inner:
            checkpoint = inner
            break
    tensors = {str(name): value for name, value in checkpoint.items() if isinstance(value, torch.Tensor)}
    weights = {without_prefixes(name): value for name, value in tensors.items()}
    if not weights:
        keys = ", ".join(map(str, list(checkpoint)[:5])) or "nothing"
        raise InputError(f"The checkpoint has no weights under {', '.join(_CONTAINERS)}, or at its top level: {keys}")
    return weights


def load_weights(
    model: nn.Module, checkpoint: Mapping[str, object], *, strict: bool = True, new_head: bool = False
) -> LoadReport:
    """Copy the weights of ``checkpoint`` that fit into ``model``, by name. An error leaves the model unchanged.

    Weights of PySlowFast, mmaction2 and torchvision are renamed (docs/pretrained.md lists them). Those of 2D ResNets
    are inflated. Swapped pooling sites keep the names of the published network, so pretrained weights fit with any
    pooling.

    Args:
        model: the network; values are converted to its dtypes and devices.
        checkpoint: weights by name, or a mapping that has them under a key that ``state_dict_of`` knows.
        strict: every tensor must fit. Otherwise half of the model's must (of the file's, if it is a 2D network), and
            all that have a name of the model must have its shape.
        new_head: the classifier (the last linear layer) may have another shape, for other classes, and is then not
            changed.

    Returns:
        The names of the tensors that were loaded, and of those that were not.

    Raises:
        InputError: if too few tensors fit, if some have another shape, or if the weights are of a network that cannot
            be loaded; the message names the first tensors that do not fit.
    """
    own = model.state_dict()
    head = _head_of(model)
    given = _translated(state_dict_of(checkpoint), own, head)
    report = _compare(given, own)
    fits = sum(not is_count(name) for name in report.loaded)
    wanted = sum(not is_count(name) for name in (given.weights if given.inflated else own))
    misshaped = set(report.shape) - ({f"{head}.weight", f"{head}.bias"} if new_head else set())
    if 2 * fits < wanted:
        raise InputError(_misfit(report, given, len(own), "are of another architecture than the model"))
    if misshaped or (strict and (report.missing or report.unexpected)):
        raise InputError(_misfit(report, given, len(own), "do not fit the model"))
    model.load_state_dict({name: given.weights[name] for name in report.loaded}, strict=False)
    return report


def count_classes(model: nn.Module, checkpoint: Mapping[str, object]) -> int:
    """Return the number of classes of the classifier in ``checkpoint``; 0 without a classifier.

    ``model`` is this network, for any number of classes. The arguments are those of ``load_weights``.
    """
    head = _head_of(model)
    weights = _translated(state_dict_of(checkpoint), model.state_dict(), head).weights
    return len(weights[f"{head}.weight"]) if f"{head}.weight" in weights else 0


class _Given(NamedTuple):
    """Weights by the model's names. ``names`` has the name in the file of each; for the others, see ``LoadReport``."""

    weights: dict[str, torch.Tensor]
    names: dict[str, str]
    source: WeightSource | None
    inflated: tuple[str, ...]
    reshaped: tuple[str, ...]
    folded: tuple[str, ...]


def _translated(weights: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor], head: str) -> _Given:
    """Return ``weights`` by the names of the model with the tensors ``own`` and the classifier ``head``."""
    files = unwrapped(weights, own)
    mostly_own = 2 * len(files.keys() & own.keys()) >= len(files)
    source = None if mostly_own else find_source({short: weights[name] for short, name in files.items()})
    news = renamed(files, source, own, head) if source else {name: name for name in files}
    names = {new: files[name] for name, new in news.items()}
    fitted = {new: weights[name] for new, name in names.items()}
    folded: tuple[str, ...] = ()
    inflated, reshaped = [], []
    if source:
        fitted, folded = fold_shortcut_norms(fitted, own)
        lateral = any(".multipathway_blocks." in name for name in own)
        for name in fitted.keys() & own.keys():
            value, shape = fitted[name], own[name].shape
            if can_inflate(value, shape, lateral=lateral):
                fitted[name] = inflate(value, shape)
                inflated.append(name)
            elif same_but_for_ones(value.shape, shape):
                fitted[name] = value.reshape(shape)
                reshaped.append(name)
    return _Given(fitted, names, source, tuple(inflated), tuple(reshaped), folded)


def _head_of(model: nn.Module) -> str:
    """Return the path of the classifier, the last linear layer; "" if there is none."""
    linear = [path for path, module in model.named_modules() if isinstance(module, nn.Linear)]
    return linear[-1] if linear else ""


def _compare(given: _Given, own: Mapping[str, torch.Tensor]) -> LoadReport:
    weights = given.weights
    shared = [name for name in own if name in weights]
    loaded = tuple(name for name in shared if weights[name].shape == own[name].shape)
    misshaped = tuple(name for name in shared if weights[name].shape != own[name].shape)
    return LoadReport(
        loaded=loaded,
        missing=tuple(name for name in own if name not in weights and not is_count(name)),
        unexpected=tuple(given.names[name] for name in weights if name not in own and not is_count(name)),
        shape=misshaped,
        shapes=tuple((tuple(weights[name].shape), tuple(own[name].shape)) for name in misshaped),
        source=given.source.name if given.source else "",
        renamed=tuple((given.names[name], name) for name in loaded if given.names[name] != name),
        inflated=given.inflated,
        reshaped=given.reshaped,
        folded=tuple(given.names[name] for name in given.folded),
    )


def is_count(name: str) -> bool:
    """Return whether a tensor is a count, which old checkpoints lack."""
    return name.endswith(_COUNTS)


def _misfit(report: LoadReport, given: _Given, total: int, what: str) -> str:
    """Return the message about weights that do not fit a model of ``total`` tensors."""
    misshaped = [
        f"{name} is {list(there)}, the model's {list(here)}"
        for name, (there, here) in zip(report.shape, report.shapes, strict=True)
    ]
    parts = [
        _listed("missing", report.missing, most=1),
        _listed("not in the model", report.unexpected, most=1),
        _listed("of another shape", misshaped, most=3),
    ]
    return (
        f"The weights {what}: {len(report.loaded)} of {total} tensors fit, "
        f"{', '.join(part for part in parts if part)}. {_advice(report, given)}"
    )


def _advice(report: LoadReport, given: _Given) -> str:
    if given.source:
        return f"The file has names of {given.source.name}, whose weights fit {given.source.fits}."
    if report.loaded or report.shape:
        return "Build the model of these weights (name, depth, width, classes)."
    names = [name for name in given.names.values() if not is_count(name)]
    return (
        f"The names in the file look like {', '.join(_spread(names))}; those of videopool, pytorchvideo, PySlowFast, "
        "mmaction2 and torchvision are known (docs/pretrained.md)."
    )


def _spread(names: Sequence[str]) -> Iterable[str]:
    """Return the first, the middle and the last of ``names``."""
    return dict.fromkeys((names[0], names[len(names) // 2], names[-1]))


def _listed(what: str, names: Sequence[str], most: int = 3) -> str:
    """Return the number of ``names``, what they are, and the first ``most`` of them; "" if there are none."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{len(names)} {what} ({', '.join(names[:most])}{rest})" if names else ""
