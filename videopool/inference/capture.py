"""Read a stream or a camera in a thread that keeps only the newest frames.

The network may be slower than the stream. Then windows are left out, instead of being read later and later. If even
decoding is too slow, only keyframes are decoded until it has caught up. ::

    stream    . . . . . . . . . . . . . . . . . . . .>
    kept                      |. . . . . . . . . . . |    as many seconds as a window has
    window                      |* * * * * * * * * * |    ends with the newest frame

Shape legend: S crops, C channels, T frames of a clip, H rows, W columns.
"""

from __future__ import annotations

import collections
import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from videopool.data.decoding.container import best_stream
from videopool.data.decoding.decode import on_square_pixels
from videopool.data.decoding.deinterlace import deinterlaced
from videopool.data.decoding.pixels import pixel_aspect, planes_of, upright_of
from videopool.data.decoding.reader import Grids, error_message, frame_on_display
from videopool.data.loading.dataset import crop_grids
from videopool.data.sampling import ClipSampling
from videopool.errors import InputError
from videopool.inference.inputs import Stream
from videopool.inference.windows import WindowClip, check_windows, newest_window, window_seconds
from videopool.ops.frames import Planes, Resampler

OnFrame = Callable[[float, Any], None]  # (seconds since the first frame, av.VideoFrame), called in the thread

_POLL_SECONDS = 0.1
_JOIN_SECONDS = 1.0
_JUMP_SECONDS = 10.0  # a longer step between two frames is a new start of the stream
_MEASURED_FRAMES = 15  # whose times give the rate of a stream that does not tell it, or tells a wrong one
_TIMED_FRAMES = 64  # the most of them
_WAITED_SECONDS = 0.005  # a packet that takes longer to come was not there before
_LATE_SECONDS = 1.0
_WRONG_RATE = 1.3  # how many times faster or slower; cameras are slower in the dark
_FASTEST = 1000.0  # frames per second; streams without a rate often have that of their clock
_OPTIONS = {
    "rtsp_flags": "prefer_tcp",
    "overrun_nonfatal": "1",  # of udp: a full buffer loses packets, but does not end the stream
}


class Capture:
    """The newest frames of a stream, a context manager.

    Args:
        stream: what to read.
        sampling: the clip of a window; random or dense.
        crops: 1 or 3 of each window.
        timeout: seconds without a frame after which the stream has ended.
        square_pixels, deinterlace: as for ``open_video``.
        on_frame: called with each frame.

    Attributes:
        fps: frames per second; 0 until it is known.
        frames: how many were read.
        ending: why there are no more frames, as a sentence; "" while there may be.

    Raises:
        InputError: for a sampling that has no windows.
    """

    def __init__(
        self,
        stream: Stream,
        sampling: ClipSampling,
        *,
        crops: int,
        timeout: float,
        square_pixels: bool = False,
        deinterlace: bool = False,
        on_frame: OnFrame | None = None,
    ) -> None:
        check_windows(sampling)
        self._stream, self._sampling, self._timeout = stream, sampling, timeout
        self._crops, self._square_pixels, self._deinterlace = crops, square_pixels, deinterlace
        self._on_frame = on_frame
        self._kept: collections.deque[tuple[float, list[torch.Tensor]]] = collections.deque()
        self._times: collections.deque[float] = collections.deque(maxlen=_TIMED_FRAMES)  # of the last frames
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._failure: Exception | None = None
        self._lag = _Lag()
        self._heard = time.monotonic()
        self._returned = -math.inf  # the end of the last window
        self.fps, self.frames, self.ending = 0.0, 0, ""
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)

    def __enter__(self) -> Capture:
        self._heard = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.stop()
        self._thread.join(_JOIN_SECONDS)  # a thread that waits for the stream ends with the process

    def stop(self) -> None:
        """Let ``next_window`` return None from now on. Signal handlers may call it."""
        self._stopping.set()

    @property
    def stopped(self) -> bool:
        """Whether ``stop`` was called."""
        return self._stopping.is_set()

    def next_window(self, after: float = 0.0) -> WindowClip | None:
        """Wait for a window that ends at ``after`` seconds or later, and return the newest one; None at the end.

        The last window ends with the stream, also before ``after``.

        Raises:
            InputError: if the stream cannot be opened, or has no frame.
        """
        with self._changed:
            while not self._stopping.is_set():
                ended = self._has_ended()
                newest = self._newest_end()
                if newest > self._returned + self._half_frame() and (ended or newest >= after - self._half_frame()):
                    self._returned = newest
                    return self._window(newest)
                if ended:
                    return None
                self._changed.wait(_POLL_SECONDS)
        self.ending = self.ending or f"{self._stream.name} was stopped"
        return None

    def _newest_end(self) -> float:
        """Return the end of the newest frame in seconds; -infinity while there are too few frames for a window."""
        if not self.fps or not self._kept:
            return -math.inf
        end = self._kept[-1][0] + 1 / self.fps
        complete = end - self._kept[0][0] >= window_seconds(self._sampling, self.fps) - self._half_frame()
        return end if complete else -math.inf

    def _half_frame(self) -> float:
        return 0.5 / self.fps if self.fps else 0.0

    def _has_ended(self) -> bool:
        """Return whether no frame will come, and set ``ending``; raise InputError if none ever came."""
        name, silence = self._stream.name, f"sent no frame for {self._timeout:g} s"
        if not self.ending and time.monotonic() - self._heard > self._timeout + _POLL_SECONDS:
            self.ending = f"{name} {silence}"
        if not self.ending or self.frames:
            return bool(self.ending)
        if self._failure is not None:
            raise InputError(
                f"{name} cannot be read ({error_message(self._failure)}). Check the address, and that the sender runs."
            )
        raise InputError(f"{self.ending}. Check the address, and that the sender runs.")

    def _window(self, end: float) -> WindowClip:
        times = newest_window(end, self.fps, self._sampling)
        shown = frame_on_display(np.array([time for time, _ in self._kept]), times)
        crops = [torch.stack([self._kept[place][1][crop] for place in shown], 1) for crop in range(self._crops)]
        start = end - window_seconds(self._sampling, self.fps)
        return WindowClip(max(0.0, start), end, torch.stack(crops))

    def _run(self) -> None:
        """Read the stream to its end; the body of the thread."""
        ending = f"{self._stream.name} ended"
        try:
            self._read()
            if self._stopping.is_set():
                ending = f"{self._stream.name} was stopped"
        except Exception as error:  # FFmpeg's protocols fail in many ways
            if _timed_out(error):
                ending = f"{self._stream.name} sent no frame for {self._timeout:g} s"
            else:
                self._failure, ending = error, f"{ending} ({error_message(error)})"
        with self._changed:
            self.ending = self.ending or ending
            self._changed.notify_all()

    def _read(self) -> None:
        import av

        container = av.open(
            self._stream.address,
            format=self._stream.device or None,
            options=_OPTIONS,
            timeout=(self._timeout, self._timeout),
        )
        with contextlib.closing(container):
            stream = best_stream(container)
            if stream is None:
                raise InputError("it has no video stream")
            rate = float(stream.average_rate or stream.guessed_rate or 0)
            self.fps = rate if 0 < rate <= _FASTEST else 0.0
            paced = self._stream.paced or bool(container.duration)  # a recording can be read faster than it is shown
            clock = _Clock()
            crops = _Crops(self._grids(stream))
            frames: Iterator[tuple[int, Any]] = enumerate(_decoded(container, stream, self._lag))
            for _, frame in deinterlaced(frames) if self._deinterlace else frames:
                if self._stopping.is_set():
                    return
                seconds = clock(frame.time, self.fps)
                if paced:
                    self._stopping.wait(clock.until(seconds))
                self._keep(seconds, crops(frame))
                if self._on_frame is not None:
                    self._on_frame(seconds, frame)

    def _grids(self, stream: Any) -> Callable[[Any], Grids]:
        """Return the function from a frame to the parts to take of it."""
        grids = crop_grids(self._sampling, self._crops)
        if not self._square_pixels:
            return lambda frame: grids
        return lambda frame: on_square_pixels(grids, lambda: pixel_aspect(stream, upright_of(frame)))

    def _keep(self, seconds: float, pixels: list[torch.Tensor]) -> None:
        with self._changed:
            self._kept.append((seconds, pixels))
            self._times.append(seconds)
            if len(self._times) > _MEASURED_FRAMES and not self._lag.skipped:
                measured = (len(self._times) - 1) / max(1e-3, seconds - self._times[0])
                if not self.fps / _WRONG_RATE < measured < self.fps * _WRONG_RATE:
                    self.fps = measured
            if self.fps:
                oldest = seconds - window_seconds(self._sampling, self.fps) - 1 / self.fps
                while len(self._kept) > 1 and self._kept[1][0] <= oldest:  # the first one is on display at ``oldest``
                    self._kept.popleft()
            self.frames += 1
            self._heard = time.monotonic()
            self._changed.notify_all()


class _Crops:
    """Cut the test crops out of decoded frames."""

    def __init__(self, grids: Callable[[Any], Grids]) -> None:
        self._grids_of = grids
        self._format: tuple[Planes, int, int] | None = None
        self._resamplers: list[Resampler] = []

    def __call__(self, frame: Any) -> list[torch.Tensor]:
        """Return each crop of an ``av.VideoFrame``, uint8 [C,H,W]."""
        planes, about = planes_of(frame, upright_of(frame))
        height, width = planes[0].shape
        if self._format != (about, height, width):  # a stream may change its size
            self._format = (about, height, width)
            self._resamplers = [Resampler(about, grid) for grid in self._grids_of(frame)(height, width)]
        pixels = [torch.empty(3, each.grid.rows, each.grid.columns, dtype=torch.uint8) for each in self._resamplers]
        for out, resampler in zip(pixels, self._resamplers, strict=True):
            resampler(out, planes)
        return pixels


class _Clock:
    """Turn the times of a stream into seconds since its first frame, which always increase."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._offset: float | None = None
        self._last = 0.0

    def __call__(self, given: float | None, fps: float) -> float:
        """Return the seconds of a frame whose time in the stream is ``given``; None if the stream has no times."""
        if given is None:
            given = time.monotonic()
        if self._offset is None:
            self._offset, self._started = -given, time.monotonic()
        elif not 0 < given + self._offset - self._last <= _JUMP_SECONDS:
            self._offset = self._last + 1 / (fps or 25.0) - given
        self._last = given + self._offset
        return self._last

    def until(self, seconds: float) -> float:
        """Return how long to wait until ``seconds`` have passed since the first frame; 0 or more."""
        return max(0.0, seconds - (time.monotonic() - self._started))


class _Lag:
    """Decide when decoding is too slow for a stream, so that only keyframes can be decoded for a while.

    Attributes:
        skipped: whether that was ever so.
    """

    def __init__(self) -> None:
        self._least = math.inf  # of now minus the time of the packet, when there was nothing else to read
        self._skipping = self.skipped = False

    def skip(self, packet: Any, asked: float) -> bool:
        """Return whether to decode only keyframes, from ``packet`` on, which was asked for at ``asked``."""
        if packet.dts is None:
            return self._skipping
        now = time.monotonic()
        lag = now - float(packet.dts * packet.time_base)
        if now - asked > _WAITED_SECONDS or abs(lag - self._least) > _JUMP_SECONDS:
            self._least = lag
        self._least = min(self._least, lag)
        if lag - self._least > _LATE_SECONDS:
            self._skipping = self.skipped = True
        elif packet.is_keyframe:  # other frames need those that were left out
            self._skipping = False
        return self._skipping


def _decoded(container: Any, stream: Any, lag: _Lag) -> Iterator[Any]:
    """Yield the frames of a stream. Packets that were damaged on the way, and frames that miss parts, are left out."""
    import av

    stream.thread_type = "SLICE"  # threads for frames would delay each frame by one frame for each thread
    packets = container.demux(stream)
    while True:
        asked = time.monotonic()
        packet = next(packets, None)
        if packet is None:
            return
        stream.codec_context.skip_frame = "NONKEY" if lag.skip(packet, asked) else "DEFAULT"
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            continue
        yield from (frame for frame in frames if not frame.is_corrupt)


def _timed_out(error: Exception) -> bool:
    import av

    return isinstance(error, (av.error.ExitError, av.error.TimeoutError, TimeoutError))
