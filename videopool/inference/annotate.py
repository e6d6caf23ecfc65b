"""Write a copy of a video with the classes drawn on it."""

from __future__ import annotations

import bisect
import contextlib
import gc
import queue
import threading
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from videopool.data.decoding.decode import Reading
from videopool.data.decoding.deinterlace import deinterlaced
from videopool.data.decoding.image_reader import is_image
from videopool.data.decoding.listed_frames import frames_from
from videopool.data.decoding.pixels import Upright, upright_of
from videopool.data.decoding.reader import decode_errors
from videopool.data.decoding.source import source_of
from videopool.data.decoding.timeline import read_timeline
from videopool.data.loading.dataset import span_of
from videopool.data.video_file import OutputFile
from videopool.errors import InputError
from videopool.inference.classifier import Prediction
from videopool.inference.fonts import Fonts
from videopool.types import VideoRecord

_TICKS = 90_000  # a second
_CODECS = ("libx264", "libopenh264", "mpeg4")
_LINES = 16  # of text fit in the height of a picture
_LEAST_PIXELS = 9
_AT_ONCE = 16  # images of a folder
_QUEUED = 32  # frames of a stream that wait to be drawn


class VideoWriter:
    """An mp4 file, a context manager. It can be played while it is written, and after a crash.

    Args:
        path: the file.
        fps: about how many frames a second it has.
        aspect: width of a pixel over its height.

    Raises:
        InputError: in all methods, if the file cannot be written.
    """

    def __init__(self, path: Path, fps: float, aspect: Fraction = Fraction(1)) -> None:
        self._path, self._fps, self._aspect = path, fps, aspect
        self._file: Any = None
        self._container: Any = None
        self._stream: Any = None
        self._first = 0.0
        self._last = -1

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *raised: object) -> None:
        if self._stream is None:
            return
        with _write_errors(self._path), self._file, self._container:
            self._container.mux(self._stream.encode())

    def add(self, picture: np.ndarray, seconds: float) -> None:
        """Append a frame, uint8 [H,W,3], that is shown at ``seconds``; later than the one before."""
        import av

        if self._stream is None:
            with _write_errors(self._path):
                self._open()
            self._begin(picture.shape[1] // 2 * 2, picture.shape[0] // 2 * 2)
            self._first = seconds
        ticks = round((seconds - self._first) * _TICKS)
        if ticks <= self._last:
            return
        self._last = ticks
        whole = picture[: self._stream.height, : self._stream.width]
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(whole), format="rgb24")
        if (frame.width, frame.height) != (self._stream.width, self._stream.height):  # a stream may change its size
            frame = frame.reformat(width=self._stream.width, height=self._stream.height)
        frame.pts, frame.time_base = ticks, Fraction(1, _TICKS)
        with _write_errors(self._path):
            self._container.mux(self._stream.encode(frame))
            self._file.check()

    def _open(self) -> None:
        import av

        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = OutputFile(self._path)
        options = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
        self._container = av.open(self._file, "w", format="mp4", options=options)

    def _begin(self, width: int, height: int) -> None:
        import av

        codec = next(name for name in _CODECS if name in av.codecs_available)
        rate = Fraction(self._fps).limit_denominator(1001)
        self._stream = self._container.add_stream(codec, rate=rate)
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, _TICKS)
        self._stream.codec_context.sample_aspect_ratio = self._aspect
        self._stream.codec_context.gop_size = max(1, round(2 * self._fps))


@contextlib.contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    """Convert an OSError of the ``with`` block to an InputError, which is not taken for an error of the decoder."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}). Check the path, or give another one.") from None


class Captions:
    """What is written on the frames of a video, by time.

    Args:
        fonts: the fonts of the class names.
    """

    def __init__(self, fonts: Fonts) -> None:
        self._fonts = fonts
        self._centers: list[float] = []
        self._shown: list[Sequence[Prediction]] = []

    def add(self, center: float, predictions: Sequence[Prediction]) -> None:
        """Add the classes of a window, by falling probability, with its ``center`` in seconds; later than before."""
        self._centers.append(center)
        self._shown.append(predictions)

    def at(self, seconds: float) -> Sequence[Prediction]:
        """Return the classes of the window whose center is nearest to ``seconds``; none without windows."""
        if not self._centers:
            return ()
        after = bisect.bisect_left(self._centers, seconds)
        near = [place for place in (after - 1, after) if 0 <= place < len(self._centers)]
        return self._shown[min(near, key=lambda place: abs(self._centers[place] - seconds))]

    def draw(self, picture: np.ndarray, predictions: Sequence[Prediction]) -> np.ndarray:
        """Return ``picture`` uint8 [H,W,3] with the classes on a dark bar at its top."""
        from PIL import Image, ImageDraw

        if not predictions:
            return picture
        image = Image.fromarray(picture)
        pixels = max(_LEAST_PIXELS, round(image.height / _LINES))
        line = round(1.3 * pixels)
        draw = ImageDraw.Draw(image, "RGBA")
        draw.rectangle((0, 0, image.width, line * len(predictions) + line // 4), fill=(0, 0, 0, 160))
        for number, each in enumerate(predictions):
            text = f"{100 * each.probability:3.0f} %  "
            color = (255, 255, 255) if number == 0 else (190, 190, 190)
            place = (pixels // 2, line * number + line // 8)
            percent = self._fonts.font("", pixels)
            draw.text(place, text, fill=color, font=percent)
            name = (place[0] + round(draw.textlength(text, font=percent)), place[1])
            draw.text(name, each.label, fill=color, font=self._fonts.font(each.label, pixels))
        return np.asarray(image)


def annotate(record: VideoRecord, captions: Captions, path: Path, reading: Reading) -> None:
    """Write the frames of a video, with captions, to the mp4 file ``path``; without sound.

    Memory does not grow with the length of the video, but for a few bytes for each frame.

    Raises:
        DecodeError: if the video cannot be read.
    """
    with reading.open(record) as video:
        timing = video.timing
        start, end = span_of(record, timing)
    frames = (
        _images(record, reading) if record.frames is not None or is_image(record.path) else _decoded(record, reading)
    )
    with decode_errors(record.path), VideoWriter(path, timing.fps, _aspect(record)) as writer:
        for seconds, picture in frames:
            if seconds >= start and (end is None or seconds < end):
                writer.add(captions.draw(picture, captions.at(seconds)), seconds)


def _aspect(record: VideoRecord) -> Fraction:
    if record.frames is not None or is_image(record.path):
        return Fraction(1)
    return read_timeline(source_of(record)).aspect


def _images(record: VideoRecord, reading: Reading) -> Iterator[tuple[float, np.ndarray]]:
    """Yield the time and the pixels of each image of a folder."""
    with reading.open(record) as video:
        timing = video.timing
        times = (np.arange(timing.frames) + 0.5) / timing.fps
        for first in range(0, len(times), _AT_ONCE):
            part = times[first : first + _AT_ONCE]
            pictures = video.frames_at(part).permute(1, 2, 3, 0).contiguous().numpy()
            yield from zip((part - 0.5 / timing.fps).tolist(), pictures, strict=True)


def _decoded(record: VideoRecord, reading: Reading) -> Iterator[tuple[float, np.ndarray]]:
    """Yield the time and the pixels of each frame of a file. Packets that cannot be decoded are left out."""
    source = source_of(record)
    timeline = read_timeline(source)
    frames = frames_from(source, timeline, on_error=lambda: None)
    for index, frame in deinterlaced(frames) if reading.deinterlace else frames:
        yield float(timeline.starts[index]), upright_picture(frame)


def upright_picture(frame: Any) -> np.ndarray:
    """Return the upright pixels of an ``av.VideoFrame``, uint8 [H,W,3]."""
    upright = upright_of(frame)
    picture = frame.to_ndarray(format="rgb24")
    if upright == Upright():
        return picture
    gc.collect(0)  # see upright_of
    picture = picture[::-1] if upright.mirrored else picture
    return np.ascontiguousarray(np.rot90(picture, upright.turns))


class LiveAnnotator:
    """Write an annotated mp4 of a stream while it is read, in a thread; a context manager.

    If the thread is slower than the stream, frames are left out.

    Args:
        path: the file.
        captions: draws the classes.

    Attributes:
        predictions: what is drawn on the frames from now on.
        omitted: how many frames were left out.
    """

    def __init__(self, path: Path, captions: Captions) -> None:
        self._path, self._captions = path, captions
        self._frames: queue.Queue[tuple[float, Any] | None] = queue.Queue(_QUEUED)
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="annotate", daemon=True)
        self.predictions: Sequence[Prediction] = ()
        self.omitted = 0

    def __enter__(self) -> LiveAnnotator:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *raised: object) -> None:
        self._frames.put(None)
        self._thread.join()
        if self._failure is not None and kind is None:
            raise self._failure

    def on_frame(self, seconds: float, frame: Any) -> None:
        """Take a frame of the stream: its time, and the ``av.VideoFrame``."""
        try:
            self._frames.put_nowait((seconds, frame))
        except queue.Full:
            self.omitted += 1

    def _run(self) -> None:
        try:
            with VideoWriter(self._path, 25.0) as writer:
                while (item := self._frames.get()) is not None:
                    writer.add(self._captions.draw(upright_picture(item[1]), self.predictions), item[0])
        except BaseException as error:  # raised again by __exit__
            self._failure = error
            while self._frames.get() is not None:
                pass
