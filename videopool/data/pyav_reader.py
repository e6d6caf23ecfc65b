"""Reading frames with PyAV: every format FFmpeg knows, edit lists, open groups of pictures and rotation included.

The decoder runs forward once from the keyframe before the first frame that is wanted; only wanted frames are converted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from videopool.data.reader import DecodeError, as_frames, frame_on_display, scaled_size
from videopool.data.timeline import MISSING_FRAMES, Timeline, best_stream, ffmpeg_message, open_container


class PyAVReader:
    """A video open in PyAV; see ``VideoReader``. ``short_side`` in pixels, None for the video's own size."""

    def __init__(self, path: str | Path, timeline: Timeline, short_side: int | None = None) -> None:
        self._path = path
        self._timeline = timeline
        self.info = timeline.info
        self._size = scaled_size(width=self.info.width, height=self.info.height, short_side=short_side)

    def frames_at(self, times: Sequence[float] | np.ndarray) -> torch.Tensor:
        """See ``VideoReader.frames_at``."""
        wanted, positions = np.unique(frame_on_display(self._timeline.starts, times), return_inverse=True)
        width, height = self._size
        images = np.empty((len(wanted), height, width, 3), dtype=np.uint8)
        for position, frame in enumerate(self._wanted_frames(wanted)):
            images[position] = self._convert(frame)
        return as_frames(images, positions)

    def close(self) -> None:
        """Nothing stays open between calls."""

    def _wanted_frames(self, wanted: np.ndarray) -> Iterator[Any]:
        """One decoded frame for each index of ``wanted`` (rising), in that order."""
        shown, shown_index = None, -1
        position = 0
        for index, frame in self._decode_from(int(wanted[0])):
            while position < len(wanted) and wanted[position] < index:
                yield self._stand_in(int(wanted[position]), shown, shown_index, frame, index)
                position += 1
            shown, shown_index = frame, index
            if position < len(wanted) and wanted[position] == index:
                yield frame
                position += 1
            if position == len(wanted):
                return
        for index in wanted[position:]:
            yield self._stand_in(int(index), shown, shown_index, shown, shown_index)

    def _stand_in(self, index: int, shown: Any, shown_index: int, following: Any, following_index: int) -> Any:
        """The frame on display while frame ``index``, which the decoder did not give, should be."""
        near, distance = (shown, index - shown_index) if shown is not None else (following, following_index - index)
        if near is None or distance > MISSING_FRAMES:
            seconds = self._timeline.starts[index]
            raise DecodeError(self._path, f"is damaged: the frame at {seconds:.3f} s cannot be decoded")
        return near

    def _decode_from(self, index: int) -> Iterator[tuple[int, Any]]:
        """(index, frame) of the frames in display order, from the keyframe before frame ``index`` on."""
        import av

        container = open_container(self._path)
        try:
            if not self._seek(container, index):
                container.close()
                container = open_container(self._path)
            for count, frame in enumerate(container.decode(best_stream(container))):
                found = self._index_of(frame, count)
                if found is not None:
                    yield found, frame
        except (av.FFmpegError, ValueError) as error:
            reason = f"cannot be decoded to the end of the clip ({ffmpeg_message(error)})"
            raise DecodeError(self._path, reason) from None
        finally:
            container.close()

    def _seek(self, container: Any, index: int) -> bool:
        """Go to the keyframe at or before frame ``index``; False if that failed and the container is to be reopened.

        Where seeking cannot be trusted, or there is nothing to skip, decoding begins at the first frame.
        """
        import av

        timeline = self._timeline
        if not (timeline.timed and timeline.indexed):
            return True
        before = int(np.searchsorted(timeline.keyframes, timeline.pts[index], side="right")) - 1
        if before <= 0:
            return True
        stream, keyframe = best_stream(container), int(timeline.keyframes[before])
        try:
            container.seek(keyframe, stream=stream, backward=True, any_frame=False)
            landed = next(packet for packet in container.demux(stream) if packet.size)
            container.seek(keyframe, stream=stream, backward=True, any_frame=False)
        except (av.FFmpegError, StopIteration):
            return False
        return landed.is_keyframe and landed.pts is not None and landed.pts <= timeline.pts[index]

    def _index_of(self, frame: Any, count: int) -> int | None:
        """Which frame of the timeline this is; None for one that is not on display."""
        pts = self._timeline.pts
        if not self._timeline.timed:
            return count if count < len(pts) else None
        if frame.pts is None or frame.pts < pts[0]:
            return None
        return int(np.searchsorted(pts, frame.pts, side="right")) - 1

    def _convert(self, frame: Any) -> np.ndarray:
        """The frame as uint8 [H,W,3], RGB, upright and scaled (bilinear)."""
        turns = self._timeline.quarter_turns
        width, height = self._size[::-1] if turns % 2 else self._size
        rgb = frame.reformat(width=width, height=height, format="rgb24", interpolation="BILINEAR")
        return np.rot90(rgb.to_ndarray(), turns)
