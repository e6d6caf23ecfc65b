"""The common part of the decord and torchcodec readers: both return whole RGB frames of our timeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from videopool.data.decoding.reader import DecodeError, Grids, Outputs, Timing, VideoInfo
from videopool.data.decoding.source import Source
from videopool.data.decoding.timeline import Timeline
from videopool.ops.frames import RGB

OTHER_DECODER = "use the decoder auto or pyav, or re-encode the file"


class ListedReader:
    """A video that is open in a library; see ``VideoReader``.

    Args:
        source: the video.
        timeline: the times of its frames.
        pick: returns upright frames uint8 [N,3,H,W] for their indices (int64 [N], increasing).
        reason: formats an error of the library in one line.
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
        self.timing: Timing = timeline.info.timing
        self.pixel_aspect = timeline.aspect

    def clips(self, times: Sequence[float] | np.ndarray, grids: Grids) -> list[torch.Tensor]:
        assert self._pick is not None
        outputs = Outputs(self._starts, times, grids)
        try:
            images = self._pick(outputs.wanted)
        except Exception as error:  # these libraries pass on errors of their C++ code
            raise DecodeError(self._source.name, f"cannot be decoded ({self._reason(error)})") from None
        for position, image in enumerate(images):
            outputs.put(position, image.unbind(0), RGB)
        return outputs.clips()

    def close(self) -> None:
        """Release the library's reader; that of decord has a thread that reads ahead."""
        self._pick = None


def check_supported(source: Source, timeline: Timeline, library: str) -> None:
    """Raise DecodeError if ``library`` ("decord" or "torchcodec") would return wrong frames of the video."""
    faults = {
        "is in a format without an index": not timeline.indexed,
        f"has {timeline.hidden} frames hidden by an edit list": timeline.hidden > 0,
        "is mirrored by its header": timeline.upright.mirrored,
        timeline.quirk: timeline.quirk != "",
        "stores no display times": not timeline.timed,
        "has open groups of pictures": timeline.open_groups and library == "decord",
    }
    fault = next((fault for fault, found in faults.items() if found), None)
    if fault is not None:
        raise DecodeError(source.name, f"{fault}, which {library} does not support; {OTHER_DECODER}")


def first_line(error: Exception) -> str:
    """Return the message of a C++ error without its stack trace."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
