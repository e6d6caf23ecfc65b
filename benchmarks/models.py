"""Write docs/models.md: the recipes for published networks, their size and cost, and published figures.

    python -m benchmarks.models
    python -m benchmarks.models --measure --to benchmarks/results/DATE-HARDWARE-models.json

The first command counts parameters, arithmetic and memory, which do not depend on the machine, and takes the measured
clips per second from the newest of ``benchmarks/results/*-models.json``. The second one measures those: a forward pass
of one test clip, networks with and without SoftPool in turns. Do not edit the page by hand.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import functools
import json
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.model_costs import CLASSES, Cost, cost_of, recipes, soft_form
from benchmarks.published_models import ACCURACIES, FIGURES, SOURCES, Figure
from benchmarks.timing import Run, cpu_clock, spread, this_machine, time_undisturbed
from videopool.config import load
from videopool.engine.builders.parts import build_model
from videopool.engine.step.memory_order import channels_last
from videopool.files import atomic_write
from videopool.report.tables import json_text, markdown

PAGE, RESULTS = Path("docs/models.md"), Path("benchmarks/results")
NOT_MEASURED, NOT_TRAINED = "not yet measured", "not trained here"
MIB = 2**20

TITLES = {
    "kinetics400": "Kinetics-400",
    "kinetics600": "Kinetics-600",
    "kinetics700": "Kinetics-700",
    "hacs": "HACS Clips",
    "moments": "Moments in Time",
    "ssv2": "Something-Something V2",
    "charades": "Charades",
    "diving48": "Diving48",
    "ucf101": "UCF101",
    "hmdb51": "HMDB51",
    "finetune": "Your own videos",
}

INTRODUCTION = """# Models

<!-- written by python -m benchmarks.models; do not edit -->

The recipes below train published networks with published schedules; `videopool train --list-configs` lists them. Each
file names the source of its numbers. **No recipe has been trained with videopool**: accuracies are those that the
sources report for their own code.

<!-- not run: needs Kinetics-400 -->
```bash
videopool train --config kinetics400/slowfast_r50_8x8 data.root=/data/k400
videopool train --config kinetics400/slowfast_r50_8x8_soft data.root=/data/k400
videopool train --config finetune/slowfast_r50_8x8 data.root=my_videos model.pretrained=SLOWFAST_8x8_R50.pyth
```

## Names

`kinetics400/slowfast_r50_8x8` is a data set, a network, its depth, and frames x stride (for SlowFast, those of the slow
pathway). `NAME_soft` is the same recipe with SoftPool: in place of max pools, or, in R(2+1)D and X3D, which have none,
at the strided shortcuts. `configs/base` has what the recipes of a data set share: the lists, the sampling of clips, the
test views and the loss. For another method or place, set `model.pooling` and `model.pooling_sites`
([choosing.md](choosing.md)).

## Columns

* **clip**: frames x stride, and the side of the crop in training. **test**: clips x crops, and their side.
* **M**: parameters in millions, with the classifier of the data set.
* **GFLOPs**: multiply-adds of convolutions and linear layers for one test crop, in 1e9.
* **MiB**: activations of one training clip that the backward pass needs, in float32 (bfloat16 needs about half).
* **+ GFLOPs**, **+ MiB**: what SoftPool adds in `NAME_soft`. Max pooling counts as 1 operation and SoftPool as 3 for
  each cell of a window. For the backward pass, SoftPool keeps its input, and max pooling also the places of its maxima.
* **published**: top-1 in percent (Charades: mean average precision) that the [source](#sources) reports for its code.
  **here**: the same for videopool.
* **clips/s**: test clips per second of the network on a CPU, one at a time; without SoftPool, then with it."""

COMPARISON = """## Against published figures

Parameters in millions (M) and GFLOPs of one crop, as published and as counted here with the convention of the source:
*per cell* is what it counts for each cell that a batch normalization normalizes. A test fails if a figure differs by
more than 1 % without a reason in the last column."""


def table(folder: str, measured: dict[str, Any]) -> str:
    """Return the table of the recipes of one data set.

    Args:
        folder: of the data set in configs.
        measured: the clips per second of recipes, as ``measure`` returns them.
    """
    rows = [recipe_row(name, measured) for name in recipes() if name.startswith(f"{folder}/")]
    return markdown(rows, list(rows[0]))


def recipe_row(name: str, measured: dict[str, Any]) -> dict[str, object]:
    """Return the row of a recipe, by column."""
    config, cost, soft = load(name), cost_of(name), soft_form(name)
    accuracy = ACCURACIES.get(name)
    operations, kept = _added(cost, cost_of(soft)) if soft else (None, None)
    clip, views = config.clip, config.evaluate
    frames = f"{clip.frames} parts" if clip.sampling == "segments" else f"{clip.frames}x{clip.stride}"
    return {
        "recipe": f"[{name.partition('/')[2]}](../configs/{name}.yaml)",
        "clip": f"{frames}, {clip.crop}",
        "test": f"{views.clips}x{views.crops}, {config.test_crop}",
        "M": f"{cost.parameters / 1e6:.2f}",
        "GFLOPs": f"{cost.giga():.2f}",
        "MiB": f"{cost.kept / MIB:,.0f}",
        "+ GFLOPs": operations,
        "+ MiB": kept,
        "published": f"{accuracy.percent} {accuracy.source}" if accuracy else None,
        "here": NOT_TRAINED,
        "clips/s": _speed(name, soft, measured),
    }


def _added(plain: Cost, soft: Cost) -> tuple[str, str]:
    return f"{(soft.pooling - plain.pooling) / 1e9:+.3f}", f"{(soft.kept - plain.kept) / MIB:+.0f}"


def _speed(name: str, soft: str, measured: dict[str, Any]) -> str:
    found = [measured[each] for each in (name, soft) if each in measured]
    return ", ".join(f"{speed:.2f}" for speed in found) or NOT_MEASURED


def comparison() -> str:
    """Return the table of published figures beside those counted here."""
    rows = [figure_row(figure) for figure in FIGURES]
    return markdown(rows, list(rows[0]))


def figure_row(figure: Figure) -> dict[str, object]:
    """Return the row of a published figure, by column."""
    cost = cost_of(figure.config, figure.crop)
    giga = None if figure.giga is None else f"{figure.giga:.2f}"
    return {
        "recipe": figure.config,
        "source": figure.source,
        "crop": figure.crop,
        "per cell": figure.per_cell,
        "M": f"{figure.parameters:.2f}",
        "M here": f"{cost.parameters / 1e6:.2f}",
        "GFLOPs": giga,
        "GFLOPs here": f"{cost.giga(figure.per_cell):.2f}" if giga else None,
        "note": figure.note,
    }


def page(measurement: dict[str, Any]) -> str:
    """Return the text of docs/models.md.

    Args:
        measurement: what ``measure`` returned; empty before the first measurement.
    """
    measured = measurement.get("clips_per_second", {})
    sections = [INTRODUCTION]
    for folder, title in TITLES.items():
        sections += [f"## {title}", f"{CLASSES[folder]} classes, `configs/{folder}`.", table(folder, measured)]
    sections += [COMPARISON, comparison(), "## Sources"]
    sections.append("\n".join(f"* {name}: {what}" for name, what in SOURCES.items()))
    sections += ["## Speed", _speed_note(measurement)]
    return "\n\n".join(sections) + "\n"


def _speed_note(measurement: dict[str, Any]) -> str:
    command = "`python -m benchmarks.models --measure --to benchmarks/results/DATE-HARDWARE-models.json`"
    if not measurement:
        return f"Clips per second: {NOT_MEASURED}. {command} measures them."
    machine = measurement["machine"]
    return (
        f"Clips per second: {machine['hardware']}, {machine['threads']} threads, torch {machine['torch']}, "
        f"{measurement['date']}; other processes used at most {measurement['others']:.0%} of the machine. Medians of "
        f"{measurement['rounds']} forward passes of each network in evaluation mode, float32, channels_last. {command}"
    )


def measure(names: Iterable[str], rounds: int) -> dict[str, Any]:
    """Return the clips per second of recipes and their forms with SoftPool, the machine, and the date."""
    speeds: dict[str, float] = {}
    most = 0.0
    for name in names:
        runs = {each: _forward(each) for each in (name, soft_form(name)) if each}
        times, others = time_undisturbed(runs, cpu_clock, rounds=rounds, seconds=0, warm_up=1)
        speeds |= {str(each): 1e3 / spread(taken).median_ms for each, taken in times.items()}
        most = max(most, others)
        print(", ".join(f"{each} {speeds[str(each)]:.2f}" for each in runs), flush=True)
    machine = dataclasses.asdict(this_machine(torch.device("cpu"), "malloc"))
    today = datetime.date.today().isoformat()
    return {"machine": machine, "date": today, "rounds": rounds, "others": most, "clips_per_second": speeds}


def _forward(name: str) -> Run:
    """Return a forward pass of a recipe's network on one test clip."""
    config = load(name)
    classes = [str(number) for number in range(CLASSES[name.partition("/")[0]])]
    model = channels_last(build_model(config, classes)[0]).eval()
    clip = torch.randn(1, 3, config.clip.frames, config.test_crop, config.test_crop)
    clip = clip.contiguous(memory_format=torch.channels_last_3d)
    return functools.partial(_score, model, clip)


@torch.inference_mode()
def _score(model: torch.nn.Module, clip: torch.Tensor, turn: Hashable) -> None:
    model(clip)


def newest_measurement(folder: Path = RESULTS) -> dict[str, Any]:
    """Return the newest measurement in ``folder``; empty if there is none."""
    files = sorted(folder.glob("*-models.json"))
    found: dict[str, Any] = json.loads(files[-1].read_text(encoding="utf-8")) if files else {}
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page, or measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="measure clips per second; the machine must be idle")
    parser.add_argument("--recipes", nargs="+", metavar="NAME", help="what to measure; default: Kinetics-400")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--to", type=Path, metavar="FILE", help=f"default: {PAGE}, or standard output with --measure")
    given = parser.parse_args(arguments)
    chosen = given.recipes or [name for name in recipes() if name.startswith("kinetics400/")]
    text = json_text(measure(chosen, given.rounds)) if given.measure else page(newest_measurement())
    to = given.to or (None if given.measure else PAGE)
    if to is None:
        print(text, end="")
        return
    with atomic_write(to) as path:
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
