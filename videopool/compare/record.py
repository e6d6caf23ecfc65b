"""Keep the results of finished runs in one small file, from which another checkout continues.

Each line is the JSON object of a run: ``run.json`` with the settings that differ from the defaults, without those that
do not affect the result, and with the correct videos as bits in the order of the test list.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from videopool.compare.plan import FREE, RESULT, ComparisonPlan, Run, check_same
from videopool.compare.supervise import Results, key_of
from videopool.config import Config, from_plain, to_plain
from videopool.config.section import Plain
from videopool.errors import InputError
from videopool.files import write_text

Key = tuple[str, int, int]


def restore_runs(path: Path, plan: ComparisonPlan) -> int:
    """Write ``run.json`` of the runs of ``plan`` that are finished in the file at ``path``; return their number.

    Runs that have a ``run.json`` already stay as they are.

    Raises:
        InputError: for a file that cannot be read, and a run with other settings or lists.
    """
    rows = read_runs(path)
    restored = 0
    for run in plan.runs:
        row = rows.get(key_of(run))
        if row is None or (run.folder / RESULT).exists():
            continue
        check_same(run, row, f"{path} has {run.name}")
        content = {**row, "correct": _unpack(row, plan.tested[run.fold], path), "config": _whole(row, run)}
        write_text(run.folder / RESULT, json.dumps(content, indent=1) + "\n")
        restored += 1
    return restored


def save_runs(path: Path, plan: ComparisonPlan, results: Results) -> None:
    """Write the ``results`` of runs of ``plan`` to the file at ``path``, with the other runs that it has."""
    rows = read_runs(path)
    for (method, fold, seed), result in results.items():
        settings = _without_defaults(result["config"], to_plain(Config()), "")
        row = {**result, "correct": _pack(result["correct"], plan.tested[fold]), "config": settings}
        rows[method, fold, seed] = row
    lines = (json.dumps(rows[key], sort_keys=True) for key in sorted(rows))
    write_text(path, "".join(f"{line}\n" for line in lines))


def read_runs(path: Path) -> dict[Key, dict[str, Any]]:
    """Return the runs in the file at ``path``, by method, fold and seed; none if there is no such file.

    Raises:
        InputError: for a line that is not the JSON object of a run.
    """
    if not path.exists():
        return {}
    rows = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            rows[row["method"], row["fold"], row["seed"]] = row
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(
                f"{path}:{number} is not a finished run ({error!r}). Restore or remove the line."
            ) from error
    return rows


def _pack(correct: dict[str, int], names: tuple[str, ...]) -> dict[str, Any]:
    bits = np.packbits([correct.get(name, 0) for name in names])
    return {"bits": bits.tobytes().hex(), "unscored": [name for name in names if name not in correct]}


def _unpack(row: dict[str, Any], names: tuple[str, ...], path: Path) -> dict[str, int]:
    try:
        packed, unscored = bytes.fromhex(row["correct"]["bits"]), set(row["correct"]["unscored"])
        bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=len(names)).tolist()
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: the correct videos of {row['method']} cannot be read ({error!r}).") from error
    return {name: bit for name, bit in zip(names, bits, strict=True) if name not in unscored}


def _whole(row: dict[str, Any], run: Run) -> Plain:
    config = to_plain(from_plain(row["config"], run.name))
    config["out"], config["data"] = run.config.out, to_plain(run.config)["data"]
    return config


def _without_defaults(tree: Any, default: Any, dotted: str) -> Any:
    """Return the values of ``tree`` that differ from ``default``, except those of keys in ``FREE``."""
    kept = {}
    for name, value in tree.items():
        key, usual = f"{dotted}.{name}" if dotted else name, default.get(name)
        if key in FREE or value == usual:
            continue
        group = isinstance(value, dict) and isinstance(usual, dict) and bool(usual)
        kept[name] = _without_defaults(value, usual, key) if group else value
    return kept
