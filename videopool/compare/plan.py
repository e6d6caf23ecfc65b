"""The runs of a comparison, in their order."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from videopool.compare.folds import Fold, GroupedLines, read_groups, write_folds
from videopool.config import Config, differences, from_plain, list_differences
from videopool.config.comparison import Comparison
from videopool.engine.builders.parts import build_model, load_pretrained, read_list
from videopool.engine.builders.training import FREE_ON_RESUME
from videopool.engine.cluster.distributed import connect
from videopool.errors import InputError
from videopool.types import VideoRecord

# A comparison fixes more than a run: its decoder, initial weights and evaluation.
FREE = set(FREE_ON_RESUME) - {"data.decoder", "model.pretrained", "evaluate"}
RESULT = "run.json"  # written last: a run that has it is finished
STARTED = "begun.json"  # written first: the settings and lists of the run


@dataclasses.dataclass(frozen=True)
class Run:
    """One training and its test. ``lists`` is the ``hash_of_lists`` that it trains and tests with."""

    method: str
    fold: int
    seed: int
    config: Config
    lists: str

    @property
    def folder(self) -> Path:
        """The folder of the run, like any folder of ``videopool train``."""
        return Path(self.config.out)

    @property
    def name(self) -> str:
        """Method, fold and seed, as printed."""
        return f"{self.method}, fold {self.fold}, seed {self.seed}"


@dataclasses.dataclass(frozen=True)
class ComparisonPlan:
    """All runs: for each fold and seed, all methods in turn.

    In this order, changes over time (other load on the machine, a comparison that ends early) affect all methods alike.

    Attributes:
        root: ``data.root`` of all runs.
        labels: the class of every tested video, by name.
        classes: the classes of the network of each fold.
        tested: the names of the test videos of each fold.
        groups: the group of every video of folds by group, by name.
        validation: the split on which learning rates are chosen.
    """

    comparison: Comparison
    root: str
    folds: tuple[Fold, ...]
    runs: tuple[Run, ...]
    labels: dict[str, str]
    classes: tuple[tuple[str, ...], ...]
    tested: tuple[tuple[str, ...], ...]
    groups: dict[str, str]
    validation: Fold | None


def make_plan(comparison: Comparison) -> ComparisonPlan:
    """Return the plan of ``comparison``, and write the lists of its folds.

    Raises:
        InputError: for lists that cannot be read or name a video twice, and for a class that is tested but not trained.
    """
    config = next(iter(comparison.configs.values()))
    root = config.data.root
    if not comparison.videos:
        fold = Fold(config.data.train, config.data.test)
        validation = dataclasses.replace(fold, test=comparison.validation) if comparison.rates else None
        return plan_of(comparison, root, (fold,), validation=validation)
    path, given = Path(root or ".", comparison.videos), Path(comparison.videos)
    path = given if given.exists() and not path.exists() else path
    root = root or str(path.parent)
    folds, groups = _write_folds(
        comparison, path, _with_lists(config, root, Fold(comparison.videos, comparison.videos))
    )
    validation = folds[-1] if comparison.rates else None
    folds = folds[:-1] if comparison.rates else folds
    return plan_of(comparison, root, folds, groups=groups, validation=validation)


def plan_of(
    comparison: Comparison,
    root: str,
    folds: Sequence[Fold],
    *,
    groups: dict[str, str] | None = None,
    validation: Fold | None = None,
) -> ComparisonPlan:
    """Return the plan of the runs on ``folds``.

    Raises:
        InputError: for lists that cannot be read, name a video twice or have several classes per video.
    """
    any_config = next(iter(comparison.configs.values()))
    lists: list[str] = []
    classes: list[tuple[str, ...]] = []
    tested: list[tuple[str, ...]] = []
    labels: dict[str, str] = {}
    for fold in folds:
        config = _with_lists(any_config, root, fold)
        train = read_list(config, fold.train, None)
        if train.several_labels:
            raise InputError(
                f"{train.source} has videos with several classes. A comparison counts the videos that each method "
                "classifies correctly, so it needs one class for each video."
            )
        test = read_list(config, fold.test, train.classes)
        _check_once(test.source, test.records)
        lists.append(hash_of_lists(train.records, test.records, train.classes))
        classes.append(train.classes)
        tested.append(tuple(record.id for record in test.records))
        labels.update({record.id: train.classes[record.label] for record in test.records})
    slugs = _slugs(comparison.methods)
    runs = tuple(
        Run(name, number, seed, _run_config(comparison, config, root, fold, number, seed, slugs[name]), lists[number])
        for number, fold in enumerate(folds)
        for seed in comparison.seeds
        for name, config in comparison.configs.items()
    )
    return ComparisonPlan(
        comparison, root, tuple(folds), runs, labels, tuple(classes), tuple(tested), groups or {}, validation
    )


def check_networks(plan: ComparisonPlan, methods: Sequence[str]) -> None:
    """Build the network of each method once, so that errors appear before the first run.

    Raises:
        InputError: with the name of the method; also for a missing GPU.
    """
    for name in methods:
        config = plan.comparison.configs[name]
        try:
            load_pretrained(build_model(config, plan.classes[0])[0], config)
        except InputError as error:
            raise InputError(f"methods.{name}: {error}") from error
        if not torch.cuda.is_available():  # GPUs are left to the runs
            connect(config.train.device)


def hash_of_lists(train: Sequence[VideoRecord], test: Sequence[VideoRecord], classes: Sequence[str]) -> str:
    """Return the SHA-256 of the names and classes in two lists, whose labels are indices of ``classes``."""
    digest = hashlib.sha256()
    for name, records in (("train", train), ("test", test)):
        lines = "".join(f"{name}\t{record.id}\t{classes[record.label]}\n" for record in records)
        digest.update(lines.encode("utf-8", "surrogateescape"))  # names of files that are not UTF-8
    return digest.hexdigest()


def finished_result(run: Run) -> dict[str, Any] | None:
    """Return the result of a finished run, or None.

    Raises:
        InputError: if it was finished or started with settings or lists other than those of ``run``.
    """
    started, path = run.folder / STARTED, run.folder / RESULT
    if not path.exists():
        if started.exists() and (run.folder / "checkpoints" / "last.pt").exists():
            check_same(run, _read(started), f"{run.folder} has an unfinished run")
        return None
    result = _read(path)
    check_same(run, result, f"{run.folder} has a finished run")
    return result


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if "config" not in content:
            raise ValueError("it has no config")
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error}). Delete {path.parent} to repeat the run.") from error
    return content


def check_same(run: Run, content: dict[str, Any], what: str) -> None:
    """Raise InputError that starts with ``what`` if ``content`` was made with settings or lists other than those of
    ``run``."""
    then = from_plain(content["config"], f"the config of {run.name}")  # newer keys get their defaults
    changed = differences(then, run.config, ignore=FREE)
    changed += [] if content.get("lists") == run.lists else ["the lists have other videos or classes"]
    if changed:
        raise InputError(
            f"{what} with other settings ({list_differences(changed)}). "
            "Undo them, or start a new comparison with another out=."
        )


def _write_folds(comparison: Comparison, path: Path, config: Config) -> tuple[tuple[Fold, ...], dict[str, str]]:
    """Write the lists of the folds of the table at ``path``, which ``config`` names too; return its groups as well."""
    table = read_groups(path, comparison.group)
    videos = read_list(config, comparison.videos, None)  # errors in a row should name the table, not a fold
    _check_once(videos.source, videos.records)
    validation = bool(comparison.rates)
    folds = write_folds(table, comparison.folds, Path(comparison.out) / "folds", validation=validation)
    kept = folds[-1].groups if validation else ()
    for number, fold in enumerate(folds[:-1] if validation else folds):
        _check_classes(table, videos.records, videos.classes, number, (*fold.groups, *kept))
    groups = {record.id: group for record, group in zip(videos.records, table.groups, strict=True)}
    return folds, groups


def _check_once(source: str, records: Sequence[VideoRecord]) -> None:
    seen: set[str] = set()
    for record in records:
        if record.id in seen:
            raise InputError(f"{source}: {record.id} is listed twice. Remove one of the lines.")
        seen.add(record.id)


def _check_classes(
    table: GroupedLines, records: Sequence[VideoRecord], classes: Sequence[str], number: int, left_out: Sequence[str]
) -> None:
    """Raise InputError if only the groups ``left_out`` of the training of a fold have a class."""
    trained = {r.label for group, r in zip(table.groups, records, strict=True) if group not in left_out}
    untrained = next((record.label for record in records if record.label not in trained), None)
    if untrained is not None:
        raise InputError(
            f"{table.path}: class {classes[untrained]!r} occurs only in groups that fold {number} is not trained on "
            f"({', '.join(left_out)}). Use more folds, or remove its videos."
        )


def _with_lists(config: Config, root: str, fold: Fold) -> Config:
    return dataclasses.replace(
        config, data=dataclasses.replace(config.data, root=root, train=fold.train, test=fold.test)
    )


def _run_config(
    comparison: Comparison, config: Config, root: str, fold: Fold, number: int, seed: int, slug: str
) -> Config:
    train = dataclasses.replace(config.train, seed=seed, resume="auto", keep=1)
    out = Path(comparison.out) / "runs" / slug / f"fold{number}-seed{seed}"
    return dataclasses.replace(_with_lists(config, root, fold), out=str(out), train=train)


def _slugs(names: Sequence[str] | dict[str, Any]) -> dict[str, str]:
    """Return a folder name for each method; raise InputError if two would share one."""
    slugs: dict[str, str] = {}
    for name in names:
        slug = re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.")
        if not slug or slug in slugs.values():
            raise InputError(f"methods.{name}: its folder name {slug!r} is empty or taken. Rename the method.")
        slugs[name] = slug
    return slugs
