"""The clip scores of each process: in memory, or in a file that the main process merges with those of the others.

N clips, K classes. With 35,000 videos of 30 views and 700 classes the probabilities take 2.9 GB and the logits as much,
so no process loads those of all. ::

    process 0   scores-00000.part   video 0 view 0 | video 0 view 1 | video 2 view 0 | ...  \\
    process 1   scores-00001.part   video 1 view 0 | video 1 view 1 | video 3 view 0 | ...   >  scores.npz, sorted

The logits are in files of the same order, ``scores-00000-logits.part`` and so on.
"""

from __future__ import annotations

import array
import dataclasses
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from videopool.engine.cluster.distributed import World
from videopool.engine.cluster.shared_folder import check_shared
from videopool.engine.scoring.scores import ClipScores

_CHUNK_NUMBERS = 4_000_000  # scores that are read at a time: 16 MB
_PART = "scores-{:05d}.part"


@dataclasses.dataclass(frozen=True)
class ScoreShard:
    """The scores of the N clips of one process, sorted by (video, view), each pair once.

    Attributes:
        video, view, labels: int64 [N].
        seconds: float64 [N,2], start and end of each clip.
        rows: int64 [N], the row of each clip in ``stored``.
        stored: probabilities, float32 [M,K], in the order in which they were computed; M is at least N.
        logits: float32 [M,K], in the same order.
    """

    video: torch.Tensor
    view: torch.Tensor
    labels: torch.Tensor
    seconds: torch.Tensor
    rows: torch.Tensor
    stored: np.ndarray
    logits: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def chunks(self) -> Iterator[tuple[slice, torch.Tensor]]:
        """Yield the scores in order, a few megabytes at a time: which clips, and their scores float32 [n,K]."""
        size = max(1, _CHUNK_NUMBERS // max(1, self.stored.shape[1]))
        for first in range(0, len(self), size):
            part = slice(first, first + size)
            yield part, torch.from_numpy(self.stored[self.rows[part].numpy()])

    def columns(self, classes: slice) -> torch.Tensor:
        """Return the scores of some ``classes``, float32 [N,k]."""
        return torch.from_numpy(self.stored[self.rows.numpy(), classes])

    def clips(self) -> ClipScores:
        """Return all scores, in memory."""
        logits = torch.from_numpy(self.logits[self.rows.numpy()])
        return ClipScores(self.columns(slice(None)), self.video, self.view, self.labels, logits, self.seconds)

    def select(self, kept: torch.Tensor) -> ScoreShard:
        """Return the clips where ``kept`` (bool [N]) is true."""
        columns = (self.video, self.view, self.labels, self.seconds, self.rows)
        video, view, labels, seconds, rows = (column[kept] for column in columns)
        return ScoreShard(video, view, labels, seconds, rows, self.stored, self.logits)


class ShardWriter:
    """Collects the scores of one process.

    Args:
        classes: K.
        path: file for the probabilities, next to which that of the logits is made; None: keep both in memory.
    """

    def __init__(self, classes: int, path: Path | None = None) -> None:
        self._scores = _Rows(classes, path)
        self._logits = _Rows(classes, None if path is None else logits_file(path))
        # Growing arrays: a small tensor of each batch, kept between large ones that are freed, would break up the heap,
        # which then grows as if the scores were kept.
        self._keys = (array.array("q"), array.array("q"), array.array("q"))  # video, view, label
        self._seconds = array.array("d")

    def add(self, clips: ClipScores) -> None:
        """Add the scores of some clips, on the CPU, in any order."""
        self._scores.add(clips.scores)
        self._logits.add(clips.logits)
        for keys, column in zip(self._keys, (clips.video, clips.view, clips.labels), strict=True):
            keys.frombytes(column.contiguous().numpy().tobytes())
        self._seconds.frombytes(clips.seconds.contiguous().numpy().tobytes())

    def close(self) -> None:
        """Close the files."""
        self._scores.close()
        self._logits.close()

    def finish(self) -> ScoreShard:
        """Return what was added, sorted by (video, view); of a pair that was added twice, the first."""
        self.close()
        video, view, labels = (torch.from_numpy(np.array(keys)) for keys in self._keys)
        seconds = torch.from_numpy(np.array(self._seconds).reshape(-1, 2))
        rows = first_of_each(video, view)
        video, view, labels, seconds = (column[rows] for column in (video, view, labels, seconds))
        return ScoreShard(video, view, labels, seconds, rows, self._scores.read(), self._logits.read())


class _Rows:
    """Rows float32 [M,K] that are added a few at a time, in the file ``path`` or, without it, in memory."""

    def __init__(self, classes: int, path: Path | None) -> None:
        self._classes, self._path = classes, path
        self._file = None if path is None else path.open("wb")
        self._kept = [np.empty((0, classes), np.float32)]
        self._rows = 0

    def add(self, rows: torch.Tensor) -> None:
        added = rows.contiguous().numpy()
        self._rows += len(added)
        if self._file is None:
            self._kept.append(added)
        else:
            self._file.write(added.data)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def read(self) -> np.ndarray:
        return np.concatenate(self._kept) if self._path is None else _mapped(self._path, self._rows, self._classes)


def logits_file(path: Path) -> Path:
    """Return the file of the logits that belongs to the file ``path`` of probabilities."""
    return path.with_name(f"{path.stem}-logits.part")


def first_of_each(video: torch.Tensor, view: torch.Tensor) -> torch.Tensor:
    """Return int64 positions that sort by (video, view) and have each pair once: the first of equal ones."""
    order = np.lexsort((view.numpy(), video.numpy()))
    keys = np.stack([video.numpy(), view.numpy()], axis=1)[order]
    first = np.ones(len(order), dtype=bool)
    first[1:] = (keys[1:] != keys[:-1]).any(axis=1)
    return torch.from_numpy(order[first])


def _mapped(path: Path, rows: int, classes: int) -> np.ndarray:
    """Return the file ``path``, float32 [rows,classes], mapped into memory."""
    if not rows:
        return np.empty((0, classes), np.float32)
    return np.memmap(path, np.float32, mode="r", shape=(rows, classes))


class ShardFolder:
    """The folder of the files of all processes, a context manager. At its end the main process removes the files.

    Args:
        folder: exists, on a file system that all processes share.
        world: this process among all.

    Raises:
        InputError: on entering, if a process does not see the files of the main process.
    """

    def __init__(self, folder: Path, world: World) -> None:
        self.folder, self._world = folder, world
        self.path = folder / _PART.format(world.rank)

    def __enter__(self) -> ShardFolder:
        if self._world.main:
            self._remove()  # those of an evaluation that was killed
        check_shared(self.folder, self._world)
        return self

    def __exit__(self, *raised: object) -> None:
        if self._world.main:
            self._remove()

    def gather(self, shard: ScoreShard) -> tuple[ScoreShard, ...]:
        """Return the shards of all processes on the main process, and only this one on the others."""
        sent = self._world.gather_to_main(
            (shard.video, shard.view, shard.labels, shard.seconds, shard.rows, len(shard.stored), self.path.name)
        )
        if not self._world.main:
            return (shard,)
        classes = shard.stored.shape[1]
        return tuple(
            ScoreShard(*columns, *(_mapped(file, stored, classes) for file in self._files(name)))
            for *columns, stored, name in sent
        )

    def _files(self, name: str) -> tuple[Path, Path]:
        return self.folder / name, logits_file(self.folder / name)

    def _remove(self) -> None:
        for leftover in self.folder.glob("scores-*.part"):
            leftover.unlink(missing_ok=True)


def write_npz(file: BinaryIO, shards: Sequence[ScoreShard], further: Mapping[str, np.ndarray]) -> None:
    """Write the clips of all shards to ``file``, the same bytes as those of ``numpy.savez``.

    The arrays are ``video``, ``view`` and ``labels`` int64 [N], ``seconds`` float64 [N,2], and ``scores`` and
    ``logits`` float32 [N,K], sorted by video and view, and ``further`` ones. The scores are copied a few megabytes at
    a time.
    """
    video, view, labels, seconds = (
        torch.cat([getattr(shard, name) for shard in shards]) for name in ("video", "view", "labels", "seconds")
    )
    order = first_of_each(video, view)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        _write_member(archive, "video", video[order].numpy())
        _write_member(archive, "view", view[order].numpy())
        _write_rows(archive, "scores", shards, [shard.stored for shard in shards], order.numpy())
        _write_member(archive, "labels", labels[order].numpy())
        _write_member(archive, "seconds", seconds[order].numpy())
        _write_rows(archive, "logits", shards, [shard.logits for shard in shards], order.numpy())
        for name, values in further.items():
            _write_member(archive, name, values)


def _write_member(archive: zipfile.ZipFile, name: str, values: np.ndarray) -> None:
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        np.lib.format.write_array(member, values, allow_pickle=False)


def _write_rows(
    archive: zipfile.ZipFile,
    name: str,
    shards: Sequence[ScoreShard],
    stored: Sequence[np.ndarray],
    order: np.ndarray,
) -> None:
    """Write a member whose row i is that of clip ``order[i]``, counted over all shards; ``stored`` has their rows."""
    starts = np.cumsum([0, *(len(shard) for shard in shards)])
    of_shard = np.searchsorted(starts, order, side="right") - 1
    classes = stored[0].shape[1]
    size = max(1, _CHUNK_NUMBERS // max(1, classes))
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        header = {"descr": "<f4", "fortran_order": False, "shape": (len(order), classes)}
        np.lib.format.write_array_header_1_0(member, header)
        for first in range(0, len(order), size):
            positions, number = order[first : first + size], of_shard[first : first + size]
            chunk = np.empty((len(positions), classes), np.float32)
            for one in np.unique(number):
                here = number == one
                chunk[here] = stored[one][shards[one].rows.numpy()[positions[here] - starts[one]]]
            member.write(chunk.data)
