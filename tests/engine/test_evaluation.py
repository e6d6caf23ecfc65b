"""Evaluation of videos with different numbers of views, and in processes with few or no videos."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import itertools
import json
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn

from tests.engine.whole_scores import metrics_of, score_all
from videopool.engine.cluster.distributed import World
from videopool.engine.scoring import own_scores, score_shards
from videopool.engine.scoring.evaluation import Evaluation, EvaluationPlan, evaluate
from videopool.engine.scoring.results import write_results
from videopool.engine.scoring.score_shards import ShardFolder
from videopool.errors import InputError
from videopool.types import BadVideo, Batch, VideoRecord

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


def several_labels(plan: EvaluationPlan) -> EvaluationPlan:
    """Return ``plan`` with several classes for each video."""
    targets = torch.tensor([[1, 1, 0], [0, 1, 0], [1, 0, 1], [0, 0, 1], [0, 1, 1.0]])
    return dataclasses.replace(plan, targets=targets)


def mean_of_first(means: torch.Tensor, truth: torch.Tensor) -> float:
    return float((means[:, 0] * len(truth)).sum())


def failing(means: torch.Tensor, truth: torch.Tensor) -> float:
    raise RuntimeError("no reason")


PLANS = {
    "one": plan_of,
    "several": lambda *given: several_labels(plan_of(*given)),
    "custom": lambda *given: dataclasses.replace(plan_of(*given), metrics={"mean_of_first": mean_of_first}),
    "unlabeled": lambda *given: dataclasses.replace(plan_of(*given), labels=torch.full((5,), -1), labeled=False),
}


def to_plain(result: Evaluation) -> dict[str, Any]:
    bad = [video.video for video in result.bad]
    return {**dataclasses.asdict(result.metrics), "custom": dict(result.custom), "bad": bad}


def save(result: Evaluation, folder: Path) -> dict[str, Any]:
    """Write the results with records of the names 0, 1, ..., and return the content of each file."""
    records = [VideoRecord(str(video), Path(f"{video}.mp4"), 0) for video in range(5)]
    write_results(folder, result, records, CLASSES, {}, allow_missing=True)
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".part"}


@pytest.mark.parametrize("name", ["one", "several", "custom"])
def test_metrics_are_those_of_all_clips_at_once(name: str) -> None:
    plan = PLANS[name]([0, 1, 2, 3, 4], 3, 2)
    expected = metrics_of(score_all(Network(), plan), plan)
    assert to_plain(run(plan, World(0, 1, CPU))) == {**expected, "bad": [3]}


def test_scores_npz_has_the_bytes_of_savez(tmp_path: Path) -> None:
    plan = several_labels(plan_of([4, 2, 0, 1], 3, 2))
    with ShardFolder(tmp_path, World(0, 1, CPU)) as files:
        result = evaluate(Network(), plan, world=World(0, 1, CPU), files=files)
        found = save(result, tmp_path)["scores.npz"]
        assert len(list(tmp_path.glob("*.part"))) == 2
    assert not list(tmp_path.glob("*.part"))
    clips, expected = score_all(Network(), plan), io.BytesIO()
    columns = {
        name: getattr(clips, name).numpy() for name in ("video", "view", "scores", "labels", "seconds", "logits")
    }
    listed = "".join(json.dumps([str(video), 0]) + "\n" for video in range(5))
    np.savez(
        expected,
        **columns,
        names=np.array(list("01234")),
        classes=np.array(CLASSES),
        views=np.array(0),
        crops=np.array(1),
        several_labels=np.array(True),
        list_sha256=np.array(hashlib.sha256(listed.encode()).hexdigest()),
        weights=np.array(""),
        targets=plan.targets.numpy().astype(np.uint8),
    )
    assert found == expected.getvalue()


@pytest.mark.parametrize("numbers", [1, 7, 1000])
def test_the_size_of_chunks_makes_no_difference(numbers: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plan = several_labels(plan_of([0, 1, 2, 3, 4], 3, 2))
    expected = run(plan, World(0, 1, CPU))
    files = save(expected, tmp_path / "whole")
    monkeypatch.setattr(score_shards, "_CHUNK_NUMBERS", numbers)
    monkeypatch.setattr(own_scores, "_BLOCK_NUMBERS", numbers)
    result = run(plan, World(0, 1, CPU))
    assert to_plain(result) == to_plain(expected)
    assert save(result, tmp_path / "chunks") == files


def test_a_refusal_keeps_the_scores_and_removes_old_results(tmp_path: Path) -> None:
    records = [VideoRecord(str(video), Path(f"{video}.mp4"), label) for video, label in enumerate(LABELS.tolist())]
    for name in ("metrics.json", "scores.npz", "predictions.csv", "unscored.jsonl"):
        (tmp_path / name).write_text("old")
    result = run(plan_of([0, 1, 2, 3, 4], 3, 2), World(0, 1, CPU))
    with pytest.raises(InputError, match=r"1 of 5 videos could not be scored.*The scores of the others were kept"):
        write_results(tmp_path, result, records, CLASSES, {}, allow_missing=False)
    assert not (tmp_path / "metrics.json").exists()
    saved = np.load(tmp_path / "scores.npz")
    np.testing.assert_array_equal(saved["scores"], result.clips.scores)
    np.testing.assert_array_equal(torch.from_numpy(saved["logits"]).softmax(1), result.clips.scores)
    with (tmp_path / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == ["0", "1", "2", "4"]
    assert [row["label"] for row in rows] == ["a", "b", "c", "a"]
    assert [row["class"] for row in rows] == [CLASSES[result.videos.predicted[video]] for video in (0, 1, 2, 4)]
    bad = tuple(BadVideo(video, f"{video}.mp4", "is too short") for video in range(5))
    nothing = dataclasses.replace(run(plan_of([], 3, 2), World(0, 1, CPU)), bad=bad)
    with pytest.raises(InputError, match=r"None of the 5 videos could be scored \(the first: is too short\)"):
        write_results(tmp_path, nothing, records, CLASSES, {}, allow_missing=True)
    assert [path.name for path in tmp_path.iterdir()] == ["unscored.jsonl"]


def not_a_number(means: torch.Tensor, truth: torch.Tensor) -> float:
    return float("nan")


def test_metrics_that_are_nan_are_null(tmp_path: Path) -> None:
    plan = dataclasses.replace(plan_of([0, 1, 2, 3, 4], 3, 2), metrics={"not_a_number": not_a_number})
    text = save(run(plan, World(0, 1, CPU)), tmp_path)["metrics.json"]
    assert json.loads(text, parse_constant=pytest.fail)["custom"] == {"not_a_number": None}


def test_files_of_a_killed_evaluation_are_removed(tmp_path: Path) -> None:
    (tmp_path / "scores-00007.part").write_bytes(b"12345")
    with ShardFolder(tmp_path, World(0, 1, CPU)):
        assert not list(tmp_path.iterdir())


def test_no_clip_at_all(tmp_path: Path) -> None:
    with ShardFolder(tmp_path, World(0, 1, CPU)) as files:
        result = evaluate(Network(), plan_of([], 3, 2), world=World(0, 1, CPU), files=files)
        with pytest.raises(InputError, match="None of the 5 videos could be scored"):
            save(result, tmp_path)


def test_scores_that_are_not_finite_are_counted() -> None:
    plan = dataclasses.replace(plan_of([0, 1], 3, 2), preprocess=lambda clips: clips.float() * float("inf"))
    with pytest.raises(InputError, match="scores of 4 of 4 clips are not finite"):
        run(plan, World(0, 1, CPU))


# --- several processes ---------------------------------------------------------------------------------------------


SHARES = {
    2: [([0, 2, 4], [1, 3]), ([0, 1, 2, 3, 4], []), ([], [0, 1, 2, 3, 4])],
    3: [([0, 3], [1, 4], [2]), ([], [0, 1, 2, 3, 4], [])],
}


def run_one_of_several(rank: int, size: int, folder: str, results: Any) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=size)
    world, found = World(rank, size, CPU), []
    for shares, (name, make) in itertools.product(SHARES[size], PLANS.items()):
        plan, place = make(shares[rank], 3, 2), Path(folder, f"{len(found)}-{name}")
        place.mkdir(exist_ok=True)
        with ShardFolder(place, world) as files:
            result = evaluate(Network(), plan, world=world, files=files)
            found.append((name, to_plain(result), save(result, place) if world.main else None))
    for name, metric, videos in (("failed", failing, [rank]), ("two processes", mean_of_first, [0])):
        plan = dataclasses.replace(plan_of(videos, 3, 2), metrics={"failing": metric})
        with pytest.raises(ValueError, match=name):
            run(plan, world)
    results.put((rank, found))
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3])
def test_several_processes_of_which_some_may_have_no_videos(size: int, tmp_path: Path) -> None:
    alone = {name: run(make([0, 1, 2, 3, 4], 3, 2), World(0, 1, CPU)) for name, make in PLANS.items()}
    files = {name: save(result, tmp_path / name) for name, result in alone.items()}
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    arguments = [(rank, size, str(tmp_path), results) for rank in range(size)]
    processes = [context.Process(target=run_one_of_several, args=args, daemon=True) for args in arguments]
    for process in processes:
        process.start()
    for rank, found in (results.get(timeout=60) for _ in processes):  # no process hangs
        assert len(found) == len(SHARES[size]) * len(PLANS)
        for name, metrics, written in found:
            assert metrics == to_plain(alone[name])
            assert written == (None if rank else files[name])
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert not list(tmp_path.rglob("*.part"))


def run_in_own_folder(rank: int, folder: str, results: Any) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    place = Path(folder, str(rank))
    place.mkdir()
    try:
        with ShardFolder(place, World(rank, 2, CPU, host=f"host{rank}")):
            results.put("entered")
    except InputError as error:
        results.put(str(error))
    dist.destroy_process_group()


@pytest.mark.slow
def test_folders_that_are_not_shared_are_refused_before_the_work(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [
        context.Process(target=run_in_own_folder, args=(rank, str(tmp_path), results), daemon=True) for rank in range(2)
    ]
    for process in processes:
        process.start()
    for text in (results.get(timeout=60) for _ in processes):
        assert "process 1 on host1 does not see the files that process 0 writes" in text
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
