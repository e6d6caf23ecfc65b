"""Compiling the network with ``torch.compile``."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from typing import Literal

import torch
from torch import nn

from videopool.errors import InputError

Compile = Literal["none", "require", "try"]


def compile_network(model: nn.Module, mode: Compile, sizes: int = 1) -> None:
    """Compile ``model`` as one graph, forward and backward, when it is first called. Do nothing for the mode "none".

    Each of the ``sizes`` of batches has its own graph.
    """
    if mode != "none":
        import torch._dynamo.config
        import torch._functorch.config

        # Stages that run again in the backward pass must not count batch statistics twice (``engine.step.recompute``).
        torch._dynamo.config.skip_fwd_side_effects_in_bwd_under_checkpoint = True
        torch._functorch.config.force_non_lazy_backward_lowering = True  # all errors then come from the first call
        limit = torch._dynamo.config.recompile_limit
        torch._dynamo.config.recompile_limit = max(limit, sizes)
        model.compile(fullgraph=True, dynamic=False)


def call_compiled(
    forward: Callable[[torch.Tensor], torch.Tensor], inputs: torch.Tensor, model: nn.Module, mode: Compile
) -> torch.Tensor:
    """Return ``forward(inputs)``, which calls ``model``.

    Raises:
        InputError: if the network cannot be compiled and ``mode`` is "require". With "try", a warning is given, and
            the network runs without compilation from then on.
    """
    if mode == "none":
        return forward(inputs)
    from torch._dynamo.exc import TorchDynamoException
    from torch._inductor.exc import InductorError

    try:
        return forward(inputs)
    except (TorchDynamoException, InductorError) as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        if mode == "require":
            raise InputError(
                f"The network cannot be compiled: {reason}. Use compile=none, or compile=try to continue without.",
                setting="compile",
            ) from error
    warnings.warn(f"The network is trained without compilation, because it failed: {reason}", stacklevel=2)
    model._compiled_call_impl = None
    return forward(inputs)


def without_compilation(mode: Compile) -> contextlib.AbstractContextManager[object]:
    """Return a context in which a compiled network runs as written, for inputs of other shapes."""
    return contextlib.nullcontext() if mode == "none" else torch.compiler.set_stance("force_eager")


def compiled_graphs() -> int:
    """Return how many graphs this process has compiled."""
    from torch._dynamo.utils import counters

    return int(counters["stats"]["unique_graphs"])
