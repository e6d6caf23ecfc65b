"""The conclusion states what the figures show, and no more."""

import dataclasses

import pytest

from videopool.compare.method_result import MethodResult
from videopool.compare.results import same_initial_weights
from videopool.compare.significance import Difference
from videopool.compare.table import Design, conclusion, page

DESIGN = Design(
    command="python tools/compare_pooling.py",
    reference="soft",
    network="c3d",
    recipe="2 epochs",
    group="person",
    videos=60,
    classes=6,
    folds=3,
    seeds=(0, 1, 2),
    chance=0.25,
    hardware=["a processor"],
    done=27,
    planned=27,
    others=2,
    same_weights=True,
    failures={},
)


def method(name: str, accuracy: float, against: Difference | None = None, *, complete: bool = True) -> MethodResult:
    return MethodResult(
        method=name,
        runs=9 if complete else 4,
        failed=0,
        complete=complete,
        video_top1=accuracy,
        video_top1_sd=0.01,
        video_top1_sd_runs=0.02,
        clip_top1=accuracy,
        mean_class_accuracy=accuracy,
        train_loss=1.0,
        train_top1=0.9,
        train_seconds=1.0,
        step_seconds=0.1,
        peak_memory=1e9,
        memory_before=1e8,
        parameters=10,
        pooling_parameters=0,
        information_kept=0.5,
        by_seed={},
        against=against,
    )


def against(mean: float, p: float, *, pairs: int = 9, smallest: float = 0.008) -> Difference:
    return Difference(mean, mean - 0.02, mean + 0.02, pairs, 60, p / 2, p / 2, p_holm=p, p_smallest=smallest)


def test_nothing_found() -> None:
    text = conclusion(
        [method("soft", 0.7), method("max", 0.72, against(0.02, 0.3)), method("avg", 0.6, against(-0.1, 0.05))], DESIGN
    )
    assert text == (
        "Of 2 methods, none differs significantly from soft at 5 % after Holm's correction. "
        "max has the highest mean accuracy, 72.0 %; soft is number 2 of 3 with 70.0 %."
    )


def test_better_and_worse() -> None:
    found = [method("soft", 0.7), method("max", 0.8, against(0.1, 0.01)), method("avg", 0.55, against(-0.15, 0.02))]
    text = conclusion([*found, method("s3", 0.69, against(-0.01, 1.0))], DESIGN)
    assert "Of 3 methods, 2 differ from soft at 5 % after Holm's correction: " in text
    assert "max is better by 10.0 points (95 % interval +8.0 to +12.0, corrected p 0.010); avg is worse by 15.0" in text
    assert "corrected p 0.020); no difference is shown for the other 1." in text
    one = conclusion([found[0], found[2]], DESIGN)
    assert "Of 1 method, 1 differs from soft at 5 % after Holm's correction: avg is worse by 15.0 points" in one
    assert "soft has the highest mean accuracy, 70.0 %, ahead of avg with 55.0 %." in one


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [
        ((0.7, 0.7, 0.6), "soft and max share the highest mean accuracy, 70.0 %."),
        ((0.7, 0.7, 0.7), "soft, max and avg share the highest mean accuracy, 70.0 %."),
        ((0.6, 0.7, 0.7), "max and avg share the highest mean accuracy, 70.0 %; soft is number 3 of 3 with 60.0 %."),
    ],
)
def test_ties(accuracies: tuple[float, ...], expected: str) -> None:
    soft, *others = zip(("soft", "max", "avg"), accuracies, strict=True)
    methods = [method(*soft), *(method(name, value, against(value - soft[1], 1.0)) for name, value in others)]
    assert conclusion(methods, DESIGN).endswith(expected)


def test_unfinished_methods_are_not_ranked() -> None:
    early = dataclasses.replace(DESIGN, done=22)
    others = [method("max", 0.9, against(0.2, 0.5), complete=False), method("avg", 0.6, against(-0.1, 0.5))]
    text = conclusion([method("soft", 0.7), *others], early)
    assert text.startswith("Unfinished: 22 of 27 runs. The following holds for these only. Of 2 methods, none")
    assert text.endswith("Among the 2 methods with all their runs, soft has the highest mean accuracy, 70.0 %, "
                         "ahead of avg with 60.0 %.")  # fmt: skip
    assert "accuracy" not in conclusion([method("soft", 0.7, complete=False), *others], early)


def test_a_design_that_is_too_small() -> None:
    one_pair = against(0.5, 1.0, pairs=1, smallest=1.0)
    text = conclusion([method("soft", 0.2), method("max", 0.7, one_pair)], DESIGN)
    assert "With 1 pair of runs on 60 videos the smallest corrected p-value possible is 1.000: no difference" in text


def test_failures_and_a_missing_reference() -> None:
    failed = dataclasses.replace(DESIGN, done=1, failures={"soft, fold 0, seed 1": "it broke"})
    assert conclusion([method("max", 0.7, complete=False)], failed) == (
        "Unfinished: 1 of 27 runs. The following holds for these only. No method shares a finished run with soft yet, "
        "so nothing is compared. 1 run failed and is not in the figures (soft)."
    )
    nothing = dataclasses.replace(
        DESIGN, done=0, same_weights=None, failures={"a, fold 0, seed 1": "", "b, fold 1": ""}
    )
    text = page([], nothing)
    assert "2 runs failed and are not in the figures (a, b)." in text
    assert "Initial weights of the methods (hashed): nothing to compare yet" in text
    assert "which is not quite true, so p may be too small" in text
    assert "not quite" not in page([], dataclasses.replace(nothing, folds=1, group=""))


def test_different_initial_weights_are_reported() -> None:
    assert "NOT start with the same weights" in conclusion([], dataclasses.replace(DESIGN, same_weights=False))
    hashes = {("soft", 0, 0): {"initial_weights": "a"}, ("max", 0, 1): {"initial_weights": "b"}}
    assert same_initial_weights(hashes) is None
    hashes["max", 0, 0] = {"initial_weights": "a"}
    assert same_initial_weights(hashes) is True
    hashes["max", 0, 0] = {"initial_weights": "b"}
    assert same_initial_weights(hashes) is False
