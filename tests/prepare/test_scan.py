"""A scan writes a complete manifest, resumes, and reports every unreadable video."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.prepare.conftest import BROKEN
from videopool.data.lists.manifest import Manifest, read_manifest
from videopool.data.lists.records import read_videos
from videopool.errors import InputError
from videopool.prepare import scan as scanning
from videopool.prepare.journal import Journal
from videopool.prepare.scan import bad_list, scan
from videopool.processes.pool import Failure


def scanned(folder: Path, to: Path, **options: Any) -> bool:
    return scan(read_videos(folder), to, **{"processes": 2, "command": "by a test", **options})


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "all.manifest"


def partial(to: Path) -> Path:
    return to.with_name(f"{to.name}.partial.jsonl")


def test_a_manifest_has_every_video_in_the_order_of_the_list(folder: Path, to: Path) -> None:
    assert scanned(folder, to)
    videos, manifest = read_videos(folder), read_manifest(to)
    assert [record.id for record in manifest.table] == [record.id for record in videos.records]
    assert (manifest.classes, manifest.made) == (videos.classes, "by a test")
    np.testing.assert_array_equal(manifest.table.label, videos.records.label)
    assert manifest.table.base.resolve() == folder
    assert not partial(to).exists()
    codecs = [manifest.codecs[code] for code in manifest.table.columns["codec"]]
    names = [record.id for record in manifest.table]
    assert dict(zip(names, codecs, strict=True)) == {
        "a/one.mp4": "h264", "a/two.avi": "mpeg4", "b/broken.mp4": "", "b/four words.mp4": "h264",
        "b/three.mp4": "h264", "c/five.mp4": "h264",
    }  # fmt: skip
    frames = dict(zip(names, manifest.table.columns["frames_decodable"].tolist(), strict=True))
    assert frames == {
        "a/one.mp4": 10, "a/two.avi": 7, "b/broken.mp4": -1, "b/four words.mp4": 24, "b/three.mp4": 5, "c/five.mp4": 1,
    }  # fmt: skip
    assert manifest.table.columns["fps"][names.index("b/four words.mp4")] == pytest.approx(12)
    assert "sha256" not in manifest.table.columns


def test_unreadable_videos_are_kept_and_listed(folder: Path, to: Path) -> None:
    assert scanned(folder, to)
    manifest = read_manifest(to)
    bad = [json.loads(line) for line in bad_list(to).read_text().splitlines()]
    assert bad == [{"path": BROKEN, "reason": manifest.table.reason(2)}]
    assert bad[0]["reason"] == "has no video stream"
    assert manifest.good.tolist() == [True, True, False, True, True, True]
    columns = manifest.table.columns
    assert columns["width"][2] == columns["frames_listed"][2] == -1
    assert np.isnan(columns["fps"][2])
    assert columns["size_bytes"][2] == 900


def test_without_unreadable_videos_there_is_no_list_of_them(folder: Path, to: Path) -> None:
    (folder / BROKEN).unlink()
    bad_list(to).write_text("of an earlier scan")
    assert scanned(folder, to)
    assert not bad_list(to).exists()


def test_hashes_and_quick_scans(folder: Path, to: Path) -> None:
    assert scanned(folder, to, quick=True, sha256=True)
    columns = read_manifest(to).table.columns
    assert (columns["frames_decodable"] == -1).all()
    assert columns["frames_listed"].max() == 24
    assert columns["sha256"].shape == (6, 32)
    assert len({row.tobytes() for row in columns["sha256"]}) == 6


def test_a_manifest_is_not_overwritten(folder: Path, to: Path) -> None:
    to.write_text("precious")
    with pytest.raises(InputError, match=r"already exists\. Name another file"):
        scanned(folder, to)
    assert to.read_text() == "precious"


def test_a_file_listed_twice_is_read_once(folder: Path, to: Path, tmp_path: Path) -> None:
    rows = ["path,label,start,end", "a/one.mp4,x,0,0.5", "a/one.mp4,y,0.5,1", "b/gone.mp4,x,,"]
    (folder / "list.csv").write_text("\n".join(rows))
    entries: list[dict] = []
    assert scanned(folder / "list.csv", to, stopped=lambda: entries.extend(_entries(to)) or False)
    assert {entry["path"] for entry in entries} <= {"a/one.mp4", "b/gone.mp4"}
    manifest = read_manifest(to)
    assert [record.id for record in manifest.table] == ["a/one.mp4@0-0.5", "a/one.mp4@0.5-1", "b/gone.mp4"]
    assert manifest.table.columns["frames_decodable"].tolist() == [10, 10, -1]
    assert manifest.table.reason(2) == "cannot be read (No such file or directory)"


def _entries(to: Path) -> list[dict]:
    return [json.loads(line) for line in partial(to).read_text().splitlines()[1:]]


@pytest.fixture
def stopped_scan(folder: Path, to: Path) -> Path:
    """A scan that was stopped after two files, one of which got a false width in the journal."""
    assert not scanned(folder, to, processes=1, stopped=lambda: len(_entries(to)) >= 2)
    assert not to.exists()
    lines = partial(to).read_text().splitlines()
    assert 3 <= len(lines) < 7
    entry = json.loads(lines[1])
    lines[1] = json.dumps({**entry, "width": 4321})
    partial(to).write_text("\n".join(lines) + "\n")
    return folder / entry["path"]


def width_of(path: Path, manifest: Manifest) -> int:
    names = [record.path.resolve() for record in manifest.table]
    return int(manifest.table.columns["width"][names.index(path)])


def test_a_stopped_scan_resumes(stopped_scan: Path, folder: Path, to: Path) -> None:
    assert scanned(folder, to)
    assert width_of(stopped_scan, read_manifest(to)) == 4321  # it was not measured again
    assert len(read_manifest(to).table) == 6
    assert not partial(to).exists()


def test_a_changed_file_is_measured_again(stopped_scan: Path, folder: Path, to: Path) -> None:
    os.utime(stopped_scan, (1, 1))
    assert scanned(folder, to)
    assert width_of(stopped_scan, read_manifest(to)) == 64


def test_a_file_that_was_given_up_is_tried_again(stopped_scan: Path, folder: Path, to: Path) -> None:
    lines = partial(to).read_text().splitlines()
    lines[1] = json.dumps({**json.loads(lines[1]), "given_up": True, "reason": "took longer than 60 s"})
    partial(to).write_text("\n".join(lines) + "\n")
    assert scanned(folder, to)
    assert width_of(stopped_scan, read_manifest(to)) == 64
    assert read_manifest(to).table.count_bad() == 1


def test_a_scan_that_was_killed_while_writing_resumes(stopped_scan: Path, folder: Path, to: Path) -> None:
    with partial(to).open("a") as file:
        file.write('{"path": "b/thr')
    assert scanned(folder, to)
    assert width_of(stopped_scan, read_manifest(to)) == 4321


def test_a_scan_does_not_resume_with_other_options(stopped_scan: Path, folder: Path, to: Path) -> None:
    before = partial(to).read_text()
    with pytest.raises(InputError, match="was started with quick False, sha256 False, not quick True, sha256 False"):
        scanned(folder, to, quick=True)
    assert partial(to).read_text() == before


def test_two_scans_at_a_time(folder: Path, to: Path) -> None:
    with Journal(partial(to), {"quick": False, "sha256": False}), pytest.raises(InputError, match="another process"):
        scanned(folder, to)


def test_a_file_that_is_not_a_journal_stays_unchanged(folder: Path, to: Path) -> None:
    partial(to).write_text("my notes\nwithout an end")
    with pytest.raises(InputError, match=r"was not written by this command\. Move it elsewhere, or delete it"):
        scanned(folder, to)
    assert partial(to).read_text() == "my notes\nwithout an end"


def test_a_file_that_ends_its_process_is_listed(folder: Path, to: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Pool:
        def __init__(self, work: Callable, **options: object) -> None:
            self.work = work

        def answers(self, tasks: list) -> Iterator:
            failure = Failure("ended its worker process (signal 11, SIGSEGV)")
            for task in tasks:
                yield task, failure if "one" in task.path else self.work(task)

    monkeypatch.setattr(scanning, "WorkerPool", Pool)
    assert scanned(folder, to)
    manifest = read_manifest(to)
    assert manifest.table.reason(0) == "ended its worker process (signal 11, SIGSEGV)"
    assert manifest.table.columns["size_bytes"][0] == (folder / "a/one.mp4").stat().st_size
    assert manifest.table.count_bad() == 2


@pytest.mark.slow
def test_a_manifest_can_be_scanned_again(folder: Path, to: Path, tmp_path: Path) -> None:
    assert scanned(folder, to, sha256=True)
    (folder / BROKEN).write_bytes((folder / "a/one.mp4").read_bytes())
    assert scanned(to, tmp_path / "again.manifest")
    again = read_manifest(tmp_path / "again.manifest")
    assert again.good.all()
    assert "sha256" not in again.table.columns
    assert [record.id for record in again.table] == [record.id for record in read_manifest(to).table]
