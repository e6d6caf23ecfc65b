"""Compiling the network and its loss with ``torch.compile``."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Literal, TypeVar

from torch import nn

from videopool.engine.cluster.distributed import peers
from videopool.engine.cluster.reporting import first_on_host
from videopool.errors import InputError

Compile = Literal["none", "require", "try"]
Result = TypeVar("Result")


def compile_module(module: nn.Module, mode: Compile, sizes: int = 1) -> None:
    """Compile ``module`` as one graph, forward and backward, when it is first called. Do nothing for the mode "none".

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
        module.compile(fullgraph=True, dynamic=False)


def call_compiled(call: Callable[[], Result], module: nn.Module, mode: Compile) -> Result:
    """Return ``call()``, which calls ``module``.

    Raises:
        InputError: if the module cannot be compiled and ``mode`` is "require". With "try", one process of each machine
            gives a warning, and the module runs without compilation from then on.
    """
    if mode == "none":
        return call()
    from torch._dynamo.exc import TorchDynamoException
    from torch._inductor.exc import InductorError

    try:
        return call()
    except (TorchDynamoException, InductorError) as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        if mode == "require":
            raise InputError(
                f"The network cannot be compiled: {reason}. Use compile=none, or compile=try to continue without.",
                setting="compile",
            ) from error
    sentence = f"The network is trained without compilation, because it failed: {reason}"
    if first_on_host(sentence, peers()):
        warnings.warn(sentence, stacklevel=2)
    module._compiled_call_impl = None
    return call()


def compiled_graphs() -> int:
    """Return how many graphs this process has compiled."""
    from torch._dynamo.utils import counters

    return int(counters["stats"]["unique_graphs"])
