"""Files of mmaction2: networks, schedules, clips, batches, and what cannot be carried over."""

from __future__ import annotations

import contextlib
import copy
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.migrate.mmaction2_recipes import RECIPES, as_python, x3d
from tests.migrate.network_sizes import resnet, slowfast
from videopool.config import Config, load
from videopool.engine.builders.optimization import schedule_of
from videopool.errors import InputError
from videopool.migrate import Draft, read

Values = dict[str, Any]


def convert(folder: Path, values: Values, name: str = "recipe") -> tuple[Config, Draft]:
    """Return the configuration of a file with ``values``, loaded from what migrate writes."""
    source, result = folder / f"{name}-100e_kinetics400-rgb.py", folder / "result.yaml"
    source.write_text(as_python(values))
    draft = read(source)
    result.write_text(draft.yaml())
    return load(result), draft


@pytest.fixture(params=RECIPES, scope="module")
def recipe(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Values, Config, Draft]:
    values = RECIPES[request.param]
    return request.param, values, *convert(tmp_path_factory.mktemp("recipe"), values, request.param)


def rate_of_mmengine(values: Values, epoch: int) -> float:
    """Return the learning rate of an epoch: schedulers multiply it, and each counts from its own begin."""
    rate = values["optim_wrapper"]["optimizer"]["lr"]
    for each in values["param_scheduler"]:
        since = epoch - each["begin"]
        if each["type"] == "LinearLR":
            rate *= min(1.0, 0.1 + 0.9 * since / (each["end"] - 1))
        elif since >= 0 and each["type"] == "MultiStepLR":
            rate *= 0.1 ** sum(since >= milestone for milestone in each["milestones"])
        elif since >= 0:
            rate *= (1 + math.cos(math.pi * since / each["T_max"])) / 2
    return rate


def test_the_rate_of_every_epoch(recipe: tuple[str, Values, Config, Draft]) -> None:
    _, values, config, draft = recipe
    schedule, epochs = schedule_of(config), values["train_cfg"]["max_epochs"]
    warm = max((each["end"] for each in values["param_scheduler"] if each["type"] == "LinearLR"), default=0)
    assert config.train.epochs == epochs
    for epoch in range(epochs):
        found, expected = config.optim.lr * schedule(epoch / epochs), rate_of_mmengine(values, epoch)
        if epoch >= warm:
            assert found == pytest.approx(expected, rel=1e-9, abs=1e-12), epoch
        else:  # a line here; in mmengine, it ends one epoch earlier and is multiplied with the cosine
            assert 0 <= expected - found < (0.9 / (warm - 1) + 0.05) * config.optim.lr, epoch
    multiplied = [each for each in values["param_scheduler"] if each["type"] == "CosineAnnealingLR"]
    named = any(line.startswith("param_scheduler") for line in draft.lost)
    assert named == bool(warm and multiplied and multiplied[0]["begin"] == 0)


def test_the_parameters_of_the_network(
    recipe: tuple[str, Values, Config, Draft], count_parameters: Callable[[Config], int]
) -> None:
    name, values, config, _ = recipe
    backbone, found = values["model"]["backbone"], count_parameters(config)
    kinds = {"ResNet3dSlowOnly": "slow", "C2D": "c2d", "ResNet": "c2d", "ResNet3d": "i3d"}
    if backbone["type"] in kinds:
        assert found == resnet(kinds[backbone["type"]], backbone["depth"], 400)
        assert config.model.arguments.get("time_pool", True) == ("nopool" not in name)
    elif backbone["type"] == "ResNet3dSlowFast":
        slow = backbone["slow_pathway"]
        temporal = 6 if slow["depth"] == 50 else 23
        assert found == slowfast(slow["depth"], slow.get("fusion_kernel", 5), temporal, 400)
    else:
        published = {
            ("r2plus1d", 34): 63.8e6,
            ("csn", 152): 29.7e6,
            ("csn", 50): 13.13e6,
        }  # in the model zoo of mmaction2
        assert found == pytest.approx(published[config.model.name, backbone["depth"]], rel=0.01)
    assert config.model.freeze_norms == ("all" if "bn_frozen" in backbone else "frozen")


@pytest.mark.parametrize(("frames", "rate", "size"), [(13, 6, 182), (16, 5, 256)])
def test_x3d_only_evaluates(
    frames: int, rate: int, size: int, tmp_path: Path, count_parameters: Callable[[Config], int]
) -> None:
    config, draft = convert(tmp_path, x3d(frames, rate, size))
    assert not draft.lost
    assert count_parameters(config) == pytest.approx(3.79e6, rel=0.01)
    assert (config.clip.frames, config.clip.stride, config.clip.fps) == (frames, rate, 30)
    assert (config.evaluate.clips, config.evaluate.crops, config.test_crop, config.test_scale) == (10, 3, size, size)
    assert "it only evaluates" in draft.yaml()


def test_clips_and_batches(recipe: tuple[str, Values, Config, Draft]) -> None:
    name, values, config, _ = recipe
    gpus, each = (int(number) for number in re.findall(r"_(\d+)xb(\d+)-", name)[0])
    frames = values["train_dataloader"]["dataset"]["pipeline"][1]
    assert (config.train.batch, config.train.batch_per_device) == (gpus * each, each)
    assert config.train.norm_batch == (gpus * each if name.startswith("r2plus1d") else each)  # which synchronizes
    assert (config.clip.frames, config.clip.stride) == (frames["clip_len"], frames["frame_interval"])
    assert (config.clip.fps, config.clip.short, config.clip.flip, config.clip.crop) == (0, "loop", True, 224)
    regions = any(step["type"] == "RandomResizedCrop" for step in values["train_dataloader"]["dataset"]["pipeline"])
    assert config.clip.area == ((0.08, 1.0) if regions else ())
    assert (config.evaluate.clips, config.evaluate.crops) == (10, 3)
    assert config.clip.mean == (0.485, 0.456, 0.406)
    assert config.optim.decay_all
    assert (config.optim.target, config.optim.arguments["momentum"]) == ("torch.optim.SGD", 0.9)
    assert config.optim.clip_norm == 40


def test_what_is_lost(recipe: tuple[str, Values, Config, Draft]) -> None:
    name, values, _, draft = recipe
    backbone = values["model"]["backbone"]
    expected = {"test_dataloader.dataset.data_prefix"}  # of the training and the test videos
    expected |= {f"model.backbone.{key}" for key in ("pretrained", "non_local") if key in backbone}
    if backbone["type"] == "ResNet3dCSN":
        expected |= {"model.backbone.zero_init_residual", "model.backbone.norm_cfg.eps"}
    elif backbone["type"] == "ResNet3d":
        expected |= {"train_pipeline", "model.backbone.zero_init_residual"}
        strides = {"model.backbone.conv1_stride_t", "model.backbone.pool1_stride_t"}
        expected |= {"model.backbone.inflate"} if "heavy" in name else strides
    elif backbone["type"] in ("C2D", "ResNet"):
        expected |= {"train_pipeline"} | ({"model.backbone.type"} if backbone["type"] == "C2D" else set())
    elif backbone["type"] == "ResNet3dSlowFast":
        lateral, other = "model.backbone.slow_pathway.lateral_norm", "model.backbone.fast_pathway.depth"
        expected |= {lateral} if "steplr" not in name else set()
        expected |= {other} if "r101-r50" in name else set()
        expected |= {"param_scheduler"} if "steplr" not in name else set()
    assert {line.partition(":")[0] for line in draft.lost} == expected


SLOW = RECIPES["slowonly_r50_8xb16-8x8x1"]


def changed(folder: Path, name: str = "slow_4xb16", /, **changes: Any) -> tuple[Config, Draft]:
    """Return the configuration of a SlowOnly recipe with changed values; "__" separates the names of keys."""
    values = copy.deepcopy(SLOW)
    for key, value in changes.items():
        *parents, last = key.split("__")
        group = values
        for parent in parents:
            group = group.setdefault(parent, {})
        group[last] = value
    return convert(folder, values, name)


def test_the_number_of_gpus(tmp_path: Path) -> None:
    config, draft = changed(tmp_path)
    assert config.train.batch == 64
    assert "torchrun --nproc-per-node 4 -m" in draft.yaml()
    config, draft = changed(tmp_path, "own", auto_scale_lr={"enable": False, "base_batch_size": 128})
    assert (config.train.batch, config.train.lr_scales_with_batch) == (128, 0)
    config, _ = changed(tmp_path, "slow_4xb16", auto_scale_lr={"enable": True, "base_batch_size": 128})
    assert (config.train.batch, config.train.lr_scales_with_batch) == (64, 128)
    config, draft = changed(tmp_path, "own")
    assert config.train.batch == 16
    assert any(line.startswith("train_dataloader.batch_size") for line in draft.lost)
    config, _ = changed(tmp_path, optim_wrapper__accumulative_counts=2)
    assert (config.train.batch, config.train.batch_per_device) == (128, 16)


def test_optimizers(tmp_path: Path) -> None:
    adamw = {"type": "AdamW", "lr": 1e-3, "betas": (0.9, 0.99), "weight_decay": 0.05}
    norms = {"norm_decay_mult": 0.0, "bias_decay_mult": 0.0}
    config, _ = changed(tmp_path, optim_wrapper={"type": "AmpOptimWrapper", "optimizer": adamw, "paramwise_cfg": norms})
    assert (config.optim.name, config.optim.betas, config.optim.weight_decay) == ("adamw", (0.9, 0.99), 0.05)
    assert not config.optim.decay_all
    assert config.train.precision == "float16"
    half = {"type": "AmpOptimWrapper", "dtype": "bfloat16", "loss_scale": "dynamic", "optimizer": adamw}
    config, draft = changed(tmp_path, optim_wrapper=half)
    assert config.train.precision == "bfloat16"
    assert "optim_wrapper.loss_scale" in draft.ignored
    config, _ = changed(tmp_path, optim_wrapper__optimizer__nesterov=True)
    assert (config.optim.name, config.optim.target, config.optim.momentum) == ("sgd", "", 0.9)


def test_augmentation(tmp_path: Path) -> None:
    pipeline = [
        {"type": "SampleFrames", "clip_len": 8, "frame_interval": 8, "out_of_bound_opt": "repeat_last"},
        {"type": "RandomRescale", "scale_range": (256, 320)},
        {"type": "PytorchVideoWrapper", "op": "RandAugment", "magnitude": 7, "num_layers": 4},
        {"type": "RandomCrop", "size": 224},
        {"type": "RandomErasing", "erase_prob": 0.25, "mode": "rand"},
        {"type": "ColorJitter", "brightness": 0.4, "hue": 0.2},
    ]
    blending = {"type": "RandomBatchAugment", "augments": [{"type": "MixupBlending", "alpha": 0.8, "num_classes": 400}]}
    config, draft = changed(
        tmp_path,
        train_dataloader__dataset__pipeline=pipeline,
        model__data_preprocessor__blending=blending,
        model__cls_head__label_smooth_eps=0.1,
    )
    assert (config.clip.scale, config.clip.crop, config.clip.flip, config.clip.short) == (
        (256, 320),
        224,
        False,
        "hold",
    )
    rand, color = config.augment.rand_augment, config.augment.color
    assert (rand.operations, rand.magnitude, config.augment.erase, config.augment.mixup) == (4, 7, 0.25, 0.8)
    assert (color.brightness, color.contrast, color.hue) == (0.4, 0.5, 0.2)
    assert config.optim.label_smoothing == 0.1
    assert [line.partition(":")[0] for line in draft.lost] == ["test_dataloader.dataset.data_prefix"]


def test_data_sets_in_wrappers(tmp_path: Path) -> None:
    inside = SLOW["train_dataloader"]["dataset"]
    repeated = {"type": "RepeatDataset", "times": 10, "dataset": inside}
    config, draft = changed(tmp_path, train_dataloader__dataset=repeated)
    assert (config.data.train, config.clip.frames, config.clip.flip) == ("k400/train.txt", 8, True)
    assert "train_dataloader.dataset.times: multiply train.epochs by 10" in draft.lost
    joined = {"type": "ConcatDataset", "datasets": [repeated, inside]}
    config, draft = changed(tmp_path, train_dataloader__dataset=joined)
    assert (config.data.train, config.clip.frames, config.clip.flip) == ("k400/train.txt", 8, True)
    assert "train_dataloader.dataset.datasets: 2 data sets; concatenate their lists into one" in draft.lost
    _, draft = changed(tmp_path, train_dataloader={}, test_dataloader={})
    assert "train_pipeline: there is none; set the keys of clip" in draft.lost


def test_frames_of_segments(tmp_path: Path) -> None:
    sample = {"type": "SampleFrames", "clip_len": 1, "frame_interval": 1, "num_clips": 8}
    pipeline = [sample, {"type": "Resize", "scale": (-1, 256)}, {"type": "CenterCrop", "crop_size": 224}]
    config, draft = changed(
        tmp_path,
        train_dataloader__dataset__pipeline=pipeline,
        test_dataloader__dataset__pipeline=[{**sample, "num_clips": 25, "test_mode": True}, *pipeline[1:]],
    )
    assert (config.clip.sampling, config.clip.frames) == ("segments", 8)
    assert (config.evaluate.clips, config.evaluate.crops, config.test_scale, config.test_crop) == (1, 1, 256, 224)
    assert "test_pipeline: SampleFrames tests with 25 frames; a clip has 8 here" in draft.lost


def test_what_does_not_exist_here_is_named(tmp_path: Path) -> None:
    _, draft = changed(
        tmp_path,
        train_dataloader__dataset__pipeline=[*SLOW["train_dataloader"]["dataset"]["pipeline"], {"type": "Imgaug"}],
        custom_hooks=[{"type": "EMAHook"}, {"type": "OwnHook"}],
        model__backbone__own=1,
        model__backbone__frozen_stages=2,
        load_from="https://example.com/slow.pth",
        optim_wrapper__constructor="TSMOptimWrapperConstructor",
    )
    named = "\n".join(draft.lost)
    for text in (
        "train_pipeline: Imgaug does not exist here",
        "custom_hooks: EMAHook: see train.ema",
        "custom_hooks: OwnHook: hooks do not exist here",
        "model.backbone.own: unknown key",
        "model.backbone.frozen_stages: set model.freeze",
        "load_from: download https://example.com/slow.pth, then set model.pretrained=FILE",
        "optim_wrapper.constructor: TSMOptimWrapperConstructor does not exist here",
    ):
        assert text in named


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"model__backbone__type": "MViT"},
            "does not have the network Recognizer3D, MViT, I3DHead; it has those of C2D",
        ),
        ({"model__neck": {"type": "TPN"}}, "does not have the network Recognizer3D, ResNet3dSlowOnly, TPN, I3DHead"),
        ({"model__backbone__in_channels": 2}, "in_channels is not 3"),
        ({"model__backbone__depth": 18}, "depth=18 is not a depth of this network here; they are 50, 101, 152"),
        ({"model": {}}, r"has no model = dict\(type=\.\.\.\)"),
    ],
)
def test_other_networks_are_refused_in_a_sentence(changes: Values, expected: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=expected):
        changed(tmp_path, **changes)


def test_files_of_the_old_version_are_refused(tmp_path: Path) -> None:
    (tmp_path / "old.py").write_text("model = dict(type='Recognizer3D')\nlr_config = dict(policy='step')\n")
    with pytest.raises(InputError, match=r"is a configuration of mmaction2 0\.x \(lr_config\)"):
        read(tmp_path / "old.py")


def test_base_files_are_read_and_missing_ones_named(tmp_path: Path) -> None:
    (tmp_path / "base.py").write_text(as_python(SLOW))
    own = "_base_ = ['base.py', '../gone.py']\noptim_wrapper = dict(optimizer=dict(lr=0.1 * 4))\n"
    (tmp_path / "own_8xb16-8x8x1.py").write_text(own)
    draft = read(tmp_path / "own_8xb16-8x8x1.py")
    assert draft.get("optim.lr") == 0.4
    assert draft.get("train.batch") == 128
    assert draft.lost[0] == "_base_: ../gone.py does not exist next to own_8xb16-8x8x1.py; its keys are missing"


def test_what_cannot_be_evaluated_is_named(tmp_path: Path) -> None:
    text = as_python(SLOW).replace("max_epochs=256", "max_epochs=epochs_of('k400')")
    (tmp_path / "slow_8xb16-8x8x1.py").write_text("import os\n" + text)
    draft = read(tmp_path / "slow_8xb16-8x8x1.py")
    place = f"({tmp_path / 'slow_8xb16-8x8x1.py'} line 6)"
    assert f"train_cfg.max_epochs: cannot be evaluated: epochs_of('k400') {place}" in draft.lost


def _leaves(values: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from _leaves(value, (*path, key))


@pytest.mark.slow
def test_values_of_any_type_are_no_crash(tmp_path: Path) -> None:
    source = tmp_path / "slow_8xb16-8x8x1.py"
    recipe = {key: value for key, value in SLOW.items() if key != "val_dataloader"}
    for path in _leaves(recipe):
        for value in ("text", [[1]]):
            values = copy.deepcopy(recipe)
            group: Any = values
            for key in path[:-1]:
                group = group[key]
            group[path[-1]] = value
            source.write_text(as_python(values))
            with contextlib.suppress(InputError):
                read(source)
