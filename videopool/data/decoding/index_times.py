"""Times of a video's frames from the index of its container, if that is complete; nothing else is read.

Every packet that is read later is compared with the index. If one differs, all packets are listed (``timeline``).
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np

from videopool.data.decoding.container import best_stream, packets_of
from videopool.data.decoding.h264 import read_sequence
from videopool.data.decoding.mp4 import sample_times
from videopool.data.decoding.packets import gives_frame
from videopool.data.decoding.reader import Timing
from videopool.data.decoding.source import Source

_ROUNDED_TIMES = 1  # Matroska rounds times to its ticks, of a millisecond in most files
_LATER_THAN_ANY = 1 << 50  # ticks
_SHORTER_SECONDS = 1.0  # the frames of a complete file may end this much before its duration, which includes sound


@dataclasses.dataclass(frozen=True)
class IndexTimes:
    """The N frames of a video, according to its index.

    Attributes:
        pts: int64 [N], increasing display times in ticks of the stream.
        starts: float64 [N], the same in seconds from the first frame.
        timing: duration and rate.
        slack: ticks by which the time of a packet may differ from ``pts``.
        step: ticks from each frame to the next if that is constant, else 0.
    """

    pts: np.ndarray
    starts: np.ndarray
    timing: Timing
    slack: int = 0
    step: int = 0

    @functools.cached_property
    def _first(self) -> int:
        return int(self.pts[0])

    def frame_at(self, pts: int | None) -> int | None:
        """Return the frame that is shown from ``pts`` on; None if there is none."""
        if pts is None:
            return None
        if self.step:  # faster than a search, and called for every packet
            frame, rest = divmod(pts - self._first, self.step)
            return frame if not rest and 0 <= frame < self.timing.frames else None
        frame = int(np.searchsorted(self.pts, pts + self.slack, side="right")) - 1
        return frame if frame >= 0 and pts - self.pts[frame] <= self.slack else None


def index_times(container: Any, source: Source) -> IndexTimes | None:
    """Return the times of an open video; None if its packets must be listed.

    Frames must be decodable from any keyframe on, and no frame may be hidden by an edit list.
    """
    stream = best_stream(container)
    if not stream.average_rate or enters_at_start_only(stream.codec_context) or _may_hold_fields(stream.codec_context):
        return None
    if container.format.name == "mov,mp4,m4a,3gp,3g2,mj2":
        return _constant_times(container, stream) or _variable_times(container, stream, source)
    if container.format.name == "avi":
        return _constant_times(container, stream)
    return _matroska_times(container, stream) if container.format.name == "matroska,webm" else None


def enters_at_start_only(context: Any) -> bool:
    """Return whether decoding must begin at the first packet to give right frames, even if there are keyframes.

    A palette is stored in the first packet and those that change it. H.264 in 4:4:4 may need the version of its
    encoder, which is in the first packet too, because old encoders wrote it differently (``x264_build`` in FFmpeg).
    """
    pixels = context.format
    if pixels is None:
        return False
    return bool(pixels.has_palette or (context.name == "h264" and pixels.name.startswith("yuv444")))


def _may_hold_fields(context: Any) -> bool:
    if context.codec.canonical_name != "h264":
        return False
    sequence = read_sequence(context.extradata or b"")
    return sequence is None or not sequence.frames_only


def _constant_times(container: Any, stream: Any) -> IndexTimes | None:
    """Return the times of an mp4 or avi of constant rate; None for others.

    The index must have as many entries as the header says frames, and the last one must be inside the file.
    """
    rate, entries, frames = stream.average_rate, stream.index_entries, stream.frames
    if rate != stream.base_rate or not _complete(container, stream):
        return None
    step = 1 / (rate * stream.time_base)
    if step.denominator != 1:
        return None
    if stream.duration is not None and 2 * abs(stream.duration - frames * step) >= step:
        return None  # an edit list hides frames between the first and the last
    if entries[frames - 1].timestamp - entries[0].timestamp != (frames - 1) * step.numerator:
        return None
    if container.format.name == "avi" and stream.codec_context.has_b_frames:
        return None  # it stores no display times, see has_display_times
    period = step.numerator * float(stream.time_base)
    pts = int(stream.start_time) + step.numerator * np.arange(frames)
    timing = Timing(frames * period, 1 / period, frames)
    return IndexTimes(pts, np.arange(frames) * period, timing, step=step.numerator)


def _complete(container: Any, stream: Any) -> bool:
    """Return whether the file is complete, has an index entry for each frame, and no edit list hides its ends."""
    entries, frames = stream.index_entries, stream.frames
    if not frames or len(entries) != frames or stream.start_time is None:
        return False
    first, last = entries[0], entries[frames - 1]
    if first.is_discard or last.is_discard or not first.is_keyframe:
        return False
    return bool(last.pos + last.size <= container.size)


def _variable_times(container: Any, stream: Any, source: Source) -> IndexTimes | None:
    """Return the times of an mp4 of variable rate, from its own tables: FFmpeg's index has no display times."""
    if not _complete(container, stream):
        return None
    samples = sample_times(source, stream.id)
    entries, frames = stream.index_entries, stream.frames
    if samples is None or len(samples.dts) != frames:
        return None
    order = np.argsort(samples.pts, kind="stable")
    pts = samples.pts[order] - samples.pts[order[0]] + int(stream.start_time)
    moved = (entries[0].timestamp - samples.dts[0], entries[frames - 1].timestamp - samples.dts[-1])
    shortest = min(int(samples.duration.sum()), int(pts[-1] - pts[0]) + 1)  # duration that shows all frames
    hides = stream.duration is not None and stream.duration < shortest
    if moved[0] != moved[1] or hides or (np.diff(pts) <= 0).any():
        return None  # an edit list does more than shift the frames, or frames have the same time
    tick = float(stream.time_base)
    last = int(samples.duration[order[-1]]) * tick or 1 / float(stream.average_rate)
    duration = float((pts[-1] - pts[0]) * tick) + last
    return IndexTimes(pts, (pts - pts[0]) * tick, Timing(duration, frames / duration, frames))


def _matroska_times(container: Any, stream: Any) -> IndexTimes | None:
    """Return the times of a Matroska or WebM of constant rate with an index of keyframes (cues).

    The number of frames follows from the time of the last frame.
    """
    import av

    first = stream.start_time
    if first is None or not _rounded_period(stream):
        return None
    last = _last_time(container, stream) if _has_keyframes(container, stream) else None
    if last is None or last * stream.time_base < (container.duration or 0) / av.time_base - _SHORTER_SECONDS:
        return None  # the file is cut off
    return _rounded_times(int(first), int(last), stream)


def unrounded_times(container: Any, stream: Any, pts: np.ndarray) -> tuple[np.ndarray, Timing] | None:
    """Return (starts float64 [N] in seconds, timing) without the rounding of a Matroska file of constant rate.

    ``pts`` are the times in the file, int64 [N], increasing. Some frames may be missing, while the ones before stay on
    display. Return None for other files.
    """
    if container.format.name != "matroska,webm" or _may_hold_fields(stream.codec_context):
        return None
    if not _rounded_period(stream) or not _on_grid(stream, pts, int(pts[0])):
        return None
    times = _rounded_times(int(pts[0]), int(pts[-1]), stream)
    return times.starts[np.searchsorted(times.pts, pts + times.slack, side="right") - 1], times.timing


def _on_grid(stream: Any, pts: np.ndarray, first: int) -> bool:
    """Return whether ``pts`` are rounded times of a constant rate that starts at ``first``."""
    period = _rounded_period(stream)
    frames = np.rint((pts - first) / period)
    return bool((np.abs(first + frames * period - pts) <= _ROUNDED_TIMES).all())


def _rounded_period(stream: Any) -> float:
    """Return the ticks of a frame at constant rate; 0 if the rate varies, or rounding might exchange frames."""
    if not stream.average_rate or stream.average_rate != stream.base_rate:
        return 0.0
    period = float(1 / (stream.average_rate * stream.time_base))
    return period if period > 2 * _ROUNDED_TIMES + 1 else 0.0


def _rounded_times(first: int, last: int, stream: Any) -> IndexTimes:
    frames = round((last - first) / _rounded_period(stream)) + 1
    pts = first + np.rint(np.arange(frames) * _rounded_period(stream)).astype(np.int64)
    seconds = float(1 / stream.average_rate)
    timing = Timing(frames * seconds, float(stream.average_rate), frames)
    return IndexTimes(pts, np.arange(frames) * seconds, timing, slack=_ROUNDED_TIMES)


def _has_keyframes(container: Any, stream: Any) -> bool:
    """Return whether the index has several keyframes, the first at the start, all inside the file and at times of a
    constant rate."""
    import av

    first = int(stream.start_time)
    try:
        container.seek(first, stream=stream, backward=True)  # the first seek reads the index
    except av.FFmpegError:
        return False
    entries = stream.index_entries
    if len(entries) < 2 or entries[len(entries) - 1].pos >= container.size:
        return False
    keyframes = np.array([entry.timestamp for entry in entries])
    return bool(keyframes[0] == first) and _on_grid(stream, keyframes, first)


def _last_time(container: Any, stream: Any) -> int | None:
    """Return the display time of the last frame, read from the last keyframe on; tags often miss a frame."""
    import av

    try:
        container.seek(_LATER_THAN_ANY, stream=stream, backward=True)
    except av.FFmpegError:
        return None
    shown = gives_frame(stream.codec_context)
    with packets_of(container, stream) as packets:
        times = [p.pts for p in packets if p.size and p.pts is not None and (shown is None or shown(p))]
    return max(times, default=None)
