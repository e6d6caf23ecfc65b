"""Pure functions that choose the frames of a clip, in seconds.

Each time is the middle of the interval in which a video of constant rate shows a frame, so that rounding never selects
a neighboring frame. ``ClipSampling.method`` decides how frames are chosen::

    video      |0|1|2|3|4|5|6|7|8|9|A|B|      each |.| is shown for 1 / fps seconds

    random        *   *   *   *               frames=4, stride=2: one every 2 frames
    dense            [* . * . * . * .]        frames=4, window=8 / fps: spread over that
    segments   |  *  |*    |    *|  *  |      frames=4: one from each of 4 equal parts

The span of a clip is from its first frame to the end of its last one (random), or its window (dense). A video shorter
than that is read from its start, and ``ClipSampling.short`` decides what follows its end::

    video      |0|1|2|3|4|                     clip of 8 frames, stride 1
    hold        0 1 2 3 4 4 4 4                repeat the last frame
    loop        0 1 2 3 4 0 1 2                start again
    error                                      raise TooShortError

Segments need one frame each. If a video has fewer, hold uses frames for several segments (0 0 1 2 2 3 4 4); loop
repeats the video until it has enough frames and divides the result into segments.

If a video has a variable rate, a clip is evenly spaced in seconds, and each time selects the frame on display.
"""

from __future__ import annotations

import math

import numpy as np

from videopool.data.sampling import ClipSampling
from videopool.ranges import AT_LEAST_ONE, HOP

_ROUNDING = 1e-6  # of a frame period: the error that float arithmetic may make in a whole number of frames


class TooShortError(ValueError):
    """A video has fewer frames than a clip needs, and ``ClipSampling.short`` is ``error``."""


def draw_clip(
    *,
    duration: float,
    fps: float,
    sampling: ClipSampling,
    rng: np.random.Generator,
    start: float = 0.0,
    end: float | None = None,
) -> np.ndarray:
    """Return the frame times of a random clip.

    It starts at a random frame; all starts that fit are equally likely. ::

        start                                      end
        |. . . . . . . . . . . . . . . . . . . . . .|
             *   *   *   *                              one draw
                               *   *   *   *            the last start that fits

    With segments, it has one random frame from each of T equal parts of the video. (Wang et al., "Temporal Segment
    Networks", ECCV 2016, section 3.1. A frame that the border of two parts divides belongs to both in proportion.) ::

        frames=4   start                         end
                   | . . * . | . * . . | . . . * | * . . . |

    Args:
        duration: of the video, seconds.
        fps: of the video, frames per second.
        sampling: the clip; segments use neither its ``stride`` nor its ``fps``.
        rng: one number is drawn for any video, or T with segments.
        start, end: the part of the video to sample from, seconds; None is its end.

    Returns:
        float64 [T], seconds, increasing except where a short video is held or looped.

    Raises:
        ValueError: if there is no frame from ``start`` to ``end``.
        TooShortError: if that part is shorter than the clip and ``sampling.short`` is ``error``.
    """
    first, count = _frames_between(duration, fps, start, end)
    if sampling.method == "segments":
        return _segment_times(first, count, rng.random(sampling.frames), fps, sampling)
    room = _room(count, fps, sampling)
    return _clip_times(first, count, math.floor(rng.random() * (room + 1)), fps, sampling)


def place_clips(
    *,
    duration: float,
    fps: float,
    sampling: ClipSampling,
    clips: int,
    start: float = 0.0,
    end: float | None = None,
) -> np.ndarray:
    """Return the frame times of ``clips`` clips.

    They are evenly spread from the start to the end; a single one is centered. ::

        clips=3   |*  *  *  *        .           .|
                  |        *  *  *  *             |
                  |               .    *  *  *  * |

    With segments, the frames of the clips are evenly spaced within each segment. ::

        frames=3, clips=1   |    *    |    *    |    *    |
        frames=3, clips=2   |  0   1  |  0   1  |  0   1  |      clip k is at (k + 1/2) / clips of each segment

    Arguments and errors: see ``draw_clip``; InputError also for ``clips`` below 1.

    Returns:
        float64 [clips, T], seconds.
    """
    AT_LEAST_ONE.check("clips", clips)
    first, count = _frames_between(duration, fps, start, end)
    if sampling.method == "segments":
        places = [np.full(sampling.frames, (clip + 0.5) / clips) for clip in range(clips)]
        return np.stack([_segment_times(first, count, place, fps, sampling) for place in places])
    room = _room(count, fps, sampling)
    fractions = [0.5] if clips == 1 else [clip / (clips - 1) for clip in range(clips)]
    offsets = [math.floor(fraction * room + _ROUNDING) for fraction in fractions]
    return np.stack([_clip_times(first, count, offset, fps, sampling) for offset in offsets])


def sliding_clips(
    *,
    duration: float,
    fps: float,
    sampling: ClipSampling,
    hop: float,
    start: float = 0.0,
    end: float | None = None,
) -> np.ndarray:
    """Return the frame times of clips that cover the video: one every ``hop`` seconds, the last one ends with it. ::

        start               end
        |* * * *            . |
        |      * * * *      . |       hop: from the start of one clip to that of the next
        |            * * * *. |
        |              * * * *|       the last hop is shorter

    Args:
        duration, fps, sampling, start, end: see ``draw_clip``; the method is random or dense.
        hop: seconds, at least one frame; 0 is the span of a clip, which leaves no gap and no overlap.

    Returns:
        float64 [K, T], seconds; K is at least 1 and grows with the length of the video.

    Raises:
        ValueError, TooShortError: see ``draw_clip``.
        InputError: for ``hop`` below 0.
    """
    HOP.check("hop", hop)
    first, count = _frames_between(duration, fps, start, end)
    room = _room(count, fps, sampling)
    step = max(1.0, hop * fps) if hop else float(_span(fps, sampling))
    before_last = np.arange(math.ceil(room / step - _ROUNDING))
    offsets = [*np.floor(before_last * step + _ROUNDING).astype(int), room]
    return np.stack([_clip_times(first, count, offset, fps, sampling) for offset in offsets])


def _frames_between(duration: float, fps: float, start: float, end: float | None) -> tuple[int, int]:
    """Return (first, count) of the frames that begin in [start, end), in frame periods of a constant rate."""
    total = max(1, round(duration * fps))
    first = math.ceil(start * fps - _ROUNDING)
    stop = total if end is None else min(total, math.ceil(end * fps - _ROUNDING))
    if first >= total:
        raise ValueError(f"the span starts at {start:g} s, but the video ends at {duration:g} s")
    return first, max(1, stop - first)


def _step(fps: float, sampling: ClipSampling) -> float:
    """Return the periods of the video from a frame of the clip to the next."""
    if sampling.method == "dense":
        return sampling.window * fps / sampling.frames
    return sampling.stride * (fps / sampling.fps if sampling.fps else 1.0)


def _span(fps: float, sampling: ClipSampling) -> int:
    """Return the periods of the video that a clip needs, to the end of its last frame or window."""
    reach = math.floor((sampling.frames - 1) * _step(fps, sampling) + 0.5 + _ROUNDING) + 1
    return max(reach, round(sampling.window * fps)) if sampling.method == "dense" else reach


def _room(count: int, fps: float, sampling: ClipSampling) -> int:
    """Return the periods by which the start of a clip can move within ``count`` periods."""
    span = _span(fps, sampling)
    _check_length(count, span, fps, sampling)
    return max(count - span, 0)


def _check_length(count: int, needed: int, fps: float, sampling: ClipSampling) -> None:
    if sampling.short == "error" and count < needed:
        raise TooShortError(
            f"is too short: it has {count} frames ({count / fps:.2f} s), a clip needs {needed} ({needed / fps:.2f} s)"
        )


def _clip_times(first: int, count: int, offset: int, fps: float, sampling: ClipSampling) -> np.ndarray:
    """Return the times of the clip that starts ``offset`` periods after ``first``, within ``count`` periods."""
    steps = np.arange(sampling.frames) * _step(fps, sampling)
    periods = offset + np.floor(steps + 0.5 + _ROUNDING)
    within = periods % count if sampling.short == "loop" else np.minimum(periods, count - 1)
    return (first + within + 0.5) / fps


def _segment_times(first: int, count: int, places: np.ndarray, fps: float, sampling: ClipSampling) -> np.ndarray:
    """Return the times of one frame per segment of ``count`` periods, at ``places`` [T] (0 to 1) of the segments."""
    _check_length(count, sampling.frames, fps, sampling)
    rounds = math.ceil(sampling.frames / count) if sampling.short == "loop" else 1
    total = rounds * count
    periods = np.floor((np.arange(sampling.frames) + places) * total / sampling.frames + _ROUNDING)
    return (first + np.minimum(periods, total - 1) % count + 0.5) / fps
