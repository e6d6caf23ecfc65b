"""Metrics against counts by hand and slow references."""

import dataclasses
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.engine.results import results_of
from tests.engine.whole_scores import unknown_seconds
from videopool.engine.scoring.score_shards import ShardWriter
from videopool.engine.scoring.scores import ClipScores, VideoResults, measure, top_k

CLASSES = ("a", "b", "c")
COLUMNS = [field.name for field in dataclasses.fields(VideoResults) if field.name != "expected_views"]


def clip_scores(rows: list[tuple[int, int, list[float], int]]) -> ClipScores:
    video, view, scores, labels = zip(*rows, strict=True)
    probabilities = torch.tensor(scores, dtype=torch.float32)
    keys = (torch.tensor(column) for column in (video, view, labels))
    return ClipScores(probabilities, *keys, probabilities.log(), unknown_seconds(len(rows)))


def test_top_k_against_a_sorted_list() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(0, 4, (200, 7), generator=generator).float()  # many ties
    labels = torch.randint(0, 7, (200,), generator=generator)
    for k in (1, 2, 5, 7, 9):
        correct = sum(
            label in sorted(range(7), key=lambda c: (-row[c], c))[:k]
            for row, label in zip(scores.tolist(), labels.tolist(), strict=True)
        )
        assert top_k(scores, labels, k) == correct / 200


def test_top_k_of_few_classes_and_of_constant_nan_and_no_scores() -> None:
    labels = torch.tensor([0, 1, 2])
    assert top_k(torch.zeros(3, 3), labels, 5) == 1.0
    assert top_k(torch.zeros(3, 3), labels, 1) == pytest.approx(1 / 3)
    assert top_k(torch.full((3, 3), math.nan), labels, 1) == 0.0
    assert math.isnan(top_k(torch.zeros(0, 3), labels[:0], 1))


def test_a_shard_is_sorted_without_duplicates() -> None:
    writer = ShardWriter(3)
    writer.add(clip_scores([(1, 0, [0, 1, 0], 1), (0, 1, [1, 0, 0], 0)]))
    writer.add(clip_scores([(0, 0, [0, 1, 0], 0), (1, 0, [1, 0, 0], 1)]))
    clips = writer.finish().clips()
    assert clips.video.tolist() == [0, 0, 1]
    assert clips.view.tolist() == [0, 1, 0]
    assert clips.labels.tolist() == [0, 0, 1]
    assert clips.scores[:, 1].tolist() == [1, 0, 1]


def test_a_video_of_two_processes_is_refused() -> None:
    labels = torch.tensor([0, 1])
    part = results_of(clip_scores([(1, 0, [0, 1, 0], 1)]), labels=labels, classes=3, views=1)
    alone = VideoResults(*(getattr(part, name)[1:] for name in COLUMNS), expected_views=1)
    with pytest.raises(ValueError, match="video 1 was scored by two processes"):
        VideoResults.joined([alone, alone], labels)


def test_measure_matches_counts_by_hand() -> None:
    clips = clip_scores(
        [
            (0, 0, [0.9, 0.1, 0.0], 0),  # correct; sum: correct
            (0, 1, [0.2, 0.8, 0.0], 0),  # wrong
            (1, 0, [0.6, 0.4, 0.0], 1),  # wrong; sum 0.9 against 1.1: correct
            (1, 1, [0.3, 0.7, 0.0], 1),  # correct
            (2, 0, [0.9, 0.1, 0.0], 1),  # both wrong
            (2, 1, [0.9, 0.1, 0.0], 1),
            (3, 0, [0.0, 0.0, 1.0], 2),  # one of two views: unscored
        ]
    )
    videos = results_of(clips, labels=torch.tensor([0, 1, 1, 2]), classes=3, views=2)
    assert videos.complete.tolist() == [True, True, True, False]
    metrics = measure(videos, CLASSES)
    assert metrics.clip_top1 == pytest.approx(2 / 6)
    assert metrics.video_top1 == pytest.approx(2 / 3)
    assert metrics.video_top5 == 1.0
    assert metrics.top5_k == 3
    assert metrics.mean_class_accuracy == pytest.approx((1.0 + 0.5) / 2)
    assert metrics.per_class == {"a": 1.0, "b": 0.5, "c": None}
    assert metrics.confusion == [[1, 0, 0], [1, 1, 0], [0, 0, 0]]
    assert (metrics.videos, metrics.unscored, metrics.clips, metrics.views) == (4, 1, 6, 2)


def test_no_scored_video_gives_nan() -> None:
    clips = clip_scores([(0, 0, [1, 0, 0], 0)])
    videos = results_of(clips, labels=torch.tensor([0]), classes=3, views=2)
    metrics = measure(videos, CLASSES)
    assert math.isnan(metrics.video_top1)
    assert metrics.unscored == 1


PROGRAM = """
import sys, torch
from pathlib import Path
from videopool.engine.scoring.score_shards import ShardWriter
from videopool.engine.scoring.scores import ClipScores

def anonymous():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon"))

writer, weights = ShardWriter(700, Path(sys.argv[1])), torch.randn(700, 700)
for number in range(200):
    if number == 20:
        before = anonymous()
    keys = torch.arange(240)
    scores = (torch.randn(240, 700) @ weights).softmax(1)
    writer.add(ClipScores(scores, keys + 240 * number, keys, keys, scores.log(), torch.zeros(240, 2).double()))
writer.close()
print(anonymous() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc; runs on Linux")
def test_scores_in_a_file_take_no_memory(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "shard")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    grown = int(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)
    written = (tmp_path / "shard").stat().st_size // 1024
    assert written > 130_000
    assert grown < 0.2 * written, f"{grown} kB for {written} kB of scores"
