"""Film strips: frames of the part of a video that was scored, side by side.

V videos, C channels, T frames, H rows, W columns.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence

import numpy as np
import torch

from videopool.config import Config, from_plain
from videopool.config import load as load_config
from videopool.config.error_keys import KEYS, worded
from videopool.data.decoding.decode import Reading
from videopool.data.decoding.reader import DecodeError
from videopool.data.decoding.timeout import with_timeout
from videopool.data.lists.table import VideoTable
from videopool.engine.builders.parts import read_list, reading
from videopool.engine.builders.stored_config import list_readers, refuse_code
from videopool.engine.scoring.score_file import hash_of_list
from videopool.errors import InputError
from videopool.report.evaluation.stored import METRICS, StoredEvaluation

FRAMES, SHORT_SIDE = 6, 112  # frames of a strip, and the pixels of their shorter side
_GAP, _QUALITY = 2, 75  # pixels between frames; quality of the JPEG


@dataclasses.dataclass(frozen=True)
class Strip:
    """Frames of a video: uint8 [H,W,3] with the frames side by side, or the reason why there are none."""

    pixels: np.ndarray | None
    reason: str = ""

    def jpeg(self) -> bytes:
        """Return the picture as JPEG; empty without one."""
        from PIL import Image

        if self.pixels is None:
            return b""
        file = io.BytesIO()
        Image.fromarray(self.pixels).save(file, format="JPEG", quality=_QUALITY, optimize=True)
        return file.getvalue()


class FilmStrips:
    """The film strips of the videos of an evaluation.

    Args:
        stored: the evaluation.
        config: that of the run, which tells where the videos are; None if it is not known.

    Attributes:
        note: why there are no pictures; "" if the list of videos was found.

    Raises:
        InputError: if the configuration names another list of videos than the evaluation has.
    """

    def __init__(self, stored: StoredEvaluation, config: Config | None) -> None:
        self.note = ""
        self._spans = _scored_spans(stored)
        self._reading = Reading()
        self._records: VideoTable | None = None
        if config is None:
            self.note = "There are no pictures, because the config.yaml of the run was not found."
            return
        try:
            self._records = read_list(config, config.data.test, stored.classes, may_lack_labels=True).records
        except InputError as error:
            self.note = f"There are no pictures: {worded(error, KEYS)}"
            return
        self._reading = reading(config)
        if hash_of_list(self._records) != stored.files[0].list_sha256:
            raise InputError(
                f"{stored.files[0].path} is of another list of videos than data.test={config.data.test} "
                f"({len(stored.files[0].names)} and {len(self._records)} videos). Give its list with data.test=LIST, "
                "or leave the pictures out with --pictures 0."
            )

    def strip(self, video: int) -> Strip:
        """Return the strip of the video at position ``video`` of the list."""
        if self._records is None:
            return Strip(None, "no picture")
        record = self._records[video]
        span = self._spans[video].tolist()

        def decode() -> torch.Tensor:
            with self._reading.open(record) as opened:
                return opened.frames_at(_spread(span), SHORT_SIDE)

        try:
            frames = with_timeout(decode, path=record.path, seconds=self._reading.timeout)
        except DecodeError as error:
            return Strip(None, f"The video {error.reason}.")
        return Strip(_side_by_side(frames))


def config_of(stored: StoredEvaluation, overrides: Sequence[str], *, trust: bool = False) -> Config | None:
    """Return the configuration of the evaluation, changed by ``overrides``; None if it is not known.

    Raises:
        InputError: without ``trust``, if it names a function that reads the list of videos.
    """
    if "config" in stored.metrics:  # of weights of another package
        path = stored.folder / METRICS
        config = from_plain(stored.metrics["config"], f"the config in {path}", overrides)
    elif stored.run is not None:
        path = stored.run / "config.yaml"
        config = load_config(path, [*stored.metrics.get("overrides", []), *overrides])
    else:
        return None
    if not trust:
        refuse_code(list_readers(config), path, overrides)
    return config


def _scored_spans(stored: StoredEvaluation) -> torch.Tensor:
    """Return the start of the first view and the end of the last one of each video in seconds, float64 [V,2]."""
    spans = torch.tensor([[torch.inf, -torch.inf]], dtype=torch.float64).repeat(len(stored.files[0].names), 1)
    for file in stored.files:
        starts, ends = file.shard.seconds.unbind(1)
        spans[:, 0].scatter_reduce_(0, file.shard.video, starts, "amin")
        spans[:, 1].scatter_reduce_(0, file.shard.video, ends, "amax")
    return spans


def _spread(span: Sequence[float]) -> list[float]:
    """Return ``FRAMES`` times in the middle of equal parts of ``span``; 0 if it is not known."""
    start, end = span
    if not 0 <= end - start < float("inf"):
        return [0.0]
    return [max(0.0, start + (number + 0.5) * (end - start) / FRAMES) for number in range(FRAMES)]


def _side_by_side(frames: torch.Tensor) -> np.ndarray:
    """Return uint8 [H,W',3] of frames uint8 [C,T,H,W], without those that repeat the one before them."""
    pictures = list(frames.permute(1, 2, 3, 0).numpy())
    kept = [now for before, now in zip([None, *pictures], pictures, strict=False) if not np.array_equal(before, now)]
    gap = np.full((kept[0].shape[0], _GAP, 3), 255, np.uint8)
    return np.concatenate([part for picture in kept for part in (gap, picture)][1:], axis=1)
