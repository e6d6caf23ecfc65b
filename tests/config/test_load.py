"""Loading configurations: accepted files and overrides, and the errors of others."""

import re
from pathlib import Path
from typing import Any

import pytest

from videopool.config import Config, differences, dump, from_plain, list_differences, load, to_plain
from videopool.config.renamed import RENAMED
from videopool.errors import InputError


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_load_without_a_file() -> None:
    assert load(None) == Config()


def test_pooling_may_be_the_name_of_a_class() -> None:
    assert load(None, ["model.pooling=mine.pools.Median"]).model.pooling == "mine.pools.Median"


def test_base_file_then_file_then_overrides(tmp_path: Path) -> None:
    write(tmp_path / "base.yaml", "optim: {lr: 0.1, momentum: 0.8}\nclip: {frames: 4}\n")
    path = write(tmp_path / "child.yaml", "base: base.yaml\noptim: {lr: 1e-3}\n")
    config = load(path, ["clip.frames=8", "model.arguments.depth=5", "resume=none"])
    assert config.optim.lr == 1e-3  # YAML 1.1 reads 1e-3 as a string
    assert config.optim.momentum == 0.8
    assert config.clip.frames == 8
    assert config.model.arguments == {"depth": 5}
    assert config.train.resume == "none"


def test_later_base_wins_and_bases_are_relative_to_their_file(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    write(tmp_path / "base/a.yaml", "optim: {lr: 1}\nclip: {frames: 2}\n")
    write(tmp_path / "base/b.yaml", "base: a.yaml\noptim: {lr: 2}\n")
    config = load(write(tmp_path / "c.yaml", "base: [base/b.yaml]\nout: x\n"))
    assert (config.optim.lr, config.clip.frames) == (2.0, 2)


def test_dump_and_to_plain_round_trip(tmp_path: Path) -> None:
    config = load(None, ["optim.lr=3e-5", "model.arguments={width: 8, wide: true}", "optim.milestones=[3, 6]"])
    assert load(write(tmp_path / "again.yaml", dump(config))) == config
    assert from_plain(to_plain(config), "checkpoint") == config


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("optim.lrr=1", "unknown key 'optim.lrr'. Did you mean 'optim.lr'?"),
        ("lr=1", "Did you mean 'optim.lr'?"),
        ("optmi.lr=1", "Did you mean 'optim"),
        ("optim.epochs=1", "Did you mean 'train.epochs'?"),
        ("model.pooling=sof", "got 'sof'. Did you mean 'soft'?"),
        ("optim.lr=abc", "optim.lr: expected a number, got 'abc'"),
        ("optim.lr=.nan", "expected a number"),
        ("optim.lr=-1", "optim.lr=-1.0 must be above 0"),
        ("clip.frames=2.5", "clip.frames: expected a whole number, got 2.5"),
        ("train.epochs=true", "train.epochs: expected a whole number, got True"),
        ("clip.scale=5", "clip.scale: expected a list of 2 values"),
        ("clip.scale=[90, 100]", "clip.scale=[90, 100] must be [smallest, largest], each 112 or more (the crop)"),
        ("model.pooling=foo", "expected one of soft, max, avg, lp, stochastic,"),
        ("model.pooling=3", "dpp, adapool, edscw, em, blur, none or package.module.name, got 3"),
        ("evaluate.crops=2", "expected one of 1, 3, got 2"),
        ("evaluate.crops=3.0", "expected one of 1, 3, got 3.0"),
        ("evaluate.crops=true", "expected one of 1, 3, got True"),
        ("train.device=gpu", "expected one of auto, cpu, cuda, got 'gpu'"),
        ("optim=4", "expected keys name, target, arguments"),
        ("clip.crop.x=3", "clip.crop: expected a whole number, got a group of keys"),
        ("optim.schedule=multistep", "optim.milestones=[] must have at least one epoch with schedule=multistep"),
        ("clip.sampling=dense", "clip.window=0 must be above 0 seconds for dense sampling"),
        ("clip.window=2", "clip.window=2 must be 0 for random sampling"),
        ("clip.window=-1", "clip.window=-1.0 must be 0 or more"),
        ("clip.short=repeat", "clip.short: expected one of hold, loop, error, got 'repeat'"),
        ("train={clips_per_video: 3, batch: 8}", "train.clips_per_video=3 must divide batch=8"),
        ("train.clips_per_video=0", "train.clips_per_video=0 must be 1 or more"),
        ("train.sampler=weighted", "train.weights is empty; sampler=weighted needs a file"),
        ("train.weights=w.txt", "train.weights is for sampler=weighted, not uniform; remove it"),
        ("evaluate.clips=-1", "evaluate.clips=-1 must be 0 or more (0: windows that slide over the whole video)"),
        ("evaluate.hop=1", "evaluate.hop=1 needs clips=0 (it is 10); remove hop or set clips=0"),
        ("evaluate={clips: 0, hop: -1}", "evaluate.hop=-1.0 must be 0 or more (0: the length of a window)"),
        ("evaluate={crop: 300, scale: 200}", "does not fit into a shorter side of 200 pixels"),
        (
            "DATA.NUM_FRAMES=8",
            "DATA.NUM_FRAMES is a key of PySlowFast; here: clip.frames. videopool migrate FILE converts a whole file.",
        ),
        ("SOLVER.BASE_LR=8", "here: optim.lr"),
        ("MIXUP.CUTMIX_ALPHA=1", "here: augment.cutmix"),
        ("data.folder_fps=0", "data.folder_fps=0.0 must be above 0"),
        ("model.beta=2.0", "unknown key 'model.beta'"),
        ("optim.lr", "override 'optim.lr' must have the form key=value"),
        ("out=", "out is empty; give the folder of the run"),
    ],
)
def test_error_of_an_invalid_override(override: str, expected: str) -> None:
    with pytest.raises(InputError) as error:
        load(None, [override])
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_keys_suggested_for_renamed_ones_exist() -> None:
    plain = to_plain(Config())
    for replacement in RENAMED.values():
        for key in re.findall(r"\b[a-z_]+(?:\.[a-z_]+)+\b", replacement):
            section: Any = plain
            if not key.startswith(("videopool.", "model.arguments.")):
                for name in key.split("."):
                    section = section[name]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("optim:\n  lr: 0.1\n  lr: 0.2\n", "line 3: key 'lr' is given twice; remove one"),
        ("clip:\n  frames: 8\n  fraems: 4\n", "line 3: unknown key 'clip.fraems'. Did you mean 'clip.frames'?"),
        ("clip:\n  frames: eight\n", "line 2: clip.frames: expected a whole number, got 'eight'"),
        ("optim:\n  lr: 0\n", "line 2: optim.lr=0.0 must be above 0"),
        ("out: !foo x\n", "line 1: not a plain value"),
        ("- a\n", "expected `key: value` lines"),
        ("a: [1\n", "line 2: not YAML: expected ',' or ']'"),
        ("a: 1\n b: 2\n", "line 2: not YAML: mapping values are not allowed here"),
        ("base: [1]\n", "base: expected a file name"),
        ("base: missing.yaml\n", "missing.yaml: No such file"),
        ("base: child.yaml\n", "child.yaml is its own base"),
    ],
)
def test_error_of_an_invalid_file_names_the_line(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(InputError) as error:
        load(write(tmp_path / "child.yaml", text))
    assert expected in str(error.value)
    assert "child.yaml" in str(error.value) or "missing.yaml" in str(error.value)


def test_larger_test_crop_raises_the_test_scale() -> None:
    config = load(None, ["clip.scale=[128, 160]", "evaluate.crop=256"])
    assert (config.test_crop, config.test_scale) == (256, 256)
    assert (load(None).test_crop, load(None).test_scale) == (112, 128)


def test_text_is_not_converted(tmp_path: Path) -> None:
    for text in ("010", "12:30", "2026-11-22", "2024-13-45", "yes", "1e3", "a[/b]"):
        assert load(None, [f"out={text}"]).out == text
        assert load(write(tmp_path / "a.yaml", f"out: {text}\n")).out == text


def test_config_is_immutable() -> None:
    with pytest.raises(AttributeError):
        Config().optim.lr = 3.0  # type: ignore[misc]


def test_differences() -> None:
    old, new = load(None, ["optim.lr=0.1", "out=a"]), load(None, ["optim.lr=0.2", "out=b", "data.root=/v"])
    assert differences(old, new, ignore=("out",)) == ["data.root was not set, now /v", "optim.lr was 0.1, now 0.2"]
    assert list_differences(["a", "b", "c", "d"]) == "a; b; c; d"
    assert list_differences([*"abcdefg"]) == "a; b; c; d; and 3 more"
