"""The configurations that videopool ships: found by name, from a checkout and from an installed wheel."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

from videopool.errors import InputError, did_you_mean

SOFT = "_soft"  # ends the name of a recipe with SoftPool, beside the same one without


def shipped_folder() -> Path:
    """Return the folder of the shipped configurations: ``configs`` in the package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def shipped_configs() -> dict[str, Path]:
    """Return the shipped configurations, without ``base``, by names such as ``kinetics400/slowfast_r50_8x8``."""
    folder = shipped_folder()
    found = {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.yaml"))}
    return {name: path for name, path in found.items() if not name.startswith("base/")}


def is_comparison(path: Path) -> bool:
    """Return whether a file is a comparison of pooling methods, not the configuration of one training."""
    return re.search(r"^methods:", path.read_text(encoding="utf-8"), re.MULTILINE) is not None


def print_configs(*, comparisons: bool) -> None:
    """Print the names and summaries of the shipped training configurations, or of the shipped comparisons.

    A recipe and its form with SoftPool share a line. Data sets are separated by empty lines.
    """
    chosen = {name: path for name, path in shipped_configs().items() if is_comparison(path) == comparisons}
    pairs = {name for name in chosen if f"{name}{SOFT}" in chosen}
    alone = [name for name in chosen if name.removesuffix(SOFT) not in pairs - {name}]
    titles = {name: f"{name} [{SOFT}]" if name in pairs else name for name in alone}
    width = max(map(len, titles.values()))
    lines = {name: f"{titles[name]:<{width}}  {summary_of(chosen[name])}" for name in alone}
    folders = itertools.groupby(alone, key=lambda name: name.rpartition("/")[0])
    print("\n\n".join("\n".join(lines[name] for name in names) for _, names in folders))
    if pairs:
        print(f"\nNAME{SOFT} is the recipe NAME with SoftPool.")


def summary_of(path: Path) -> str:
    """Return the first comment of a configuration file, which says what it is for."""
    lines = path.read_text(encoding="utf-8").splitlines()
    comments = (line.removeprefix("#").strip() for line in lines if line.startswith("# ") and "$schema" not in line)
    return next(comments, "")


def find_config(name: str | Path) -> Path:
    """Return the file of a configuration: a path, or the name of a shipped one (with or without ``.yaml``).

    Raises:
        InputError: if there is neither.
    """
    path = Path(name)
    if path.is_file():
        return path
    known = shipped_configs()
    wanted = Path(name).as_posix().removesuffix(".yaml").removeprefix("configs/")
    if wanted in known:
        return known[wanted]
    hint = did_you_mean(wanted, known) or "Give a YAML file, or a name that --list-configs shows."
    raise InputError(f"config {name} is neither a file nor the name of a shipped configuration. {hint}")
