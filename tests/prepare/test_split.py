"""A split divides each class, keeps groups together, and depends only on its seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from videopool.data.lists.manifest import read_manifest
from videopool.data.lists.records import read_videos
from videopool.data.lists.table import VideoTable
from videopool.errors import InputError
from videopool.prepare.scan import scan
from videopool.prepare.split import assign_videos, groups_by_column, groups_by_path, split
from videopool.prepare.write_list import write_list
from videopool.types import VideoRecord

PARTS = {"train": 0.75, "test": 0.25}


def table_of(labels: list[int]) -> VideoTable:
    base = Path("/videos")
    return VideoTable.from_records([VideoRecord(str(n), base / str(n), label) for n, label in enumerate(labels)], base)


_FRACTIONS = st.lists(st.integers(1, 9), min_size=2, max_size=4).map(lambda n: [one / sum(n) for one in n])


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), _FRACTIONS, st.integers(0, 3))
def test_every_part_gets_its_fraction_of_every_class(labels: list[int], fractions: list[float], seed: int) -> None:
    part_of = assign_videos(table_of(labels), None, fractions, seed)
    assert len(part_of) == len(labels)
    for label in set(labels):
        of_class = part_of[np.array(labels) == label]
        for part, fraction in enumerate(fractions):
            assert abs((of_class == part).sum() - fraction * len(of_class)) < 1


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abcdefg")), min_size=1), _FRACTIONS, st.integers(0, 3))
def test_groups_stay_together(rows: list[tuple[int, str]], fractions: list[float], seed: int) -> None:
    groups = [group for _, group in rows]
    part_of = assign_videos(table_of([label for label, _ in rows]), groups, fractions, seed)
    assert all(len({*part_of[np.array(groups) == group].tolist()}) == 1 for group in set(groups))


@pytest.mark.parametrize("videos_of_a_class", [1, 3, 5, 7])
@pytest.mark.parametrize("fractions", [[0.5, 0.5], [0.75, 0.25], [0.5, 0.3, 0.2]])
def test_remainders_of_classes_even_out(videos_of_a_class: int, fractions: list[float]) -> None:
    part_of = assign_videos(table_of(videos_of_a_class * list(range(200))), None, fractions, seed=0)
    wanted = 200 * videos_of_a_class * np.array(fractions)
    assert np.abs(np.bincount(part_of) - wanted).max() <= 2


def test_groups_that_are_classes() -> None:
    labels = 5 * list(range(8))
    part_of = assign_videos(table_of(labels), [str(label) for label in labels], [0.75, 0.25], seed=0)
    assert np.bincount(part_of).tolist() == [30, 10]


def test_groups_of_several_classes_are_divided_by_class() -> None:
    """Nine people who do each of ten things once: six for training, three for testing."""
    people = [person for person in "abcdefghi" for _ in range(10)]
    part_of = assign_videos(table_of(9 * list(range(10))), people, [2 / 3, 1 / 3], seed=0)
    assert np.bincount(part_of).tolist() == [60, 30]


def test_seeds() -> None:
    table = table_of(100 * [0, 1])
    first, again, other = (assign_videos(table, None, [0.5, 0.5], seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert 60 < (first != other).sum() < 140  # half of them by chance


def test_several_classes_and_none() -> None:
    base = Path("/videos")
    labels = [(0, 1), (0,), (), (1,)] * 8
    records = [VideoRecord(str(n), base / str(n), next(iter(l), -1), labels=l) for n, l in enumerate(labels)]  # noqa: E741
    part_of = assign_videos(VideoTable.from_records(records, base), None, [0.5, 0.5], seed=0)
    without = part_of[2::4]
    assert np.bincount(without, minlength=2).tolist() == [4, 4]
    for label in (0, 1):
        having = part_of[[label in one for one in labels]]
        assert abs((having == 0).sum() - 8) <= 1


def test_lists_of_parts_read_back(folder: Path, tmp_path: Path) -> None:
    (folder / "classes.txt").write_text("c\nb\na\n")
    videos = read_videos(folder)
    parts = split(videos, tmp_path / "lists", {"train": 0.5, "test": 0.5}, seed=3)
    found = []
    for part, rows in parts.items():
        again = read_videos(tmp_path / f"lists/{part}.csv", root=folder)
        assert again.classes == ("c", "b", "a")
        assert list(again.records) == [videos.records[row] for row in rows.tolist()]
        found += again.records
    assert sorted(record.id for record in found) == sorted(record.id for record in videos.records)


def test_names_that_are_numbers_stay_names(folder: Path, tmp_path: Path) -> None:
    for old, new in (("a", "10"), ("b", "9"), ("c", "0")):
        (folder / old).rename(folder / new)
    videos = read_videos(folder)
    assert videos.classes == ("0", "10", "9")
    write_list(tmp_path / "lists/all.csv", videos.records, videos.classes)
    again = read_videos(tmp_path / "lists/all.csv", root=folder)
    assert again.classes == videos.classes
    np.testing.assert_array_equal(again.records.label, videos.records.label)


def test_parts_of_a_manifest_are_manifests(folder: Path, tmp_path: Path) -> None:
    assert scan(read_videos(folder), tmp_path / "all.manifest", quick=True, sha256=True)
    whole = read_manifest(tmp_path / "all.manifest")
    videos = read_videos(tmp_path / "all.manifest")
    parts = split(videos, tmp_path / "lists", {"train": 0.6, "test": 0.4}, command="a test")
    for part, rows in parts.items():
        again = read_manifest(tmp_path / f"lists/{part}.manifest")
        assert (again.classes, again.codecs, again.made) == (whole.classes, whole.codecs, "a test")
        for name in ("codec", "fps", "sha256", "label", "size_bytes"):
            np.testing.assert_array_equal(again.table.columns[name], whole.table.columns[name][rows])
        assert [again.table.reason(n) for n in range(len(rows))] == [whole.table.reason(row) for row in rows.tolist()]
        assert all(record.path.exists() for record in read_videos(tmp_path / f"lists/{part}.manifest").records)


def test_groups_by_path() -> None:
    table = table_of([0, 0])
    paths = ["v_Basketball_g01_c01.avi", "v_Basketball_g12_c02.avi"]
    named = VideoTable.from_records([VideoRecord("", Path("/v") / path, 0) for path in paths], Path("/v"))
    assert groups_by_path(named, r"_(g\d+)_") == ["g01", "g12"]
    assert groups_by_path(named, r"g\d") == ["g0", "g1"]
    with pytest.raises(InputError, match=r"group='g\(' is not a valid regular expression"):
        groups_by_path(table, "g(")
    with pytest.raises(InputError, match=r"group='g' does not match 0\. It must match every path"):
        groups_by_path(table, "g")


def test_groups_by_column(folder: Path) -> None:
    path = folder / "list.tsv"
    path.write_text(
        "Path\tLabel\tPerson\tsplit\na/one.mp4\tx\t ann\t1\n\na/two.avi\ty\tben\t2\nb/three.mp4\tx\tann\t1\n"
    )
    assert groups_by_column(read_videos(path), "person") == ["ann", "ben", "ann"]
    assert groups_by_column(read_videos(f"{path}#1"), "person") == ["ann", "ann"]
    with pytest.raises(InputError, match=r"no column 'subject'\. Choose one of path, label, person, split"):
        groups_by_column(read_videos(path), "subject")
    with pytest.raises(InputError, match=r"has no column 'person': it is not a table with a header"):
        groups_by_column(read_videos(folder), "person")
    path.write_text("path\tlabel\tperson\na/one.mp4\tx\t\n")
    with pytest.raises(InputError, match=r"list.tsv:2: column 'person' is empty"):
        groups_by_column(read_videos(path), "person")


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"train": 1.0}, "must be two or more"),
        ({"train": 0.5, "test": 0.4}, "train=0.5, test=0.4 must be .* add up to 1"),
        ({"train": 0.99, "test": 0.01}, "Part 'test' would get no video"),
    ],
)
def test_invalid_parts(parts: dict[str, float], message: str, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        split(read_videos(folder), tmp_path / "lists", parts)
    assert not (tmp_path / "lists").exists()


def test_nothing_is_overwritten(folder: Path, tmp_path: Path) -> None:
    to = tmp_path / "lists"
    to.mkdir()
    (to / "test.csv").write_text("precious")
    with pytest.raises(InputError, match=r"test.csv already exists"):
        split(read_videos(folder), to, PARTS)
    (to / "test.csv").unlink()
    (to / "classes.txt").write_text("another\norder\n")
    with pytest.raises(InputError, match=r"classes.txt has other classes or another order than the list"):
        split(read_videos(folder), to, PARTS)
    assert [path.name for path in to.iterdir()] == ["classes.txt"]
