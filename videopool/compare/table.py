"""The page of a comparison: what was compared, two tables, and a conclusion."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from videopool.compare.method_result import MethodResult
from videopool.compare.significance import LEVEL, Difference
from videopool.report.tables import markdown


@dataclasses.dataclass(frozen=True)
class Design:
    """What was compared, and how much of it is done.

    Attributes:
        chance: the accuracy of always predicting the most frequent class.
        others: the number of methods that the reference is compared with.
        done, planned: numbers of runs.
        same_weights: whether the methods started with the same weights; None if nothing can be compared yet.
        failures: the reason of each failed run, by its name.
        rates: the learning rates that were chosen for the methods.
    """

    command: str
    reference: str
    network: str
    recipe: str
    group: str
    videos: int
    classes: int
    folds: int
    seeds: tuple[int, ...]
    chance: float
    hardware: list[str]
    done: int
    planned: int
    others: int
    same_weights: bool | None
    failures: dict[str, str]
    rates: Mapping[str, float] = dataclasses.field(default_factory=dict)


def page(methods: Sequence[MethodResult], design: Design) -> str:
    """Return the page as Markdown."""
    parts = [
        "# Comparison of pooling methods",
        f"`{design.command}`",
        _described(design),
        conclusion(methods, design),
        "## Accuracy",
        markdown([_accuracy_row(one, design) for one in methods], _ACCURACY) if methods else "No run is finished.",
        _accuracy_notes(design),
        "## Cost and information kept",
        markdown([_cost_row(one) for one in methods], _COST) if methods else "No run is finished.",
        _COST_NOTES,
    ]
    if design.failures:
        parts += ["## Runs that failed", "\n".join(f"* {run}: {why}" for run, why in design.failures.items())]
    return "\n\n".join(parts) + "\n"


def conclusion(methods: Sequence[MethodResult], design: Design) -> str:
    """Return what the figures show and what they cannot show."""
    sentences = []
    if design.done < design.planned:
        sentences.append(f"Unfinished: {design.done} of {design.planned} runs. The following holds for these only.")
    compared = [(one, one.against) for one in methods if one.against is not None]
    if compared:
        sentences += [_verdict(compared, design), *_power(compared), *_ranks(methods, design)]
    elif methods:
        sentences.append(f"No method shares a finished run with {design.reference} yet, so nothing is compared.")
    if design.failures:
        failed = sorted({run.partition(", fold ")[0] for run in design.failures})
        verb = "is" if len(design.failures) == 1 else "are"
        count = _count(len(design.failures), "run")
        sentences.append(f"{count} failed and {verb} not in the figures ({', '.join(failed)}).")
    if design.same_weights is False:
        sentences.append("The methods did NOT start with the same weights: the comparison is not fair.")
    return " ".join(sentences)


def _verdict(compared: Sequence[tuple[MethodResult, Difference]], design: Design) -> str:
    found = [(one, found) for one, found in compared if found.p_holm < LEVEL]
    count = _count(len(compared), "method")
    level = f"at {100 * LEVEL:.0f} % after Holm's correction"
    if not found:
        return f"Of {count}, none differs significantly from {design.reference} {level}."
    parts = [
        f"{one.method} is {'better' if d.mean > 0 else 'worse'} by {100 * abs(d.mean):.1f} points (95 % interval "
        f"{100 * d.low:+.1f} to {100 * d.high:+.1f}, corrected p {_p(d.p_holm)})"
        for one, d in sorted(found, key=lambda pair: -pair[1].mean)
    ]
    rest = len(compared) - len(found)
    tail = f"; no difference is shown for the other {rest}" if rest else ""
    differ = "differs" if len(found) == 1 else "differ"
    return f"Of {count}, {len(found)} {differ} from {design.reference} {level}: {'; '.join(parts)}{tail}."


def _power(compared: Sequence[tuple[MethodResult, Difference]]) -> list[str]:
    """Return a warning if the design is too small to find any difference."""
    best = min((found for _, found in compared), key=lambda found: found.p_smallest)
    if best.p_smallest < LEVEL:
        return []
    return [
        f"With {_count(best.pairs, 'pair')} of runs on {best.videos} videos{_groups(best)} the smallest corrected "
        f"p-value possible is {_p(best.p_smallest)}: no difference, however large, could be significant at "
        f"{100 * LEVEL:.0f} %. Use more seeds, folds or videos, or fewer methods."
    ]


def _groups(found: Difference) -> str:
    return f" of {found.groups} groups" if 0 < found.groups < found.videos else ""


def _ranks(methods: Sequence[MethodResult], design: Design) -> list[str]:
    """Return the ranking by mean accuracy of the methods that have all their runs, which alone are comparable."""
    ranked = sorted((one for one in methods if one.complete), key=lambda one: -one.video_top1)
    reference = next((one for one in ranked if one.method == design.reference), None)
    if reference is None or len(ranked) < 2:
        return []
    among = "" if len(ranked) == len(methods) else f"Among the {len(ranked)} methods with all their runs, "
    first = [one.method for one in ranked if one.video_top1 == ranked[0].video_top1]
    best = f"the highest mean accuracy, {_percent(ranked[0].video_top1)} %"
    place = 1 + sum(one.video_top1 > reference.video_top1 for one in ranked)
    if len(first) > 1:
        text = f"{', '.join(first[:-1])} and {first[-1]} share {best}"
    elif place == 1:
        text = f"{first[0]} has {best}, ahead of {ranked[1].method} with {_percent(ranked[1].video_top1)} %"
    else:
        text = f"{first[0]} has {best}"
    if place > 1:
        text += f"; {design.reference} is number {place} of {len(ranked)} with {_percent(reference.video_top1)} %"
    return [f"{among}{text}."]


_ACCURACY = ("method", "video top-1 %", "sd of seeds", "sd of runs", "clip top-1 %", "difference", "95 % interval",
             "p runs", "p videos", "p Holm", "runs")  # fmt: skip
_COST = ("method", "training loss", "training top-1 %", "information kept", "training s", "step ms", "memory MB",
         "parameters", "of pooling")  # fmt: skip
_COST_NOTES = (
    "Training loss and top-1: means over the last tenth of training. Information kept: "
    "1 - |x - up(y)|^2 / |x - mean(x)|^2 of a pooling layer's input x and its output y, enlarged by nearest neighbor; "
    "mean over the layers of the trained networks on test clips. Training s: all steps, without loading and "
    "validation, median of the runs; step: median. Memory: largest of the runs; on a CPU the resident size of the "
    "whole process, including Python and torch, on a GPU what torch held. Times are comparable if nothing else ran on "
    "the machine."
)


def _described(design: Design) -> str:
    split = f"{design.folds} folds by {design.group}" if design.group else "its train and test lists"
    hardware = "; ".join(design.hardware) or "no run is finished"
    same = {True: "the same", False: "NOT the same (see results.json)", None: "nothing to compare yet"}
    seeds = f"seed{'s' * (len(design.seeds) != 1)} {', '.join(map(str, design.seeds))}"
    return (
        f"Network: {design.network}; recipe: {design.recipe}. {design.videos} test videos of {design.classes} classes, "
        f"{split}, {seeds}: {design.done} of {design.planned} runs. Always predicting the most frequent class is "
        f"correct in {_percent(design.chance)} %. Initial weights of the methods (hashed): "
        f"{same[design.same_weights]}. {_rates(design)}Hardware: {hardware}."
    )


def _rates(design: Design) -> str:
    if not design.rates:
        return ""
    chosen = ", ".join(f"{method} {rate:g}" for method, rate in design.rates.items())
    return f"Learning rates, chosen on a validation part (rates.md): {chosen}. "


def _accuracy_row(one: MethodResult, design: Design) -> dict[str, object]:
    d = one.against
    return {
        "method": f"**{one.method}** (reference)" if one.method == design.reference else one.method,
        "video top-1 %": _percent(one.video_top1),
        "sd of seeds": _percent(one.video_top1_sd),
        "sd of runs": _percent(one.video_top1_sd_runs),
        "clip top-1 %": _percent(one.clip_top1),
        "difference": f"{100 * d.mean:+.1f}" if d else None,
        "95 % interval": f"{100 * d.low:+.1f} to {100 * d.high:+.1f}" if d else None,
        "p runs": _p(d.p_runs) if d else None,
        "p videos": _p(d.p_videos) if d else None,
        "p Holm": _p(d.p_holm) if d else None,
        "runs": one.runs,
    }


def _accuracy_notes(design: Design) -> str:
    units = "groups of videos" if design.group else "videos"
    same = f" (of one `{design.group}` each)" if design.group else ""
    mcnemar = "" if design.group else " (with one seed, McNemar's)"
    return (
        "Video top-1: over the test videos of all folds, mean of the seeds; sd of seeds: the standard deviation of "
        "this accuracy; sd of runs: that of single runs (fold, seed). Clip top-1: over all test clips. Difference: to "
        f"{design.reference}, in points, on the same videos, folds and seeds; interval: bootstrap over {units}{same} "
        "and seeds, for each method separately. p: exact two-sided sign-flip tests, over pairs of runs and over "
        f"{units}{mcnemar}; p Holm: the larger of the two, corrected for "
        f"{_count(design.others, 'comparison')}. The tests assume that runs and {units} are independent"
        f"{_not_quite(design)}."
    )


def _not_quite(design: Design) -> str:
    if design.folds == 1:
        return ""
    return (
        ", which is not quite true, so p may be too small: runs of a seed share initial weights, and folds most of "
        "their training videos"
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _cost_row(one: MethodResult) -> dict[str, object]:
    return {
        "method": one.method,
        "training loss": f"{one.train_loss:.3f}",
        "training top-1 %": _percent(one.train_top1),
        "information kept": None if one.information_kept is None else f"{one.information_kept:.3f}",
        "training s": None if one.train_seconds is None else f"{one.train_seconds:.1f}",
        "step ms": None if one.step_seconds is None else f"{1000 * one.step_seconds:.1f}",
        "memory MB": f"{one.peak_memory / 1e6:.0f}",
        "parameters": one.parameters,
        "of pooling": one.pooling_parameters,
    }


def _percent(value: float | None) -> str | None:
    return None if value is None else f"{100 * value:.1f}"


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else f"{value:.1e}"
