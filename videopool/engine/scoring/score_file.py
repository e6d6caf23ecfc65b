"""The file ``scores.npz`` of an evaluation, from which all metrics can be computed without videos or a checkpoint.

N clips, V videos, K classes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from videopool.engine.class_names import class_difference
from videopool.engine.scoring.evaluation import Evaluation
from videopool.engine.scoring.own_scores import OwnScores
from videopool.engine.scoring.score_shards import ScoreShard, first_of_each, write_npz
from videopool.errors import InputError
from videopool.files import atomic_write, escape_surrogates
from videopool.types import VideoRecord

_MEMBERS = (
    "video",
    "view",
    "scores",
    "labels",
    "seconds",
    "logits",
    "names",
    "classes",
    "views",
    "crops",
    "several_labels",
    "list_sha256",
)


@dataclasses.dataclass(frozen=True)
class ScoreFile:
    """The content of a file ``scores.npz``.

    Attributes:
        path: the file.
        names: the V videos, as in ``VideoRecord.id``.
        classes: the K names.
        shard: the N clips, sorted by (video, view).
        labels: int64 [V]; -1 without a label, or without a clip.
        targets: float32 [V,K], 1 for each class of a video, where it may have several and has labels; else None.
        views: views of a complete video; 0 for sliding windows.
        crops: the number of consecutive views that are crops of the same clip.
        several_labels: whether ``shard`` holds sigmoids instead of a softmax.
        list_sha256: hash of the list of videos (``hash_of_list``).
        weights: averaged or raw (``evaluate.weights``); "" if the file does not say which.
    """

    path: Path
    names: tuple[str, ...]
    classes: tuple[str, ...]
    shard: ScoreShard
    labels: torch.Tensor
    targets: torch.Tensor | None
    views: int
    crops: int
    several_labels: bool
    list_sha256: str
    weights: str = ""

    @property
    def labeled(self) -> bool:
        """Whether the list has labels."""
        return self.targets is not None if self.several_labels else bool((self.labels >= 0).any())

    def own_scores(self) -> OwnScores:
        """Return the scores of the clips and of their videos."""
        return OwnScores.of(self.shard, self.labels, classes=len(self.classes), views=self.views)

    def with_views(self, views: torch.Tensor) -> ScoreFile:
        """Return only the scores of the ``views`` with these numbers, int64 [n]."""
        return dataclasses.replace(self, shard=self.shard.select(torch.isin(self.shard.view, views)), views=len(views))


def hash_of_list(records: Sequence[VideoRecord]) -> str:
    """Return the SHA-256 of the names and labels of the videos in the order of the list, in hexadecimal.

    The folder of the videos makes no difference.
    """
    digest = hashlib.sha256()
    for record in records:
        labels = record.label if record.labels is None else record.labels
        digest.update(json.dumps([record.id, labels]).encode() + b"\n")
    return digest.hexdigest()


def write_scores(
    path: Path,
    evaluation: Evaluation,
    records: Sequence[VideoRecord],
    classes: Sequence[str],
    list_sha256: str,
    *,
    weights: str = "",
) -> Path:
    """Write the scores of an evaluation of ``records`` to ``path`` and return it.

    The arrays of N clips, sorted by video and view, are ``video``, ``view`` and ``labels`` int64 [N], ``seconds``
    float64 [N,2] (start and end), and the probabilities ``scores`` and ``logits`` float32 [N,K]. Video numbers are
    positions in ``names`` [V], the list. If videos may have several classes, ``labels`` are the first ones (-1: none)
    and ``targets`` uint8 [V,K] all of them. Further arrays are ``classes`` [K], ``views`` (those of a complete video;
    0: sliding windows), ``crops`` (of each clip), ``several_labels``, ``list_sha256`` and ``weights``.
    """
    further = {
        "names": _texts([record.id for record in records]),
        "classes": _texts(classes),
        "views": np.array(evaluation.videos.expected_views),
        "crops": np.array(evaluation.crops),
        "several_labels": np.array(evaluation.several_labels),
        "list_sha256": np.array(list_sha256),
        "weights": np.array(weights),
    }
    if evaluation.targets is not None:
        further["targets"] = evaluation.targets.numpy().astype(np.uint8)
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        write_npz(file, evaluation.shards, further)
    return path


def _texts(texts: Sequence[str]) -> np.ndarray:
    return np.array([escape_surrogates(text) for text in texts], dtype=np.str_)


def read_scores(path: Path) -> ScoreFile:
    """Return the content of a file that ``write_scores`` wrote.

    Raises:
        InputError: if it is not such a file.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = dict(archive)
    except (ValueError, EOFError, zipfile.BadZipFile, TypeError) as error:
        raise InputError(f"{path} is not a file of scores. Give the scores.npz of an evaluation.") from error
    missing = [name for name in _MEMBERS if name not in arrays]
    if missing:
        raise InputError(
            f"{path} has no array {missing[0]}, so it is not the scores.npz of an evaluation, or an older version "
            "wrote it. Evaluate the checkpoint again."
        )
    return _score_file(path, arrays)


def _score_file(path: Path, arrays: dict[str, np.ndarray]) -> ScoreFile:
    names, classes = (tuple(arrays[name].tolist()) for name in ("names", "classes"))
    _check_shapes(path, arrays, len(names), len(classes))
    video, view, of_clip = (torch.from_numpy(arrays[name].astype(np.int64)) for name in ("video", "view", "labels"))
    labels = torch.full((len(names),), -1, dtype=torch.int64)
    labels[video] = of_clip
    rows = first_of_each(video, view)
    seconds = torch.from_numpy(arrays["seconds"])[rows]
    shard = ScoreShard(video[rows], view[rows], of_clip[rows], seconds, rows, arrays["scores"], arrays["logits"])
    return ScoreFile(
        path=path,
        names=names,
        classes=classes,
        shard=shard,
        labels=labels,
        targets=torch.from_numpy(arrays["targets"]).float() if "targets" in arrays else None,
        views=int(arrays["views"]),
        crops=int(arrays["crops"]),
        several_labels=bool(arrays["several_labels"]),
        list_sha256=str(arrays["list_sha256"]),
        weights=str(arrays.get("weights", "")),
    )


def _check_shapes(path: Path, arrays: dict[str, np.ndarray], videos: int, classes: int) -> None:
    """Raise InputError for arrays of different lengths, or numbers of videos outside of the list."""
    clips = len(arrays["video"])
    expected = {"video": (clips,), "view": (clips,), "labels": (clips,), "seconds": (clips, 2)}
    expected |= {"scores": (clips, classes), "logits": (clips, classes), "targets": (videos, classes)}
    for name, shape in expected.items():
        if name in arrays and arrays[name].shape != shape:
            raise InputError(f"{path}: {name} must have the shape {shape}, not {arrays[name].shape}. Evaluate again.")
    if clips and not 0 <= arrays["video"].min() <= arrays["video"].max() < videos:
        raise InputError(f"{path}: video must be 0 to {videos - 1}. Evaluate again.")
    if clips and not -1 <= arrays["labels"].min() <= arrays["labels"].max() < classes:
        raise InputError(f"{path}: labels must be -1 to {classes - 1}. Evaluate again.")


def check_same_list(files: Sequence[ScoreFile]) -> None:
    """Check that all files are of the same videos and classes.

    Raises:
        InputError: naming two files that differ, and what differs.
    """
    first = files[0]
    for other in files[1:]:
        if other.classes != first.classes or other.several_labels != first.several_labels:
            raise InputError(
                f"{other.path} has other classes than {first.path} ({class_difference(other.classes, first.classes)})."
            )
        if other.list_sha256 != first.list_sha256:
            raise InputError(
                f"{other.path} is of another list of videos than {first.path} ({_list_difference(first, other)}). "
                "Evaluate both on the same data.test."
            )


def _list_difference(first: ScoreFile, other: ScoreFile) -> str:
    if len(first.names) != len(other.names):
        return f"{len(other.names)} and {len(first.names)} videos"
    for number, (one, name) in enumerate(zip(first.names, other.names, strict=True)):
        if one != name:
            return f"video {number} is {name!r}, not {one!r}"
    return "the same videos with other labels"
