"""Activation checkpointing: stages of a network keep only their input, and run again in the backward pass.

Chen, Xu, Zhang, Guestrin, "Training Deep Nets with Sublinear Memory Cost", 2016. This saves the memory of the
activations inside a stage, and costs a second forward pass. Gradients are the same, bit for bit: the second pass has
the same dropout masks (``engine.step.randomness``) and does not count its batch statistics again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_flatten, tree_unflatten
from torch.utils.checkpoint import checkpoint

from videopool.engine.optimization.name_patterns import matching
from videopool.engine.optimization.parameter_groups import stages
from videopool.errors import InputError
from videopool.pooling import S3Pool, StochasticPool

# The tensors that a forward pass of batch normalization changes, in torch and in ``engine.step.batch_statistics``.
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked", "collected", "groups")


class Recomputed(nn.Module):
    """A stage that runs again in the backward pass. ``stage`` is its path in the network."""

    stage: str

    def forward(self, *inputs: Any) -> Any:
        """Return what the stage returns for ``inputs``: tensors, or lists of them."""
        if not torch.is_grad_enabled():
            return super().forward(*inputs)
        # As single tensors, because a stage may change a list that it is given.
        tensors, structure = tree_flatten(inputs)
        versions = [tensor._version for tensor in tensors]

        def run(*tensors: torch.Tensor) -> Any:
            return super(Recomputed, self).forward(*tree_unflatten(tensors, structure))

        if torch.compiler.is_compiling():  # counts statistics once, see ``compile_module``
            return checkpoint(run, *tensors, use_reentrant=False)
        outputs = checkpoint(run, *tensors, use_reentrant=False, context_fn=self._contexts)
        if versions != [tensor._version for tensor in tensors]:
            raise InputError(
                f"{self.stage} changes its input in place, so it cannot run again in the backward pass. Leave it out "
                "of checkpoint_activations, or make the change out of place.",
                setting="checkpoint_activations",
            )
        return outputs

    def _contexts(self) -> tuple[contextlib.AbstractContextManager[None], contextlib.AbstractContextManager[None]]:
        """Return the contexts of the first and the second run of the stage."""
        return contextlib.nullcontext(), self._without_statistics()

    @contextlib.contextmanager
    def _without_statistics(self) -> Iterator[None]:
        """Return a context in which batch normalization counts statistics in temporary copies."""
        norms = [layer for layer in self.modules() if isinstance(layer, _BatchNorm) and layer.training]
        kept = [(layer, name, getattr(layer, name, None)) for layer in norms for name in _STATISTICS]
        for layer, name, value in kept:
            if value is not None:
                setattr(layer, name, value.clone())
        try:
            yield
        finally:
            for layer, name, value in kept:
                if value is not None:
                    setattr(layer, name, value)


def checkpoint_stages(model: nn.Module, patterns: Sequence[str]) -> tuple[str, ...]:
    """Let stages of ``model`` run again in the backward pass instead of keeping their activations, in place.

    The class of each stage becomes a subclass of ``Recomputed`` and of its class before. The names of modules and
    parameters do not change.

    Args:
        model: the network.
        patterns: ``fnmatch`` patterns of the names of stages (``parameter_groups.stages``); ``["*"]`` means all. Stages
            of one layer do not count, because they would save nothing.

    Returns:
        The names of the stages.

    Raises:
        InputError: if a pattern matches no stage, or a stage has random pooling with its own generator.
    """
    known = [path for path in stages(model) if path and next(model.get_submodule(path).children(), None) is not None]
    chosen = matching(patterns, known, setting="checkpoint_activations")
    found = tuple(path for path in known if path in chosen)
    for path in found:
        _check_pooling(path, model.get_submodule(path))
    for path in found:
        stage = model.get_submodule(path)
        own = type(stage)
        stage.__class__ = type(f"Recomputed{own.__name__}", (Recomputed, own), {})
        assert isinstance(stage, Recomputed)
        stage.stage = path
    return found


def _check_pooling(path: str, stage: nn.Module) -> None:
    for name, layer in stage.named_modules():
        if isinstance(layer, StochasticPool | S3Pool) and layer.generator is not None:
            raise InputError(
                f"'{layer.method}' pooling has its own generator, whose numbers cannot be repeated in the backward "
                f"pass. Leave {path} (it has {path}.{name}) out of checkpoint_activations, or remove the generator.",
                setting="checkpoint_activations",
            )
