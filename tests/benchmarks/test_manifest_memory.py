"""The manifest benchmark: its manifest, its memory measurement and its rows."""

import gc
import mmap
from pathlib import Path

import pytest

from benchmarks import manifest
from videopool.data.lists.records import read_videos


def test_the_manifest_that_is_measured(tmp_path: Path) -> None:
    videos = read_videos(manifest.write(tmp_path, 250))
    assert (len(videos.records), len(videos.classes), videos.records.count_bad()) == (250, 400, 3)
    assert len({record.id for record in videos.records}) == 250
    assert all(record.path.parent.name == videos.classes[record.label] for record in videos.records)


@pytest.mark.slow
def test_process_memory_grows_by_the_touched_pages() -> None:
    content = bytes(100_000_000)
    gc.collect()  # what other tests left must not be freed in between
    before = manifest.process_memory()
    with mmap.mmap(-1, 200_000_000) as taken:
        taken.write(content)  # the other half is never touched
        after = manifest.process_memory()
    assert all(80e6 < now - then < 120e6 for then, now in zip(before, after, strict=True))


def test_rows_have_medians_and_maxima() -> None:
    costs = [manifest.WorkerCost(1_000_000 * size, 2_000_000 * size, 5e-6) for size in (1, 2, 9)]
    assert list(manifest.row("a list", costs).values()) == ["a list", 3, "2.0", "9.0", "4.0", "18.0", "5.0"]
