"""Files of PySlowFast: networks, schedules, clips, batches, and what cannot be carried over."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.migrate.network_sizes import PUBLISHED, resnet, slowfast
from tests.migrate.pyslowfast_recipes import RECIPES, as_yaml
from videopool.config import Config, load
from videopool.data.clip_times import place_clips
from videopool.engine.builders.multigrid import epochs_of
from videopool.engine.builders.optimization import schedule_of
from videopool.engine.builders.parts import clip_sampling
from videopool.errors import InputError
from videopool.migrate import Draft, read

Keys = dict[str, Any]


def convert(folder: Path, keys: Keys, name: str = "recipe.yaml") -> tuple[Config, Draft]:
    """Return the configuration of a file with ``keys``, loaded from what migrate writes."""
    source, result = folder / name, folder / "result.yaml"
    source.write_text(as_yaml(keys))
    draft = read(source)
    result.write_text(draft.yaml())
    return load(result), draft


@pytest.fixture(params=RECIPES, scope="module")
def recipe(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Keys, Config, Draft]:
    keys = RECIPES[request.param]
    return request.param, keys, *convert(tmp_path_factory.mktemp("recipe"), keys)


def rate_of_pyslowfast(keys: Keys, epoch: float) -> float:
    """Return the learning rate at ``epoch``, without multigrid."""
    base, epochs = keys["SOLVER.BASE_LR"], keys["SOLVER.MAX_EPOCH"]
    warm, start = keys["SOLVER.WARMUP_EPOCHS"], keys["SOLVER.WARMUP_START_LR"]
    final = float(keys.get("SOLVER.COSINE_END_LR", 0))

    def main(at: float) -> float:
        if keys["SOLVER.LR_POLICY"] == "cosine":
            return final + (base - final) * (1 + math.cos(math.pi * at / epochs)) / 2
        return base * keys["SOLVER.LRS"][sum(at >= step for step in keys["SOLVER.STEPS"]) - 1]

    return start + (main(warm) - start) * epoch / warm if epoch < warm else main(epoch)


def test_the_rate_of_every_epoch(recipe: tuple[str, Keys, Config, Draft]) -> None:
    _, keys, config, _ = recipe
    if "MULTIGRID.LONG_CYCLE" in keys:
        return  # below
    schedule, epochs = schedule_of(config), keys["SOLVER.MAX_EPOCH"]
    assert config.train.epochs == epochs
    for epoch in [*np.arange(0, epochs, 0.25), epochs - 0.01]:
        expected = rate_of_pyslowfast(keys, epoch)
        # migrate writes 12 digits of the fractions of the rate.
        assert config.optim.lr * schedule(epoch / epochs) == pytest.approx(expected, rel=1e-10, abs=1e-12), epoch


@pytest.mark.parametrize("name", [name for name, keys in RECIPES.items() if "MULTIGRID.LONG_CYCLE" in keys])
def test_the_rate_of_multigrid_training(name: str, tmp_path: Path) -> None:
    keys = RECIPES[name]
    config, _ = convert(tmp_path, keys)
    schedule, epochs = schedule_of(config), epochs_of(config)
    warm = keys["SOLVER.WARMUP_EPOCHS"]
    assert config.train.multigrid == "both"
    assert config.train.norm_batch == 8
    assert config.optim.lr * schedule(0) == pytest.approx(keys["SOLVER.WARMUP_START_LR"], rel=1e-10)
    # The first phase has 8 times the batch and the rate.
    assert config.optim.lr * schedule(warm / epochs) == pytest.approx(8 * keys["SOLVER.BASE_LR"], rel=1e-10)
    assert config.optim.lr * schedule(1 - 1e-3) == pytest.approx(
        keys["SOLVER.BASE_LR"] * keys["SOLVER.LRS"][len(keys["SOLVER.STEPS"]) - 1]
    )


@pytest.mark.slow
def test_the_parameters_of_the_network(
    recipe: tuple[str, Keys, Config, Draft], count_parameters: Callable[[Config], int]
) -> None:
    name, keys, config, _ = recipe
    found, depth = count_parameters(config), keys.get("RESNET.DEPTH", 50)
    if name in PUBLISHED:
        assert found == pytest.approx(PUBLISHED[name] * 1e6, rel=0.01)
    if keys["MODEL.ARCH"] in ("c2d", "i3d", "slow"):
        assert found == resnet(keys["MODEL.ARCH"], depth, 400)
    elif keys["MODEL.ARCH"] == "slowfast":
        temporal = max(keys["RESNET.NUM_BLOCK_TEMP_KERNEL"][2])
        assert found == slowfast(depth, keys["SLOWFAST.FUSION_KERNEL_SZ"], temporal, 400)
    else:
        assert name in PUBLISHED
    assert config.model.pooling == "none"


def test_only_networks_without_the_pool_in_time_leave_it_out() -> None:
    for name, keys in RECIPES.items():
        assert ("NOPOOL" in name) == (keys["MODEL.MODEL_NAME"] == "ResNet_nopool")


def test_batches(recipe: tuple[str, Keys, Config, Draft]) -> None:
    _, keys, config, _ = recipe
    each = keys["TRAIN.BATCH_SIZE"] // 8
    group = 8 if "MULTIGRID.LONG_CYCLE" in keys else each * keys.get("BN.NUM_SYNC_DEVICES", 1)
    assert (config.train.batch, config.train.batch_per_device) == (keys["TRAIN.BATCH_SIZE"], max(each, group))
    assert config.train.norm_batch == group
    precise = keys["BN.NUM_BATCHES_PRECISE"] if keys["BN.USE_PRECISE_STATS"] else 0
    assert config.train.precise_norm == precise
    assert config.train.lr_scales_with_batch == 0
    assert config.optim.weight_decay == float(keys["SOLVER.WEIGHT_DECAY"])
    assert config.optim.name == "sgd"


def test_the_frames_of_a_clip(recipe: tuple[str, Keys, Config, Draft]) -> None:
    """Kinetics: spread from the first to the last of frames x rate frames at 30 frames a second."""
    _, keys, config, _ = recipe
    count, rate, dataset = keys["DATA.NUM_FRAMES"], keys["DATA.SAMPLING_RATE"], keys["TRAIN.DATASET"]
    if dataset.endswith("ssv2"):
        assert (config.clip.sampling, config.clip.frames) == ("segments", count)
        return
    fps = 24.0 if "charades" in dataset else 30.0
    times = place_clips(duration=20.0, fps=fps, sampling=clip_sampling(config), clips=1)[0]
    found = np.round((times - times[0]) * fps)
    nominal = "charades" in dataset or "MULTIGRID.LONG_CYCLE" in keys
    expected = np.arange(count) * rate if nominal else np.floor(np.linspace(0, count * rate - 1, count))
    assert np.abs(found - expected).max() <= 1


def test_evaluation(recipe: tuple[str, Keys, Config, Draft]) -> None:
    _, keys, config, _ = recipe
    crops, crop = keys.get("TEST.NUM_SPATIAL_CROPS", 3), keys["DATA.TEST_CROP_SIZE"]
    assert (config.evaluate.clips, config.evaluate.crops) == (keys.get("TEST.NUM_ENSEMBLE_VIEWS", 10), crops)
    short = keys["DATA.TRAIN_JITTER_SCALES"][0] if crops == 1 else crop
    assert (config.test_scale, config.test_crop) == (short, crop)
    assert config.clip.flip == keys.get("DATA.RANDOM_FLIP", True)
    assert config.optim.loss == ("bce" if keys["MODEL.LOSS_FUNC"] == "bce_logit" else "cross_entropy")


def test_what_is_lost(recipe: tuple[str, Keys, Config, Draft]) -> None:
    _, keys, _, draft = recipe
    expected = {"NONLOCAL.LOCATION"} & set(keys)
    expected |= {"DATA.INV_UNIFORM_SAMPLE", "DATA.REVERSE_INPUT_CHANNEL", "DATA.ENSEMBLE_METHOD"} & set(keys)
    expected |= {"TRAIN.CHECKPOINT_FILE_PATH"} & set(keys)  # a pickle of Caffe2
    if keys.get("RESNET.NUM_BLOCK_TEMP_KERNEL", [0] * 3)[2] == [6, 23]:
        expected.add("RESNET.NUM_BLOCK_TEMP_KERNEL")
    assert {line.partition(":")[0] for line in draft.lost} == expected
    assert {"MODEL.NUM_CLASSES", "DATA_LOADER.PIN_MEMORY"} <= set(draft.ignored)


SMALL: Keys = {"MODEL.ARCH": "slow", "MODEL.MODEL_NAME": "ResNet", "RESNET.ZERO_INIT_FINAL_BN": True}


def changed(folder: Path, **keys: Any) -> tuple[Config, Draft]:
    """Return the configuration of a Slow network with changed keys; "__" is the dot of a name."""
    return convert(folder, SMALL | {name.replace("__", "."): value for name, value in keys.items()})


def test_defaults_are_those_of_pyslowfast(tmp_path: Path) -> None:
    config, draft = changed(tmp_path)
    assert not draft.lost
    assert (config.train.batch, config.train.epochs, config.train.seed, config.optim.lr) == (64, 300, 1, 0.1)
    assert (config.clip.frames, config.clip.stride, config.clip.fps) == (8, 9, 30)
    assert (config.train.evaluate_every, config.train.precise_norm, config.optim.warmup_epochs) == (10, 0, 0)


def test_machines_multiply_the_batch_and_if_told_the_rate(tmp_path: Path) -> None:
    keys = {"NUM_SHARDS": 4, "NUM_GPUS": 8, "SOLVER__WARMUP_EPOCHS": 5.0}
    config, draft = changed(tmp_path, **keys)
    assert (config.train.batch, config.train.batch_per_device, config.optim.lr) == (256, 8, 0.1)
    assert "torchrun --nnodes 4 --nproc-per-node 8" in draft.yaml()
    config, _ = changed(tmp_path, SOLVER__BASE_LR_SCALE_NUM_SHARDS=True, **keys)
    assert (config.optim.lr, config.optim.warmup_start) == (0.4, 0.1)


def test_normalization_in_parts_of_a_batch(tmp_path: Path) -> None:
    config, _ = changed(tmp_path, BN__NORM_TYPE="sub_batchnorm", BN__NUM_SPLITS=4, NUM_GPUS=2)
    assert config.train.norm_batch == 8
    config, _ = changed(tmp_path, BN__NORM_TYPE="sync_batchnorm", BN__GLOBAL_SYNC=True, NUM_GPUS=2, NUM_SHARDS=3)
    assert (config.train.norm_batch, config.train.sync_batchnorm) == (0, True)


def test_normalization_over_devices_needs_their_clips_in_one_process(tmp_path: Path) -> None:
    config, draft = changed(
        tmp_path, NUM_GPUS=8, TRAIN__BATCH_SIZE=16, BN__NORM_TYPE="sync_batchnorm", BN__NUM_SYNC_DEVICES=4
    )
    assert (config.train.norm_batch, config.train.batch_per_device) == (8, 8)
    assert "at most 2 processes" in draft.yaml()
    assert "--nproc-per-node 2 " in draft.yaml()


def test_augmentation(tmp_path: Path) -> None:
    config, draft = changed(
        tmp_path,
        AUG__ENABLE=True,
        AUG__AA_TYPE="rand-m7-n4-mstd0.5-inc1",
        AUG__NUM_SAMPLE=2,
        AUG__COLOR_JITTER=0.4,
        MIXUP__ENABLE=True,
        MIXUP__ALPHA=0.7,
        TRAIN__BATCH_SIZE=32,
        NUM_GPUS=8,
        DATA__TRAIN_JITTER_SCALES_RELATIVE=[0.08, 1.0],
    )
    assert not draft.lost
    rand = config.augment.rand_augment
    assert (rand.operations, rand.magnitude, rand.deviation) == (4, 7.0, 0.5)
    assert (config.augment.erase, config.augment.mixup, config.augment.cutmix) == (0.25, 0.7, 1.0)
    assert config.optim.label_smoothing == 0.1
    assert (config.train.clips_per_video, config.train.batch, config.train.batch_per_device) == (2, 64, 8)
    assert config.clip.area == (0.08, 1.0)
    assert "AUG.COLOR_JITTER" in draft.ignored  # not used for videos


def test_augmentation_that_is_off_has_no_effect(tmp_path: Path) -> None:
    config, draft = changed(tmp_path, AUG__RE_COUNT=3, AUG__NUM_SAMPLE=2, MIXUP__PROB=0.5, MULTIGRID__EPOCH_FACTOR=2.0)
    assert not draft.lost
    assert (config.augment, config.train.batch) == (type(config.augment)(), 64)
    assert {"AUG.RE_COUNT", "AUG.NUM_SAMPLE", "MIXUP.PROB", "MULTIGRID.EPOCH_FACTOR"} <= set(draft.ignored)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"SOLVER__NESTEROV": False}, ("sgd", "torch.optim.SGD", {"momentum": 0.9, "fused": True})),
        ({"SOLVER__OPTIMIZING_METHOD": "adamw", "SOLVER__BETAS": "(0.8, 0.99)"}, ("adamw", "", {})),
        ({"SOLVER__OPTIMIZING_METHOD": "adam"}, ("sgd", "torch.optim.Adam", {"betas": [0.9, 0.999]})),
        ({"SOLVER__LARS_ON": True}, ("lars", "", {})),
    ],
)
def test_optimizers(keys: Keys, expected: tuple[str, str, Keys], tmp_path: Path) -> None:
    config, draft = changed(tmp_path, **keys)
    assert not draft.lost
    assert (config.optim.name, config.optim.target, config.optim.arguments) == expected
    if config.optim.name == "adamw":
        assert config.optim.betas == (0.8, 0.99)


def test_cosine_after_the_warm_up(tmp_path: Path) -> None:
    keys = {"SOLVER__WARMUP_EPOCHS": 30.0, "SOLVER__MAX_EPOCH": 100, "SOLVER__WARMUP_START_LR": 0.001}
    config, _ = changed(tmp_path, SOLVER__COSINE_AFTER_WARMUP=True, SOLVER__COSINE_END_LR=1e-4, **keys)
    schedule = schedule_of(config)
    assert config.optim.lr * schedule(0.15) == pytest.approx((0.001 + 0.1) / 2)
    for epoch in (30, 40, 80, 99):
        cosine = 1e-4 + (0.1 - 1e-4) * (1 + math.cos(math.pi * (epoch - 30) / 70)) / 2
        assert config.optim.lr * schedule(epoch / 100) == pytest.approx(cosine)


def test_steps_that_have_no_common_factor_are_named(tmp_path: Path) -> None:
    steps = {"SOLVER__LR_POLICY": "steps_with_relative_lrs", "SOLVER__STEPS": [0, 10, 20], "SOLVER__MAX_EPOCH": 30}
    config, draft = changed(tmp_path, SOLVER__LRS=[1, 0.5, 0.05], **steps)
    assert (config.optim.milestones, config.optim.gamma) == ((10, 20), 0.5)
    assert [line.partition(":")[0] for line in draft.lost] == ["SOLVER.LRS"]
    config, draft = changed(tmp_path, SOLVER__LRS=[1, 0.5, 0.25], **steps)
    assert not draft.lost


def test_weight_decay_of_normalization(tmp_path: Path) -> None:
    assert changed(tmp_path, BN__WEIGHT_DECAY=1e-4)[0].optim.decay_all
    config, draft = changed(tmp_path, BN__WEIGHT_DECAY=1e-3)
    assert not config.optim.decay_all
    assert "BN.WEIGHT_DECAY" in draft.lost[0]


def test_data_and_weights(tmp_path: Path) -> None:
    config, draft = changed(
        tmp_path,
        DATA__PATH_TO_DATA_DIR="lists",
        DATA__PATH_PREFIX="videos",
        TRAIN__CHECKPOINT_FILE_PATH="slow.pyth",
        TEST__CHECKPOINT_FILE_PATH="best.pyth",
        OUTPUT_DIR="out",
    )
    assert (config.data.root, config.data.train, config.data.test) == ("videos", "lists/train.csv", "lists/val.csv")
    assert (config.model.pretrained, config.out) == ("slow.pyth", "out")
    assert draft.lost == ["TEST.CHECKPOINT_FILE_PATH: give the file to videopool evaluate as its first argument"]


def test_unknown_keys_are_named_with_the_nearest(tmp_path: Path) -> None:
    _, draft = changed(tmp_path, SOLVER__BASE_LRR=0.1, FOO__BAR=1)
    assert draft.lost == ["FOO.BAR: unknown key", "SOLVER.BASE_LRR: unknown key. Did you mean 'SOLVER.BASE_LR'?"]


def test_a_base_file_and_keys_given_twice(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(as_yaml(SMALL | {"SOLVER.BASE_LR": 0.2, "TRAIN.BATCH_SIZE": 16}))
    (tmp_path / "own.yaml").write_text("_BASE_: base.yaml\nTRAIN: {BATCH_SIZE: 8}\nTRAIN: {BATCH_SIZE: 32}\n")
    draft = read(tmp_path / "own.yaml")
    assert (draft.get("optim.lr"), draft.get("train.batch")) == (0.2, 32)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (
            {"MODEL.ARCH": "mvit", "MODEL.MODEL_NAME": "MViT"},
            r"line 2: .*MODEL.ARCH=mvit, MODEL.MODEL_NAME=MViT; it has",
        ),
        (
            {"MODEL.ARCH": "slow", "DETECTION.ENABLE": True},
            "DETECTION.ENABLE is set; videopool only trains classifiers",
        ),
        ({**SMALL, "RESNET.DEPTH": 18}, "RESNET.DEPTH=18: networks here have 50, 101 or 152 layers"),
        ({**SMALL, "SOLVER.BASE_LR": "fast"}, "line 7: SOLVER.BASE_LR: expected a number, got 'fast'"),
        ({**SMALL, "DATA.TRAIN_CROP_SIZE": 300}, r"becomes: clip.scale=\[256, 320\] must be"),
        ({"clip.frames": 8}, "is a configuration of videopool already"),
        ({"name": "other"}, "has no section of PySlowFast"),
    ],
)
def test_other_files_are_refused_in_a_sentence(keys: Keys, expected: str, tmp_path: Path) -> None:
    (tmp_path / "file.yaml").write_text(as_yaml(keys))
    with pytest.raises(InputError, match=expected):
        read(tmp_path / "file.yaml")


@pytest.mark.slow
def test_values_of_any_type_are_no_crash(tmp_path: Path) -> None:
    from videopool.migrate.pyslowfast_keys import DEFAULTS

    for key in DEFAULTS:
        for value in ("text", -1, ["a"], True):
            (tmp_path / "file.yaml").write_text(as_yaml(SMALL | {"AUG.ENABLE": True, "MIXUP.ENABLE": True, key: value}))
            with contextlib.suppress(InputError):
                read(tmp_path / "file.yaml")
