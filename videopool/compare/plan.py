"""The runs of a comparison, in the order in which they are done."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from videopool.compare.folds import Fold, read_table, write_folds
from videopool.config import Config, to_plain
from videopool.config.comparison import Comparison
from videopool.engine.build import read_list
from videopool.errors import InputError

# Keys that say how or where a run computes; runs that differ in them alone are the same runs.
FREE = (
    "out", "data.root", "data.train", "data.test", "data.workers", "data.decode_timeout", "data.max_bad_fraction",
    "train.device", "train.resume", "train.log_every", "train.save_every", "train.evaluate_every", "train.keep",
)  # fmt: skip
RESULT = "run.json"  # written last: a run that has it is finished


@dataclasses.dataclass(frozen=True)
class Run:
    """One training and its test; ``videos`` are the names of the training and of the test videos."""

    method: str
    fold: int
    seed: int
    config: Config
    videos: tuple[tuple[str, ...], tuple[str, ...]]

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
    """All runs, for each fold and seed all methods one after another; ``labels``: class of every tested video.

    The order spreads what changes with time (other load on the machine, a comparison that is cut short) over all
    methods alike.
    """

    comparison: Comparison
    folds: tuple[Fold, ...]
    runs: tuple[Run, ...]
    labels: dict[str, str]


def make_plan(comparison: Comparison) -> Plan:
    """The plan of ``comparison``; writes the lists of its folds.

    Raises:
        InputError: for lists that cannot be read, and for a test video of a class that training does not have.
    """
    out, any_config = Path(comparison.out), next(iter(comparison.configs.values()))
    root = any_config.data.root
    folds: tuple[Fold, ...] = (Fold(any_config.data.train, any_config.data.test),)
    if comparison.videos:
        place = _below(root, comparison.videos)
        root = root or str(place.parent)
        folds = write_folds(read_table(place, comparison.group), comparison.folds, out / "folds")
    names: list[tuple[tuple[str, ...], tuple[str, ...]]] = []
    labels: dict[str, str] = {}
    for fold in folds:
        config = _placed(any_config, root, fold)
        train = read_list(config, fold.train, None)
        test = read_list(config, fold.test, train.classes)
        names.append((tuple(r.id for r in train.records), tuple(r.id for r in test.records)))
        labels.update({record.id: train.classes[record.label] for record in test.records})
    slugs = _slugs(comparison.methods)
    runs = tuple(
        Run(name, number, seed, _run_config(comparison, config, root, fold, number, seed, slugs[name]), names[number])
        for number, fold in enumerate(folds)
        for seed in comparison.seeds
        for name, config in comparison.configs.items()
    )
    return Plan(comparison, folds, runs, labels)


def finished(run: Run) -> dict[str, Any] | None:
    """What a finished run has left, or None.

    Raises:
        InputError: when it was made with other settings or videos than ``run`` has now.
    """
    path = run.folder / RESULT
    if not path.exists():
        return None
    try:
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        changed = differences(result["config"], to_plain(run.config))
        same_videos = result["train_videos"] == list(run.videos[0]) and result["test_videos"] == list(run.videos[1])
    except (ValueError, KeyError) as error:
        raise InputError(f"{path} is damaged ({error}); delete it, and the run is tested again") from error
    changed += [] if same_videos else ["other videos in the lists"]
    if changed:
        raise InputError(
            f"{run.folder} holds a finished run with other settings ({'; '.join(changed[:4])}); "
            "undo them, or begin a new comparison with another out="
        )
    return result


def differences(then: Any, now: Any, dotted: str = "") -> list[str]:
    """The keys, outside of ``FREE``, in which two plain configs differ, with both values."""
    if dotted in FREE or then == now:
        return []
    if isinstance(then, dict) and isinstance(now, dict):
        prefix = f"{dotted}." if dotted else ""
        keys = dict.fromkeys([*then, *now])
        return [each for key in keys for each in differences(then.get(key), now.get(key), prefix + key)]
    return [f"{dotted}: {then} then, {now} now"]


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
