"""The pooling benchmark: its variants, times and memory, and its results in files, tables and charts."""

import dataclasses
import json
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from benchmarks import pooling, pooling_cells, pooling_chart, pooling_report, pooling_results
from benchmarks.pooling_cells import DIRECTIONS, DTYPES, LAYOUTS, OURS, VARIANTS, WINDOWS, Cell, Variant
from benchmarks.pooling_results import Results, Session
from benchmarks.timing import Machine, Spread
from videopool.cli.parsing import run_command
from videopool.errors import InputError

CPU = torch.device("cpu")
EAGER = [name for name in VARIANTS if name != "compiled"]


def small_inputs(count: int, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    shape = (2, 3, 4, 14, 15)
    return [torch.randn(shape, generator=generator).to(dtype).requires_grad_() for _ in range(count)]


@pytest.mark.parametrize("window", WINDOWS)
def test_all_forms_of_softpool_agree(window: str) -> None:
    """In float64. If ``composed`` counted padding, the windows with padding would differ."""
    x = small_inputs(1)[0].detach()
    pools = pooling_cells.variants(WINDOWS[window], EAGER)
    y = pools["videopool"].pool(x)
    torch.testing.assert_close(pools["composed"].pool(x), y, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(pools["softmax_pool3d"].pool(x, x), y, rtol=1e-12, atol=1e-12)
    assert pools["max_pool3d"].pool(x).shape == pools["avg_pool3d"].pool(x).shape == y.shape
    assert (y <= pools["max_pool3d"].pool(x)).all()


def test_directions_take_their_inputs_in_turn() -> None:
    inputs = small_inputs(3)
    runs = pooling_cells.directions(Variant(lambda a, b: a * b, inputs=2), inputs)
    for turn in range(7):
        a, b = (inputs[(turn + i) % 3] for i in range(2))
        torch.testing.assert_close(runs["forward"](turn), (a * b).detach())
        torch.testing.assert_close(runs["both"](turn), runs["backward"](turn))
        da, db = runs["backward"](turn)
        torch.testing.assert_close(da * a, db * b)
        assert not torch.equal(da, db)


def test_units_copy() -> None:
    inputs = small_inputs(2)
    for run in pooling_cells.units(inputs).values():
        for turn in range(3):
            copy = run(turn)
            assert torch.equal(copy, inputs[turn % 2])
            assert copy.data_ptr() != inputs[turn % 2].data_ptr()


@pytest.mark.parametrize(
    ("pool", "peak", "saved"),
    [
        (lambda x: F.avg_pool3d(x, 2), 1 + 1 / 8, 0),  # y, dx
        (torch.exp, 2, 1),  # y is saved
        (lambda x: x.exp().exp(), 4, 2),  # exp(x), y, the gradient of exp(x), dx
        (lambda x: F.max_pool3d(x, 2), 1 + 2 / 8, 1 / 8),  # y, its indices, as wide as float64, and dx
    ],
    ids=["average", "exp", "exp-exp", "max"],
)
def test_memory(pool: Callable, peak: float, saved: float) -> None:
    inputs = [torch.randn(2, 8, 4, 16, 16, dtype=torch.float64).requires_grad_() for _ in range(2)]
    variant = Variant(pool)
    runs = pooling_cells.directions(variant, inputs)
    assert pooling_cells.saved_bytes(variant, inputs) == saved * inputs[0].nbytes
    assert pooling_cells.peak_bytes(runs["both"], CPU) == peak * inputs[0].nbytes


def test_inputs_do_not_fit_into_the_cache() -> None:
    layout = torch.channels_last_3d
    inputs = pooling_cells.make_inputs((2, 3, 4, 14, 15), torch.bfloat16, layout, CPU, cache_bytes=100_000)
    assert len(inputs) == math.ceil(400_000 / (2 * 3 * 4 * 14 * 15 * 2))
    assert all(x.is_contiguous(memory_format=layout) and x.requires_grad for x in inputs)
    huge = pooling_cells.make_inputs((2, 3, 4, 14, 15), torch.float32, layout, CPU, cache_bytes=10**9)
    assert len(huge) == pooling_cells.MOST_COPIES
    assert len(pooling_cells.make_inputs((1, 2, 4, 14, 14), torch.float32, layout, CPU, cache_bytes=1)) == 2


def measure(dtype: torch.dtype, window: str = "1x3x3-s122-p011") -> Cell:
    inputs = small_inputs(2, dtype)
    return pooling_cells.measure_cell(
        window, "contiguous", inputs, EAGER, rounds=2, seconds=0, with_memory=True, copy_gb_per_s=0.0
    )


@pytest.mark.parametrize("window", WINDOWS)
def test_a_cell(window: str) -> None:
    cell = measure(torch.float32, window)
    assert not cell.missing
    assert {name: tuple(times) for name, times in cell.times.items()} == {
        "clone": ("copy",),
        "copy_": ("copy",),
        **dict.fromkeys(EAGER, DIRECTIONS),
    }
    assert cell.rounds == 2
    assert cell.x_bytes == 2 * 3 * 4 * 14 * 15 * 4
    pool = pooling_cells.variants(WINDOWS[window], ["max_pool3d"])["max_pool3d"].pool
    assert cell.y_bytes == pool(small_inputs(1, torch.float32)[0]).nbytes
    assert cell.memory.keys() == set(EAGER)


def test_variants_that_torch_cannot_run_have_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(x: torch.Tensor, *window: object) -> torch.Tensor:
        raise NotImplementedError("no kernel\nfor this dtype")

    monkeypatch.setattr(F, "avg_pool3d", refuse)
    cell = measure(torch.bfloat16)
    assert cell.missing == dict.fromkeys(["avg_pool3d", "composed"], "NotImplementedError: no kernel for this dtype")
    assert cell.times.keys() == {"clone", "copy_", *EAGER} - cell.missing.keys()


@pytest.mark.parametrize("name", OURS)
def test_an_error_in_our_variants_is_raised(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> torch.Tensor:
        raise RuntimeError("the kernel is broken")

    monkeypatch.setattr(pooling_cells.ops, "soft_pool3d" if name == "videopool" else name, fail)
    with pytest.raises(RuntimeError, match="the kernel is broken"):
        measure(torch.float32)


def made_cell(
    ours: float,
    rivals: dict[str, float],
    *,
    window: str = "2x2x2-s2",
    layout: str = "contiguous",
    dtype: str = "float32",
    copy_gb_per_s: float = 0.0,
) -> Cell:
    """Return a cell of made-up times: equal in all directions, and 1 ms for clone."""
    times = {name: dict.fromkeys(DIRECTIONS, Spread(ms, ms, ms)) for name, ms in rivals.items()}
    times |= {"videopool": dict.fromkeys(DIRECTIONS, Spread(ours, 0.9 * ours, 1.1 * ours))}
    times |= {name: {"copy": Spread(1.0, 1.0, 1.0)} for name in ("clone", "copy_")}
    missing = {name: "NotImplementedError: none" for name in ("max_pool3d", "avg_pool3d") if name not in rivals}
    return Cell(
        window, (4, 64, 16, 56, 56), layout, dtype, 3, 5, 0.01, 8_000_000, 1_000_000, copy_gb_per_s, times, missing, {}
    )


MACHINE = Machine("a processor", 2, "2.13.0", "madvise", "unset", "new", 32 * 2**20)


def made_results(*cells: Cell, machine: Machine = MACHINE) -> Results:
    return Results(machine, "native-cpu (avx2)", (Session("videopool benchmark ops", "2026-11-24", 0.1),), cells)


def line_with(text: str, *parts: str) -> str:
    """Return the only line that has all parts."""
    found = [line for line in text.splitlines() if all(part in line for part in parts)]
    assert len(found) == 1, (parts, found)
    return found[0]


def test_the_page_of_a_cpu() -> None:
    text = pooling_report.markdown(
        made_results(
            made_cell(0.4, {"max_pool3d": 2.0, "avg_pool3d": 1.0, "composed": 4.0}),
            made_cell(1.2, {"max_pool3d": 3.0, "avg_pool3d": 1.0, "composed": 4.0}, layout="channels_last_3d"),
            made_cell(0.2, {"max_pool3d": 2.0}, dtype="bfloat16"),
        )
    )
    mean = math.sqrt(0.4 * 1.2)
    worst = "1.20 (both, 2x2x2-s2, 4x64x16x56x56, channels_last_3d, float32)"
    assert f"| float32 | 2 | {mean:.2f} | {worst} | 1 |" in text
    assert line_with(text, "| bfloat16 |").startswith("| bfloat16 | 1 | 0.10 |")
    assert f"- {worst}" in text.splitlines()
    assert line_with(text, "below 1").endswith(f"| {mean:.2f} | {worst} | no |")
    assert line_with(text, "geometric mean at most 0.7").endswith("| yes |")
    assert line_with(text, "forward 2x2x2-s2, to clone", "contiguous").endswith("| yes |")
    assert line_with(text, "forward 2x2x2-s2, to clone", "channels_last_3d").endswith("| no |")
    assert line_with(text, "| both, to composed").endswith("| no |")
    assert "| 0.50 | 0.50 (both," in line_with(text, "bfloat16 to float32")
    rows = [line for line in text.splitlines() if line.startswith("| 4x64x16x56x56 | 2x2x2-s2 | both |")]
    assert rows == [
        "| 4x64x16x56x56 | 2x2x2-s2 | both | 0.4 | 20 % | 0.40 | 2.00 | 1.00 | 4.00 | 1.00 | 0.40 | 0.10 |",
        "| 4x64x16x56x56 | 2x2x2-s2 | both | 1.2 | 20 % | 1.20 | 3.00 | 1.00 | 4.00 | 1.00 | 1.20 | 0.30 |",
        "| 4x64x16x56x56 | 2x2x2-s2 | both | 0.2 | 20 % | 0.20 | 2.00 | - | - | 1.00 | 0.10 | - |",
    ]
    assert "- `avg_pool3d`, bfloat16, 1 cells: NotImplementedError: none" in text


def test_the_page_of_a_gpu() -> None:
    cells = [
        made_cell(0.01, {"max_pool3d": 0.02}, copy_gb_per_s=1000.0),
        made_cell(0.03, {"max_pool3d": 0.02}, copy_gb_per_s=1000.0, window="3x3x3-s2-p1"),
    ]
    text = pooling_report.markdown(made_results(*cells))
    assert pooling_report.bandwidth(cells[0], "forward") == pytest.approx(900)  # 9 MB in 0.01 ms
    assert pooling_report.bandwidth(cells[0], "backward") == pytest.approx(1700)
    assert pooling_report.bandwidth(cells[0], "both") == pytest.approx(2600)
    assert line_with(text, "| forward, non-overlapping").endswith("| yes |")
    assert line_with(text, "| forward, overlapping", "| 0.30 |").endswith("| no |")
    assert line_with(text, "to the faster of max and average |", "1.50 (both").endswith("| no |")


def test_results_are_read_back(tmp_path: Path) -> None:
    results = made_results(measure(torch.float32))
    pooling_results.write(tmp_path / "a.json", results)
    assert pooling_results.read(tmp_path / "a.json") == results


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"machine": {"hardware": "x"}}'])
def test_a_file_without_results(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=r"a\.json does not hold results"):
        pooling_results.read(tmp_path / "a.json")


def test_parts_are_merged() -> None:
    wide, narrow = made_results(made_cell(1, {})), made_results(made_cell(1, {}, dtype="bfloat16"))
    both = pooling_results.merged([wide, narrow])
    assert [cell.dtype for cell in both.cells] == ["float32", "bfloat16"]
    assert len(both.sessions) == 2
    with pytest.raises(InputError, match="2x2x2-s2 4x64x16x56x56 contiguous float32 is in two"):
        pooling_results.merged([wide, narrow, wide])
    other = made_results(made_cell(1, {}, dtype="bfloat16"), machine=dataclasses.replace(MACHINE, threads=4))
    with pytest.raises(InputError, match="threads is 2 in one file and 4 in another"):
        pooling_results.merged([wide, other])


def test_cells_are_selected() -> None:
    results = made_results(
        made_cell(1, {}), made_cell(1, {}, layout="channels_last_3d"), made_cell(1, {}, dtype="float16")
    )

    def chosen(**options: Sequence) -> list[tuple[str, str]]:
        every: dict[str, Sequence] = {"windows": [], "shapes": [], "layouts": [], "dtypes": []}
        some = pooling_results.selected(results, **{**every, **options})
        return [(cell.layout, cell.dtype) for cell in some.cells]

    assert len(chosen()) == 3
    assert chosen(dtypes=["float32"], layouts=["contiguous"]) == [("contiguous", "float32")]
    assert chosen(shapes=[(4, 64, 16, 56, 56)], windows=["2x2x2-s2"], dtypes=["float16"]) == [("contiguous", "float16")]
    with pytest.raises(InputError, match="no cell"):
        chosen(dtypes=["bfloat16"])


@pytest.mark.slow
def test_the_chart_is_written_as_png_and_svg(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="runs where the dev extra is installed")
    cells = [
        made_cell(ours, {"max_pool3d": 2.0, "avg_pool3d": 1.0, "composed": 9.0}, window=window, layout=layout)
        for ours, window in ((0.4, "2x2x2-s2"), (0.9, "global"))
        for layout in LAYOUTS
    ]
    assert pooling_chart.relative(cells[:1], "composed") == [pytest.approx(9.0)]
    for name in ("chart.svg", "again"):
        written = pooling_chart.draw(tmp_path / name, made_results(*cells, made_cell(1, {}, dtype="bfloat16")))
        assert [path.suffix for path in written] == [".png", ".svg"]
    assert (tmp_path / "chart.png").read_bytes()[:4] == b"\x89PNG"
    assert "videopool SoftPool" in (tmp_path / "chart.svg").read_text()
    assert (tmp_path / "chart.svg").read_bytes() == (tmp_path / "again.svg").read_bytes()


def run_ops(*options: str) -> subprocess.CompletedProcess:
    """Run ``videopool benchmark ops``."""
    command = [sys.executable, "-m", "videopool", "benchmark", "ops", *options]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.slow
def test_the_command_measures_and_reads_back(tmp_path: Path) -> None:
    small = ["--shapes", "1x4x2x14x14", "--windows", "2x2x2-s2", "--layouts", "contiguous", "--rounds", "1"]
    files = ["--json", str(tmp_path / "new/a.json"), "--to", str(tmp_path / "a.md")]
    ended = run_ops(*small, "--seconds", "0", "--variants", "max_pool3d", *files)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "a.md").read_text().strip() == ended.stdout.strip()
    assert str(tmp_path) not in ended.stdout
    values = json.loads((tmp_path / "new/a.json").read_text())
    assert [cell["times"].keys() for cell in values["cells"]] == [{"clone", "copy_", "videopool", "max_pool3d"}]
    again = run_ops("--from", str(tmp_path / "new/a.json"))
    assert again.stdout == ended.stdout


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--shapes", "4x64"], ["4x64", "4x64x16x56x56"]),
        (["--shapes", "2x3x1x8x8", "--windows", "2x2x2-s2"], ["2x3x1x8x8", "2x2x2-s2"]),
        (["--windows", "5x5x5"], ["5x5x5", "2x2x2-s2"]),
        (["--seconds", "-1"], ["-1"]),
        (["--seconds", "long"], ["long", "0.5"]),
        (["--rounds", "0"], ["whole number of 1 or more, got 0"]),
        (["--from", "/no/such.json"], ["/no/such.json", "No such file"]),
        (["--json", "."], [". is a folder"]),
    ],
)
def test_bad_options(options: list[str], expected: list[str], capsys: pytest.CaptureFixture) -> None:
    try:
        code = run_command("videopool benchmark ops", pooling, options)
    except SystemExit as end:  # argparse
        code = end.code
    assert code == 2
    sentence = capsys.readouterr().err.strip().splitlines()[-1]
    assert "error: " in sentence
    for part in expected:
        assert part in sentence


@pytest.mark.skipif(torch.cuda.is_available(), reason="runs on machines without CUDA")
def test_device_cuda_without_a_gpu(capsys: pytest.CaptureFixture) -> None:
    assert run_command("videopool benchmark ops", pooling, ["--device", "cuda"]) == 2
    assert "--device cpu" in capsys.readouterr().err


def test_the_grid_is_valid() -> None:
    assert all(str(dtype) == f"torch.{name}" for name, dtype in DTYPES.items())
    assert all(pooling_cells.fits(window, shape) for window in WINDOWS.values() for shape in pooling_cells.SHAPES)
