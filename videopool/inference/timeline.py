"""The timeline of a video: scores of windows, smoothed, and the segments in which a class is seen.

Windows come one by one and segments are returned as soon as they end, so that a stream without end can be read. ::

    windows     |-- a --|
                     |-- a --|
                          |-- b --|
                               |-- b --|
    segments    |     a      |    b    |       a segment ends halfway between the centers of two windows

Shape legend: K classes.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator, Sequence

import torch

_TOUCHING_SECONDS = 1e-3  # a window that starts this long after the end of another one leaves no gap


@dataclasses.dataclass(frozen=True)
class Window:
    """The scores of a window, float32 [K] on the CPU: the mean over its crops; ``start`` and ``end`` in seconds."""

    start: float
    end: float
    probabilities: torch.Tensor

    @property
    def center(self) -> float:
        """The middle, in seconds."""
        return (self.start + self.end) / 2

    @property
    def length(self) -> float:
        """Seconds."""
        return self.end - self.start


@dataclasses.dataclass(frozen=True)
class Segment:
    """A part of a video that shows a class.

    Attributes:
        start, end: seconds.
        label: name of the class.
        score: its mean score over the windows of the segment, 0..1, after smoothing.
    """

    start: float
    end: float
    label: str
    score: float


@dataclasses.dataclass(frozen=True)
class Timeline:
    """The windows of a video with their scores, and its segments in the order in which they end."""

    windows: tuple[Window, ...]
    segments: tuple[Segment, ...]


class Smoother:
    """Average the scores of windows over time.

    The scores of a window become the mean over all windows whose centers are at most ``seconds / 2`` from its own. So a
    result comes ``seconds / 2`` after its window; 0 changes nothing.
    """

    def __init__(self, seconds: float) -> None:
        self._reach = seconds / 2 + _TOUCHING_SECONDS
        self._windows: collections.deque[Window] = collections.deque()
        self._next = 0  # the first of these whose mean was not returned

    def add(self, window: Window) -> Iterator[Window]:
        """Take the next window, and yield those that later windows cannot change."""
        self._windows.append(window)
        while self._windows[self._next].center + self._reach < window.center:
            yield self._mean()

    def finish(self) -> Iterator[Window]:
        """Yield the remaining windows, after the last one was added."""
        while self._next < len(self._windows):
            yield self._mean()

    def _mean(self) -> Window:
        window = self._windows[self._next]
        near = [each.probabilities for each in self._windows if abs(each.center - window.center) <= self._reach]
        self._next += 1
        while self._next < len(self._windows) and (
            self._windows[0].center + self._reach < self._windows[self._next].center
        ):
            self._windows.popleft()
            self._next -= 1
        return dataclasses.replace(window, probabilities=torch.stack(near).mean(0))


@dataclasses.dataclass
class _Open:
    """A segment that has not ended."""

    start: float
    total: float = 0.0
    windows: int = 0


class Segmenter:
    """Join adjacent windows of the same class to segments.

    A window shows its most probable class, or each class if videos may have several, with a score of ``threshold`` or
    more. Where windows leave a part of the video out, segments end.

    Args:
        classes: K names.
        threshold: lowest score, 0..1.
        several: whether a video may have several classes at a time.
    """

    def __init__(self, classes: Sequence[str], *, threshold: float, several: bool) -> None:
        self._classes, self._threshold, self._several = classes, threshold, several
        self._open: dict[int, _Open] = {}
        self._last: Window | None = None

    def add(self, window: Window) -> list[Segment]:
        """Take the next window, and return the segments that it ends, in the order of their starts."""
        ended: list[Segment] = []
        begin, last = window.start, self._last
        shown = self._shown(window)
        if last is not None and window.start > last.end + _TOUCHING_SECONDS:
            ended = self.finish()
        elif last is not None:
            begin = (last.center + window.center) / 2
            ended = self._close([label for label in self._open if label not in shown], begin)
        for label in shown:
            segment = self._open.setdefault(label, _Open(begin))
            segment.total += float(window.probabilities[label])
            segment.windows += 1
        self._last = window
        return ended

    def finish(self) -> list[Segment]:
        """Return the segments that last until the end of the last window."""
        return self._close([*self._open], self._last.end) if self._last else []

    def _shown(self, window: Window) -> list[int]:
        scores = window.probabilities
        if self._several:
            return torch.nonzero(scores >= self._threshold).flatten().tolist()
        best = int(scores.argmax())
        return [best] if scores[best] >= self._threshold else []

    def _close(self, labels: Sequence[int], end: float) -> list[Segment]:
        closed = [(label, self._open.pop(label)) for label in labels]
        return [
            Segment(segment.start, end, self._classes[label], segment.total / segment.windows)
            for label, segment in sorted(closed, key=lambda pair: pair[1].start)
        ]


class Merger:
    """Give the time of short segments to their neighbors. Windows that show two classes often look like a third. ::

        found       |   a   |x|    b    |   a   |y|   a   |
        merged      |   a    |    b     |        a        |

    A short segment between two classes is divided in the middle; between two segments of the same class, all become
    one. Short segments without a long one next to them are dropped. Segments of videos that may have several classes
    overlap, so short ones are dropped and the others do not change.

    Args:
        shortest: seconds; 0 changes nothing.
        several: whether a video may have several classes at a time.
    """

    def __init__(self, shortest: float, *, several: bool) -> None:
        self._shortest, self._several = shortest, several
        self._held: Segment | None = None  # the last long segment, whose end may move
        self._end: float | None = None  # of the last segment, long or short
        self._begin: float | None = None  # of the short segments before the first long one

    def add(self, segment: Segment) -> list[Segment]:
        """Take the next segment, and return those that later ones cannot change."""
        long = segment.end - segment.start >= self._shortest - _TOUCHING_SECONDS
        if self._several or not self._shortest:
            return [segment] if long else []
        apart = self._end is not None and segment.start > self._end + _TOUCHING_SECONDS
        ended = self.finish() if apart else []
        self._end = segment.end
        if not long:
            self._begin = segment.start if self._held is None and self._begin is None else self._begin
            return ended
        held = self._held
        if held is None:
            start = segment.start if self._begin is None else self._begin
            self._held = dataclasses.replace(segment, start=start)
        elif held.label == segment.label:
            self._held = _joined(held, segment)
        else:
            middle = (held.end + segment.start) / 2
            ended.append(dataclasses.replace(held, end=middle))
            self._held = dataclasses.replace(segment, start=middle)
        return ended

    def finish(self) -> list[Segment]:
        """Return the last segment, if there is one."""
        held, end = self._held, self._end
        self._held = self._end = self._begin = None
        return [] if held is None or end is None else [dataclasses.replace(held, end=end)]


def _joined(first: Segment, second: Segment) -> Segment:
    """Return one segment from the start of ``first`` to the end of ``second``, which have the same class."""
    lengths = (first.end - first.start, second.end - second.start)
    score = (first.score * lengths[0] + second.score * lengths[1]) / sum(lengths)
    return Segment(first.start, second.end, first.label, score)


class TimelineBuilder:
    """Smooth windows, join them to segments and merge short ones; see ``Smoother``, ``Segmenter`` and ``Merger``."""

    def __init__(
        self, classes: Sequence[str], *, smooth: float, shortest: float, threshold: float, several: bool
    ) -> None:
        self._smoother = Smoother(smooth)
        self._segmenter = Segmenter(classes, threshold=threshold, several=several)
        self._merger = Merger(shortest, several=several)

    def add(self, window: Window) -> tuple[list[Window], list[Segment]]:
        """Take the next window, and return the smoothed windows and the segments that it completes."""
        smooth = [*self._smoother.add(window)]
        return smooth, self._merged(smooth)

    def finish(self) -> tuple[list[Window], list[Segment]]:
        """Return the remaining smoothed windows and segments."""
        smooth = [*self._smoother.finish()]
        segments = self._merged(smooth)
        last = [each for segment in self._segmenter.finish() for each in self._merger.add(segment)]
        return smooth, [*segments, *last, *self._merger.finish()]

    def _merged(self, smooth: Sequence[Window]) -> list[Segment]:
        found = [segment for window in smooth for segment in self._segmenter.add(window)]
        return [each for segment in found for each in self._merger.add(segment)]
