"""The benchmark of exported forms, and the table of the differences of exports."""

from pathlib import Path

import pytest
import torch

from benchmarks import export_table, infer
from videopool.engine.builders.testing import load_trained
from videopool.export import FORMATS


def test_every_format_but_weights_can_be_timed() -> None:
    assert set(infer.IN_FILES) == set(FORMATS) - {"weights"}


@pytest.mark.slow
def test_forms_of_a_trained_network(trained: Path, tmp_path: Path) -> None:
    network = load_trained(trained / "checkpoints/last.pt")
    forms, sizes = infer.make_forms(network, ["eager", "channels_last", "portable"], tmp_path)
    assert list(sizes) == ["portable"]
    clips = network.deployed()[1].example(2)
    with torch.inference_mode():
        for form in forms.values():
            torch.testing.assert_close(form(clips), forms["eager"](clips), rtol=1e-4, atol=1e-5)
    rows, _ = infer.measure(forms, clips, rounds=2)
    assert [row.form for row in rows] == list(forms)
    assert rows[0].ratio == 1
    assert len(infer.table(rows, sizes)) == 2 + len(rows)


def test_known_rows_of_the_table_are_kept() -> None:
    known = ["| c3d | avg | 0.0e+00 |"]
    found = list(export_table.rows(["c3d"], ["avg"], ["weights"], known))
    assert found == known


@pytest.mark.slow
def test_a_row_of_the_table() -> None:
    (row,) = export_table.rows(["c3d"], ["soft"], ["weights", "program"], [])
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:2] == ["c3d", "soft"]
    assert all(float(cell) < 1e-5 for cell in cells[2:])
