"""Evaluation of videos with different numbers of views, and in processes with few or no videos."""

from __future__ import annotations

import dataclasses
import multiprocessing
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

from videopool.engine.distributed import World
from videopool.engine.evaluation import Evaluation, EvaluationPlan, evaluate
from videopool.types import BadVideo, Batch

CLASSES = ("a", "b", "c")
CPU = torch.device("cpu")
LABELS = torch.tensor([0, 1, 2, 1, 0])
VIEWS = {0: 3, 1: 1, 2: 7, 3: 2, 4: 4}  # the decoding of video 3 fails after these


def clip_of(video: int, view: int) -> torch.Tensor:
    """Return the uint8 clip [1,1,1,3] of a view, which the network below turns into logits."""
    numbers = torch.tensor([37 * video + 11 * view, 5 * view, 90 * (video % 3)]) % 256
    return numbers.to(torch.uint8).view(1, 1, 1, 3)


class Network(nn.Module):
    """A network whose logits [B,3] are the clip. It fails for a batch without clips."""

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        assert len(clips)
        return clips.flatten(1) / 50


def batch_of(pairs: list[tuple[int, int]], bad: tuple[BadVideo, ...] = ()) -> Batch:
    video, view = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).unbind(1)
    clips = torch.stack([clip_of(*pair) for pair in pairs]) if pairs else torch.empty(0, 1, 1, 1, 3, dtype=torch.uint8)
    return Batch(clips, LABELS[video], video, view, torch.zeros(len(pairs), dtype=torch.bool), bad)


def plan_of(videos: list[int], size: int, parts: int) -> EvaluationPlan:
    """Return a plan for ``videos`` with batches of ``size`` clips, scored ``parts`` at a time."""
    pairs = [(video, view) for video in videos for view in range(VIEWS[video])]
    batches = [batch_of(pairs[first : first + size]) for first in range(0, len(pairs), size)]
    if 3 in videos:
        batches.append(batch_of([], (BadVideo(3, "3.mp4", "is damaged"),)))
    return EvaluationPlan(batches, LABELS, CLASSES, preprocess=torch.Tensor.float, views=0, batch=parts)


def run(plan: EvaluationPlan, world: World, seen: list[int] | None = None) -> Evaluation:
    seen = [] if seen is None else seen
    return evaluate(Network(), plan, world=world, on_videos=seen.append)


@pytest.mark.parametrize("size", [1, 4, 100])
@pytest.mark.parametrize("parts", [1, 3, 100])
def test_videos_with_different_numbers_of_views(size: int, parts: int) -> None:
    seen: list[int] = []
    result = run(plan_of([0, 1, 2, 3, 4], size, parts), World(0, 1, CPU), seen)
    correct = correct_clips = 0
    for video in (0, 1, 2, 4):
        scores = [(clip_of(video, view).flatten().double() / 50).softmax(0) for view in range(VIEWS[video])]
        correct += int(torch.stack(scores).sum(0).argmax() == LABELS[video])
        correct_clips += sum(int(score.argmax() == LABELS[video]) for score in scores)
    metrics = result.metrics
    assert metrics.video_top1 == correct / 4
    assert metrics.clip_top1 == correct_clips / 15
    assert 0 < correct < 4  # otherwise a missing video would not change the accuracy
    assert (metrics.videos, metrics.unscored, metrics.clips, metrics.views) == (5, 1, 15, 0)
    assert [bad.video for bad in result.bad] == [3]
    assert result.clips.video.unique().tolist() == [0, 1, 2, 4]  # without the views of video 3
    assert seen == sorted(seen)
    assert seen[-1] == 5


def test_missing_videos_are_unscored() -> None:
    result = run(plan_of([0, 2], 4, 4), World(0, 1, CPU))
    assert (result.metrics.videos, result.metrics.unscored) == (5, 3)


def test_split_batches_have_bad_videos_once() -> None:
    batch = batch_of([(0, 0), (0, 1), (0, 2), (1, 0), (2, 0)], (BadVideo(3, "a", "b"),))
    parts = batch.split(2)
    assert [len(part) for part in parts] == [2, 2, 1]
    for field in dataclasses.fields(Batch):
        column = getattr(batch, field.name)
        if isinstance(column, torch.Tensor):
            assert torch.equal(torch.cat([getattr(part, field.name) for part in parts]), column)
    assert [len(part.bad) for part in parts] == [1, 0, 0]
    assert [(len(part), len(part.bad)) for part in batch_of([], batch.bad).split(2)] == [(0, 1)]


# --- several processes ---------------------------------------------------------------------------------------------


SHARES = [([0, 2, 4], [1, 3]), ([0, 1, 2, 3, 4], []), ([], [0, 1, 2, 3, 4])]


def to_plain(result: Evaluation) -> tuple[dict[str, Any], list, list]:
    return dataclasses.asdict(result.metrics), result.clips.scores.tolist(), result.clips.video.tolist()


def run_one_of_two(rank: int, store: str, results: Any) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    results.put([to_plain(run(plan_of(shares[rank], 3, 2), World(rank, 2, CPU))) for shares in SHARES])
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_of_which_one_may_have_no_videos(tmp_path: Path) -> None:
    alone = to_plain(run(plan_of([0, 1, 2, 3, 4], 3, 2), World(0, 1, CPU)))
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    arguments = [(rank, str(tmp_path / "store"), results) for rank in range(2)]
    processes = [context.Process(target=run_one_of_two, args=args, daemon=True) for args in arguments]
    for process in processes:
        process.start()
    assert [results.get(timeout=60) for _ in processes] == [[alone] * len(SHARES)] * 2  # neither process hangs
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
