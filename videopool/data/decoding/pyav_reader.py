"""Reading frames with PyAV: every format FFmpeg knows, edit lists, open groups of pictures and rotation included.

The decoder runs forward once from the keyframe before the first frame that is wanted. Frames that are neither wanted
nor needed for others are passed over without being decoded, and of those that are wanted only the pixels that are asked
for are converted.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from videopool.data.decoding.pixels import Upright, planes_of, upright_of
from videopool.data.decoding.reader import DecodeError, Grids, Outputs, Timing, VideoInfo, whole_frame
from videopool.data.decoding.source import Source
from videopool.data.decoding.timeline import (
    MISSING_FRAMES,
    PlainTimes,
    Timeline,
    best_stream,
    ffmpeg_message,
    open_container,
    packets_of,
    plain_times,
    read_timeline,
)

# Codecs in which FFmpeg can tell from a frame itself that no other is decoded from it. Not HEVC: what its decoder calls
# a non-reference picture may be one for pictures of a higher temporal layer.
_TELL_REFERENCES = ("h264", "mpeg4", "mpeg2video", "mpeg1video")
_PROGRESSIVE = (0, 1)  # AVFieldOrder: unknown, progressive. Of two fields one may be a reference and the other not


class _NotPlainError(Exception):
    """The packets are not what the header promised, or cannot be decoded: the whole list of them will tell."""


class _MissingFrameError(DecodeError):
    """A frame that the decoder did not give, and no other near it."""


class PyAVReader:
    """A video open in PyAV; see ``VideoReader``."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._timeline: Timeline | None = None
        self._plain: PlainTimes | None = None
        self._size: tuple[int, int] | None = None
        self._upright = Upright()
        self._sought = False  # whether decoding began behind the first keyframe
        self._entry: int | None = None  # pts of the keyframe that it began with, until that was given
        self._container = open_container(source)
        try:
            self._plain = plain_times(self._container)
            if self._plain is None:
                self._list()
        except BaseException:
            self.close()
            raise

    @property
    def timing(self) -> Timing:
        """See ``VideoReader.timing``."""
        if self._plain is not None:
            return self._plain.timing
        return self._listed.info.timing

    @property
    def info(self) -> VideoInfo:
        """See ``VideoReader.info``."""
        if self._plain is not None and self._size is None:
            self.clips([0.0], whole_frame(1))
        if self._plain is None:
            return self._listed.info
        assert self._size is not None
        timing, (height, width) = self.timing, self._size
        return VideoInfo(timing.duration_seconds, timing.fps, width, height, timing.frames)

    def clips(self, times: Sequence[float] | np.ndarray, grids: Grids) -> list[torch.Tensor]:
        """See ``VideoReader.clips``."""
        if self._plain is not None:
            outputs = Outputs(self._plain.starts, times, grids)
            try:
                self._fill(outputs, self._plain_frames(self._plain, outputs.wanted))
                return outputs.clips()
            except _NotPlainError:
                self._list()
            outputs = outputs.again(self._listed.starts, times)
        else:
            outputs = Outputs(self._listed.starts, times, grids)
        self._fill(outputs, self._listed_frames(outputs.wanted))
        return outputs.clips()

    def close(self) -> None:
        """Close the file."""
        if self._container is not None:
            self._container.close()
        self._container = None

    def _fill(self, outputs: Outputs, frames: Iterator[Any]) -> None:
        """Converts each frame while it is there: a decoder has few, and needs them again."""
        first = None
        for position, frame in enumerate(frames):
            if first is None:
                first = (frame.width, frame.height)
                self._upright = upright_of(frame)
            elif (frame.width, frame.height) != first:
                frame = frame.reformat(width=first[0], height=first[1])
            outputs.put(position, *planes_of(frame, self._upright))
        self._size = outputs.size
        if self._upright != Upright():
            frame = None
            gc.collect(0)  # see upright_of

    # --- files whose header says when each frame is shown ----------------------------------------------------------

    def _plain_frames(self, plain: PlainTimes, wanted: np.ndarray) -> Iterator[Any]:
        """One decoded frame for each index of ``wanted`` (rising), in that order; raises _NotPlainError."""
        import av

        targets = [plain.first + plain.step * int(index) for index in wanted]
        container, stream = self._container, best_stream(self._container)
        try:
            container.seek(targets[0], stream=stream, backward=True, any_frame=False)
            position = 0
            for frame in self._decoded(plain, stream, set(targets)):
                if not self._entered(frame):
                    raise _NotPlainError
                if frame.pts == targets[position]:
                    yield frame
                    position += 1
                    if position == len(targets):
                        return
                elif frame.pts is None or frame.pts > targets[position]:
                    raise _NotPlainError  # the decoder left one out
        except (av.FFmpegError, ValueError):
            raise _NotPlainError from None
        raise _NotPlainError

    def _decoded(self, plain: PlainTimes, stream: Any, targets: set[int]) -> Iterator[Any]:
        """The frames from here on, but for those that neither ``targets`` are nor others need.

        When the last target has gone in, the decoder is made to give what it holds back for later frames.
        """
        context = stream.codec_context
        tells = context.name in _TELL_REFERENCES and int(context.field_order) in _PROGRESSIVE
        first, step, end = plain.first, plain.step, plain.first + plain.step * plain.frames
        no_display_times = self._container.format.name == "avi"  # where FFmpeg has others than dts, it guesses
        begin, missing, passing = min(targets), len(targets), None
        with packets_of(self._container, stream) as packets:
            for packet in packets:
                pts = packet.pts
                if pts is None or (pts - first) % step or not first <= pts < end:
                    raise _NotPlainError
                if packet.is_corrupt or packet.is_discard or (no_display_times and pts != packet.dts):
                    raise _NotPlainError
                if passing is None:
                    if not packet.is_keyframe or pts > begin:
                        raise _NotPlainError  # seeking led to another place
                    self._entry = pts
                unwanted = pts not in targets
                if tells and unwanted is not passing:
                    context.skip_frame = "NONREF" if unwanted else "DEFAULT"
                passing = unwanted
                yield from packet.decode()
                if not unwanted:
                    missing -= 1
                    if not missing:
                        yield from context.decode(None)
                        return

    # --- all other files -------------------------------------------------------------------------------------------

    @property
    def _listed(self) -> Timeline:
        assert self._timeline is not None
        return self._timeline

    def _list(self) -> None:
        """Lists the packets; from now on they say where the frames are."""
        self.close()
        self._plain, self._timeline = None, read_timeline(self._source)

    def _listed_frames(self, wanted: np.ndarray) -> Iterator[Any]:
        """One decoded frame for each index of ``wanted`` (rising), in that order.

        What a decoder does not give after seeking it may give when it begins with the first frame: some streams can be
        entered at their beginning alone (periodic intra refresh), and others have frames that are damaged.
        """
        given = 0
        try:
            for frame in self._frames_behind(int(wanted[0]), wanted):
                yield frame
                given += 1
        except _MissingFrameError:
            if not self._sought:
                raise
            yield from self._frames_behind(0, wanted[given:])

    def _frames_behind(self, begin: int, wanted: np.ndarray) -> Iterator[Any]:
        """The same, decoded from the keyframe before frame ``begin`` on."""
        shown, shown_index = None, -1
        position = 0
        for index, frame in self._decode_from(begin):
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
        if near is None or distance > MISSING_FRAMES or (shown is None and self._sought):
            seconds = self._listed.starts[index]
            raise _MissingFrameError(self._source.name, f"is damaged: the frame at {seconds:.3f} s cannot be decoded")
        return near

    def _decode_from(self, index: int) -> Iterator[tuple[int, Any]]:
        """(index, frame) of the frames in display order, from the keyframe before frame ``index`` on."""
        import av

        self._container = open_container(self._source)
        try:
            self._entry, self._sought = None, False
            if not self._seek(self._container, index):
                self.close()
                self._container = open_container(self._source)
            with packets_of(self._container, best_stream(self._container)) as packets:
                for count, frame in enumerate(frame for packet in packets for frame in packet.decode()):
                    found = self._index_of(frame, count)
                    if not self._entered(frame):
                        raise _MissingFrameError(self._source.name, "is damaged: a keyframe cannot be decoded")
                    if found is not None:
                        yield found, frame
        except (av.FFmpegError, ValueError) as error:
            reason = f"cannot be decoded to the end of the clip ({ffmpeg_message(error)})"
            raise DecodeError(self._source.name, reason) from None
        finally:
            self.close()

    def _entered(self, frame: Any) -> bool:
        """False for a frame that comes in the place of the keyframe with which decoding began.

        A decoder leaves it out where the stream takes some frames to recover. What it gives then may be unfinished.
        """
        if self._entry is None or frame.pts is None or frame.pts < self._entry:
            return True
        entry, self._entry = self._entry, None
        return bool(frame.pts == entry)

    def _seek(self, container: Any, index: int) -> bool:
        """Go to the keyframe at or before frame ``index``; False if that failed and the container is to be reopened.

        Where seeking cannot be trusted, or there is nothing to skip, decoding begins at the first frame.
        """
        import av

        timeline = self._listed
        if not (timeline.timed and timeline.indexed):
            return True
        before = int(np.searchsorted(timeline.keyframes, timeline.pts[index], side="right")) - 1
        if before <= 0:
            return True
        stream, keyframe = best_stream(container), int(timeline.keyframes[before])
        try:
            container.seek(keyframe, stream=stream, backward=True, any_frame=False)
            with packets_of(container, stream) as packets:
                landed = next(packet for packet in packets if packet.size)
            container.seek(keyframe, stream=stream, backward=True, any_frame=False)
        except (av.FFmpegError, StopIteration):
            return False
        self._sought = landed.is_keyframe and landed.pts is not None and landed.pts <= timeline.pts[index]
        if self._sought and landed.pts >= timeline.pts[0]:  # one that is hidden is not given
            self._entry = landed.pts
        return self._sought

    def _index_of(self, frame: Any, count: int) -> int | None:
        """Which frame of the timeline this is; None for one that is not on display."""
        pts = self._listed.pts
        if not self._listed.timed:
            return count if count < len(pts) else None
        if frame.pts is None or frame.pts < pts[0]:
            return None
        return int(np.searchsorted(pts, frame.pts, side="right")) - 1
