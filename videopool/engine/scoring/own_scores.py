"""The scores of one process, and the part of them that processes exchange.

n clips and v videos of this process, N clips and V videos of all, K classes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from videopool.engine.cluster.distributed import World
from videopool.engine.scoring.score_shards import ScoreShard
from videopool.engine.scoring.scores import VideoResults, average_precision, label_ranks
from videopool.types import VideoScores

Value = TypeVar("Value")
Waiting = Callable[[], None]

_BLOCK_NUMBERS = 32_000_000  # scores that the main process holds at a time for mean average precision
_BEAT_SECONDS = 0.2  # a small part of the shortest timeout of collective operations, 1 s


def _no_note() -> None:
    pass


@dataclasses.dataclass(frozen=True)
class OwnScores:
    """The scores of this process.

    Attributes:
        shard: its n clips.
        owner: int64 [n], the position of each clip's video in ``results``.
        sums: float64 [v,K], probabilities summed over the views of each video.
        results: the results of its v videos.
        broken: the number of clips with scores that are not finite.
    """

    shard: ScoreShard
    owner: torch.Tensor
    sums: torch.Tensor
    results: VideoResults
    broken: int

    @staticmethod
    def of(shard: ScoreShard, labels: torch.Tensor, *, classes: int, views: int) -> OwnScores:
        """Return the scores of the clips of ``shard`` and of their videos.

        Args:
            shard: the clips.
            labels: int64 [V] of all videos.
            classes: K.
            views: ``VideoResults.expected_views``.
        """
        video, owner, counts = torch.unique(shard.video, return_inverse=True, return_counts=True)
        sums = torch.zeros(len(video), classes, dtype=torch.float64)
        ranks = torch.empty(len(shard), dtype=torch.int64)
        broken = 0
        for part, scores in shard.chunks():
            sums.index_add_(0, owner[part], scores.double())
            ranks[part] = label_ranks(scores, shard.labels[part])
            broken += int((~torch.isfinite(scores)).any(1).sum())
        correct = (torch.bincount(owner[ranks < min(k, classes)], minlength=len(video)) for k in (1, 5))
        summed = VideoScores(sums=sums, views=counts, labels=labels[video], expected_views=views)
        results = VideoResults.of(summed, clips=(next(correct), next(correct)), video=video)
        return OwnScores(shard, owner, sums, results, broken)

    def average_precisions(
        self, targets: torch.Tensor, world: World, waiting: Waiting = _no_note
    ) -> tuple[list[float], list[float]]:
        """Return the average precision of each class over all videos and over all clips that count.

        A video counts if it is complete and has a class. Every process must call this, and all get the result.

        Args:
            targets: [V,K] of all videos, 1 for each class of a video.
            world: this process among all.
            waiting: see ``on_main``.
        """
        positive = targets > 0
        videos = self.results.video
        counted = self.results.complete & positive[videos].any(1)
        clips = self.shard.select(counted[self.owner])
        means, kept = self.sums[counted] / self.results.views[counted, None], videos[counted]
        by_video = class_average_precisions(lambda part: means[:, part], kept, positive, world, waiting)
        by_clip = class_average_precisions(clips.columns, clips.video, positive, world, waiting)
        return by_video, by_clip


def class_average_precisions(
    columns: Callable[[slice], torch.Tensor],
    video: torch.Tensor,
    positive: torch.Tensor,
    world: World,
    waiting: Waiting = _no_note,
) -> list[float]:
    """Return the average precision of each class over the rows of all processes.

    The main process receives a few classes at a time. The order of the rows makes no difference: rows with equal scores
    share a rank.

    Args:
        columns: returns the scores of some classes, [n,k].
        video: int64 [n], the video of each row.
        positive: bool [V,K].
        world: this process among all.
        waiting: see ``on_main``.
    """
    classes, rows = positive.shape[1], sum(world.gather(len(video)))
    videos = world.gather_to_main(video)
    owner = torch.cat(videos) if videos else video
    size = max(1, _BLOCK_NUMBERS // max(1, rows))
    found: list[float] = []
    for first in range(0, classes, size):
        part = slice(first, min(first + size, classes))
        blocks = world.gather_to_main(columns(part).clone())
        truth = positive[owner, part] if blocks else positive[:0, part]
        found += on_main(world, functools.partial(_precisions, blocks, truth), waiting)
    return found


def _precisions(blocks: list[torch.Tensor], truth: torch.Tensor) -> list[float]:
    """Return the average precision of each class from blocks [n,k] of scores and the ``truth``, bool [N,k]."""
    return [average_precision(*pair) for pair in zip(torch.cat(blocks).unbind(1), truth.unbind(1), strict=True)]


def on_main(world: World, compute: Callable[[], Value], waiting: Waiting = _no_note) -> Value:
    """Return on every process what ``compute`` returns on the main process.

    It may take longer than the timeout of collective operations, because the main process sends a message to the others
    several times per second until it is done.

    Args:
        world: this process among all.
        compute: called on the main process only.
        waiting: called on every process each time a message is sent.

    Raises:
        ValueError: on every process, if it is raised there.
    """
    outcome: list[Any] = [None, None]
    if world.main:
        with _beats(world, waiting):
            try:
                outcome[0] = compute()
            except ValueError as error:  # also InputError
                outcome[1] = error
    while world.size > 1 and _broadcast(world, ["done"]) == ["wait"]:
        waiting()
    if world.size > 1:
        outcome = _broadcast(world, outcome)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]  # type: ignore[no-any-return]


@contextlib.contextmanager
def _beats(world: World, waiting: Waiting) -> Iterator[None]:
    """Send "wait" to the other processes every ``_BEAT_SECONDS``, from a thread of the main process."""
    done = threading.Event()

    def beat() -> None:
        with contextlib.suppress(RuntimeError):  # another process has ended; the main thread raises the error
            while not done.wait(_BEAT_SECONDS):
                _broadcast(world, ["wait"])
                waiting()

    thread = threading.Thread(target=beat, name="evaluation beats", daemon=True)
    if world.size > 1:
        thread.start()
    try:
        yield
    finally:
        done.set()
        if world.size > 1:
            thread.join()


def _broadcast(world: World, values: list[Any]) -> list[Any]:
    """Return the ``values`` of the main process on every process."""
    dist.broadcast_object_list(values, src=0, group=world.hosts)
    return values
