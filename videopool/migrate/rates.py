"""Keys of optimizer and learning-rate schedule that several packages share."""

from __future__ import annotations

import math
from collections.abc import Sequence

from videopool.migrate.draft import Draft


def set_sgd(draft: Draft, momentum: float, *, nesterov: bool, dampening: float, source: str) -> None:
    """Set SGD: ``sgd`` with Nesterov momentum, else ``torch.optim.SGD``."""
    if (nesterov or not momentum) and not dampening:
        draft.set("optim.name", "sgd", source)
        draft.set("optim.momentum", momentum, source)
        return
    arguments = {"momentum": momentum, "nesterov": nesterov, "dampening": dampening}
    chosen = {name: value for name, value in arguments.items() if value}
    draft.set("optim.target", "torch.optim.SGD", f"{source}: momentum without Nesterov")
    draft.set("optim.arguments", {**chosen, "fused": True}, source)


def set_warmup(draft: Draft, epochs: float, start: float, *, sources: tuple[str, str]) -> None:
    """Set a warm-up of ``epochs`` from the fraction ``start`` of the learning rate."""
    draft.set("optim.warmup_epochs", float(epochs), sources[0])
    if not epochs:
        return
    if start > 1:
        draft.lose(sources[1], f"a warm-up rises; it starts at the learning rate here, not at {start:g} times it")
    draft.set("optim.warmup_start", float(f"{min(start, 1):.12g}"), sources[1])


def set_steps(
    draft: Draft, milestones: Sequence[float], ratios: Sequence[float], epochs: float, *, sources: tuple[str, str]
) -> None:
    """Set a step-wise schedule with the factor ``ratios[i]`` at ``milestones[i]``; those after the end do not count."""
    inside = [milestone for milestone in milestones if milestone < epochs]
    if not inside:
        draft.set("optim.schedule", "constant", sources[0])
        return
    gamma = ratios[0] if ratios else 0.1
    if not all(math.isclose(ratio, gamma, rel_tol=1e-6) for ratio in ratios[: len(inside)]):
        draft.lose(sources[1], f"optim.gamma is one factor for all milestones; it is {gamma:g} here")
    draft.set("optim.schedule", "multistep", sources[0])
    draft.set("optim.milestones", inside, sources[0])
    draft.set("optim.gamma", float(f"{gamma:.12g}"), sources[1])
