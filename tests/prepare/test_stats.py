"""Tables and charts of a manifest agree with counts by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from videopool.data.lists.columns import text_columns
from videopool.data.lists.manifest import MEASURED, Manifest
from videopool.data.lists.table import VideoTable
from videopool.prepare.stats import class_counts, describe, distributions, quantities, sizes
from videopool.prepare.stats_plot import draw_charts
from videopool.types import VideoRecord

MEASUREMENTS = {  # of four videos; the third is unreadable
    "codec": [1, 1, 0, 2],
    "width": [340, 256, -1, 340],
    "height": [256, 340, -1, 256],
    "fps": [25, 30, np.nan, 25],
    "duration_seconds": [10, 2, np.nan, 4],
    "frames_listed": [250, 60, -1, 100],
    "frames_decodable": [250, 59, -1, 100],
    "hidden": [0, 0, -1, 9],
    "left_out": [0, 0, -1, 9],
    "keyframe_interval": [12, 12, np.nan, 250],
    "size_bytes": [1_000_000, 500_000, 0, 250_000],
}


@pytest.fixture
def manifest() -> Manifest:
    base = Path("/videos")
    records = [VideoRecord("", base / f"{n}.mp4", label) for n, label in enumerate([0, 2, 0, 0])]
    columns = VideoTable.from_records(records, base).columns
    measured = {name: np.array(MEASUREMENTS[name]).astype(kind) for name, kind in MEASURED.items()}
    reason, ends = text_columns(["", "", "is damaged: 3 of its 57 frames can be decoded", ""])
    table = VideoTable({**columns, **measured, "reason": reason, "reason_ends": ends}, base)
    return Manifest(table, ("run", "sit", "a|b"), ("", "h264", "vp9"), "python tools/prepare.py scan x")


def row(text: str, *cells: str) -> bool:
    """Whether a line of the page has these cells."""
    return any([cell.strip() for cell in line.strip("| ").split(" | ")] == list(cells) for line in text.splitlines())


def test_the_page(manifest: Manifest) -> None:
    text = describe(manifest, "train.manifest")
    assert text.startswith("# train.manifest\n\n- 4 videos, 1 unreadable\n- 16 s, 1.8 MB in readable videos")
    assert "3 classes, each with 0 to 3 videos" in text
    assert row(text, "run", "3", "75.00 %")
    assert row(text, r"a\|b", "1", "25.00 %")
    assert row(text, "sit", "0", "0.00 %")
    assert row(text, "h264", "2")
    assert row(text, "vp9", "1")
    assert row(text, "340 x 256", "2")
    assert row(text, "256 x 340", "1")
    assert row(text, "is damaged: N of its N frames can be decoded", "1")
    assert row(text, "duration (s)", "2", "2", "4", "10", "10")
    assert row(text, "bit rate (Mbit/s)", "0.5", "0.5", "0.8", "2", "2")


def test_quantities_are_of_readable_videos(manifest: Manifest) -> None:
    found = quantities(manifest)
    assert {len(values) for values in found.values()} == {3}
    assert found["short side (pixels)"].tolist() == [256, 256, 256]
    assert found["hidden frames"].tolist() == [0, 0, 9]
    assert found["keyframe interval (frames)"].tolist() == [12, 12, 250]
    assert sizes(manifest) == ["340 x 256", "256 x 340", "340 x 256"]
    assert class_counts(manifest).tolist() == [3, 0, 1]


def test_what_is_unknown_is_left_out(manifest: Manifest) -> None:
    manifest.table.columns["fps"][:] = np.nan
    manifest.table.columns["frames_listed"][1] = -1
    rows = {one[""]: one for one in distributions(manifest)}
    assert "frames per second" not in rows
    assert rows["frames"]["minimum"] == "100"


def test_many_classes_are_cut_short(manifest: Manifest) -> None:
    classes = tuple(f"class {number}" for number in range(50))
    columns = {**manifest.table.columns, "label": np.array([49, 49, 3, 7], np.int32)}
    many = Manifest(VideoTable(columns, Path("/videos")), classes, manifest.codecs, "")
    text = describe(many, "many")
    assert row(text, "... 30 more ...", "-", "-")
    assert text.index("class 49") < text.index("class 3 ") < text.index("class 7 ") < text.index("... 30 more")


@pytest.mark.slow
@pytest.mark.parametrize("classes", [3, 50])
def test_charts(classes: int, manifest: Manifest, tmp_path: Path) -> None:
    from PIL import Image

    names = tuple(f"class {number}" for number in range(classes))
    draw_charts(tmp_path / "all", Manifest(manifest.table, names, manifest.codecs, ""), "all")
    with Image.open(tmp_path / "all.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    blue = (pixels == (0, 0x72, 0xB2)).all(-1)
    rows, columns = blue.shape[0] // 2, blue.shape[1] // 3
    panels = [blue[r : r + rows, c : c + columns] for r in (0, rows) for c in range(0, 3 * columns, columns)]
    assert all(panel.sum() > 500 for panel in panels)  # every chart shows something


@pytest.mark.slow
def test_a_data_set_without_a_readable_video(manifest: Manifest, tmp_path: Path) -> None:
    reason, ends = text_columns(4 * ["is empty"])
    table = VideoTable({**manifest.table.columns, "reason": reason, "reason_ends": ends}, Path("/videos"))
    nothing = Manifest(table, manifest.classes, manifest.codecs, "")
    assert row(describe(nothing, "nothing"), "is empty", "4")
    draw_charts(tmp_path / "nothing", nothing, "nothing")
    assert (tmp_path / "nothing.png").exists()
