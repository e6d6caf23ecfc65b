"""What a training run would do, found by building it, reading one batch, and running the network once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from videopool.data.loading.prefetch import on_device
from videopool.data.steps import StepSize
from videopool.engine.builders.training import TrainingRun
from videopool.engine.optimization.layerwise import LAMB
from videopool.engine.step.precision import autocast
from videopool.engine.trainer import Trainer
from videopool.pooling import cost


def describe_run(run: TrainingRun) -> str:
    """Return a summary of ``run``: videos, steps, parameters, FLOPs, pooling sites, memory of a batch.

    Reads one batch and runs the network forward on it; no weights change and nothing is written.

    Raises:
        InputError: if no batch can be read.
    """
    trainer = run.trainer
    loader = trainer.loader
    batch = next(iter(on_device(loader.batches(trainer.epoch, start=0), trainer.world.device)))
    split = trainer.update.split.times(loader.steps.size(loader.steps.first(trainer.epoch)))
    network = cost(trainer.model, trainer.update.preprocess(batch.clips[:1]))
    uncounted = f", without {', '.join(network.uncounted)}" if network.uncounted else ""
    saved = _saved_for_backward(trainer, batch.clips)
    changed = sum(change.changed for change in run.changes)
    lines = {
        "videos": f"{run.videos}, of {len(trainer.identity['classes'])} classes",
        "steps": f"{trainer.total_steps} ({_per_epoch(trainer)}, {trainer.intervals.epochs} epochs), "
        f"{trainer.step} done",
        "batch": f"{split}; a forward pass has uint8 {list(batch.clips.shape)}, "
        f"{len(batch.bad)} unreadable videos in the first one",
        "parameters": f"{network.parameters:,}",
        "GFLOPs a clip": f"{network.flops / 1e9:.3f} (one multiply-add is one FLOP{uncounted})",
        "pooling": f"{changed} of {len(run.changes)} sites changed",
        "memory": f"{_megabytes(batch.clips.nbytes)} for the clips, {_megabytes(saved)} of activations for the "
        f"backward pass, {_megabytes(_state_bytes(trainer))} for weights, gradients and optimizer",
        "device": str(trainer.world.device),
        **_step_sizes(trainer),
    }
    width = max(map(len, lines))
    return "\n".join(f"{name:<{width}}  {text}" for name, text in lines.items())


def _step_sizes(trainer: Trainer) -> dict[str, str]:
    """Return a line for each size that steps have, if there are several (``train.multigrid``)."""
    sizes = trainer.update.sizes
    if len(sizes) == 1:
        return {}
    return {f"step size {number}": _step_size(trainer, size) for number, size in enumerate(sizes, 1)}


def _step_size(trainer: Trainer, size: StepSize) -> str:
    split, shape = trainer.update.split.times(size), trainer.loader.shape(size.shape)
    clips = torch.zeros(split.size, *shape, dtype=torch.uint8, device=trainer.world.device)
    flops = cost(trainer.model, trainer.update.preprocess(clips[:1])).flops
    saved = _saved_for_backward(trainer, clips)
    return (
        f"{split}; a forward pass has uint8 {list(clips.shape)}, {flops / 1e9:.3f} GFLOPs a clip, "
        f"{_megabytes(saved)} of activations"
    )


def _per_epoch(trainer: Trainer) -> str:
    counts = {trainer.loader.steps.count(epoch) for epoch in range(trainer.intervals.epochs)}
    return f"{min(counts)} to {max(counts)} per epoch" if len(counts) > 1 else f"{max(counts)} per epoch"


def _saved_for_backward(trainer: Trainer, clips: torch.Tensor) -> int:
    """Return the bytes of activations that a forward pass on ``clips`` keeps, without those of parameters."""
    storages: dict[int, int] = {}
    own = {tensor.untyped_storage().data_ptr() for tensor in trainer.model.state_dict().values()}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor)
    with _unchanged_buffers(trainer.model), hooks, autocast(trainer.world.device, trainer.update.precision):
        trainer.model(trainer.update.preprocess(clips))
    return sum(storages.values())


@contextlib.contextmanager
def _unchanged_buffers(model: torch.nn.Module) -> Iterator[None]:
    """Run the network in training mode; restore its buffers, such as running statistics, afterwards."""
    kept, training = {name: buffer.clone() for name, buffer in model.named_buffers()}, model.training
    model.train()
    try:
        yield
    finally:
        model.train(training)
        for name, buffer in model.named_buffers():
            buffer.copy_(kept[name])


def _state_bytes(trainer: Trainer) -> int:
    """Return the bytes of weights and their average; of the gradients and the moments of those that are trained."""
    parameters = list(trainer.model.parameters())
    weights = sum(parameter.nbytes for parameter in parameters)
    trained = sum(parameter.nbytes for parameter in parameters if parameter.requires_grad)
    moments = 2 if isinstance(trainer.optimizer, torch.optim.AdamW | LAMB) else 1
    return weights * (1 + (trainer.average is not None)) + trained * (1 + moments)


def _megabytes(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB"
