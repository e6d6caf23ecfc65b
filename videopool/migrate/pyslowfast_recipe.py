"""The recipe of a PySlowFast file: data, clips, augmentation, optimizer, schedule, batches and evaluation."""

from __future__ import annotations

import itertools
import re

from videopool.config.renamed import RENAMED
from videopool.migrate.draft import Draft
from videopool.migrate.keys import Keys
from videopool.migrate.rates import set_sgd, set_steps, set_warmup

_CHARADES_FPS = 24  # of the frames of Charades
_LISTS = {
    "charades": ("Charades_v1_train.csv", "Charades_v1_test.csv"),
    "ssv2": ("something-something-v2-train.json", "something-something-v2-validation.json"),
    "imagenet": ("train", "val"),
}


def set_recipe(keys: Keys, draft: Draft) -> None:
    """Set all keys of ``draft`` but those of the network."""
    copy = _Copy(keys, draft)
    _set_data(copy)
    _set_clips(copy)
    _set_augmentation(copy)
    _set_weights(copy)
    _set_optimizer(copy)
    _set_schedule(copy)
    _set_loss(copy)
    _set_batches(copy)
    _set_run(copy)
    _set_evaluation(copy)


class _Copy:
    """Reads keys of PySlowFast and sets those of videopool."""

    def __init__(self, keys: Keys, draft: Draft) -> None:
        self.keys = keys
        self.draft = draft
        self.take = keys.take

    def __call__(self, *sources: str) -> None:
        """Copy the values of ``sources`` to the keys that ``RENAMED`` gives."""
        for source in sources:
            self.draft.set(RENAMED[source], self.take(source), source)

    @property
    def dataset(self) -> str:
        """The data set without the prefix of its pytorchvideo form."""
        return str(self.take("TRAIN.DATASET")).lower().removeprefix("ptv")


def _set_data(copy: _Copy) -> None:
    folder, prefix = copy.take("DATA.PATH_TO_DATA_DIR"), copy.take("DATA.PATH_PREFIX")
    train, test = _LISTS.get(copy.dataset, ("train.csv", "val.csv"))
    apart = bool(folder and prefix and folder != prefix)
    if prefix or folder:
        copy.draft.set("data.root", prefix or folder, "DATA.PATH_PREFIX" if prefix else "DATA.PATH_TO_DATA_DIR")
    for key, name in (("data.train", train), ("data.test", test)):
        copy.draft.set(key, f"{folder.rstrip('/')}/{name}" if apart else name, "TRAIN.DATASET")
    copy("DATA_LOADER.NUM_WORKERS")
    if copy.dataset == "charades":
        copy.draft.set("data.folder_fps", float(_CHARADES_FPS), "TRAIN.DATASET")


def _set_clips(copy: _Copy) -> None:
    take, draft = copy.take, copy.draft
    frames, rate = take("DATA.NUM_FRAMES"), take("DATA.SAMPLING_RATE")
    multigrid = take("MULTIGRID.SHORT_CYCLE") or take("MULTIGRID.LONG_CYCLE")
    draft.set("clip.frames", frames, "DATA.NUM_FRAMES")
    if copy.dataset == "ssv2":
        draft.set("clip.sampling", "segments", "TRAIN.DATASET")
    elif copy.dataset == "imagenet":
        pass  # an image is its only clip
    elif copy.dataset == "charades" or multigrid:
        draft.set("clip.stride", rate, "DATA.SAMPLING_RATE")
        fps = _CHARADES_FPS if copy.dataset == "charades" else take("DATA.TARGET_FPS")
        draft.set("clip.fps", float(fps), "TRAIN.DATASET" if copy.dataset == "charades" else "DATA.TARGET_FPS")
    else:
        _set_spread(draft, frames, rate, take("DATA.TARGET_FPS"))
    draft.set("clip.short", "hold", "as PySlowFast does")
    copy("DATA.TRAIN_JITTER_SCALES", "DATA.TRAIN_CROP_SIZE", "DATA.RANDOM_FLIP", "DATA.MEAN", "DATA.STD")
    area, ratio = take("DATA.TRAIN_JITTER_SCALES_RELATIVE"), take("DATA.TRAIN_JITTER_ASPECT_RELATIVE")
    if area or ratio:
        draft.set("clip.area", area or [0.08, 1.0], "DATA.TRAIN_JITTER_SCALES_RELATIVE")
        draft.set("clip.ratio", ratio or [3 / 4, 4 / 3], "DATA.TRAIN_JITTER_ASPECT_RELATIVE")


def _set_spread(draft: Draft, frames: int, rate: int, fps: float) -> None:
    """Set the sampling of ``frames`` frames from the first to the last of ``frames * rate`` frames.

    The step between two of them is (frames * rate - 1) / (frames - 1): 9, not 8, for 8 frames of 64. It becomes
    ``clip.stride`` if a whole step is off by at most one frame at the end of the clip, else ``clip.window``.
    """
    step = (frames * rate - 1) / max(frames - 1, 1)
    source = f"DATA.SAMPLING_RATE: {frames} frames from the first to the last of {frames * rate}"
    if abs(round(step) - step) * (frames - 1) <= 1 + 1e-9:
        draft.set("clip.stride", max(round(step), 1), source)
        draft.set("clip.fps", float(fps), "DATA.TARGET_FPS")
    else:
        draft.set("clip.sampling", "dense", "frames a fixed part of a second apart")
        draft.set("clip.window", round(frames * step / fps, 6), source)


def _set_augmentation(copy: _Copy) -> None:
    if copy.take("AUG.ENABLE"):
        copy("AUG.NUM_SAMPLE", "AUG.RE_PROB")
        _set_rand_augment(copy)
    if copy.take("MIXUP.ENABLE"):
        copy("MIXUP.ALPHA", "MIXUP.CUTMIX_ALPHA", "MIXUP.SWITCH_PROB", "MIXUP.LABEL_SMOOTH_VALUE")


def _set_rand_augment(copy: _Copy) -> None:
    """Set the keys of ``AUG.AA_TYPE``, such as rand-m7-n4-mstd0.5-inc1."""
    text = copy.take("AUG.AA_TYPE")
    found = dict(re.findall(r"-(mstd|m|n)([\d.]+)", text))
    if not text.startswith("rand-"):
        if text:
            copy.draft.lose("AUG.AA_TYPE", f"{text} is not RandAugment; see augment.augmix and augment.target")
        return
    values = {"operations": int(found.get("n", 2)), "magnitude": float(found.get("m", 10))}
    values["deviation"] = float(found.get("mstd", 0))
    for name, value in values.items():
        copy.draft.set(f"augment.rand_augment.{name}", value, "AUG.AA_TYPE")


def _set_weights(copy: _Copy) -> None:
    copy("MODEL.DROPOUT_RATE")
    if copy.take("MODEL.DROPCONNECT_RATE"):
        copy("MODEL.DROPCONNECT_RATE")
    if copy.take("MODEL.FROZEN_BN"):
        copy.draft.set("model.freeze_norms", "all", "MODEL.FROZEN_BN")
    if copy.take("MODEL.ACT_CHECKPOINT"):
        copy.draft.set("model.checkpoint_activations", ["*"], "MODEL.ACT_CHECKPOINT")
    weights = copy.take("TRAIN.CHECKPOINT_FILE_PATH")
    if copy.take("TRAIN.CHECKPOINT_TYPE") == "caffe2" and weights:
        copy.draft.lose(
            "TRAIN.CHECKPOINT_FILE_PATH",
            f"{weights} is a pickle of Caffe2, which can run code; set model.pretrained to the .pyth file instead",
        )
    elif weights:
        copy("TRAIN.CHECKPOINT_FILE_PATH")
    if copy.take("TEST.CHECKPOINT_FILE_PATH"):
        copy.draft.lose("TEST.CHECKPOINT_FILE_PATH", "give the file to videopool evaluate as its first argument")


def _set_optimizer(copy: _Copy) -> None:
    take, draft = copy.take, copy.draft
    method, momentum = take("SOLVER.OPTIMIZING_METHOD"), take("SOLVER.MOMENTUM")
    betas, dampening = take("SOLVER.BETAS"), take("SOLVER.DAMPENING")
    source = "SOLVER.OPTIMIZING_METHOD"
    if take("SOLVER.LARS_ON"):
        draft.set("optim.name", "lars", "SOLVER.LARS_ON")
        copy("SOLVER.MOMENTUM")
    elif method == "sgd":
        set_sgd(draft, momentum, nesterov=take("SOLVER.NESTEROV"), dampening=dampening, source="SOLVER")
    elif method in ("adamw", "mt_adamw"):
        draft.set("optim.name", "adamw", source)
        draft.set("optim.betas", betas, "SOLVER.BETAS")
    elif method == "adam":
        draft.set("optim.target", "torch.optim.Adam", source)
        draft.set("optim.arguments", {"betas": betas}, "SOLVER.BETAS")
    else:
        draft.lose(source, f"{method} is unknown; set optim.name or optim.target")
    copy("SOLVER.WEIGHT_DECAY")
    if take("SOLVER.LAYER_DECAY") != 1:
        copy("SOLVER.LAYER_DECAY")
    norms = take("BN.WEIGHT_DECAY")
    if norms and norms == take("SOLVER.WEIGHT_DECAY"):
        draft.set("optim.decay_all", True, "BN.WEIGHT_DECAY")
    elif norms:
        draft.lose("BN.WEIGHT_DECAY", "normalization has the weight decay of all parameters (optim.decay_all) or none")
    for clip in ("SOLVER.CLIP_GRAD_L2NORM", "SOLVER.CLIP_GRAD_VAL"):
        if take(clip):
            copy(clip)


def _set_schedule(copy: _Copy) -> None:
    take, draft = copy.take, copy.draft
    scaled = take("SOLVER.BASE_LR_SCALE_NUM_SHARDS")
    shards = take("NUM_SHARDS") if scaled else 1
    rate, start = take("SOLVER.BASE_LR") * shards, take("SOLVER.WARMUP_START_LR") * shards
    draft.set("optim.lr", rate, "SOLVER.BASE_LR" + (" x NUM_SHARDS" if shards > 1 else ""))
    copy("SOLVER.MAX_EPOCH")
    policy = take("SOLVER.LR_POLICY")
    if policy == "cosine":
        draft.set("optim.schedule", "cosine", "SOLVER.LR_POLICY")
        final = take("SOLVER.COSINE_END_LR") * shards / rate
        draft.set("optim.final", round(final, 12), "SOLVER.COSINE_END_LR / BASE_LR")
        if take("SOLVER.COSINE_AFTER_WARMUP"):
            draft.set("optim.decay_after_warmup", True, "SOLVER.COSINE_AFTER_WARMUP")
    elif policy == "steps_with_relative_lrs":
        _set_relative_steps(copy)
    else:
        draft.lose("SOLVER.LR_POLICY", f"{policy} is unknown; set optim.schedule")
    # With the long cycle, training starts with 8 times the batch and the rate.
    first = 8 * rate if take("MULTIGRID.LONG_CYCLE") else rate
    sources = ("SOLVER.WARMUP_EPOCHS", "SOLVER.WARMUP_START_LR / BASE_LR")
    set_warmup(draft, take("SOLVER.WARMUP_EPOCHS"), start / first, sources=sources)


def _set_relative_steps(copy: _Copy) -> None:
    steps, rates = copy.take("SOLVER.STEPS"), copy.take("SOLVER.LRS")
    factors = rates[: len(steps)]
    if not steps or len(factors) < len(steps) or steps[0] != 0 or not factors[0]:
        copy.draft.lose("SOLVER.STEPS", f"{steps} and SOLVER.LRS={rates} do not fit; set optim.milestones")
        return
    if factors[0] != 1:
        copy.draft.set("optim.lr", copy.draft.get("optim.lr") * factors[0], "SOLVER.BASE_LR x LRS[0]")
    ratios, source = [after / before for before, after in itertools.pairwise(factors) if before], "SOLVER.LRS"
    if copy.take("MULTIGRID.LONG_CYCLE"):  # which replaces LRS
        ratios, source = [copy.take("SOLVER.GAMMA")] * len(ratios), "SOLVER.GAMMA"
    set_steps(copy.draft, steps[1:], ratios, copy.take("SOLVER.MAX_EPOCH"), sources=("SOLVER.STEPS", source))


def _set_loss(copy: _Copy) -> None:
    kind, scores = copy.take("MODEL.LOSS_FUNC"), copy.take("MODEL.HEAD_ACT")
    losses = {"cross_entropy": "cross_entropy", "soft_cross_entropy": "cross_entropy", "bce_logit": "bce", "bce": "bce"}
    if kind not in losses:
        copy.draft.lose("MODEL.LOSS_FUNC", f"{kind} is no loss of classifiers; set optim.loss")
        return
    copy.draft.set("optim.loss", losses[kind], "MODEL.LOSS_FUNC")
    expected = "sigmoid" if losses[kind] == "bce" else "softmax"
    if scores != expected:
        copy.draft.lose("MODEL.HEAD_ACT", f"{losses[kind]} has the scores of a {expected} here, not of {scores}")


def _set_batches(copy: _Copy) -> None:
    take, draft = copy.take, copy.draft
    gpus, shards = max(take("NUM_GPUS"), 1), take("NUM_SHARDS")
    samples = take("AUG.NUM_SAMPLE") if take("AUG.ENABLE") else 1
    batch, each = take("TRAIN.BATCH_SIZE") * shards * samples, take("TRAIN.BATCH_SIZE") * samples // gpus
    times = " x NUM_SHARDS" * (shards > 1) + " x AUG.NUM_SAMPLE" * (samples > 1)
    draft.set("train.batch", batch, f"TRAIN.BATCH_SIZE{times}")
    group, source = _norm_group(copy, each)
    if group > each:  # one process normalizes the clips of a group
        each, gpus, shards = group, batch // group, 1
        draft.notes.append(
            f"Batch normalization over {group} clips needs them in one process: at most {gpus} processes."
        )
    draft.set("train.batch_per_device", each, "TRAIN.BATCH_SIZE / NUM_GPUS")
    draft.set("train.norm_batch", group, source)
    draft.set("evaluate.batch", max(take("TEST.BATCH_SIZE") // gpus, 1), "TEST.BATCH_SIZE / NUM_GPUS")
    if gpus * shards > 1:
        processes = f"--nnodes {shards} " * (shards > 1) + f"--nproc-per-node {gpus}"
        draft.notes.append(f"Start: torchrun {processes} -m videopool.cli.train --config THIS_FILE")


def _norm_group(copy: _Copy, each: int) -> tuple[int, str]:
    """Return the number of clips that share statistics of batch normalization, and the source."""
    take, kind = copy.take, copy.take("BN.NORM_TYPE")
    splits, devices, whole = take("BN.NUM_SPLITS"), take("BN.NUM_SYNC_DEVICES"), take("BN.GLOBAL_SYNC")
    base = take("MULTIGRID.BN_BASE_SIZE")
    if (take("MULTIGRID.LONG_CYCLE") or take("MULTIGRID.SHORT_CYCLE")) and base > 0:
        return base, "MULTIGRID.BN_BASE_SIZE"
    if kind == "sub_batchnorm":
        return max(each // splits, 1), "TRAIN.BATCH_SIZE / NUM_GPUS / BN.NUM_SPLITS, by BN.NORM_TYPE"
    if kind.startswith("sync_batchnorm"):
        # 0: over all processes.
        return (0, "BN.GLOBAL_SYNC") if whole else (each * devices, "BATCH_SIZE / NUM_GPUS x BN.NUM_SYNC_DEVICES")
    return each, "TRAIN.BATCH_SIZE / NUM_GPUS"


def _set_run(copy: _Copy) -> None:
    take, draft = copy.take, copy.draft
    out = take("OUTPUT_DIR")
    draft.set("out", f"runs/{draft.path.stem.lower()}" if out == "." else out, "OUTPUT_DIR")
    copy("RNG_SEED", "LOG_PERIOD", "TRAIN.EVAL_PERIOD")
    if take("TRAIN.MIXED_PRECISION"):
        draft.set("train.precision", "float16", "TRAIN.MIXED_PRECISION")
    if not take("TRAIN.AUTO_RESUME"):
        draft.set("train.resume", "none", "TRAIN.AUTO_RESUME")
    precise = take("BN.NUM_BATCHES_PRECISE")
    draft.set("train.precise_norm", precise if take("BN.USE_PRECISE_STATS") else 0, "BN.NUM_BATCHES_PRECISE")
    kind = {(False, False): "", (True, False): "short", (False, True): "long", (True, True): "both"}
    cycles = kind[take("MULTIGRID.SHORT_CYCLE"), take("MULTIGRID.LONG_CYCLE")]
    if cycles:
        draft.set("train.multigrid", cycles, "MULTIGRID")
        copy("MULTIGRID.EPOCH_FACTOR")
    if not take("TRAIN.ENABLE"):
        draft.notes.append("TRAIN.ENABLE is false: the file only evaluates. Use videopool evaluate.")


def _set_evaluation(copy: _Copy) -> None:
    take, draft = copy.take, copy.draft
    crops, crop, scales = take("TEST.NUM_SPATIAL_CROPS"), take("DATA.TEST_CROP_SIZE"), take("DATA.TRAIN_JITTER_SCALES")
    if copy.dataset == "imagenet":
        for key, value in (("clips", 1), ("crops", 1), ("scale", crop), ("crop", take("DATA.TRAIN_CROP_SIZE"))):
            draft.set(f"evaluate.{key}", value, "TRAIN.DATASET")
        return
    copy("TEST.NUM_ENSEMBLE_VIEWS")
    draft.set("evaluate.crops", 1 if crops == 1 else 3, "TEST.NUM_SPATIAL_CROPS")
    if crops not in (1, 3):
        draft.lose("TEST.NUM_SPATIAL_CROPS", f"evaluate.crops is 1 or 3, not {crops}")
    # Which side PySlowFast scales frames to depends on the data set and on the number of crops.
    short = scales[0] if crops == 1 or take("TRAIN.DATASET").lower() == "ptvkinetics" else crop
    draft.set(
        "evaluate.scale", max(short, crop), "DATA.TEST_CROP_SIZE" if short == crop else "DATA.TRAIN_JITTER_SCALES"
    )
    copy("DATA.TEST_CROP_SIZE")
