"""Fold batch normalization into the convolutions before it, in a ``torch.export`` program.

``gamma (conv(x, w) + b - mean) / sqrt(var + eps) + beta`` is a convolution with the weights
``w gamma / sqrt(var + eps)`` and the bias ``(b - mean) gamma / sqrt(var + eps) + beta``.
"""

from __future__ import annotations

import dataclasses

import torch
from torch.export import ExportedProgram
from torch.fx import Node
from torch.nn.utils.fusion import fuse_conv_bn_weights

_ATEN = torch.ops.aten
_CONVOLUTIONS = {
    overload
    for operator in (_ATEN.conv1d, _ATEN.conv2d, _ATEN.conv3d)
    for overload in (operator.default, operator.padding)
}
_TRAINING, _EPS = 5, 7  # positions of the arguments of aten.batch_norm


@dataclasses.dataclass(frozen=True)
class _Pair:
    """A convolution whose only use is a batch normalization, with the nodes of their parameters."""

    conv: Node
    norm: Node
    weight: Node
    bias: Node | None
    gamma: Node | None
    beta: Node | None
    mean: Node
    var: Node


def fold_batch_norm(program: ExportedProgram) -> int:
    """Fold every batch normalization that follows a convolution, and return their number. ``program`` is changed.

    The batch normalization must use running statistics and be the only use of the convolution, and no other operator
    may share their parameters. The folded values are computed in float64 and rounded once.
    """
    names = dict(program.graph_signature.inputs_to_parameters) | dict(program.graph_signature.inputs_to_buffers)
    pairs = [pair for node in program.graph.nodes if (pair := _pair(node, names)) is not None]
    for pair in pairs:
        _fold(program, pair, names)
    if pairs:
        _remove_unused_inputs(program, names)
        program.graph_module.graph.lint()
        program.graph_module.recompile()
    return len(pairs)


def _pair(norm: Node, names: dict[str, str]) -> _Pair | None:
    if norm.target is not _ATEN.batch_norm.default or norm.args[_TRAINING]:
        return None
    conv, gamma, beta, mean, var = norm.args[:5]
    if not isinstance(conv, Node) or conv.target not in _CONVOLUTIONS or len(conv.users) != 1:
        return None
    bias = conv.args[2] if len(conv.args) > 2 else None
    given = (conv.args[1], bias, gamma, beta, mean, var)
    nodes = [node for node in given if isinstance(node, Node)]
    if len(nodes) != sum(node is not None for node in given):
        return None
    if any(node.name not in names or len(node.users) != 1 for node in nodes):
        return None
    return _Pair(conv, norm, *given)  # type: ignore[arg-type]  # each is a node, or None where that is allowed


def _fold(program: ExportedProgram, pair: _Pair, names: dict[str, str]) -> None:
    state = program.state_dict

    def value(node: Node | None) -> torch.Tensor | None:
        return None if node is None else state[names[node.name]].detach().double()

    eps = pair.norm.args[_EPS]
    weight, bias = fuse_conv_bn_weights(
        value(pair.weight),  # type: ignore[arg-type]
        value(pair.bias),
        value(pair.mean),  # type: ignore[arg-type]
        value(pair.var),  # type: ignore[arg-type]
        eps,  # type: ignore[arg-type]
        value(pair.gamma),
        value(pair.beta),
    )
    holder = pair.bias or pair.beta or pair.mean  # the input that holds the new bias
    for node, folded in ((pair.weight, weight), (holder, bias)):
        old = state[names[node.name]]
        new = folded.detach().to(old.dtype)
        state[names[node.name]] = torch.nn.Parameter(new, False) if isinstance(old, torch.nn.Parameter) else new
    pair.conv.args = (pair.conv.args[0], pair.weight, holder, *pair.conv.args[3:])
    pair.norm.replace_all_uses_with(pair.conv)
    program.graph_module.graph.erase_node(pair.norm)


def _remove_unused_inputs(program: ExportedProgram, names: dict[str, str]) -> None:
    """Remove the inputs of the program that no operator uses, and their values."""
    graph, signature = program.graph_module.graph, program.graph_signature
    unused = {node.name for node in graph.nodes if node.op == "placeholder" and node.name in names and not node.users}
    for node in list(graph.nodes):
        if node.name in unused:
            graph.erase_node(node)
            program.state_dict.pop(names[node.name], None)
    signature.input_specs[:] = [spec for spec in signature.input_specs if getattr(spec.arg, "name", None) not in unused]
