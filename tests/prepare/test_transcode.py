"""Transcoding writes a complete copy of a data set, resumes, and never changes the sources."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.prepare.conftest import BROKEN
from videopool.data.decoding.decode import open_video
from videopool.data.decoding.reader import DecodeError
from videopool.data.lists.records import read_videos
from videopool.data.lists.table import VideoTable
from videopool.data.loading.dataset import TestVideos
from videopool.data.sampling import ClipSampling
from videopool.errors import InputError
from videopool.prepare import transcode as transcoding
from videopool.prepare.encode import EncodedFile, Encoding
from videopool.prepare.transcode import FAILED, JOURNAL, LIST, TranscodeResult, transcode
from videopool.types import BadVideo

SMALL = Encoding(short_side=32, keyframe_interval=4, crf=20, preset="ultrafast")
TARGETS = ["a/one.mp4", "a/two.mp4", "b/four words.mp4", "b/three.mp4", "c/five.mp4"]


def transcoded(source: Path, to: Path, encoding: Encoding = SMALL, **options: Any) -> TranscodeResult:
    return transcode(read_videos(source), to, encoding, **{"processes": 2, **options})


def below(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "small"


def test_a_tree_and_its_list(folder: Path, to: Path) -> None:
    before = below(folder)
    result = transcoded(folder, to)
    assert below(folder) == before
    assert sorted(below(to)) == sorted([*TARGETS, JOURNAL, FAILED, LIST, "classes.txt"])
    sources = [folder / name for name in TARGETS if name != "a/two.mp4"] + [folder / "a/two.avi"]
    assert result == TranscodeResult(
        files=5,
        source_bytes=sum(path.stat().st_size for path in sources),
        target_bytes=sum((to / name).stat().st_size for name in TARGETS),
        failed={BROKEN: "has no video stream"},
        finished=True,
    )
    with open_video(to / "a/two.mp4") as video:
        assert (video.info.width, video.info.height, video.info.frames) == (54, 32, 7)
    assert [json.loads(line) for line in (to / FAILED).read_text().splitlines()] == [
        {"path": BROKEN, "reason": "has no video stream"}
    ]


def test_uncompressed_files(folder: Path, to: Path) -> None:
    raw = Encoding(short_side=32, uncompressed=True)
    assert transcoded(folder, to, raw).files == 5
    assert sorted(below(to)) == sorted(
        [*(t.replace(".mp4", ".y4m") for t in TARGETS), JOURNAL, FAILED, LIST, "classes.txt"]
    )
    for record in read_videos(to / LIST).records:
        if record.path.exists():
            with open_video(record) as video:
                assert min(video.info.width, video.info.height) == 32
    assert transcoded(folder, to, raw).files == 5
    with pytest.raises(InputError, match="uncompressed"):
        transcoded(folder, to, SMALL)


def test_the_list_keeps_every_video_and_the_order_of_classes(folder: Path, to: Path) -> None:
    (folder / "classes.txt").write_text("c\nunused\nb\na\n")
    transcoded(folder, to)
    before, after = read_videos(folder), read_videos(to / LIST)
    assert after.classes == before.classes == ("c", "unused", "b", "a")
    np.testing.assert_array_equal(after.records.label, before.records.label)
    assert [record.path for record in after.records] == [
        to / Path(record.id).with_suffix(".mp4") for record in before.records
    ]
    with pytest.raises(DecodeError, match="cannot be read"), open_video(after.records[2]):
        pass


def test_spans_stay(folder: Path, to: Path) -> None:
    (folder / "list.csv").write_text("path,label,start,end\na/one.mp4,x,0.25,0.5\na/one.mp4,y,,0.125\n")
    assert transcoded(folder / "list.csv", to).files == 1
    spans = [(record.start_seconds, record.end_seconds) for record in read_videos(to / LIST).records]
    assert spans == [(0.25, 0.5), (None, 0.125)]


@pytest.fixture
def begun(folder: Path, to: Path) -> list[str]:
    """The files that were finished when the work was stopped, after the second of them."""
    journal = to / JOURNAL
    stopped = lambda: len(journal.read_text().splitlines()) > 2  # noqa: E731
    result = transcoded(folder, to, stopped=stopped, processes=1)
    assert not result.finished
    assert not (to / LIST).exists()
    done = [json.loads(line)["path"] for line in journal.read_text().splitlines()[1:]]
    assert result.files == len(done) == 2
    return done


def test_finished_files_stay_unchanged(begun: list[str], folder: Path, to: Path) -> None:
    targets = [to / Path(name).with_suffix(".mp4") for name in begun]
    for target in targets:
        os.utime(target, (1, 1))
    assert transcoded(folder, to).files == 5
    assert [target.stat().st_mtime for target in targets] == [1, 1]
    assert sorted(below(to)) == sorted([*TARGETS, JOURNAL, FAILED, LIST, "classes.txt"])


@pytest.mark.parametrize("change", ["source", "target", "no target"])
def test_changed_files_are_encoded_again(change: str, begun: list[str], folder: Path, to: Path) -> None:
    target = to / Path(begun[0]).with_suffix(".mp4")
    whole = target.read_bytes()
    if change == "source":
        os.utime(folder / begun[0], (1, 1))
        os.utime(target, (1, 1))
    elif change == "target":
        target.write_bytes(whole[:100])
    else:
        target.unlink()
    assert transcoded(folder, to).files == 5
    assert target.read_bytes() == whole
    assert target.stat().st_mtime != 1


def test_leftovers_of_killed_processes_are_removed(begun: list[str], folder: Path, to: Path) -> None:
    ours = to / f"{next(name for name in TARGETS if not (to / name).exists())}.tmp-123"
    ours.parent.mkdir(exist_ok=True)
    ours.write_bytes(b"half")
    other = to / "notes.mp4.tmp-123"
    other.write_bytes(b"of somebody else")
    transcoded(folder, to)
    assert not ours.exists()
    assert other.exists()


def test_other_settings_need_another_folder(begun: list[str], folder: Path, to: Path) -> None:
    before = below(to)
    with pytest.raises(InputError, match=r"short_side 32.*not short_side 48"):
        transcoded(folder, to, Encoding(48, 4, 20, "ultrafast"))
    assert below(to) == before


def test_nothing_is_overwritten(folder: Path, to: Path) -> None:
    before = below(folder)
    with pytest.raises(InputError, match="is not empty, and nothing in it is overwritten"):
        transcoded(folder, folder)
    (folder / "list.csv").write_text("path,label\na/two.avi,x\n")
    with pytest.raises(InputError, match="is not empty"):
        transcoded(folder / "list.csv", folder / "a")
    (folder / "list.csv").unlink()
    assert below(folder) == before


def test_two_files_with_one_target(folder: Path, to: Path) -> None:
    (folder / "a/two.mkv").touch()
    with pytest.raises(InputError, match=r"a/two.mkv and a/two.avi would both become a/two.mp4\. Rename one"):
        transcoded(folder, to)
    assert not to.exists()


@pytest.mark.parametrize("path", ["../outside.mp4", "/outside.mp4", "a/../../outside.mp4"])
def test_paths_outside_the_folder(path: str, folder: Path, to: Path) -> None:
    (folder / "list.csv").write_text(f"path,label\n{path},x\na/one.mp4,x\n")
    with pytest.raises(InputError, match=r"is outside .*\. Name a folder that holds all videos"):
        transcoded(folder / "list.csv", to)
    assert not to.exists()


def test_lists_that_a_csv_cannot_hold(folder: Path, to: Path) -> None:
    videos = read_videos(folder)
    table = VideoTable({**videos.records.columns, "frames": np.zeros(6, np.int32)}, folder)
    object.__setattr__(videos, "records", table)
    with pytest.raises(InputError, match="has folders of frames, for which a csv has no column"):
        transcode(videos, to, SMALL)


def test_a_class_that_no_list_can_hold_is_refused_at_once(folder: Path, to: Path) -> None:
    (folder / "a").rename(folder / " a")
    with pytest.raises(InputError, match=r"classes\.txt:1: ' a' cannot be a class name\. Write one name on each line"):
        transcoded(folder, to)
    assert not to.exists()


def test_several_classes_are_kept(folder: Path, to: Path) -> None:
    (folder / "list.csv").write_text("path,labels\na/one.mp4,y;x\nb/three.mp4,x\na/two.avi,\n")
    transcoded(folder / "list.csv", to)
    copy = read_videos(to / LIST)
    assert (copy.classes, [record.labels for record in copy.records]) == (("x", "y"), [(0, 1), (0,), ()])


def test_cut_clips_are_kept(folder: Path, to: Path) -> None:
    """Kinetics lists seconds of the whole video; the file may hold only that span."""
    (folder / "list.csv").write_text(
        "path,label,start_seconds,end_seconds,may_be_cut\na/one.mp4,x,417.0,418.0,1\nb/three.mp4,y,0.0,0.5,0\n"
    )
    transcoded(folder / "list.csv", to)
    records = read_videos(to / LIST).records
    assert [(record.start_seconds, record.may_be_cut) for record in records] == [(417.0, True), (0.0, False)]
    sampling = ClipSampling(frames=2, stride=1, scale=(16, 16), crop=16, test_scale=16, test_crop=16)
    videos = TestVideos(records, sampling, clips=1, crops=1)
    assert not any(isinstance(videos[number], BadVideo) for number in range(2))


def test_places_and_files_that_are_refused(folder: Path, to: Path) -> None:
    with pytest.raises(InputError, match=r"is inside .*, where it would be read as a class"):
        transcoded(folder, folder / "small")
    assert not (folder / "small").exists()
    Image.new("RGB", (8, 8)).save(folder / "still.png")
    (folder / "list.csv").write_text("path,label\na/one.mp4,x\nstill.png,x\n")
    with pytest.raises(InputError, match=r"still\.png is an image\. Transcode only videos"):
        transcoded(folder / "list.csv", to)
    odd = os.fsdecode(b"a/caf\xe9.mp4")
    (folder / odd).write_bytes((folder / "a/one.mp4").read_bytes())
    (folder / "still.png").unlink()
    with pytest.raises(InputError, match=r"a list cannot hold the name '.*caf.*'\. Rename the file"):
        transcoded(folder, to)
    assert not to.exists()


def test_a_full_disk_ends_the_work(folder: Path, to: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Pool:
        def __init__(self, work: object, **options: object) -> None:
            pass

        def answers(self, tasks: list) -> Iterator:
            yield tasks[0], EncodedFile(reason="cannot be encoded (No space left on device)", disk_full=True)
            pytest.fail("it continued")

    monkeypatch.setattr(transcoding, "WorkerPool", Pool)
    with pytest.raises(OSError, match="No space left") as error:
        transcoded(folder, to)
    assert error.value.filename == str(to)
