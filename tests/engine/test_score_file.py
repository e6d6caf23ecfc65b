"""Files of scores: what is written is read, and what is not a file of scores is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.engine.test_evaluation import CLASSES, CPU, LABELS, PLANS, plan_of, run, several_labels
from videopool.engine.cluster.distributed import World
from videopool.engine.scoring.score_file import hash_of_list, read_scores, write_scores
from videopool.errors import InputError
from videopool.types import VideoRecord

RECORDS = [
    VideoRecord(f"{video}.mp4", Path(f"/videos/{video}.mp4"), label) for video, label in enumerate(LABELS.tolist())
]


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    evaluation = run(plan_of([0, 1, 2, 3, 4], 3, 2), World(0, 1, CPU))
    return write_scores(tmp_path / "scores.npz", evaluation, RECORDS, CLASSES, hash_of_list(RECORDS))


@pytest.mark.parametrize("name", list(PLANS))
def test_what_is_written_is_read(name: str, tmp_path: Path) -> None:
    plan = PLANS[name]([0, 1, 2, 3, 4], 3, 2)
    evaluation = run(plan, World(0, 1, CPU))
    file = read_scores(write_scores(tmp_path / "scores.npz", evaluation, RECORDS, CLASSES, "hash"))
    assert (file.classes, file.views, file.list_sha256) == (CLASSES, 0, "hash")
    assert file.names == ("0.mp4", "1.mp4", "2.mp4", "3.mp4", "4.mp4")
    clips, expected = file.shard.clips(), evaluation.clips
    for column in ("scores", "logits", "video", "view", "labels"):
        assert torch.equal(getattr(clips, column), getattr(expected, column))
    assert file.labels.tolist() == [0, 1, 2, -1, 0]  # video 3 has no clip
    assert file.several_labels == (name == "several")
    assert (file.targets is None) == (name != "several")
    if file.targets is not None:
        assert torch.equal(file.targets, several_labels(plan).targets)


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    evaluation = run(plan_of([0, 1, 2, 3, 4], 3, 2), World(0, 1, CPU))
    records = [VideoRecord("caf\udce9.mp4", Path("caf\udce9.mp4"), 0), *RECORDS[1:]]
    path = write_scores(tmp_path / "scores.npz", evaluation, records, CLASSES, hash_of_list(records))
    assert read_scores(path).names[0] == "caf\\udce9.mp4"


def test_the_hash_is_of_names_and_labels() -> None:
    moved = [VideoRecord(record.id, Path("/elsewhere") / record.id, record.label) for record in RECORDS]
    assert hash_of_list(moved) == hash_of_list(RECORDS)
    others = [
        RECORDS[::-1],
        RECORDS[:4],
        [*RECORDS[:4], VideoRecord("4.mp4", Path("4.mp4"), 1)],
        [*RECORDS[:4], VideoRecord("5.mp4", Path("4.mp4"), 0)],
        [*RECORDS[:4], VideoRecord("4.mp4", Path("4.mp4"), 0, labels=(0, 1))],
    ]
    assert len({hash_of_list(records) for records in [RECORDS, *others]}) == 6


@pytest.mark.parametrize("size", [0, 10, 500, -30])
def test_a_damaged_file_is_refused(size: int, stored: Path) -> None:
    stored.write_bytes(stored.read_bytes()[:size])
    with pytest.raises(InputError, match=r"scores\.npz is not a file of scores"):
        read_scores(stored)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"logits": None}, "has no array logits, so it is not the scores.npz of an evaluation, or an older version"),
        ({"scores": np.zeros((3, 3), np.float32)}, r"scores must have the shape \(15, 3\), not \(3, 3\)"),
        ({"video": np.full(15, 5)}, "video must be 0 to 4"),
        ({"labels": np.full(15, 3)}, "labels must be -1 to 2"),
        ({"targets": np.zeros((5, 2), np.uint8)}, r"targets must have the shape \(5, 3\), not \(5, 2\)"),
    ],
)
def test_other_arrays_are_refused(changed: dict[str, Any], message: str, stored: Path) -> None:
    arrays = {**np.load(stored), **changed}
    np.savez(stored, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(InputError, match=message):
        read_scores(stored)


def test_an_array_alone_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "scores.npz", np.zeros(3))
    (tmp_path / "scores.npz.npy").rename(tmp_path / "scores.npz")
    with pytest.raises(InputError, match="is not a file of scores"):
        read_scores(tmp_path / "scores.npz")
