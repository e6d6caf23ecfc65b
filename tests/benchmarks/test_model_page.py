"""docs/models.md: costs of networks are right, published figures are met, and the page lists every recipe."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks import model_costs, models
from benchmarks.model_costs import CLASSES, Cost, cost_of, count, kept_bytes, recipes, soft_form
from benchmarks.published_models import ACCURACIES, FIGURES, SOURCES, Figure
from tests.conftest import ROOT
from videopool.config.shipped import shipped_configs
from videopool.models import build
from videopool.pooling import cost
from videopool.report.tables import markdown

SMALL = {
    "c2d": {"frames": 4, "crop": 64, "depth": 14, "width": 4},
    "csn": {"frames": 8, "crop": 64, "depth": 14, "width": 4},
    "slowfast": {"frames": 8, "crop": 64, "depth": 18, "width": 16},
    "x3d": {"frames": 4, "crop": 64, "depth": 0.2, "width": 0.5, "head_width": 32},
}
RERUN = "run python -m benchmarks.models"
PAGE = (ROOT / "docs/models.md").read_text(encoding="utf-8")


def small(name: str, pooling: str) -> tuple[nn.Module, torch.Tensor]:
    size = SMALL[name]
    model = build(name, classes=5, pooling=pooling, fuse_relu=True, **size)
    return model, torch.zeros(1, 3, size["frames"], size["crop"], size["crop"])


def test_bytes_of_a_known_network() -> None:
    model = nn.Sequential(nn.Conv3d(3, 4, 1), nn.ReLU(), nn.MaxPool3d(2))
    clips = torch.zeros(1, 3, 2, 8, 8)
    cells = 2 * 64
    # The convolution keeps its input; the ReLU its output, which the pool keeps too; the pool also an int64 for each
    # output.
    assert kept_bytes(model, clips) == 4 * 3 * cells + 4 * 4 * cells + 8 * 4 * cells // 8


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["none", "soft"])
@pytest.mark.parametrize("name", SMALL)
def test_the_meta_device_counts_the_same_as_a_real_run(name: str, pooling: str) -> None:
    real = count(*small(name, pooling), small(name, pooling)[1], 5)
    with torch.device("meta"):
        assert count(*small(name, pooling), small(name, pooling)[1], 5) == real


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_operations_of_soft_pooling_are_those_of_the_cost_report(name: str) -> None:
    plain, soft = (count(*small(name, pooling), small(name, pooling)[1], 5) for pooling in ("none", "soft"))
    (before, clip), (after, _) = small(name, "none"), small(name, "soft")
    assert soft.pooling - plain.pooling == cost(after, clip).flops - cost(before, clip).flops
    assert (soft.parameters, soft.multiply_adds) == (plain.parameters, plain.multiply_adds)


@pytest.mark.parametrize("name", ["c2d", "x3d"])
def test_another_classifier(name: str) -> None:
    size = SMALL[name]
    clip = torch.zeros(1, 3, size["frames"], size["crop"], size["crop"], device="meta")
    with torch.device("meta"):
        five, nine = (count(build(name, classes=classes, **size), clip, clip, classes) for classes in (5, 9))
    assert five.with_classes(9)._replace(kept=0) == nine._replace(kept=0)


@pytest.mark.slow
@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: f"{figure.config}-{figure.source}")
def test_published_figures(figure: Figure) -> None:
    found = cost_of(figure.config, figure.crop)
    pairs = {
        "parameters": (found.parameters / 1e6, figure.parameters),
        "giga": (found.giga(figure.per_cell), figure.giga),
    }
    for field, (here, published) in pairs.items():
        if published is None:
            continue
        close = here == pytest.approx(published, rel=0.01)
        assert close == (field != figure.explained), f"{field}: {here} here, {published} published"
    assert figure.note or not figure.explained


@pytest.mark.slow
@pytest.mark.parametrize(
    "figure", [each for each in FIGURES if each.source == "pytorchvideo"], ids=lambda each: each.config
)
def test_pytorchvideo_counts_the_same_arithmetic_to_the_last_digit(figure: Figure) -> None:
    assert f"{cost_of(figure.config, figure.crop).giga(figure.per_cell):.2f}" == f"{figure.giga:.2f}"


def test_published_tables_name_recipes_and_sources() -> None:
    assert {each.config for each in FIGURES} | set(ACCURACIES) <= set(recipes())
    assert {each.source for each in FIGURES} | {each.source for each in ACCURACIES.values()} == set(SOURCES)
    assert len({(each.config, each.source) for each in FIGURES}) == len(FIGURES)


def test_the_page_has_every_recipe() -> None:
    assert list(models.TITLES) == list(CLASSES)
    for folder, title in models.TITLES.items():
        section = PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]
        rows = [line for line in section.splitlines() if line.startswith("| [")]
        names = [name for name in recipes() if name.startswith(f"{folder}/")]
        assert len(rows) == len(names) > 0
        for row, name in zip(rows, names, strict=True):
            assert row.startswith(f"| [{name.partition('/')[2]}](../configs/{name}.yaml) |")
            assert row.count("| +0.") == bool(soft_form(name))
            assert models.NOT_TRAINED in row
    inside = {name for name in shipped_configs() if name.partition("/")[0] in CLASSES}
    assert inside == {each for name in recipes() for each in (name, soft_form(name)) if each}


@pytest.mark.long
@pytest.mark.parametrize("name", recipes())
def test_rows_of_the_page_are_up_to_date(name: str) -> None:
    row = models.recipe_row(name, models.newest_measurement(ROOT / models.RESULTS).get("clips_per_second", {}))
    assert line_of(row) in PAGE.splitlines(), RERUN


@pytest.mark.slow
@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: f"{figure.config}-{figure.source}")
def test_rows_of_published_figures_are_up_to_date(figure: Figure) -> None:
    assert line_of(models.figure_row(figure)) in PAGE.splitlines(), RERUN


def test_the_rest_of_the_page_is_what_the_command_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(models, "cost_of", lambda name, crop=0: Cost(10**6, 10**9, 0, 0, 0, 8, 5))
    models.main(["--to", str(tmp_path / "models.md")])
    written = (tmp_path / "models.md").read_text(encoding="utf-8")
    for line, wanted in zip(written.splitlines(), PAGE.splitlines(), strict=True):
        numbers = line.startswith(("| [", "| kinetics", "| ssv2", "| charades", "| finetune"))
        assert (line.split(" | ")[0] == wanted.split(" | ")[0]) if numbers else line == wanted, RERUN


def line_of(row: dict[str, object]) -> str:
    return markdown([row], list(row)).splitlines()[-1]


@pytest.mark.slow
def test_measured_speeds_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fixed = Cost(10**6, 10**9, 0, 0, 0, 8, 5)
    monkeypatch.setitem(model_costs.CLASSES, "small", 5)
    monkeypatch.setattr(models, "cost_of", lambda name, crop=0: fixed)
    to = tmp_path / "2026-01-02-cpu-models.json"
    models.main(["--measure", "--recipes", "small/c3d", "--rounds", "1", "--to", str(to)])
    (tmp_path / "2026-01-01-cpu-models.json").write_text("{}")
    found = models.newest_measurement(tmp_path)
    assert found == json.loads(to.read_text())
    assert list(found["clips_per_second"]) == ["small/c3d"]
    speeds = {"kinetics400/x3d_s": 12.5, "kinetics400/x3d_s_soft": 12.0}
    text = models.page({**found, "clips_per_second": speeds})
    assert "| 12.50, 12.00 |" in text
    assert found["machine"]["hardware"] in text
    assert models.NOT_MEASURED in text  # of the other recipes
