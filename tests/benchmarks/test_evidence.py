"""The power of the evidence's comparisons, and its pictures and tables from recorded runs."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from benchmarks import evidence
from benchmarks.evidence_cost import configs_of, saved_bytes, training_step
from benchmarks.evidence_power import IMAGES, WORDS, p_value, power, simulate

SMALL = dataclasses.replace(WORDS, groups=6, videos=60, folds=3, seeds=3)


def test_simulated_differences_have_the_effect_and_the_folds_of_the_design() -> None:
    cells = np.stack([simulate(SMALL, 0.05, np.random.default_rng(seed)) for seed in range(200)])
    assert cells.shape[1:] == (3, 3, 60)
    assert set(np.unique(cells)) == {-1, 0, 1}
    # A run's mean has a standard deviation of about 0.05; 1800 runs are averaged, so 0.005 is four standard errors.
    assert cells.mean() == pytest.approx(0.05, abs=0.005)
    assert (cells != 0).mean() == pytest.approx(SMALL.open * SMALL.disagree, abs=0.01)


def test_the_p_value_is_that_of_the_comparison() -> None:
    every = np.ones((3, 3, 60), dtype=int)
    assert p_value(dataclasses.replace(SMALL, comparisons=2), every) == 2 * 2.0**-8  # nine runs, eighteen groups
    assert p_value(dataclasses.replace(SMALL, comparisons=2), 0 * every) == 2


def test_power_grows_with_the_effect_and_no_effect_is_rarely_found() -> None:
    found = [power(SMALL, effect, 60)[0] for effect in (0.0, 0.1, 0.3)]
    assert found[0] <= 0.1
    assert found[0] < found[2]
    assert found[2] > 0.9


def test_seeds_suffice_for_the_correction() -> None:
    """The smallest p-value of the sign-flip test over n runs is 2 ** (1 - n)."""
    for design, others in ((WORDS, 5), (IMAGES, 5)):
        assert others * 2.0 ** (1 - design.folds * design.seeds) < 0.05


def row(accuracy: float, rate: float = 0.1) -> dict:
    curve = [[step, 2.0 - 0.01 * step, 0.01 * step] for step in (10, 20, 30)]
    figures = {"video_top1": accuracy, "train_top1": 0.9, "train_loss": 0.25, "curve": curve}
    return {**figures, "config": {"optim": {"lr": rate}}}


RECORDS = {
    "words": {("soft, lr 0.05", 0, 0): row(0.8), ("soft, lr 0.02", 0, 0): row(0.7)},
    "images": {("soft", 0, 0): row(0.85), ("soft", 0, 1): row(0.87), ("max", 0, 0): row(0.8), ("lip", 0, 9): row(0.1)},
}


def test_progress_counts_the_planned_runs() -> None:
    text = evidence.section(RECORDS)
    words, images = 8 * (4 + 16), 8 * (4 + 8)  # eight methods, each with four rates
    assert f"**Runs not finished: {words - 2 + images - 3} of {words + images}.**" in text
    assert "| `evidence/compare_words` | 2 of 12 | 0 of 48 |" in text
    assert "| `evidence/compare_words_more` | 2 of 24 | 0 of 96 |" in text  # soft is in both
    assert "| `evidence/compare_images` | 0 of 12 | 3 of 24 |" in text  # seed 9 is not planned
    assert "| soft | 70.0 | 80.0 | - | - |" in text
    assert "| soft | 2 of 8 | 86.0 | 1.4 | 90.0 | 0.250 | 0.1 |" in text
    assert "| max | 1 of 8 | 80.0 | - | 90.0 | 0.250 | 0.1 |" in text
    assert "| lip |" not in text
    assert "No tested run is finished." in text
    assert "evidence_curves" not in evidence.section({"words": {}, "images": {}})


@pytest.mark.slow
def test_pictures_have_a_line_for_each_method_and_a_point_for_each_cost(tmp_path: Path) -> None:
    evidence.draw_curves(RECORDS, tmp_path / "curves")
    text = (tmp_path / "curves.svg").read_text()
    assert all(name in text for name in ("training loss", "soft, lr 0.05", "max"))
    costs = [{"data": "images", "method": m, "median_ms": 10.0, "saved": 2**20} for m in ("soft", "max", "avg")]
    assert evidence.draw_pareto(RECORDS, costs, tmp_path / "pareto")
    text = (tmp_path / "pareto.svg").read_text()
    assert text.count("<!-- soft -->") == text.count("<!-- max -->") == 2
    assert "<!-- avg -->" not in text  # no tested run
    assert not evidence.draw_pareto({"words": {}, "images": {}}, costs, tmp_path / "none")


def test_saved_memory_of_a_step_grows_with_the_batch_and_with_lip() -> None:
    configs = configs_of("images")
    assert list(configs) == ["soft", "max", "avg", "soft detached", "lp 2", "stochastic", "s3", "lip"]
    soft, lip = (
        dataclasses.replace(configs[name], train=dataclasses.replace(configs[name].train, batch=4))
        for name in ("soft", "lip")
    )
    double = dataclasses.replace(soft, train=dataclasses.replace(soft.train, batch=8))
    measured = {
        name: saved_bytes(training_step(config, 10)) for name, config in zip("sld", (soft, lip, double), strict=True)
    }
    assert measured["l"] > 1.2 * measured["s"]
    # The activation of the first layer alone, before its normalization, which two layers keep.
    assert measured["d"] - measured["s"] > 4 * 32 * 32 * 32 * 4
