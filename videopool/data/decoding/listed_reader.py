"""What decord and torchcodec have in common: they give whole frames in RGB, which our timeline numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from videopool.data.decoding.reader import DecodeError, Grids, Outputs, Timing, VideoInfo
from videopool.data.decoding.source import Source
from videopool.data.decoding.timeline import Timeline
from videopool.ops.frames import RGB


class ListedReader:
    """A video that a library is open for; see ``VideoReader``.

    Args:
        source: the video.
        timeline: which frames it shows when.
        pick: gives the frames of some numbers (int64 [N], rising), uint8 [N,3,H,W], upright.
        reason: an error of the library in one line.
    """

    def __init__(
        self,
        source: Source,
        timeline: Timeline,
        pick: Callable[[np.ndarray], torch.Tensor],
        reason: Callable[[Exception], str],
    ) -> None:
        self._source = source
        self._starts = timeline.starts
        self._pick: Callable[[np.ndarray], torch.Tensor] | None = pick
        self._reason = reason
        self.info: VideoInfo = timeline.info
        self.pixel_aspect = timeline.aspect

    @property
    def timing(self) -> Timing:
        """See ``VideoReader.timing``."""
        return self.info.timing

    def clips(self, times: Sequence[float] | np.ndarray, grids: Grids) -> list[torch.Tensor]:
        """See ``VideoReader.clips``."""
        assert self._pick is not None
        outputs = Outputs(self._starts, times, grids)
        try:
            images = self._pick(outputs.wanted)
        except Exception as error:  # these libraries raise what their C++ code raised
            raise DecodeError(self._source.name, f"cannot be decoded ({self._reason(error)})") from None
        for position, image in enumerate(images):
            outputs.put(position, image.unbind(0), RGB)
        return outputs.clips()

    def close(self) -> None:
        """Let go of the library's reader: that of decord has a thread which reads ahead."""
        self._pick = None


def trusted(source: Source, fault: str) -> None:
    """Raises DecodeError where ``fault`` says why a library would give other frames than those on display."""
    if fault:
        raise DecodeError(source.name, f"{fault}: set data.decoder=auto or pyav, or re-encode the file")


def first_line(error: Exception) -> str:
    """The message of an error of C++ without the stack that follows it."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
