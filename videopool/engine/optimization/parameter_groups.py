"""Groups of parameters with their own weight decay and learning rate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn

from videopool.engine.optimization.name_patterns import matching

Group = dict[str, Any]


def parameter_groups(
    model: nn.Module,
    *,
    weight_decay: float,
    no_decay: Sequence[str] = (),
    layer_decay: float = 1.0,
    decay_all: bool = False,
) -> list[Group]:
    """Return the trainable parameters of ``model`` in groups for an optimizer.

    Parameters of fewer than two dimensions (biases, normalization) and those that ``no_decay`` matches have no weight
    decay. With ``layer_decay`` below 1, each stage (``stages``) has its own learning rate: in stage d of 0..D, it is
    ``layer_decay ** (D - d)`` times that of the last (ELECTRA, Clark et al. 2020, appendix A; BEiT, Bao et al. 2022).

    Args:
        model: the network.
        weight_decay: of the parameters that have one.
        no_decay: ``fnmatch`` patterns of names of further parameters without weight decay.
        layer_decay: above 0 and at most 1; 1: one learning rate.
        decay_all: biases and normalization have weight decay too, unless ``no_decay`` matches them.

    Returns:
        Groups with the keys ``params``, ``weight_decay``, ``lr_factor`` (the learning rate as a fraction of the common
        one), ``adapt`` (whether LARS and LAMB adapt the rate to the norm of each parameter: those with weight decay, as
        in the authors' code) and ``name``.

    Raises:
        InputError: if a pattern matches no parameter.
    """
    named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    exempt = matching(no_decay, [name for name, _ in model.named_parameters()], setting="no_decay")
    small = {name for name, parameter in named.items() if parameter.dim() <= 1 and not decay_all}
    plain = small | {name for name in named if name in exempt}
    groups = []
    for stage, factor, members in _layers(model, list(named), layer_decay):
        for kind, chosen in (("decay", members - plain), ("no_decay", members & plain)):
            decay = weight_decay if kind == "decay" else 0.0
            params = [parameter for name, parameter in named.items() if name in chosen]
            group = {"params": params, "weight_decay": decay, "lr_factor": factor, "adapt": kind == "decay"}
            groups.append({**group, "name": f"{stage}/{kind}" if stage else kind})
    return [group for group in groups if group["params"]]


def _layers(model: nn.Module, names: list[str], layer_decay: float) -> Iterator[tuple[str, float, set[str]]]:
    """Yield the name, the factor of the learning rate and the parameters of every stage; of all, without decay."""
    if layer_decay == 1:
        yield "", 1.0, set(names)
        return
    found = stages(model)
    for depth, (stage, members) in enumerate(found.items()):
        yield stage, layer_decay ** (len(found) - 1 - depth), set(members) & set(names)


def stages(model: nn.Module) -> dict[str, list[str]]:
    """Return the stages of ``model`` in their order: the name of each, and the names of its parameters.

    A stage is a child of the model that has parameters: ``conv1``, ``layer1``, ..., ``fc`` of resnet; ``stem``,
    ``layer1``, ..., ``fc`` of r3d, mc3, and r2plus1d of 18 and 34 layers; ``blocks.0``, ``blocks.1``, ... of the other
    networks here. Three rules find the stages of any network:

    * An only child with parameters is replaced by its children.
    * If exactly one child is a Sequential or ModuleList of several modules, as the blocks of a vision transformer,
      its children are stages.
    * A child with parameters of one dimension only (normalization after a convolution) belongs to the stage before it,
      and the model's own parameters (a class token) belong to the first stage.
    """
    every = [name for name, _ in model.named_parameters()]
    found: dict[str, list[str]] = {}
    for path, module in _stage_modules(model):
        members = [f"{path}.{name}" for name, _ in module.named_parameters()]
        if found and all(parameter.dim() <= 1 for parameter in module.parameters()):
            found[next(reversed(found))] += members
        else:
            found[path] = members
    known = {name for members in found.values() for name in members}
    rest = [name for name in every if name not in known]
    if rest:  # parameters of the model itself, or shared ones under their first name
        first = next(iter(found), "")
        found = {first: rest + found.get(first, []), **{path: found[path] for path in found if path != first}}
    return found


def _stage_modules(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the modules that are stages, and their paths, in their order."""
    children = _with_parameters(model, "")
    while len(children) == 1 and _with_parameters(children[0][1], ""):
        path, only = children[0]
        children = _with_parameters(only, f"{path}.")
    lists = [child for child in children if isinstance(child[1], nn.Sequential | nn.ModuleList) and len(child[1]) > 1]
    if len(lists) != 1:
        return children
    path, chain = lists[0]
    place = children.index(lists[0])
    return [*children[:place], *_with_parameters(chain, f"{path}."), *children[place + 1 :]]


def _with_parameters(module: nn.Module, prefix: str) -> list[tuple[str, nn.Module]]:
    """Return the children of ``module`` that have parameters, with ``prefix`` before their names."""
    return [(prefix + name, child) for name, child in module.named_children() if any(True for _ in child.parameters())]
