"""The benchmark of the pooling methods, and the table of docs/choosing.md."""

import functools
import json
import sys

import pytest
import torch

from benchmarks import choosing, methods

METHODS = {
    "max": {"pooling": "max"},
    "soft": {"pooling": "soft", "pooling_arguments": {"beta": 1.0}},
    "lp 3": {"pooling": "lp", "pooling_arguments": {"p": 3.0}},
    "lip": {"pooling": "lip"},
}


def test_rows_of_a_tiny_input() -> None:
    x = torch.rand(1, 2, 4, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    make = functools.partial(methods.make_pools, METHODS, "2x2x2 s2", 2)
    found, _ = methods.rows(make, x, "2x2x2 s2", "contiguous", 2)
    by_name = {row.method: row for row in found}
    assert list(by_name) == list(METHODS)
    assert by_name["max"].train_ratio == by_name["max"].infer_ratio == 1
    assert by_name["soft"].kept == 0  # it keeps only its input
    assert by_name["max"].kept == pytest.approx(2 / 8)  # an index of 8 bytes for each result, whose number is 1/8
    assert all(row.peak >= 1 + 1 / 8 for row in found)  # the gradient and the result
    lines = methods.table(found)
    assert sum(line.startswith("| ") for line in lines) == 1 + len(METHODS)


def test_comparison_files_name_every_method_once() -> None:
    found = methods.methods_of(methods.METHOD_FILES)
    assert {"soft", "soft detached", "max", "avg", "lp 2", "stochastic", "s3", "lip", "blur"} <= set(found)
    assert len(methods.make_pools(found, "1x3x3 s122 p011", 4)) == len(found)


def measured(name: str, value: float) -> dict:
    return {"variant": name, "window": [2, 2], "resize": "linear", "item": "a", "ssim": value, "psnr": 30.04}


def test_the_table_is_written_between_its_marks(tmp_path, monkeypatch) -> None:
    row = {
        "window": "2x2x2 s2",
        "layout": "channels_last_3d",
        "train_ratio": 0.5,
        "infer_ratio": 1.25,
        "kept": 0,
        "peak": 2,
    }
    speed = [row | {"method": name} for name in METHODS]
    kinds = [("soft", "soft", {}), ("lp 3", "lp", {"p": 3.0}), ("lip", "lip", {}), ("max", "max", {})]
    images = {
        "set": "images",
        "methods": [{"name": name, "method": method, "arguments": own} for name, method, own in kinds],
        "measured": [measured("soft", 0.5), measured("soft", 0.7), measured("max", 0.4)],
    }
    page = tmp_path / "page.md"
    page.write_text(f"before\n{choosing.BEGIN}\nold\n{choosing.END}\nafter\n")
    files = {
        "speed.json": speed,
        "similar.json": {"sets": [images]},
        "methods.yaml": {"methods": METHODS},
    }
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    (tmp_path / "table.csv").write_text("method,video_top1,video_top1_sd\nsoft,0.875,0.01\nmax,,\n")
    arguments = ["--methods", "methods.yaml", "--speed", "speed.json", "--similarity", "similar.json"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["choosing", *arguments, "--accuracy", "C3D=table.csv", "--page", "page.md"])
    choosing.main()
    lines = page.read_text().splitlines()
    assert (lines[0], lines[-1]) == ("before", "after")
    assert "old" not in lines
    cells = next([cell.strip() for cell in line.split("|")] for line in lines if line.startswith("| soft "))
    assert cells[2:] == ["0.50", "1.25", "0.00", "2.00", "0.600 / 30.0", "-", "87.5 ± 1.0", ""]
