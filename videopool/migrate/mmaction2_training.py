"""Optimizer, schedule, batches and run of a configuration of mmaction2."""

from __future__ import annotations

import re
from typing import Any

from videopool.migrate.draft import Draft
from videopool.migrate.keys import Keys
from videopool.migrate.rates import set_sgd, set_steps, set_warmup


def set_training(keys: Keys, draft: Draft) -> None:
    """Set the keys of the optimizer, the schedule, the batches and the run."""
    if "optim_wrapper.optimizer.type" in keys:
        _set_optimizer(keys, draft)
        _set_schedule(keys, draft)
    else:
        draft.notes.append("The file has no optimizer: it only evaluates. The keys of training are the defaults.")
    _set_batches(keys, draft)
    _set_run(keys, draft)


def _set_optimizer(keys: Keys, draft: Draft) -> None:
    prefix = "optim_wrapper.optimizer."
    kind, rate = keys.take(f"{prefix}type", ""), keys.take(f"{prefix}lr", 0.1)
    draft.set("optim.lr", rate, f"{prefix}lr")
    if kind == "SGD":
        nesterov, momentum = keys.take(f"{prefix}nesterov", default=False), keys.take(f"{prefix}momentum", 0.0)
        dampening = keys.take(f"{prefix}dampening", 0.0)
        set_sgd(draft, momentum, nesterov=nesterov, dampening=dampening, source=f"{prefix}type")
    elif kind == "AdamW":
        draft.set("optim.name", "adamw", f"{prefix}type")
        draft.set("optim.betas", keys.take(f"{prefix}betas", [0.9, 0.999]), f"{prefix}betas")
    elif kind == "Adam":
        draft.set("optim.target", "torch.optim.Adam", f"{prefix}type")
        draft.set("optim.arguments", {"betas": keys.take(f"{prefix}betas", [0.9, 0.999])}, f"{prefix}betas")
    else:
        draft.lose(f"{prefix}type", f"{kind} is not built in; set optim.target")
    decay = keys.take(f"{prefix}weight_decay", 0.01 if kind == "AdamW" else 0.0)
    draft.set("optim.weight_decay", decay, f"{prefix}weight_decay")
    _set_parameter_groups(keys, draft)
    _set_clipping(keys, draft)


def _set_parameter_groups(keys: Keys, draft: Draft) -> None:
    """Set whether biases and normalization have weight decay, as all parameters do in mmaction2 by default."""
    options = keys.below("optim_wrapper.paramwise_cfg.")
    norms, biases = options.pop("norm_decay_mult", 1), options.pop("bias_decay_mult", 1)
    if norms == biases == 0:
        draft.set("optim.decay_all", value=False, source="optim_wrapper.paramwise_cfg")
    else:
        draft.set("optim.decay_all", value=True, source="the default of mmaction2")
    if (norms, biases) not in ((0, 0), (1, 1)):
        draft.lose("optim_wrapper.paramwise_cfg", "biases and normalization have the same weight decay, or none")
    for name in options:
        draft.lose(f"optim_wrapper.paramwise_cfg.{name}", "see optim.no_decay and optim.layer_decay")
    constructor = keys.take("optim_wrapper.constructor", "")
    if constructor:
        draft.lose("optim_wrapper.constructor", f"{constructor} does not exist here")


def _set_clipping(keys: Keys, draft: Draft) -> None:
    clip = keys.below("optim_wrapper.clip_grad.")
    if clip.get("norm_type", 2) != 2:
        draft.lose("optim_wrapper.clip_grad.norm_type", "the gradient is limited by its L2 norm")
    if "max_norm" in clip:
        draft.set("optim.clip_norm", float(clip["max_norm"]), "optim_wrapper.clip_grad.max_norm")
    if "clip_value" in clip:
        draft.set("optim.clip_value", float(clip["clip_value"]), "optim_wrapper.clip_grad.clip_value")


def _set_schedule(keys: Keys, draft: Draft) -> None:
    epochs = keys.take("train_cfg.max_epochs", 0)
    if epochs:
        draft.set("train.epochs", epochs, "train_cfg.max_epochs")
    else:
        draft.lose("train_cfg", "training is counted in epochs; set train.epochs")
    schedulers = keys.take("param_scheduler", None) or []
    schedulers = [schedulers] if isinstance(schedulers, dict) else schedulers
    draft.set("optim.schedule", "constant", "no param_scheduler")
    warmup, done = 0.0, False
    for each in [each for each in schedulers if isinstance(each, dict)]:
        kind = each.get("type")
        if kind == "LinearLR" and not each.get("begin"):
            warmup = _in_epochs(each, each.get("end", 0), draft)
            start = each.get("start_factor", 1 / 3)
            set_warmup(draft, warmup, start, sources=("LinearLR end", "LinearLR start_factor"))
        elif kind in ("CosineAnnealingLR", "MultiStepLR", "PolyLR", "StepLR") and not done:
            done = True
            _set_decay(each, warmup, epochs, draft)
        else:
            draft.lose("param_scheduler", f"{kind} with begin={each.get('begin', 0)} does not exist here")


def _in_epochs(scheduler: dict[str, Any], count: float, draft: Draft) -> float:
    if not scheduler.get("by_epoch", True):
        draft.lose("param_scheduler", f"{scheduler['type']} counts steps; schedules are in epochs here")
        return 0.0
    return count


def _set_decay(scheduler: dict[str, Any], warmup: float, epochs: float, draft: Draft) -> None:
    kind, begin = scheduler["type"], scheduler.get("begin", 0)
    if not scheduler.get("by_epoch", True):
        draft.lose("param_scheduler", f"{kind} counts steps; schedules are in epochs here")
    elif kind == "MultiStepLR":
        _set_milestones(scheduler, epochs, draft)
    elif kind == "StepLR":
        size = scheduler.get("step_size", 1)
        inside = [begin + number for number in range(size, int(epochs), size)]
        set_steps(
            draft, inside, [scheduler.get("gamma", 0.1)] * len(inside), epochs, sources=("StepLR", "StepLR gamma")
        )
    else:
        _set_curve(scheduler, warmup, epochs, draft)


def _set_milestones(scheduler: dict[str, Any], epochs: float, draft: Draft) -> None:
    """Set the milestones, which mmengine counts from ``begin``."""
    begin, gamma = scheduler.get("begin", 0), scheduler.get("gamma", 0.1)
    milestones = [begin + milestone for milestone in scheduler.get("milestones", [])]
    source = f"MultiStepLR milestones{f', counted from begin={begin}' if begin else ''}"
    set_steps(draft, milestones, [gamma] * len(milestones), epochs, sources=(source, "MultiStepLR gamma"))


def _set_curve(scheduler: dict[str, Any], warmup: float, epochs: float, draft: Draft) -> None:
    """Set a cosine or a power that ends with training, from its start or from the end of the warm-up."""
    kind, begin = scheduler["type"], scheduler.get("begin", 0)
    length = scheduler.get("T_max") or scheduler.get("end", epochs) - begin
    draft.set("optim.schedule", "polynomial" if kind == "PolyLR" else "cosine", kind)
    final = scheduler.get("eta_min_ratio") or (scheduler.get("eta_min") or 0) / draft.get("optim.lr")
    draft.set("optim.final", float(f"{final:.12g}"), f"{kind} eta_min")
    if kind == "PolyLR":
        draft.set("optim.power", float(scheduler.get("power", 1)), f"{kind} power")
    if begin and begin == warmup:
        draft.set("optim.decay_after_warmup", value=True, source=f"{kind} begin")
    elif begin:
        draft.lose("param_scheduler", f"{kind} begins at epoch {begin}, not at the end of the warm-up, {warmup:g}")
    elif warmup:
        draft.lose(
            "param_scheduler",
            f"{kind} and LinearLR are multiplied in mmengine; here the warm-up is a line to the rate at its end, a "
            "little lower; after it, the rates are equal",
        )
    if begin + length < epochs:
        draft.set("optim.cooldown_epochs", float(epochs - begin - length), f"{kind} end")


def _set_batches(keys: Keys, draft: Draft) -> None:
    each = keys.take("train_dataloader.batch_size", 0)
    base, scales = keys.take("auto_scale_lr.base_batch_size", 0), keys.take("auto_scale_lr.enable", default=False)
    if not each:
        return
    gpus, source = _gpus(draft, base, each)
    batch = gpus * each
    counts = keys.take("optim_wrapper.accumulative_counts", 1)
    draft.set("train.batch", batch * counts, f"train_dataloader.batch_size x {gpus}, {source}")
    draft.set("train.batch_per_device", each, "train_dataloader.batch_size")
    norms = keys.take("model.backbone.norm_cfg.type", "BN3d")
    whole = norms == "SyncBN"
    draft.set("train.norm_batch", batch if whole else each, f"normalization: {norms}")
    if scales and base:
        draft.set("train.lr_scales_with_batch", base, "auto_scale_lr")
    if gpus > 1:
        draft.notes.append(f"Start: torchrun --nproc-per-node {gpus} -m videopool.cli.train --config THIS_FILE")


def _gpus(draft: Draft, base: int, each: int) -> tuple[int, str]:
    """Return the number of GPUs that a configuration is meant for, and where it says so."""
    named = re.search(rf"[_-](\d+)xb{each}[_-]", draft.path.name)
    if named:
        return int(named[1]), f"the number of GPUs in the name ({named[1]}xb{each})"
    if base and base % each == 0:
        return base // each, "the number of GPUs by auto_scale_lr.base_batch_size"
    draft.lose(
        "train_dataloader.batch_size", "is for one GPU; the file does not say how many there are: set train.batch"
    )
    return 1, "the number of GPUs is unknown"


def _set_run(keys: Keys, draft: Draft) -> None:
    draft.set("out", keys.take("work_dir", "") or f"runs/{draft.path.stem.lower()}", "work_dir")
    draft.set("train.evaluate_every", keys.take("train_cfg.val_interval", 1), "train_cfg.val_interval")
    draft.set("train.log_every", keys.take("default_hooks.logger.interval", 10), "default_hooks.logger.interval")
    draft.set("train.seed", keys.take("randomness.seed", 0), "randomness.seed")
    if keys.take("optim_wrapper.type", "OptimWrapper") == "AmpOptimWrapper":
        kind = keys.take("optim_wrapper.dtype", "float16")
        draft.set("train.precision", "bfloat16" if kind == "bfloat16" else "float16", "optim_wrapper.type")
    for hook in keys.take("custom_hooks", None) or []:
        kind = hook.get("type") if isinstance(hook, dict) else hook
        reason = "see train.ema" if kind == "EMAHook" else "hooks do not exist here"
        draft.lose("custom_hooks", f"{kind}: {reason}")
