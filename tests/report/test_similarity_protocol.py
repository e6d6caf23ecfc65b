"""The similarity experiment: pooling and restoring sizes, SSIM and PSNR, tables and pictures."""

import json
import math
import sys
from pathlib import Path

import pytest
import torch

from videopool.errors import InputError
from videopool.pooling import METHODS
from videopool.report.figures import save
from videopool.report.pictures import astronaut, clip_grid, detail_side, image_grid, most_detailed
from videopool.report.similarity_page import csv_rows, json_content, page_text, write_results
from videopool.report.similarity_run import (
    RESIZES,
    Variant,
    pooled,
    psnr,
    restored,
    ssim,
    variants,
    windows_of,
)
from videopool.report.similarity_study import Study, run_study

pytest.importorskip("skimage", reason="runs where scikit-image is installed: pip install videopool[study]")

AVG = Variant("avg", "avg", {})


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def ssim_slowly(x: torch.Tensor, y: torch.Tensor) -> float:
    """Wang et al. 2004, equation 13, of [H,W] in 0..1: sums over each 11 x 11 window inside the picture."""
    line = torch.exp(-(torch.arange(-5, 6, dtype=torch.float64) ** 2) / (2 * 1.5**2))
    weights = torch.outer(line, line) / line.sum() ** 2
    x, y, found = x.double(), y.double(), []
    for top in range(x.shape[0] - 10):
        for left in range(x.shape[1] - 10):
            a, b = x[top : top + 11, left : left + 11], y[top : top + 11, left : left + 11]
            mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
            var_a, var_b = (weights * (a - mean_a) ** 2).sum(), (weights * (b - mean_b) ** 2).sum()
            both = (weights * (a - mean_a) * (b - mean_b)).sum()
            c1, c2 = 0.01**2, 0.03**2
            luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
            found.append(float(luminance * (2 * both + c2) / (var_a + var_b + c2)))
    return sum(found) / len(found)


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("window", [(2, 2), (3, 3), (5, 5), (1, 2, 2), (2, 2, 2), (3, 3, 3)])
def test_any_size_is_restored(window: tuple[int, ...], resize: str) -> None:
    size = (7, 13, 11)[-len(window) :]
    x = noise(3, *size)
    y = pooled(x, AVG, window)
    assert y.shape[1:] == tuple(-(-cells // k) for cells, k in zip(size, window, strict=True))
    assert restored(y, window, size, resize).shape == x.shape


def test_nearest_repeats_a_cell_over_its_window() -> None:
    x = noise(1, 5, 4)
    back = restored(pooled(x, AVG, (2, 3)), (2, 3), (5, 4), "nearest")
    for row in range(5):
        for column in range(4):
            top, left = row // 2 * 2, column // 3 * 3
            expected = x[0, top : top + 2, left : left + 3].mean()  # cut short at the border
            torch.testing.assert_close(back[0, row, column], expected)


def test_linear_goes_through_the_centers_of_windows() -> None:
    y = torch.tensor([[[0.0, 3.0, 6.0]]])
    back = restored(y, (1, 3), (1, 8), "linear")  # centers at columns 1, 4 and 7; the ninth column is cut off
    torch.testing.assert_close(back, torch.tensor([[[0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]]]))


@pytest.mark.parametrize("method", METHODS)
def test_a_constant_picture_loses_nothing(method: str) -> None:
    x = torch.full((3, 13, 14), 0.5)
    for variant in variants([method]):
        for resize in RESIZES:
            back = restored(pooled(x, variant, (3, 3)), (3, 3), (13, 14), resize)
            assert ssim(x, back) == pytest.approx(1.0, abs=1e-6)
            assert psnr(x, back) > 100


def test_average_is_the_best_of_all_repeated_cells() -> None:
    """The mean has the least squared error of all numbers, so every other method has a lower PSNR with nearest."""
    x = noise(3, 24, 24)
    scores = {v.name: psnr(x, restored(pooled(x, v, (3, 3)), (3, 3), (24, 24), "nearest")) for v in variants()}
    assert max(scores.values()) == pytest.approx(scores["avg"], abs=1e-4)
    assert scores["max"] < scores["soft"] < scores["avg"]


def test_scores() -> None:
    x, y = noise(1, 14, 13)[0], noise(2, 14, 13)[1]
    assert ssim(x[None], y[None]) == pytest.approx(ssim_slowly(x, y), abs=1e-6)
    rgb, other = noise(3, 14, 13), (0.7 * noise(3, 14, 13) + 0.1)
    expected = sum(ssim_slowly(a, b) for a, b in zip(rgb, other, strict=True)) / 3
    assert ssim(rgb, other) == pytest.approx(expected, abs=1e-6)
    clips = torch.stack([rgb, other], 1), torch.stack([other, other], 1)  # [C,T,H,W]: the second frame is equal
    assert ssim(*clips) == pytest.approx((expected + 1) / 2, abs=1e-6)
    error = float(((rgb - other).double() ** 2).mean())
    assert psnr(rgb, other) == pytest.approx(-10 * math.log10(error), abs=1e-6)
    assert psnr(*clips) == pytest.approx(-10 * math.log10(error / 2), abs=1e-6)
    assert psnr(rgb, rgb) == math.inf


def test_variants_and_windows() -> None:
    names = [variant.name for variant in variants()]
    assert names[:4] == ["avg", "max", "soft", "soft on 0..255"]
    assert {variant.method for variant in variants()} == set(METHODS)
    assert len(set(names)) == len(names)
    assert [v.name for v in variants(["s3", "avg"])] == ["avg", "s3 (eval)", "s3 (train)"]
    with pytest.raises(InputError, match=r"Unknown pooling method 'sfot'\. Did you mean 'soft'"):
        variants(["sfot"])
    assert windows_of(2, [2, 5]) == ((2, 2), (5, 5))
    assert windows_of(3, [2, 5]) == ((1, 2, 2), (1, 5, 5), (2, 2, 2), (5, 5, 5))


def test_soft_on_0_to_255_is_soft_of_those_values() -> None:
    x = noise(3, 12, 12)
    plain, wide = variants(["soft"])
    torch.testing.assert_close(pooled(x, wide, (2, 2)), pooled(255 * x, plain, (2, 2)) / 255)


def test_draws_are_the_same_each_time_and_differ_by_seed() -> None:
    x = noise(3, 12, 12)
    for variant in (v for v in variants(["stochastic", "s3"]) if v.draws):
        first = pooled(x, variant, (3, 3), seed=1)
        torch.manual_seed(5)
        assert torch.equal(first, pooled(x, variant, (3, 3), seed=1))
        assert not torch.equal(first, pooled(x, variant, (3, 3), seed=2))


def study(kind: str, *methods: str, items: int = 2) -> Study:
    shape = (3, 24, 23) if kind == "images" else (3, 4, 24, 24)
    generator = torch.Generator().manual_seed(0)
    pictures = {f"{n}.png": torch.randint(256, shape, dtype=torch.uint8, generator=generator) for n in range(items)}
    return run_study(kind, pictures, variants(methods), [2, 3], draws=2)


def test_results_are_those_of_single_steps() -> None:
    found = study("images", "avg", "stochastic")
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(256, (3, 24, 23), dtype=torch.uint8, generator=generator).float() / 255
    drawing = next(variant for variant in found.variants if variant.draws)
    scores = []
    for seed in (0, 1):
        back = restored(pooled(x, drawing, (3, 3), seed=seed), (3, 3), (24, 23), "linear")
        scores.append((ssim(x, back), psnr(x, back)))
    measured = found.scores("stochastic (train)", (3, 3), "linear")[0]
    assert (measured.ssim, measured.psnr) == pytest.approx(tuple(sum(s) / 2 for s in zip(*scores, strict=True)))
    assert found.similarities == study("images", "avg", "stochastic").similarities


def test_steps_are_counted() -> None:
    steps = []
    pictures = {"a": torch.zeros(3, 12, 12, dtype=torch.uint8)}
    run_study("images", pictures, variants(["avg", "s3"]), [2, 3], draws=1, on_step=lambda **step: steps.append(step))
    assert steps == [{"completed": done, "total": 6} for done in range(1, 7)]


@pytest.mark.slow
def test_page_and_rows(tmp_path: Path) -> None:
    studies = [study("images", "avg", "max", "soft"), study("clips", "avg", "max", "soft")]
    text = page_text(studies, command="python tools/similarity.py", pictures=["a.png"])
    assert "## Images, windows k x k, restored by nearest neighbor" in text
    assert "## Clips, windows 1 x k x k, restored by linear interpolation" in text
    assert "![a.png](a.png)" in text
    mean = sum(m.psnr for m in studies[0].scores("avg", (2, 2), "nearest")) / 2
    assert f"**{mean:.2f}** ± " in text  # the average is the best by squared error
    gain = sum(studies[0].gains("max", (2, 2), "nearest")) / 2
    assert f"{gain:+.4f} (0 of 2)" in text
    rows = csv_rows(studies)
    assert len(rows) == 4 * 2 * 2 + 4 * 4 * 2
    row = next(r for r in rows if (r["set"], r["method"], r["window"]) == ("images", "max", "3x3"))
    scores = [m.ssim for m in studies[0].scores("max", (3, 3), "nearest")]
    assert (row["ssim_min"], row["ssim_max"], row["items"]) == (min(scores), max(scores), 2)
    assert len(json_content(studies, command="")["sets"][1]["measured"]) == 2 * 4 * 4 * 2
    written = write_results(tmp_path / "new", "day", studies, command="python", grids={})
    assert {path.name for path in written} == {path.name for path in (tmp_path / "new").iterdir()}
    assert {path.suffix for path in written} == {".md", ".csv", ".json", ".png", ".svg"}
    assert json.loads((tmp_path / "new/day.json").read_text())["sets"][0]["items"] == {
        "0.png": "23 x 24",
        "1.png": "23 x 24",
    }


@pytest.mark.slow
def test_the_same_results_give_the_same_files(tmp_path: Path) -> None:
    found = study("images", "avg", "soft", items=1)
    first, again = (write_results(tmp_path / to, "day", [found], command="python", grids={}) for to in ("one", "two"))
    assert all(one.read_bytes() == two.read_bytes() for one, two in zip(first, again, strict=True))


def test_one_item_and_no_average(tmp_path: Path) -> None:
    """There is no spread, no baseline, and an infinite PSNR."""
    black = run_study("images", {"a": torch.zeros(3, 12, 12, dtype=torch.uint8)}, variants(["max"]), [2], draws=1)
    write_results(tmp_path, "one", [black], command="python", grids={})
    text = (tmp_path / "one.md").read_text()
    assert "| max | - | **1.000** | **inf** |" in text
    assert "minus that of average" not in text
    assert '"psnr": "inf"' in (tmp_path / "one.json").read_text()


@pytest.mark.parametrize(
    ("shape", "sizes", "words"),
    [((3, 10, 40), [2], "40 x 10 pixels are too few for SSIM"),
     ((3, 12, 30), [13], "window of 13 does not fit 30 x 12"),
     ((3, 4, 20, 20), [2, 5], "window of 5 does not fit 20 x 20 pixels, 4 frames")],
)  # fmt: skip
def test_items_that_are_too_small_are_refused(shape: tuple[int, ...], sizes: list[int], words: str) -> None:
    items = {"good": torch.zeros(3, *[40] * (len(shape) - 1), dtype=torch.uint8), "small.png": torch.zeros(shape)}
    with pytest.raises(InputError, match=rf"small\.png: .*{words}"):
        run_study("images", items, variants(["avg"]), sizes, draws=1, on_step=lambda **step: pytest.fail("started"))


def test_the_detail_is_the_most_detailed_part() -> None:
    x = torch.zeros(3, 60, 80)
    x[:, 24:36, 50:62] = noise(3, 12, 12)
    top, left = most_detailed(x, 12)
    assert (abs(top - 24) <= 3, abs(left - 50) <= 3) == (True, True)
    assert (detail_side(x, 3), detail_side(x, 2), detail_side(x, 7)) == (60, 40, 56)


@pytest.mark.slow
def test_grids_show_every_variant(tmp_path: Path) -> None:
    chosen = variants(["avg", "max", "s3"])
    picture = (255 * noise(3, 40, 50)).to(torch.uint8)
    titles = [axes.get_title() for axes in image_grid(picture, chosen, 3).axes if axes.get_title()]
    assert titles[:2] == ["original", "original, detail"]
    assert [title.rpartition("  ")[0] for title in titles[2:]] == [variant.name for variant in chosen]
    figure = clip_grid((255 * noise(3, 6, 30, 20)).to(torch.uint8), chosen, 2)
    assert [axes.get_title().partition("  ")[0] for axes in figure.axes if axes.get_title()][1:] == [
        variant.name for variant in chosen
    ]
    assert save(figure, tmp_path / "clip")[0].read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(InputError, match="window of 7 does not fit"):
        clip_grid(torch.zeros(3, 6, 30, 20, dtype=torch.uint8), chosen, 7)


def test_without_scikit_image_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("skimage", "skimage.metrics", "skimage.data"):
        monkeypatch.setitem(sys.modules, module, None)
    for call in (astronaut, lambda: ssim(noise(3, 12, 12), noise(3, 12, 12))):
        with pytest.raises(InputError, match=r"needs scikit-image .*\. Run pip install 'videopool\[study\]'\."):
            call()


def test_the_photograph_needs_no_download() -> None:
    picture = astronaut()
    assert (picture.dtype, tuple(picture.shape)) == (torch.uint8, (3, 512, 512))
