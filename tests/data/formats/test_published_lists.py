"""The real lists of published data sets: counts, classes and labels, compared with independent code."""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from videopool.data.lists.records import read_videos


@pytest.fixture
def annotations(shared_data: Path) -> Path:
    return shared_data / "annotations"


def label_map(annotations: Path, name: str) -> tuple[str, ...]:
    return tuple((annotations / "labels" / f"tools__data__{name}.txt").read_text().splitlines())


def test_kinetics_400(annotations, tmp_path, put):
    lists = annotations / "kinetics"
    put("abseiling/0wR5jVB-WPk_000417_000427.mp4")
    put("val/3caPS4FHFF8.mkv")
    videos = read_videos(lists / "kinetics-400_val.csv", root=tmp_path)
    rows = list(csv.DictReader((lists / "kinetics-400_val.csv").open(newline="")))
    assert len(videos.records) == len(rows) == 19_906
    assert videos.format == "kinetics"
    assert videos.classes == label_map(annotations, "kinetics__label_map_k400")
    assert [videos.classes[k] for k in videos.records.label] == [row["label"] for row in rows]
    trimmed, whole = videos.records[0], videos.records[1]
    assert (trimmed.path, trimmed.start_seconds) == (tmp_path / "abseiling/0wR5jVB-WPk_000417_000427.mp4", None)
    assert (whole.path, whole.start_seconds, whole.end_seconds) == (tmp_path / "val/3caPS4FHFF8.mkv", 36.0, 46.0)
    assert videos.note == "19904 of 19906 videos have no file"
    tiny = read_videos(lists / "tiny_val.csv", root=put("tiny/air drumming/_dbcJuKJQNs.mp4").parents[1])
    assert len(tiny.records) == 400
    assert tiny.classes == videos.classes
    assert (tiny.records[1].start_seconds, tiny.records[1].end_seconds) == (40.0, 50.0)


@pytest.mark.parametrize(("split", "train", "test"), [(1, 9537, 3783), (2, 9586, 3734), (3, 9624, 3696)])
def test_ucf101(annotations, tmp_path, put, split, train, test):
    lists = annotations / "ucf101"
    for group in (1, 8, 15):
        put(f"ApplyEyeMakeup/v_ApplyEyeMakeup_g{group:02d}_c01.avi")
    trained = read_videos(lists / f"trainlist0{split}.txt", root=tmp_path)
    tested = read_videos(lists / f"testlist0{split}.txt", root=tmp_path)
    assert (len(trained.records), len(tested.records)) == (train, test)
    assert trained.format == tested.format == "ucf101"
    assert trained.classes == tested.classes == label_map(annotations, "ucf101__label_map")
    numbers = [int(line.split()[1]) - 1 for line in (lists / f"trainlist0{split}.txt").read_text().splitlines()]
    assert trained.records.label.tolist() == numbers
    for videos in (trained, tested):
        assert all(record.path.parent.name == videos.classes[record.label] for record in videos.records)


@pytest.mark.parametrize("split", [1, 2, 3])
@pytest.mark.parametrize(("part", "code", "count"), [("train", "1", 3570), ("test", "2", 1530)])
def test_hmdb51(annotations, tmp_path, put, split, part, code, count):
    folder, classes = annotations / "hmdb51", label_map(annotations, "hmdb51__label_map")
    listed = [
        (line.split()[0], name)
        for name in classes
        for line in (folder / f"{name}_test_split{split}.txt").read_text().splitlines()
        if line.split()[1] == code
    ]
    put(f"wave/{listed[-1][0]}")
    videos = read_videos(f"{folder}#split{split}/{part}", root=tmp_path)
    assert len(videos.records) == count
    assert videos.classes == classes
    assert [(record.path.name, classes[record.label]) for record in videos.records] == listed
    assert set(Counter(videos.records.label.tolist()).values()) == {count // 51}


def test_something_something_v2_as_frames(annotations, tmp_path):
    (source,) = (annotations / "ssv2").glob("*validation*.txt")
    rows = np.loadtxt(source, dtype=np.int64)
    (tmp_path / str(rows[0, 0])).mkdir()
    videos = read_videos(source, root=tmp_path)
    assert videos.format == "frames"
    assert len(videos.records) == 24_777
    assert len(videos.classes) == len(label_map(annotations, "sthv2__label_map")) == 174
    assert videos.records.label.tolist() == rows[:, 3].tolist()
    assert videos.records.columns["frames"].tolist() == (rows[:, 2] + 1).tolist()  # the last frame, counted from 0
    assert videos.records[0].path == tmp_path / "74225"


def test_the_content_decides_the_format(annotations, tmp_path, put):
    shutil.copy(annotations / "kinetics" / "tiny_val.csv", tmp_path / "a.txt")
    put("_dbcJuKJQNs.mp4")
    assert read_videos(tmp_path / "a.txt").format == "kinetics"
    shutil.copy(annotations / "ucf101" / "trainlist01.txt", tmp_path / "b.csv")
    shutil.copy(annotations / "ucf101" / "classInd.txt", tmp_path / "classInd.txt")
    put("ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi")
    assert read_videos(tmp_path / "b.csv").format == "ucf101"
