"""Which frames of a video make a clip: pure functions, in seconds.

Every time given is the middle of the display of a frame of a video with constant rate, so that no rounding picks a
neighbor. ``ClipSampling.method`` says how the frames are chosen::

    video      |0|1|2|3|4|5|6|7|8|9|A|B|      each |.| is shown for 1 / fps seconds

    random        *   *   *   *               frames=4, stride=2: one every 2 frames
    dense            [* . * . * . * .]        frames=4, window=8 / fps: spread over that
    segments   |  *  |*    |    *|  *  |      frames=4: one of each of 4 equal parts

The span of a clip goes from its first frame to the end of its last one (random), or to that of its window (dense). A
video that is shorter is read from its start, and ``ClipSampling.short`` says what comes after its end::

    video      |0|1|2|3|4|                     clip of 8 frames, stride 1
    hold        0 1 2 3 4 4 4 4                the last frame is held
    loop        0 1 2 3 4 0 1 2                it begins again
    error                                      TooShortError: the video cannot be used

Segments need a frame each. Of a video with fewer, hold shows frames for several segments (0 0 1 2 2 3 4 4); loop
repeats it until it has enough, and then cuts it into segments.

In a video with variable rate a clip is even in seconds, and each time gives the frame then on display.
"""

from __future__ import annotations

import math

import numpy as np

from videopool.data.sampling import ClipSampling

_ROUNDING = 1e-6  # of a frame period: what float arithmetic may add to or take from a whole number of frames


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
    """The frame times of one clip for training, drawn as ``sampling.method`` says: float64 [T], seconds.

    Arguments and errors as in ``random_clip`` and ``random_segments``.
    """
    draw = random_segments if sampling.method == "segments" else random_clip
    return draw(duration=duration, fps=fps, sampling=sampling, rng=rng, start=start, end=end)


def place_clips(
    *,
    duration: float,
    fps: float,
    sampling: ClipSampling,
    clips: int,
    start: float = 0.0,
    end: float | None = None,
) -> np.ndarray:
    """The frame times of ``clips`` clips for testing, placed as ``sampling.method`` says: float64 [clips,T], seconds.

    Arguments and errors as in ``uniform_clips`` and ``uniform_segments``.
    """
    place = uniform_segments if sampling.method == "segments" else uniform_clips
    return place(duration=duration, fps=fps, sampling=sampling, clips=clips, start=start, end=end)


def random_clip(
    *,
    duration: float,
    fps: float,
    sampling: ClipSampling,
    rng: np.random.Generator,
    start: float = 0.0,
    end: float | None = None,
) -> np.ndarray:
    """The frame times of a clip that starts at a random frame, every start that fits equally likely. ::

        start                                      end
        |. . . . . . . . . . . . . . . . . . . . . .|
             *   *   *   *                              one draw
                               *   *   *   *            the last start that fits

    Args:
        duration: of the video, seconds.
        fps: frames a second of the video.
        sampling: the clip.
        rng: one number is drawn, whatever the video.
        start, end: the part of the video to sample from, seconds; None is its end.

    Returns:
        float64 [T], seconds, rising but where a short video is held or begins again.

    Raises:
        ValueError: if the part from ``start`` to ``end`` holds no frame.
        TooShortError: if it is shorter than the clip and ``sampling.short`` is ``error``.
    """
    first, count = _frames_between(duration, fps, start, end)
    room = _room(count, fps, sampling)
    offset = math.floor(rng.random() * (room + 1))
    return _clip_times(first, count, offset, fps, sampling)


def uniform_clips(
    *,
    duration: float,
    fps: float,
    sampling: ClipSampling,
    clips: int,
    start: float = 0.0,
    end: float | None = None,
) -> np.ndarray:
    """Return the frame times of ``clips`` clips, evenly spread from the start to the end; a single one is centered. ::

        clips=3   |*  *  *  *        .           .|
                  |        *  *  *  *             |
                  |               .    *  *  *  * |

    Arguments and errors as in ``random_clip``; ValueError also for ``clips`` below 1.

    Returns:
        float64 [clips, T], seconds.
    """
    _check_clips(clips)
    first, count = _frames_between(duration, fps, start, end)
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
    """The frame times of as many clips as cover the video: one every ``hop`` seconds, the last flush with its end. ::

        start               end
        |* * * *            . |
        |      * * * *      . |       hop: from the start of one clip to that of the next
        |            * * * *. |
        |              * * * *|       the last one hops less far

    Args:
        duration, fps, sampling, start, end: as in ``random_clip``; of the methods random and dense.
        hop: seconds, at least one frame is hopped; 0 is the span of a clip, which leaves no gap and no overlap.

    Returns:
        float64 [K, T], seconds; K is at least 1 and grows with the video.

    Raises:
        ValueError, TooShortError: as in ``random_clip``; ValueError also for ``hop`` below 0.
    """
    if not hop >= 0:
        raise ValueError(f"a hop of {hop:g} s: expected 0 (the span of a clip) or more")
    first, count = _frames_between(duration, fps, start, end)
    room = _room(count, fps, sampling)
    step = max(1.0, hop * fps) if hop else float(_span(fps, sampling))
    before_last = np.arange(math.ceil(room / step - _ROUNDING))
    offsets = [*np.floor(before_last * step + _ROUNDING).astype(int), room]
    return np.stack([_clip_times(first, count, offset, fps, sampling) for offset in offsets])


def random_segments(
    *,
    duration: float,
    fps: float,
    sampling: ClipSampling,
    rng: np.random.Generator,
    start: float = 0.0,
    end: float | None = None,
) -> np.ndarray:
    """The times of one random frame of each of T equal segments of the video. ::

        frames=4   start                         end
                   | . . * . | . * . . | . . . * | * . . . |

    (Wang et al., "Temporal Segment Networks", ECCV 2016, section 3.1.) ``sampling.stride`` and ``fps`` play no part.

    Arguments and errors as in ``random_clip``; T numbers are drawn. A segment's border may cut a frame, which then
    belongs to both segments in proportion.

    Returns:
        float64 [T], seconds.
    """
    first, count = _frames_between(duration, fps, start, end)
    return _segment_times(first, count, rng.random(sampling.frames), fps, sampling)


def uniform_segments(
    *,
    duration: float,
    fps: float,
    sampling: ClipSampling,
    clips: int,
    start: float = 0.0,
    end: float | None = None,
) -> np.ndarray:
    """The frame times of ``clips`` clips of one frame a segment: of one clip its middle, of several spread evenly. ::

        frames=3, clips=1   |    *    |    *    |    *    |
        frames=3, clips=2   |  0   1  |  0   1  |  0   1  |      clip k takes (k + 1/2) / clips of each segment

    Arguments and errors as in ``uniform_clips``.

    Returns:
        float64 [clips, T], seconds.
    """
    _check_clips(clips)
    first, count = _frames_between(duration, fps, start, end)
    places = [np.full(sampling.frames, (clip + 0.5) / clips) for clip in range(clips)]
    return np.stack([_segment_times(first, count, place, fps, sampling) for place in places])


def _check_clips(clips: int) -> None:
    if clips < 1:
        raise ValueError(f"{clips} clips of a video: expected at least 1")


def _frames_between(duration: float, fps: float, start: float, end: float | None) -> tuple[int, int]:
    """(first, count) of the frames that begin in [start, end), in periods of a constant-rate video."""
    total = max(1, round(duration * fps))
    first = math.ceil(start * fps - _ROUNDING)
    stop = total if end is None else min(total, math.ceil(end * fps - _ROUNDING))
    if first >= total:
        raise ValueError(f"the span starts at {start:g} s, but the video ends at {duration:g} s")
    return first, max(1, stop - first)


def _step(fps: float, sampling: ClipSampling) -> float:
    """Periods of the video between frames of the clip."""
    if sampling.method == "dense":
        return sampling.window * fps / sampling.frames
    return sampling.stride * (fps / sampling.fps if sampling.fps else 1.0)


def _span(fps: float, sampling: ClipSampling) -> int:
    """Periods of the video that a clip needs: to the end of its last frame, or of its window."""
    reach = math.floor((sampling.frames - 1) * _step(fps, sampling) + 0.5 + _ROUNDING) + 1
    return max(reach, round(sampling.window * fps)) if sampling.method == "dense" else reach


def _room(count: int, fps: float, sampling: ClipSampling) -> int:
    """Periods by which the start of a clip can move within ``count`` periods."""
    span = _span(fps, sampling)
    _check_length(count, span, fps, sampling)
    return max(count - span, 0)


def _check_length(count: int, needed: int, fps: float, sampling: ClipSampling) -> None:
    if sampling.short == "error" and count < needed:
        raise TooShortError(
            f"is too short: its {count} frames ({count / fps:.2f} s) are fewer than the {needed} of a clip "
            f"({needed / fps:.2f} s)"
        )


def _clip_times(first: int, count: int, offset: int, fps: float, sampling: ClipSampling) -> np.ndarray:
    """Mid-display times of the clip that starts ``offset`` periods after ``first``, kept within ``count`` periods."""
    steps = np.arange(sampling.frames) * _step(fps, sampling)
    periods = offset + np.floor(steps + 0.5 + _ROUNDING)
    within = periods % count if sampling.short == "loop" else np.minimum(periods, count - 1)
    return (first + within + 0.5) / fps


def _segment_times(first: int, count: int, places: np.ndarray, fps: float, sampling: ClipSampling) -> np.ndarray:
    """Mid-display times of one frame a segment of ``count`` periods; ``places`` [T] of each segment are 0 to 1."""
    _check_length(count, sampling.frames, fps, sampling)
    rounds = math.ceil(sampling.frames / count) if sampling.short == "loop" else 1
    total = rounds * count
    periods = np.floor((np.arange(sampling.frames) + places) * total / sampling.frames + _ROUNDING)
    return (first + np.minimum(periods, total - 1) % count + 0.5) / fps
