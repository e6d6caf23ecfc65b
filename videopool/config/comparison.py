"""The file of a comparison of pooling methods: a training configuration, methods, and the plan of the runs.

``train`` names the training configuration. ``settings``, then the command line, change its keys for all methods. A
method consists of keys of its ``model`` section.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from videopool.config.loading import build, first_leaf
from videopool.config.schema import Config
from videopool.config.section import Plain, Section, key, require
from videopool.config.shipped import find_config
from videopool.config.tree import Value, merge, parse_override, read_tree
from videopool.errors import InputError
from videopool.ranges import AT_LEAST_ZERO, POSITIVE

# The keys of a method. Those that it does not set have their defaults, not the values of ``train``.
METHOD_KEYS = ("pooling", "pooling_arguments")
# Keys of the training config that the comparison sets for each run, and what to do instead.
_PLANNED = {
    "out": "give out= of the comparison",
    "train.seed": "give seeds=[...]",
    "train.resume": "give another out=",
    "train.keep": "give checkpoints=",
    **{f"model.{key}": "change methods" for key in METHOD_KEYS},
}
_PLANNED_OF_FOLDS = {"data.train": "give videos=", "data.test": "give videos="}
_PLANNED_RATES = {"optim.lr": "change rates="}
# Keys of the comparison in overrides; all others are keys of the training config.
_OWN = ("out", "seeds", "videos", "group", "folds", "reference", "rates", "validation", "checkpoints")


@dataclasses.dataclass(frozen=True)
class Comparison(Section):
    """A comparison of pooling methods.

    The fields are the keys of its file, and ``configs``, the training config of each method.
    """

    train: str = key("", "The training config, relative to this file.")
    out: str = key("", "Folder of the runs and the tables.")
    methods: Plain = key({}, "name: {pooling: ..., pooling_arguments: {...}} for each method.")
    settings: Plain = key({}, "Keys of the training config to change for all methods.")
    reference: str = key("", "The method that the others are compared with; empty: the first.")
    seeds: tuple[int, ...] = key((0, 1, 2), "Each decides initial weights, order of the data and crops.", AT_LEAST_ZERO)
    videos: str = key("", "Table of all videos, relative to data.root; empty: the train and test lists of the config.")
    group: str = key("", "Column of that table; videos of one group (a person, a scene) stay in one fold.")
    folds: int = key(0, "Folds; each is tested on groups that its training has not seen.", AT_LEAST_ZERO)
    rates: tuple[float, ...] = key(
        (),
        "Learning rates to try for each method with the first seed; the one with the best accuracy on a validation "
        "part is used. With folds, that part is the last fold, which is then neither trained on nor tested. []: "
        "optim.lr of the training config.",
        POSITIVE,
    )
    validation: str = key("", "With rates and without folds: list of the validation videos, as data.test.")
    checkpoints: Literal["none", "last"] = key("none", "Which weights of a finished run to keep.")
    configs: dict[str, Config] = dataclasses.field(default_factory=dict)

    def check(self) -> None:
        require(bool(self.train), "train is empty; give the file of the training config", "train")
        require(bool(self.out.strip()), "out is empty; give the folder of the comparison", "out")
        require(len(self.methods) >= 2, f"methods must be two or more, got {len(self.methods)}", "methods")
        known = ", ".join(self.methods)
        named = self.reference in ("", *self.methods)
        require(named, f"reference={self.reference} must be one of methods: {known}", "reference")
        distinct = bool(self.seeds) and len(set(self.seeds)) == len(self.seeds)
        require(distinct, f"seeds={list(self.seeds)} must be one or more different numbers", "seeds")
        given = [bool(self.videos), bool(self.group), self.folds != 0]
        require(all(given) or not any(given), "videos, group and folds belong together; give all or none", "videos")
        require(self.folds != 1, "folds=1 must be 2 or more", "folds")
        self._check_rates()

    def _check_rates(self) -> None:
        rates = list(self.rates)
        require(len(set(rates)) == len(rates), f"rates={rates} must be different numbers", "rates")
        if not self.rates:
            require(
                not self.validation, f"validation={self.validation} is for choosing rates; give rates", "validation"
            )
        elif self.videos:
            require(self.folds > 2, f"folds={self.folds} must be 3 or more: with rates, one is not tested", "folds")
            require(
                not self.validation, "with folds, rates are chosen on the last fold; remove validation", "validation"
            )
        else:
            require(bool(self.validation), "rates are chosen on a validation part; give validation, a list", "rates")

    @property
    def against(self) -> str:
        """The reference method."""
        return self.reference or next(iter(self.methods))


def load_comparison(path: str | Path, overrides: Sequence[str] = ()) -> Comparison:
    """Return the comparison of the file at ``path``, changed by ``key=value`` overrides.

    Raises:
        InputError: as ``load`` does, for the comparison and the training config of every method.
    """
    path = find_config(path)
    tree, training = read_tree(path), []
    for item in overrides:
        if item.partition("=")[0] in _OWN:
            merge(tree, parse_override(item))
        else:
            training.append(item)
    _check_methods(path, tree)
    comparison = build(Comparison, tree, "")
    changed = tree.get("settings", {})
    if not isinstance(changed, dict):  # settings: without a value
        changed = {}
    for item in training:
        merge(changed, parse_override(item))
    planned = _PLANNED | (_PLANNED_OF_FOLDS if comparison.videos else {}) | (_PLANNED_RATES if comparison.rates else {})
    _check_planned(changed, planned)
    base = read_tree(path.parent / comparison.train)
    merge(base, changed)
    configs = {name: _method_config(base, name, keys) for name, keys in tree["methods"].items()}
    return dataclasses.replace(comparison, configs=configs)


def _check_planned(changed: dict[str, Any], planned: dict[str, str]) -> None:
    """Raise ``InputError`` for keys that the comparison would overwrite."""
    for dotted, instead in planned.items():
        value: Any = changed
        for part in dotted.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None:
            raise InputError(f"{first_leaf(value)[1]}: the comparison sets {dotted} for each run; {instead}")


def _check_methods(path: Path, tree: dict[str, Any]) -> None:
    if "configs" in tree:  # a field, not a key
        raise InputError(f"{first_leaf(tree['configs'])[1]}: unknown key 'configs'. Did you mean 'train'?")
    methods = tree.get("methods")
    example = "`lp 3: {pooling: lp, pooling_arguments: {p: 3}}`"
    if methods is None:
        raise InputError(
            f"{path} is not a comparison: it has no methods; give another file, or add lines such as {example}"
        )
    if not isinstance(methods, dict):
        where = methods.where if isinstance(methods, Value) else str(path)
        raise InputError(f"{where}: methods must have lines such as {example}")
    for name, keys in methods.items():
        if not isinstance(keys, dict) or "pooling" not in keys:
            where = keys.where if isinstance(keys, Value) else str(path)
            raise InputError(f"{where}: methods.{name} must have the key pooling, as in {{pooling: max}}")


def _method_config(base: dict[str, Any], name: str, keys: dict[str, Any]) -> Config:
    tree = copy.deepcopy(base)
    model = tree.setdefault("model", {})
    for name_ in METHOD_KEYS if isinstance(model, dict) else ():
        model.pop(name_, None)
    merge(tree, {"model": keys})
    config = build(Config, tree, "")
    for name_, value in keys.items():  # build has refused unknown keys
        if name_ not in METHOD_KEYS:
            where = f"{value.where}: " if isinstance(value, Value) else ""
            raise InputError(
                f"{where}methods.{name}.{name_} must not differ between methods, only {', '.join(METHOD_KEYS)} may; "
                f"move it to settings: {{model: {{{name_}: ...}}}}"
            )
    return config
