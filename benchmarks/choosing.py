"""Write the table of docs/choosing.md from the result files of its measurements.

    python -m benchmarks.choosing --speed methods.json --similarity similarity.json --accuracy NAME=table.csv ...

``--speed`` is the JSON file of benchmarks.methods, ``--similarity`` that of videopool similarity, and ``--accuracy``
the name of a column with a table.csv of videopool compare. Repeat the name to put two comparisons into one column. The
script replaces the table between two marks in the page; do not edit it by hand.
"""

from __future__ import annotations

import argparse
import csv
import inspect
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.methods import METHOD_FILES, methods_of
from videopool.files import atomic_write
from videopool.pooling import METHODS
from videopool.report.tables import markdown

BEGIN, END = "<!-- measured: written by benchmarks/choosing.py -->", "<!-- end of measured -->"
WINDOW, LAYOUT = "2x2x2 s2", "channels_last_3d"  # the rows of the speed file that the page shows
PICTURE_WINDOW, CLIP_WINDOW, RESIZE = [2, 2], [2, 2, 2], "linear"
DRAWN = " (train)"  # suffix of a random method as it pools in training, which is the one shown


def arguments_of(keys: Mapping[str, Any]) -> dict[str, Any]:
    """Return the pooling arguments of a comparison's method that differ from the defaults of the layer."""
    given = keys.get("pooling_arguments", {})
    defaults = inspect.signature(METHODS[keys["pooling"]]).parameters
    return {name: value for name, value in given.items() if value != defaults[name].default}


def similarity(found: Mapping[str, Any], which: str, window: Sequence[int], keys: Mapping[str, Any]) -> str | None:
    """Return the mean SSIM and PSNR over a set, for the method before training; None if it was not measured."""
    chosen = next((each for each in found["sets"] if each["set"] == which), None)
    if chosen is None or set(arguments_of(keys)) & {"learned", "logits", "full"}:
        return None
    own = {name: value for name, value in arguments_of(keys).items() if name != "detach_weights"}
    names = [m["name"] for m in chosen["methods"] if m["method"] == keys["pooling"] and m["arguments"] == own]
    name = next((name for name in names if name.endswith(DRAWN)), names[0] if names else "")
    rows = [
        row
        for row in chosen["measured"]
        if row["variant"] == name and row["window"] == list(window) and row["resize"] == RESIZE
    ]
    if not rows:
        return None
    return f"{statistics.mean(r['ssim'] for r in rows):.3f} / {statistics.mean(r['psnr'] for r in rows):.1f}"


def accuracy(results: Sequence[Mapping[str, str]], name: str) -> str | None:
    """Return video-level top-1 in percent with its standard deviation over seeds; None if the method was not run."""
    found = next((row for row in results if row["method"] == name), None)
    if found is None or not found["video_top1"]:
        return None
    spread = found["video_top1_sd"]
    return f"{100 * float(found['video_top1']):.1f}" + (f" ± {100 * float(spread):.1f}" if spread else "")


def rows(
    methods: Mapping[str, Mapping[str, Any]],
    speed: Sequence[Mapping[str, Any]],
    similarities: Mapping[str, Any],
    compared: Mapping[str, Sequence[Mapping[str, str]]],
) -> list[dict[str, object]]:
    """Return a row for each method of the comparison files."""
    costs = {row["method"]: row for row in speed if (row["window"], row["layout"]) == (WINDOW, LAYOUT)}
    found: list[dict[str, object]] = []
    for name, keys in methods.items():
        cost = costs[name]
        row: dict[str, object] = {
            "method": name,
            "training": f"{cost['train_ratio']:.2f}",
            "inference": f"{cost['infer_ratio']:.2f}",
            "kept": f"{cost['kept']:.2f}",
            "peak": f"{cost['peak']:.2f}",
            "photographs": similarity(similarities, "images", PICTURE_WINDOW, keys),
            "clips": similarity(similarities, "clips", CLIP_WINDOW, keys),
        }
        found.append(row | {column: accuracy(results, name) for column, results in compared.items()})
    return found


def read_json(path: Path) -> Any:
    """Return the content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--methods", nargs="+", default=METHOD_FILES, metavar="NAME", help="comparison files")
    parser.add_argument("--speed", type=Path, required=True, metavar="FILE", help="JSON of benchmarks.methods")
    parser.add_argument("--similarity", type=Path, required=True, metavar="FILE", help="JSON of videopool similarity")
    parser.add_argument(
        "--accuracy",
        nargs="+",
        action="extend",
        default=[],
        metavar="COLUMN=FILE",
        help="table.csv of videopool compare; may be given several times",
    )
    parser.add_argument("--page", type=Path, default=Path("docs/choosing.md"), help="page to update")
    arguments = parser.parse_args()
    methods = methods_of(arguments.methods)
    compared: dict[str, list[Mapping[str, str]]] = {}
    for name, _, path in (each.partition("=") for each in arguments.accuracy):
        compared.setdefault(name, []).extend(csv.DictReader(Path(path).read_text(encoding="utf-8").splitlines()))
    found = rows(methods, read_json(arguments.speed), read_json(arguments.similarity), compared)
    page = arguments.page.read_text(encoding="utf-8")
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    with atomic_write(arguments.page) as path:
        path.write_text(f"{before}{BEGIN}\n\n{markdown(found, list(found[0]))}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
