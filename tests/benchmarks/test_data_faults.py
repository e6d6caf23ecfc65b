"""benchmarks/data_faults on a small data set: its checks hold, and detect wrong outputs."""

from __future__ import annotations

import dataclasses

import pytest
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from benchmarks.data_faults import checks as data_faults
from benchmarks.data_faults import report
from benchmarks.data_faults.checks import LoaderOutput, Split
from benchmarks.data_faults.files import FAULTS, reason_fits
from videopool.types import BadVideo


@pytest.fixture(scope="module")
def split(tmp_path_factory) -> Split:
    folder = tmp_path_factory.mktemp("faults")
    return data_faults.make_splits(folder, train_per_class=3, test_per_class=2, part=0.1)[0]


@pytest.fixture(scope="module")
def passes(split):
    """Return the outputs of training and testing, with and without broken files; torch checks workers more often."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_MultiProcessingDataLoaderIter._try_get_data, "__defaults__", (0.2,))
        patch.setattr(data_faults, "TIMEOUT", 4.0)
        trained = data_faults.train_pass(split.broken)
        data_faults.restore_vanished(split)
        tested = data_faults.test_pass(split.broken)
    return trained, data_faults.train_pass(split.whole), tested, data_faults.test_pass(split.whole)


@pytest.mark.slow
def test_every_check_holds(split, passes):
    trained, train_whole, tested, test_whole = passes
    assert set(split.faults.values()) >= FAULTS.keys() - {"permission denied"}
    checks = data_faults.train_checks(split, trained, train_whole) | data_faults.test_checks(split, tested, test_whole)
    assert checks == dict.fromkeys(checks, True), (trained.bad, tested.bad)
    rows = report.fault_rows(split, split, trained, tested, split.broken[0].path.parent)
    outcomes = {(row["in training"], row["in the test"]) for row in rows if row["files, training"]}
    assert outcomes == {("1 replaced", "1 unscored"), ("1 read", "1 read")}
    text = report.page(rows, checks, {"a pass": (1.0, 2.0)}, "about")
    assert "NO" not in text


def changed(output: LoaderOutput, place: tuple[int, ...]) -> LoaderOutput:
    """Return the output with other pixels at ``place``."""
    video, _ = output.shown[place]
    return dataclasses.replace(output, shown={**output.shown, place: (video, "other")})


@pytest.mark.slow
def test_checks_detect_wrong_outputs(split, passes):
    trained, train_whole, tested, test_whole = passes
    good = next(video for video in range(len(split.whole)) if video not in split.failing)
    broken = min(split.failing)
    stranger = BadVideo(good, str(split.broken[good].path), "is empty")
    for wrong in (
        dataclasses.replace(trained, complete=False),
        dataclasses.replace(trained, bad=trained.bad[1:] if len(trained.bad) == len(split.failing) else ()),
        dataclasses.replace(trained, bad=(*trained.bad, stranger)),
        changed(trained, (good,)),
        dataclasses.replace(trained, shown={**trained.shown, (broken,): (broken, "shown")}),
    ):
        assert not all(data_faults.train_checks(split, wrong, train_whole).values())
    for wrong in (
        dataclasses.replace(tested, complete=False),
        dataclasses.replace(tested, bad=tested.bad[1:]),
        dataclasses.replace(tested, bad=(*tested.bad, tested.bad[0])),
        changed(tested, (good, 0)),
        dataclasses.replace(tested, shown={**tested.shown, (broken, 0): (good, "in its place")}),
    ):
        assert not all(data_faults.test_checks(split, wrong, test_whole).values())
    for fault in FAULTS:
        assert not reason_fits(fault, "is of another kind")


@pytest.mark.slow
def test_the_commands_finish_with_broken_files(tmp_path, monkeypatch):
    """Without the slow faults: one epoch of videopool train, and videopool evaluate."""
    quick = {name: fault for name, fault in FAULTS.items() if name not in ("hanging decoder", "killed worker")}
    monkeypatch.setattr(data_faults, "FAULTS", quick)
    monkeypatch.setattr(data_faults, "NETWORK", (*data_faults.NETWORK, "data.workers=0"))
    splits = data_faults.make_splits(tmp_path, train_per_class=3, test_per_class=2, part=0.1)
    checks = data_faults.command_checks(tmp_path, *splits)
    assert checks == dict.fromkeys(checks, True)
