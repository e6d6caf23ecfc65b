"""Folds split the videos by group."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from videopool.compare.folds import assign_folds, read_groups, write_folds
from videopool.errors import InputError


def test_folds_share_no_group_and_cover_all(people: Path, tmp_path: Path) -> None:
    table = read_groups(people / "all.csv", "person")
    folds = write_folds(table, 2, tmp_path)
    everything = (people / "all.csv").read_text().splitlines()
    tested: list[str] = []
    for fold in folds:
        train, test = (Path(name).read_text().splitlines() for name in (fold.train, fold.test))
        assert train[0] == test[0] == everything[0]
        assert sorted(train[1:] + test[1:]) == sorted(everything[1:])
        assert not {line.split(",")[2] for line in train[1:]} & {line.split(",")[2] for line in test[1:]}
        assert {line.split(",")[2] for line in test[1:]} == set(fold.groups)
        tested += test[1:]
    assert sorted(tested) == sorted(everything[1:])


def test_folds_balance_by_size() -> None:
    groups = ["a"] * 5 + ["b"] * 4 + ["c"] * 3 + ["d"] * 2
    assert assign_folds(groups, 2) == (("a", "d"), ("b", "c"))
    assert assign_folds(list("ihgfedcba"), 3) == (("a", "d", "g"), ("b", "e", "h"), ("c", "f", "i"))
    with pytest.raises(InputError, match="folds=3 must not exceed the number of groups, which is 2"):
        assign_folds(["a", "b"], 3)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("path,label\nx.mp4,a\n", "no column 'person'.*path, label"),
        ("path,label,person\nx.mp4,a,\n", "all.csv:2: column 'person' is empty. Every row needs a group."),
        ("path,label,person\n", "has no rows. Write a header, and a line for each video."),
    ],
)
def test_bad_tables(text: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "all.csv").write_text(text)
    with pytest.raises(InputError, match=expected):
        read_groups(tmp_path / "all.csv", "person")
    with pytest.raises(InputError, match=r"nowhere\.csv"):
        read_groups(tmp_path / "nowhere.csv", "person")


def test_each_group_goes_to_the_fold_with_the_fewest_videos() -> None:
    for seed in range(50):
        rng = np.random.default_rng(seed)
        groups = [f"g{group:02}" for group in rng.integers(0, 30, 200) ** 2 // 30]
        sizes = Counter(groups)
        expected: list[list[str]] = [[] for _ in range(4)]
        for group in sorted(sizes, key=lambda group: (-sizes[group], group)):
            min(expected, key=lambda fold: sum(sizes[name] for name in fold)).append(group)
        assert assign_folds(groups, 4) == tuple(tuple(sorted(fold)) for fold in expected)


def test_the_validation_fold_is_in_no_other_list(people: Path, tmp_path: Path) -> None:
    table = read_groups(people / "all.csv", "person")
    *folds, validation = write_folds(table, 3, tmp_path, validation=True)
    assert len(folds) == 2
    kept = Path(validation.test).read_text().splitlines()[1:]
    assert kept == [line for line in table.lines if line.endswith(f",{validation.groups[0]}")]
    lists = [Path(name).read_text() for fold in folds for name in (fold.train, fold.test)]
    assert not any(line in text for line in kept for text in lists)
    assert validation.train == folds[0].train
    assert len(Path(folds[1].train).read_text().splitlines()) == 1 + 8
