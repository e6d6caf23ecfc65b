"""The file of a comparison: what its keys mean, and the errors of wrong files."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT
from videopool.config import load
from videopool.config.comparison import load_comparison
from videopool.engine.builders.parts import build_model
from videopool.errors import InputError

FILES = sorted((ROOT / "configs").rglob("compare_*.yaml"))


def test_the_documented_file_is_there() -> None:
    assert "compare_c3d.yaml" in {path.name for path in FILES}
    assert len(load_comparison(next(path for path in FILES if path.name == "compare_c3d.yaml")).methods) >= 8


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_method_of_a_shipped_file_can_be_built(path: Path) -> None:
    comparison = load_comparison(path)
    assert comparison.against == "soft"
    for name, config in comparison.configs.items():
        _, changes = build_model(config, [str(k) for k in range(10)])
        assert changes, name


def test_settings_and_overrides_reach_every_method(tmp_path: Path, comparison_file: Callable) -> None:
    path = comparison_file(tmp_path)
    comparison = load_comparison(path, ["train.epochs=5", "seeds=[7]"])
    assert comparison.seeds == (7,)
    soft, other = comparison.configs["soft"], comparison.configs["max pool"]
    assert soft.train.epochs == other.train.epochs == 5
    assert soft.clip.frames == other.clip.frames == 4
    assert (soft.model.pooling, other.model.pooling) == ("soft", "max")
    assert soft.model.pooling_arguments == {}  # methods share no keys
    assert soft.optim.weight_decay == load(ROOT / "configs/demo.yaml").optim.weight_decay


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("folds: 2", "fold: 2", r"compare.yaml line 7: unknown key 'fold'\. Did you mean 'folds'\?"),
        ("folds: 2", "folds: two", "compare.yaml line 7: folds: expected a whole number, got 'two'"),
        ("folds: 2", "folds: 1", "compare.yaml line 7: folds=1 must be 2 or more"),
        ("group: person", "", "videos, group and folds belong together"),
        ("seeds: [0, 1]", "seeds: [0, 0]", r"line 4: seeds=\[0, 0\] must be one or more different numbers"),
        ("seeds: [0, 1]", "reference: mean", "line 4: reference=mean must be one of methods: soft, max pool"),
        ("{pooling: max}", "{poolin: max}", "compare.yaml: methods.max pool must have the key pooling"),
        ("{pooling: max}", "max", "line 17: methods.max pool must have the key pooling"),
        ("{pooling: max}", "{pooling: maxx}", "line 17: model.pooling: expected one of soft, max"),
        ("{pooling: max}", "{pooling: max, beta: 2}", "line 17: unknown key 'model.beta'"),
        (
            "{pooling: max}",
            "{pooling: max, dropout: 0}",
            "line 17: methods.max pool.dropout must not .*move it to",
        ),
        ("epochs: 2", "epoch: 2", r"line 13: unknown key 'train.epoch'\. Did you mean 'train.epochs'"),
        ("  soft: {pooling: soft}", "", "methods must be two or more, got 1"),
        (
            "folds: 2",
            "folds: 2\nconfigs: {soft: x}",
            r"line 8: unknown key 'configs'\. Did you mean 'train'",
        ),
        (
            "width: 2, depth: 2}",
            "width: 2}, pooling_arguments: {beta: 3.0}",
            "line 11: the comparison sets model.pooling_arguments for each run; change methods",
        ),
        ("folds: 2", "folds: 2\nrates: [0.1]", "line 7: folds=2 must be 3 or more: with rates, one is not tested"),
        ("folds: 2", "folds: 3\nrates: [0.1, 0.1]", r"line 8: rates=\[0.1, 0.1\] must be different numbers"),
        ("folds: 2", "folds: 3\nrates: [0.1, 0]", r"line 8: rates=\[0.1, 0.0\] must be above 0"),
        ("folds: 2", "folds: 2\nvalidation: val.csv", "line 8: validation=val.csv is for choosing rates; give rates"),
        ("folds: 2", "folds: 3\nrates: [1]\nvalidation: v", "line 9: with folds, rates are chosen on the last fold"),
        ("group: person\nfolds: 2", "rates: [0.1]", "videos, group and folds belong together"),
        ("videos: all.csv\ngroup: person\nfolds: 2", "rates: [1]", "rates are chosen on a validation part; give val"),
        ("folds: 2", "folds: 3\nrates: [0.1]", "line 13: the comparison sets optim.lr for each run; change rates="),
        ("epochs: 2", "seed: 2", r"line 13: the comparison sets train.seed for each run; give seeds=\[...\]"),
    ],
)
def test_wrong_files(old: str, new: str, expected: str, tmp_path: Path, comparison_file: Callable) -> None:
    path = comparison_file(tmp_path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=expected):
        load_comparison(path)


def test_the_seed_cannot_be_overridden(tmp_path: Path, comparison_file: Callable) -> None:
    with pytest.raises(InputError, match=r"sets train.seed for each run; give seeds=\[...\]"):
        load_comparison(comparison_file(tmp_path), ["train.seed=3"])
