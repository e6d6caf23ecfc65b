"""What is trained and how: frozen parameters, optimizer, learning-rate schedule and loss."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from videopool.config import Config
from videopool.data.lists.records import VideoList
from videopool.data.steps import Steps
from videopool.engine.builders.multigrid import epochs_of, multigrid_of
from videopool.engine.optimization.class_weights import count_labels, inverse_frequency, read_class_weights
from videopool.engine.optimization.loss import Loss, choose_loss
from videopool.engine.optimization.optimizers import build_custom_optimizer, build_optimizer
from videopool.engine.optimization.parameter_groups import parameter_groups
from videopool.engine.optimization.schedule import Schedule, build_schedule
from videopool.engine.step.averaging import WeightAverage, equal_average, moving_average
from videopool.engine.step.freezing import freeze
from videopool.errors import InputError
from videopool.targets import import_target


def freeze_model(config: Config, model: nn.Module) -> str:
    """Freeze the parts of ``model`` that ``model.freeze`` names. Return a line about them; "" if nothing is frozen."""
    frozen = freeze(model, config.model.freeze, norms=config.model.freeze_norms)
    if not frozen:
        return ""
    numbers = [parameter.numel() for parameter in model.parameters() if not parameter.requires_grad]
    every = [parameter.numel() for parameter in model.parameters()]
    return f"frozen: {len(numbers)} of {len(every)} parameters ({sum(numbers):,} of {sum(every):,} numbers)"


def optimizer_of(config: Config, model: nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer of ``config.optim``."""
    spec = config.optim
    if spec.target:
        groups = parameter_groups(
            model,
            weight_decay=spec.weight_decay,
            no_decay=spec.no_decay,
            layer_decay=spec.layer_decay,
            decay_all=spec.decay_all,
        )
        factory = import_target(spec.target, setting="optim_target")
        return build_custom_optimizer(groups, factory, lr=spec.lr, arguments=spec.arguments, name=spec.target)
    return build_optimizer(
        model,
        spec.name,
        lr=spec.lr,
        weight_decay=spec.weight_decay,
        momentum=spec.momentum,
        betas=spec.betas,
        trust=spec.trust,
        no_decay=spec.no_decay,
        layer_decay=spec.layer_decay,
        decay_all=spec.decay_all,
    )


def average_of(config: Config, model: nn.Module, steps: Steps) -> WeightAverage | None:
    """Return the average of the weights of ``model`` for ``train.ema`` or ``train.swa_start``; None without both."""
    spec, epochs = config.train, epochs_of(config)
    if spec.ema:
        return WeightAverage(model, moving_average(spec.ema, warmup=spec.ema_warmup))
    if not spec.swa_start:
        return None
    if spec.swa_start > epochs:
        raise InputError(f"train.swa_start={spec.swa_start} must be at most {epochs}, the epochs of this training")
    return WeightAverage(model, equal_average([steps.first(epoch) for epoch in range(spec.swa_start, epochs + 1)]))


def schedule_of(config: Config) -> Schedule:
    """Return the learning-rate schedule."""
    spec, multigrid = config.optim, multigrid_of(config)
    return build_schedule(
        spec.schedule,
        epochs=epochs_of(config),
        warmup_epochs=spec.warmup_epochs,
        warmup_start=spec.warmup_start,
        final=spec.final,
        cooldown_epochs=spec.cooldown_epochs,
        milestones=spec.milestones if multigrid is None else multigrid.milestones,
        gamma=spec.gamma,
        power=spec.power,
        decay_after_warmup=spec.decay_after_warmup,
        factor=None if multigrid is None else multigrid.rate,
    )


def loss_of(config: Config, videos: VideoList, device: torch.device) -> Loss:
    """Return the loss for the training ``videos``."""
    spec = config.optim
    return choose_loss(
        spec.loss,
        several_labels=videos.several_labels,
        label_smoothing=spec.label_smoothing,
        focal_gamma=spec.focal_gamma,
        class_weights=_class_weights(config, videos, device),
    )


def _class_weights(config: Config, videos: VideoList, device: torch.device) -> torch.Tensor | None:
    """Return the weights of the classes, float32 [K], or None if all are 1."""
    source = config.optim.class_weights
    if not source:
        return None
    if source == "balanced":
        return inverse_frequency(count_labels(videos.records, len(videos.classes))).to(device)
    return read_class_weights(Path(config.data.root, source), videos.classes).to(device)
