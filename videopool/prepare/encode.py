"""One video file written anew for training: smaller, upright, 8 bits, with keyframes close together, without sound."""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from videopool.data.decoding.deinterlace import deinterlaced
from videopool.data.decoding.listed_frames import frames_from
from videopool.data.decoding.pixels import Upright
from videopool.data.decoding.reader import DecodeError, decode_errors, error_message
from videopool.data.decoding.source import Source, source_of
from videopool.data.decoding.timeline import MISSING_FRAMES, Timeline, read_timeline
from videopool.files import written_whole
from videopool.prepare.listed import Listed

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_RATE_PARTS = 100_000  # the largest denominator of a rate


@dataclasses.dataclass(frozen=True)
class Encoding:
    """Short side in pixels, at most as the source has; frames from a keyframe to the next at most; x264's quality
    (``crf``, 0 to 51, less is better) and ``preset``; ``deinterlace``: turn interlaced frames into progressive ones."""

    short_side: int
    keyframe_interval: int
    crf: int
    preset: str
    deinterlace: bool = False


@dataclasses.dataclass(frozen=True)
class Encoded:
    """A file that was written: its bytes, and size and time of change of its source. Or the ``reason`` why it was not;
    ``disk_full`` is one that ends all of the work."""

    size_bytes: int = 0
    mtime_ns: int = 0
    target_bytes: int = 0
    reason: str = ""
    disk_full: bool = False


def encode_listed(video: Listed, *, base: Path, to: Path, encoding: Encoding) -> Encoded:
    """Writes ``video`` below ``base`` to its place below ``to``, whole or not at all."""
    import av

    target = to / target_of(video.path)
    source = source_of(video.record(base))
    try:
        source.check()
        state = (base / video.path).stat()
        with written_whole(target) as temporary:
            encode(source, temporary, encoding)
        return Encoded(state.st_size, state.st_mtime_ns, target.stat().st_size)
    except DecodeError as error:
        return Encoded(reason=error.reason)
    except (OSError, av.FFmpegError) as error:
        return Encoded(reason=f"cannot be encoded ({error_message(error)})", disk_full=error.errno in _DISK_FULL)


def target_of(path: str) -> str:
    """The path below the new folder."""
    return Path(path).with_suffix(".mp4").as_posix()


def encode(source: Source, target: Path, encoding: Encoding) -> None:
    """Writes the frames on display of ``source`` to ``target`` (mp4, H.264, yuv420p), each at its time.

    The times are those of the source in seconds, also where its rate varies; then the end of the last frame may be
    off by some frames, because mp4 stores only times of decoding for it.

    Raises:
        DecodeError: if frames of ``source`` cannot be decoded.
        av.FFmpegError: if ``target`` cannot be written.
    """
    import av

    timeline = read_timeline(source)
    with av.open(str(target), "w", format="mp4", options={"movflags": "faststart"}) as output:
        stream: Any = None
        for frame in _frames(source, timeline, deinterlace=encoding.deinterlace):
            picture = _picture(frame, encoding.short_side, timeline.upright)
            if stream is None:
                stream = _new_stream(output, picture, timeline, encoding)
            output.mux(stream.encode(picture))
        output.mux(stream.encode())


def scaled_even(width: int, height: int, short_side: int) -> tuple[int, int]:
    """(width, height) of the picture with this short side, or its own where that is smaller; even, as 4:2:0 has it."""
    scale = min(1.0, short_side / min(width, height))
    return max(2, 2 * round(width * scale / 2)), max(2, 2 * round(height * scale / 2))


def _frames(source: Source, timeline: Timeline, *, deinterlace: bool) -> Iterator[Any]:
    """The decoded frames on display; their times rise from 0 on, in units of their ``time_base``.

    mp4 cannot show two frames at one time, so the last of these stays.
    """
    waiting: Any = None
    count = 0
    for index, frame in _decoded(source, timeline, deinterlace):
        count += 1
        if frame.is_corrupt:
            raise DecodeError(
                source.name, f"is damaged: the frame at {timeline.starts[index]:.3f} s cannot be decoded without errors"
            )
        if timeline.timed:
            frame.pts -= int(timeline.pts[0])
        else:
            frame.time_base = 1 / Fraction(timeline.info.fps).limit_denominator(_RATE_PARTS)
            frame.pts, frame.duration = index, 1
        if waiting is not None and frame.pts > waiting.pts:
            yield waiting
        if waiting is None or frame.pts >= waiting.pts:
            waiting = frame
    if waiting is None or count < len(timeline.pts) - MISSING_FRAMES:
        raise DecodeError(source.name, f"is damaged: {count} of its {len(timeline.pts)} frames can be decoded")
    yield waiting


def _decoded(source: Source, timeline: Timeline, deinterlace: bool) -> Iterator[tuple[int, Any]]:
    with decode_errors(source.name, "is damaged: it cannot be decoded to its end"):
        frames = frames_from(source, timeline)
        yield from deinterlaced(frames) if deinterlace else frames


def _picture(frame: Any, short_side: int, upright: Upright) -> Any:
    """The frame scaled, upright, in 8-bit yuv420p of limited range, at its time."""
    from av.video.reformatter import ColorRange

    width, height = scaled_even(frame.width, frame.height, short_side)
    picture = frame.reformat(
        width,
        height,
        "yuv420p",
        dst_colorspace="ITU601" if frame.format.is_rgb else None,
        interpolation="BICUBIC",
        src_color_range=ColorRange.JPEG if _full_range(frame) else ColorRange.MPEG,
        dst_color_range=ColorRange.MPEG,
    )
    picture = _turned(picture, upright)
    picture.pts, picture.time_base = frame.pts, frame.time_base
    picture.pict_type = 0  # which frames become keyframes is the new encoder's choice
    return picture


def _full_range(frame: Any) -> bool:
    """Whether black is 0 in every plane; told by the file, or by the format where the file says nothing."""
    from av.video.reformatter import ColorRange

    if frame.color_range != ColorRange.UNSPECIFIED:
        return bool(frame.color_range == ColorRange.JPEG)
    return bool(frame.format.is_rgb or frame.format.name.startswith(("yuvj", "gray")))


def _turned(picture: Any, upright: Upright) -> Any:
    """A yuv420p frame made upright."""
    import av

    if upright == Upright():
        return picture
    turns = upright.turns
    rows, columns = picture.height, picture.width
    cells, bright = picture.to_ndarray().ravel(), rows * columns
    planes = [
        cells[:bright].reshape(rows, columns),
        cells[bright : bright * 5 // 4].reshape(rows // 2, columns // 2),
        cells[bright * 5 // 4 :].reshape(rows // 2, columns // 2),
    ]
    planes = [plane[::-1] for plane in planes] if upright.mirrored else planes
    result = np.concatenate([np.rot90(plane, turns).ravel() for plane in planes])
    turned = av.VideoFrame.from_ndarray(result.reshape(-1, rows if turns % 2 else columns), format="yuv420p")
    turned.colorspace, turned.color_range = picture.colorspace, picture.color_range
    turned.color_primaries, turned.color_trc = picture.color_primaries, picture.color_trc
    return turned


def _new_stream(output: Any, picture: Any, timeline: Timeline, encoding: Encoding) -> Any:
    """The stream for pictures like the first one, which says their times and what their colours mean."""
    from av.codec.context import Flags

    rate = Fraction(timeline.info.fps).limit_denominator(_RATE_PARTS)
    # cpu-independent=1: the same file each time, on every processor; it costs no time that can be measured.
    options = {"crf": str(encoding.crf), "preset": encoding.preset, "x264-params": "cpu-independent=1"}
    stream = output.add_stream("libx264", rate=rate, options=options)
    stream.width, stream.height, stream.pix_fmt = picture.width, picture.height, "yuv420p"
    stream.sample_aspect_ratio = timeline.aspect  # the displayed shape stays
    codec = stream.codec_context
    codec.thread_count = 1  # there is a process for every core
    codec.flags |= Flags.frame_duration  # without it the last frame would last as long as a tick of the stream's clock
    codec.gop_size = encoding.keyframe_interval
    codec.time_base = picture.time_base
    codec.colorspace, codec.color_range = picture.colorspace, picture.color_range
    codec.color_primaries, codec.color_trc = picture.color_primaries, picture.color_trc
    return stream
