"""The lists of a run, read and compared by all of its processes before anything large is loaded."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from pathlib import Path

from videopool.config import Config, differences, dump, from_plain, list_differences, to_plain
from videopool.data.lists.records import VideoList
from videopool.engine.builders.parts import read_list, reading
from videopool.engine.cluster.distributed import World
from videopool.engine.cluster.probe import check_facts, collect, hash_of_table, together
from videopool.errors import InputError

# May differ between hosts: where videos are, and what does not change the result.
_HOST_KEYS = ("data.root", "data.workers")


def read_lists(config: Config, world: World) -> tuple[VideoList, VideoList, str]:
    """Return the training and test videos, and warnings of the comparison of the processes ("" for none).

    Raises:
        InputError: for a list that cannot be read, or has one class only; for processes that differ or cannot read the
            videos. All processes raise it.
    """
    if world.size == 1:
        return *_read(config), ""
    _check_configuration(config, world)
    videos, tests = together(world, lambda: _read(config))
    equal = {"training list": _summary(videos), "test list": _summary(tests)}
    seed = 1000 * config.train.seed + world.rank
    facts = collect(equal, videos.records, reading(config), Path(config.out), seed=seed)
    world.gather(None)  # so that all read their clocks at the same time
    warnings = check_facts(world.gather(dataclasses.replace(facts, clock=time.time())))
    return videos, tests, "\n".join(f"warning: {text}" for text in warnings)


def _read(config: Config) -> tuple[VideoList, VideoList]:
    videos = read_list(config, config.data.train, None)
    if len(videos.classes) < 2:
        raise InputError(f"{videos.source} has only one class, {videos.classes[0]!r}{_classes_inside(videos)}")
    return videos, read_list(config, config.data.test, videos.classes)


def _classes_inside(videos: VideoList) -> str:
    """Return a hint if the only class is a folder of folders, which may be the classes."""
    inside = Path(videos.source) / videos.classes[0]
    nested = inside.is_dir() and all(record.path.parent != inside for record in videos.records)
    return f"; if the folders in it are the classes, give {inside}" if nested else "; give two or more"


def _check_configuration(config: Config, world: World) -> None:
    """Raise ``InputError`` naming the keys that differ from those of the first process."""
    shared = dataclasses.replace(config, data=dataclasses.replace(config.data, root="", workers=0))
    digests = world.gather(hashlib.sha256(dump(shared).encode()).hexdigest())
    if len(set(digests)) == 1:
        return
    hosts, plain = zip(*world.gather((world.host, to_plain(config))), strict=True)
    first = from_plain(plain[0], "the configuration of process 0")
    rank = next(rank for rank in range(world.size) if digests[rank] != digests[0])
    other = from_plain(plain[rank], f"the configuration of process {rank}")
    changed = differences(first, other, ignore=_HOST_KEYS)
    raise InputError(
        f"The configurations of process 0 ({hosts[0]}) and process {rank} ({hosts[rank]}) differ "
        f"(was: process 0, now: process {rank}): {list_differences(changed)}. Start all processes with the same "
        "command."
    )


def _summary(videos: VideoList) -> str:
    return f"{len(videos.records)} videos, {len(videos.classes)} classes, digest {hash_of_table(videos.records)}"
