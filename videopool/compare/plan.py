"""The runs of a comparison, in the order in which they are done."""

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
from videopool.config import Config, differences, from_plain
from videopool.config.comparison import Comparison
from videopool.engine.build import build_model, load_pretrained, read_list
from videopool.engine.distributed import connect
from videopool.errors import InputError
from videopool.types import VideoRecord

# Keys that say how or where a run computes; runs that differ in them alone are the same runs.
FREE = (
    "out", "data.root", "data.train", "data.test", "data.workers", "data.decode_timeout", "data.max_bad_fraction",
    "train.device", "train.resume", "train.log_every", "train.save_every", "train.evaluate_every", "train.keep",
)  # fmt: skip
RESULT = "run.json"  # written last: a run that has it is finished
BEGUN = "begun.json"  # written first: settings and lists that a run goes on with


@dataclasses.dataclass(frozen=True)
class Lists:
    """Names of the videos that a run trains and tests with, and a hash of them with their classes."""

    train: tuple[str, ...]
    test: tuple[str, ...]
    digest: str


@dataclasses.dataclass(frozen=True)
class Run:
    """One training and its test."""

    method: str
    fold: int
    seed: int
    config: Config
    lists: Lists

    @property
    def folder(self) -> Path:
        """The run's folder, an ordinary one of the training tool."""
        return Path(self.config.out)

    @property
    def name(self) -> str:
        """For people: method, fold, seed."""
        return f"{self.method}, fold {self.fold}, seed {self.seed}"


@dataclasses.dataclass(frozen=True)
class Plan:
    """All runs, for each fold and seed all methods one after another; ``labels``: class of every tested video, and
    ``classes`` those of each fold's network.

    The order spreads what changes with time (other load on the machine, a comparison that is cut short) over all
    methods alike.
    """

    comparison: Comparison
    folds: tuple[Fold, ...]
    runs: tuple[Run, ...]
    labels: dict[str, str]
    classes: tuple[tuple[str, ...], ...]


def make_plan(comparison: Comparison) -> Plan:
    """The plan of ``comparison``; writes the lists of its folds.

    Raises:
        InputError: for lists that cannot be read or name a video twice, and for a class that is tested without having
            been trained.
    """
    any_config = next(iter(comparison.configs.values()))
    root = any_config.data.root
    folds: tuple[Fold, ...] = (Fold(any_config.data.train, any_config.data.test),)
    if comparison.videos:
        place = _below(root, comparison.videos)
        root = root or str(place.parent)
        folds = _folds(comparison, place, _placed(any_config, root, Fold(comparison.videos, comparison.videos)))
    lists: list[Lists] = []
    classes: list[tuple[str, ...]] = []
    labels: dict[str, str] = {}
    for fold in folds:
        config = _placed(any_config, root, fold)
        train = read_list(config, fold.train, None)
        if train.several_labels:
            raise InputError(
                f"{train.source} gives a video several classes; a comparison counts the videos that a method gets "
                "right, so give a list of one class each"
            )
        test = read_list(config, fold.test, train.classes)
        _check_once(test.source, test.records)
        lists.append(lists_of(train.records, test.records, train.classes))
        classes.append(train.classes)
        labels.update({record.id: train.classes[record.label] for record in test.records})
    slugs = _slugs(comparison.methods)
    runs = tuple(
        Run(name, number, seed, _run_config(comparison, config, root, fold, number, seed, slugs[name]), lists[number])
        for number, fold in enumerate(folds)
        for seed in comparison.seeds
        for name, config in comparison.configs.items()
    )
    return Plan(comparison, folds, runs, labels, tuple(classes))


def check_networks(plan: Plan, methods: Sequence[str]) -> None:
    """Builds the network of each method once, so that what cannot be built is said before the first run.

    Raises:
        InputError: naming the method; or for a GPU that is not there.
    """
    for name in methods:
        config = plan.comparison.configs[name]
        try:
            model, _ = build_model(config, plan.classes[0])
            if config.model.pretrained:
                load_pretrained(model, config)
        except InputError as error:
            raise InputError(f"methods.{name}: {error}") from error
        if not torch.cuda.is_available():  # where there are GPUs, this process leaves them to the runs
            connect(config.train.device)


def lists_of(train: Sequence[VideoRecord], test: Sequence[VideoRecord], classes: Sequence[str]) -> Lists:
    """The names in two lists whose labels count in ``classes``."""
    digest = hashlib.sha256()
    for name, records in (("train", train), ("test", test)):
        lines = "".join(f"{name}\t{record.id}\t{classes[record.label]}\n" for record in records)
        digest.update(lines.encode("utf-8", "surrogateescape"))  # names of files that are not UTF-8
    return Lists(tuple(r.id for r in train), tuple(r.id for r in test), digest.hexdigest())


def finished(run: Run) -> dict[str, Any] | None:
    """What a finished run has left, or None.

    Raises:
        InputError: when it was made, or begun, with other settings or lists than ``run`` has now.
    """
    begun, path = run.folder / BEGUN, run.folder / RESULT
    if not path.exists():
        if begun.exists() and (run.folder / "checkpoints" / "last.pt").exists():  # it would go on from there
            _check_same(run, begun, _read(begun), "a run that was begun")
        return None
    result = _read(path)
    _check_same(run, path, result, "a finished run")
    return result


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if "config" not in content:
            raise ValueError("it has no config")
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error}); delete {path.parent}, and the run is done again") from error
    return content


def _check_same(run: Run, path: Path, content: dict[str, Any], what: str) -> None:
    then = from_plain(content["config"], f"the config in {path}")  # keys that are new since then have their defaults
    changed = differences(then, run.config, ignore=FREE)
    if "lists" in content:
        same_lists = content["lists"] == run.lists.digest
    else:  # the first version left names instead
        names = content.get("train_videos"), content.get("test_videos")
        same_lists = names == (list(run.lists.train), list(run.lists.test))
    changed += [] if same_lists else ["other videos or classes in the lists"]
    if changed:
        raise InputError(
            f"{run.folder} holds {what} with other settings ({'; '.join(changed[:4])}); "
            "undo them, or begin a new comparison with another out="
        )


def _folds(comparison: Comparison, place: Path, config: Config) -> tuple[Fold, ...]:
    """Writes the lists of the folds of the table at ``place``, which ``config`` names too."""
    table = read_groups(place, comparison.group)
    videos = read_list(config, comparison.videos, None)  # what is wrong in a row is said of the table, not of a fold
    _check_once(videos.source, videos.records)
    folds = write_folds(table, comparison.folds, Path(comparison.out) / "folds")
    for number, fold in enumerate(folds):
        _check_classes(table, videos.records, videos.classes, number, fold)
    return folds


def _check_once(source: str, records: Sequence[VideoRecord]) -> None:
    seen: set[str] = set()
    for record in records:
        if record.id in seen:
            raise InputError(f"{source}: {record.id} is listed twice; keep one of the lines")
        seen.add(record.id)


def _check_classes(
    table: GroupedLines, records: Sequence[VideoRecord], classes: Sequence[str], number: int, fold: Fold
) -> None:
    """Refuses a class that only groups of this fold have: its network would be tested on what it was never shown."""
    trained = {r.label for group, r in zip(table.groups, records, strict=True) if group not in fold.groups}
    untrained = next((record.label for record in records if record.label not in trained), None)
    if untrained is not None:
        raise InputError(
            f"{table.path}: class {classes[untrained]!r} is in no group but those that fold {number} is tested on "
            f"({', '.join(fold.groups)}); give more folds, or leave its videos out"
        )


def _below(root: str, name: str) -> Path:
    below = Path(root or ".") / name
    return below if below.exists() or not Path(name).exists() else Path(name)


def _placed(config: Config, root: str, fold: Fold) -> Config:
    return dataclasses.replace(
        config, data=dataclasses.replace(config.data, root=root, train=fold.train, test=fold.test)
    )


def _run_config(
    comparison: Comparison, config: Config, root: str, fold: Fold, number: int, seed: int, slug: str
) -> Config:
    train = dataclasses.replace(config.train, seed=seed, resume="auto", keep=1)
    out = Path(comparison.out) / "runs" / slug / f"fold{number}-seed{seed}"
    return dataclasses.replace(_placed(config, root, fold), out=str(out), train=train)


def _slugs(names: Sequence[str] | dict[str, Any]) -> dict[str, str]:
    """A folder name for each method. Raises ``InputError`` where two would share one."""
    slugs: dict[str, str] = {}
    for name in names:
        slug = re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.")
        if not slug or slug in slugs.values():
            raise InputError(f"methods.{name}: the name gives the folder {slug!r}, which is empty or taken; rename it")
        slugs[name] = slug
    return slugs
