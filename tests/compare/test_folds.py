"""Folds part the videos by group."""

from pathlib import Path

import pytest

from videopool.compare.folds import deal, read_table, write_folds
from videopool.errors import InputError


def test_folds_share_no_group_and_cover_all(people: Path, tmp_path: Path) -> None:
    table = read_table(people / "all.csv", "person")
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


def test_deal_balances_by_size() -> None:
    groups = ["a"] * 5 + ["b"] * 4 + ["c"] * 3 + ["d"] * 2
    assert deal(groups, 2) == (("a", "d"), ("b", "c"))
    assert deal(list("ihgfedcba"), 3) == (("a", "d", "g"), ("b", "e", "h"), ("c", "f", "i"))
    with pytest.raises(InputError, match="3 folds of 2 groups; give folds=2"):
        deal(["a", "b"], 3)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("path,label\nx.mp4,a\n", "no column 'person'.*path, label"),
        ("path,label,person\nx.mp4,a,\n", "all.csv:2: expected 3 cells with a person"),
        ("path,label,person\n", "a header and a line for each video"),
    ],
)
def test_bad_tables(text: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "all.csv").write_text(text)
    with pytest.raises(InputError, match=expected):
        read_table(tmp_path / "all.csv", "person")
    with pytest.raises(InputError, match=r"nowhere\.csv"):
        read_table(tmp_path / "nowhere.csv", "person")
