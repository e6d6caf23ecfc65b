"""Read a folder of images as the frames of a video, in the order of their names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from videopool.data.decoding.image_reader import decoded, is_image, read_header
from videopool.data.decoding.reader import DecodeError, Grids, Outputs, Timing, VideoInfo, whole_frame
from videopool.data.decoding.source import Source
from videopool.ops.frames import RGB

_NUMBER = re.compile(r"(\d+)")
_LAST_NUMBER = re.compile(r"\d+(?!.*\d)")
_FRAMES = ("", "img", "image", "frame", "frames", "rgb")  # names of frames without their numbers
_MOST_KINDS = 6  # of images in a folder; more are unrelated names


class FolderReader:
    """The images of a folder as the frames of a video; see ``VideoReader``.

    Names are sorted by the numbers in them: ``img_2.jpg`` is before ``img_10.jpg``.

    Args:
        source: the folder.
        frames: the number of frames in the list; 0 for all.
        fps: the rate of the frames.

    Raises:
        DecodeError: if the folder cannot be read, has fewer images than ``frames``, or several kinds of images of which
            none is known to be the frames.
    """

    pixel_aspect = Fraction(1)

    def __init__(self, source: Source, frames: int, fps: float) -> None:
        assert source.path is not None
        self._source = source
        try:
            names = sorted((file.name for file in source.path.iterdir() if is_image(file)), key=_by_number)
        except OSError as error:
            raise DecodeError(source.name, f"cannot be read ({error.strerror or type(error).__name__})") from None
        names = _of_one_kind(source.name, names)
        if len(names) < max(frames, 1):
            listed = f"{len(names)} images, but the list says {frames} frames" if frames else "no images"
            raise DecodeError(source.name, f"has {listed}")
        self._names = names[:frames] if frames else names
        self.timing = Timing(len(self._names) / fps, fps, len(self._names))
        self._size: tuple[int, int] | None = None

    @property
    def info(self) -> VideoInfo:
        if self._size is None:
            self.clips([0.0], whole_frame(1))
        assert self._size is not None
        height, width = self._size
        return VideoInfo.of(self.timing, width=width, height=height)

    def clips(self, times: Sequence[float] | np.ndarray, grids: Grids) -> list[torch.Tensor]:
        outputs = Outputs(np.arange(self.timing.frames) / self.timing.fps, times, grids)
        for position, index in enumerate(outputs.wanted):
            picture = torch.from_numpy(self._read(self._names[index]))
            try:
                outputs.put(position, picture.unbind(2), RGB)
            except ValueError as error:
                raise DecodeError(self._source.name, f"is not a video: {error}") from None
        self._size = outputs.size
        return outputs.clips()

    def close(self) -> None:
        """Do nothing: no file stays open between calls."""

    def _read(self, name: str) -> np.ndarray:
        assert self._source.path is not None
        source = Source(self._source.path / name)
        header = read_header(source)
        try:
            return decoded(header)
        except Exception as error:  # Pillow has no error class for damage
            raise DecodeError(source.name, f"is truncated or damaged ({error})") from None
        finally:
            header.image.close()


def _of_one_kind(folder: str, names: list[str]) -> list[str]:
    """Return the images that are frames, without other kinds in the folder, such as ``flow_x_00001.jpg``.

    Kinds differ in the name before the last number and have about the same number of images.
    """
    kinds: dict[str, list[str]] = {}
    for name in names:
        kinds.setdefault(_LAST_NUMBER.split(Path(name).stem)[0], []).append(name)
    sizes = [len(kind) for kind in kinds.values()]
    if not 1 < len(kinds) <= _MOST_KINDS or min(sizes) < max(sizes) // 2 or max(sizes) < len(kinds):
        return names
    frames = [kind for start, kind in kinds.items() if start.lower().strip("_-. ") in _FRAMES]
    if len(frames) != 1:
        given = ", ".join(f"{start or '(nothing)'}*" for start in kinds)
        raise DecodeError(folder, f"has images of several kinds ({given}); keep the frames in a separate folder")
    return frames[0]


def _by_number(name: str) -> list[tuple[bool, int | str]]:
    return [(not part.isdecimal(), int(part) if part.isdecimal() else part) for part in _NUMBER.split(name) if part]
