"""Reading frames with PyAV: every format FFmpeg knows, edit lists and rotation included.

The packets are listed first, without decoding, which gives the exact start of every frame and the places where decoding
can begin; the decoder then runs forward once, and only the frames that are wanted are converted to RGB.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from videopool.data.reader import DecodeError, VideoInfo, as_frames, frame_on_display, scaled_size, video_info

_INDEXED_FORMATS = ("mov", "matroska", "avi")  # seeking lands on the right keyframe there; elsewhere it may not
_REORDER_FRAMES = 2  # frames a decoder may keep back at the end of an old AVI, or drop before the first keyframe


@dataclasses.dataclass(frozen=True)
class Header:
    """What the header and the first frame tell: upright size, quarter turns to make frames upright, frame count.

    ``announced_frames`` is 0 where the container does not say; ``seekable`` tells whether it has an index of its
    frames.
    """

    width: int
    height: int
    quarter_turns: int
    announced_frames: int
    seekable: bool


@dataclasses.dataclass(frozen=True)
class _Timeline:
    """The frames of a video, listed from its packets: ``pts`` int64 [N] rising, ``starts`` float64 [N] seconds.

    ``keyframes`` are the pts at which decoding can begin. ``timed`` is False where the container stores no display
    times: frames are then counted, and decoding begins at the first one.
    """

    pts: np.ndarray
    starts: np.ndarray
    end: float
    keyframes: np.ndarray
    timed: bool


def open_container(path: str | Path) -> Any:
    """The PyAV container at ``path``, which the caller closes; raises DecodeError for what is no video."""
    import av

    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DecodeError(path, f"is no video that FFmpeg can open ({_short(error)})") from None
    stream: Any = container.streams.best("video")
    if stream is None:
        container.close()
        raise DecodeError(path, "has no video stream")
    stream.thread_type = "NONE"  # one thread a worker: several cost more processor time than they save
    return container


def read_header(path: str | Path) -> Header:
    """Size, rotation and announced frame count of the video at ``path``; decodes its first frame."""
    import av

    container = open_container(path)
    try:
        stream = container.streams.best("video")
        first = next(iter(container.decode(stream)), None)
        if first is None:
            raise DecodeError(path, "has no frame that can be decoded")
        turns = round(first.rotation / 90) % 4
        size = (first.height, first.width) if turns % 2 else (first.width, first.height)
        return Header(*size, turns, stream.frames, container.format.name.startswith(_INDEXED_FORMATS))
    except (av.FFmpegError, ValueError) as error:
        raise DecodeError(path, f"has no frame that can be decoded ({_short(error)})") from None
    finally:
        container.close()


def check_frame_count(path: str | Path, found: int, announced: int) -> None:
    """Refuse a file that holds fewer frames than its header announces: it was cut off or damaged."""
    if found < announced - _REORDER_FRAMES:
        raise DecodeError(path, f"is truncated or damaged: its header announces {announced} frames, {found} are there")


class PyAVReader:
    """A video open in PyAV; see ``VideoReader``. ``short_side`` in pixels, None for the video's own size."""

    def __init__(self, path: str | Path, short_side: int | None = None) -> None:
        self._path = path
        self._header = read_header(path)
        self._timeline = _list_frames(path)
        self._size = scaled_size(width=self._header.width, height=self._header.height, short_side=short_side)
        self.info: VideoInfo = video_info(
            self._timeline.starts, self._timeline.end, self._header.width, self._header.height
        )

    def frames_at(self, times: Sequence[float] | np.ndarray) -> torch.Tensor:
        """See ``VideoReader.frames_at``."""
        wanted, positions = np.unique(frame_on_display(self._timeline.starts, times), return_inverse=True)
        width, height = self._size
        images = np.empty((len(wanted), height, width, 3), dtype=np.uint8)
        for position, frame in enumerate(self._wanted_frames(wanted)):
            images[position] = self._convert(frame)
        return as_frames(images if len(wanted) == len(positions) else images[positions])

    def close(self) -> None:
        """Nothing is held open between calls."""

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
        if near is None or distance > _REORDER_FRAMES:
            seconds = self._timeline.starts[index] - self._timeline.starts[0]
            raise DecodeError(self._path, f"is damaged: the frame at {seconds:.3f} s cannot be decoded")
        return near

    def _decode_from(self, index: int) -> Iterator[tuple[int, Any]]:
        """(index, frame) of the frames in display order, from the keyframe before frame ``index`` on."""
        import av

        container = open_container(self._path)
        try:
            stream = container.streams.best("video")
            if not self._seek(container, stream, index):
                container.close()
                container = open_container(self._path)
                stream = container.streams.best("video")
            for count, frame in enumerate(container.decode(stream)):
                found = self._index_of(frame, count)
                if found is not None:
                    yield found, frame
        except (av.FFmpegError, ValueError) as error:
            raise DecodeError(self._path, f"cannot be decoded to the end of the clip ({_short(error)})") from None
        finally:
            container.close()

    def _seek(self, container: Any, stream: Any, index: int) -> bool:
        """Go to the keyframe at or before frame ``index``; False if decoding must begin at the first frame."""
        import av

        timeline = self._timeline
        before = np.searchsorted(timeline.keyframes, timeline.pts[index], side="right") - 1
        if before <= 0 or not timeline.timed or not self._header.seekable:
            return False
        try:
            container.seek(int(timeline.keyframes[before]), stream=stream, backward=True, any_frame=False)
            first = next(packet for packet in container.demux(stream) if packet.size)
            landed = first.pts is not None and first.is_keyframe and first.pts <= timeline.pts[index]
            container.seek(int(timeline.keyframes[before]), stream=stream, backward=True, any_frame=False)
        except (av.FFmpegError, StopIteration):
            return False
        return bool(landed)

    def _index_of(self, frame: Any, count: int) -> int | None:
        """Which frame of the timeline this is; None for one that is not on display."""
        if not self._timeline.timed:
            return count if count < len(self._timeline.pts) else None
        if frame.pts is None or frame.pts < self._timeline.pts[0]:
            return None
        return int(np.searchsorted(self._timeline.pts, frame.pts, side="right")) - 1

    def _convert(self, frame: Any) -> np.ndarray:
        """The frame as uint8 [H,W,3], RGB, upright and scaled (bilinear)."""
        width, height = self._size if self._header.quarter_turns % 2 == 0 else self._size[::-1]
        rgb = frame.reformat(width=width, height=height, format="rgb24", interpolation="BILINEAR")
        return np.rot90(rgb.to_ndarray(), self._header.quarter_turns)


def _list_frames(path: str | Path) -> _Timeline:
    """The timeline of the video at ``path``, from its packets alone."""
    import av

    container = open_container(path)
    try:
        stream = container.streams.best("video")
        packets = [packet for packet in container.demux(stream) if packet.size]
        _check_packets(path, packets, stream.frames)
        rate = float(stream.average_rate or stream.guessed_rate or 25)
        return _timeline(path, packets, float(stream.time_base), rate, container.format.name)
    except (av.FFmpegError, ValueError) as error:
        raise DecodeError(path, f"is truncated or damaged ({_short(error)})") from None
    finally:
        container.close()


def _check_packets(path: str | Path, packets: list[Any], announced: int) -> None:
    if not packets:
        raise DecodeError(path, "has no frames")
    if any(packet.is_corrupt for packet in packets):
        raise DecodeError(path, "is truncated or damaged: it ends or breaks in the middle of a frame")
    check_frame_count(path, len(packets), announced)


def _timeline(path: str | Path, packets: list[Any], time_base: float, rate: float, container_format: str) -> _Timeline:
    keyframes = np.array(sorted(packet.pts for packet in packets if packet.is_keyframe and packet.pts is not None))
    visible = [packet for packet in packets if not packet.is_discard]
    if not visible:
        raise DecodeError(path, "has no frame on display: its edit list hides them all")
    if not _has_display_times(visible, container_format):
        count = np.arange(len(visible))
        return _Timeline(count, count / rate, len(visible) / rate, keyframes, timed=False)
    order = sorted(visible, key=lambda packet: packet.pts)
    pts = np.array([packet.pts for packet in order], dtype=np.int64)
    last = float(order[-1].duration or 0) * time_base or 1 / rate
    starts = (pts - pts[0]) * time_base
    return _Timeline(pts, starts, float(starts[-1]) + last, keyframes, timed=True)


def _has_display_times(packets: list[Any], container_format: str) -> bool:
    """Whether the packets carry true display times, one a frame.

    AVI stores none: with frames out of display order (pts unlike dts) FFmpeg only guesses them.
    """
    pts = [packet.pts for packet in packets]
    if any(value is None for value in pts) or len(set(pts)) < len(pts):
        return False
    return container_format != "avi" or all(packet.pts == packet.dts for packet in packets)


def _short(error: Exception) -> str:
    """The message of an FFmpeg error without the path, which DecodeError already names."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
