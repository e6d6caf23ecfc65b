"""Write a video file again for training: smaller, upright, 8 bits, no sound, frequent keyframes or uncompressed."""

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
from videopool.data.decoding.pixels import UNTAGGED, Upright, colors
from videopool.data.decoding.reader import DecodeError, decode_errors, error_message
from videopool.data.decoding.source import Source, source_of
from videopool.data.decoding.timeline import MISSING_FRAMES, Timeline, read_timeline
from videopool.errors import InputError
from videopool.files import atomic_write
from videopool.prepare.distinct_files import ListedFile
from videopool.ranges import AT_LEAST_ONE, Range

PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_LARGEST_DENOMINATOR = 100_000  # of a frame rate


@dataclasses.dataclass(frozen=True)
class Encoding:
    """The settings of the new files.

    Attributes:
        short_side: pixels of the shorter side; smaller videos are not enlarged.
        keyframe_interval: the most frames from one keyframe to the next.
        crf: quality of x264, 0 to 51; lower is better.
        preset: one of ``PRESETS`` of x264, from fast to small.
        deinterlace: turn interlaced frames into progressive ones.
        uncompressed: write y4m instead of mp4. ``keyframe_interval``, ``crf`` and ``preset`` do not matter then.

    Raises:
        InputError: for a value out of range.
    """

    short_side: int = 320
    keyframe_interval: int = 12
    crf: int = 20
    preset: str = "fast"
    deinterlace: bool = False
    uncompressed: bool = False

    def __post_init__(self) -> None:
        Range(2).check("short_side", self.short_side)
        AT_LEAST_ONE.check("keyframe_interval", self.keyframe_interval)
        Range(0, 51).check("crf", self.crf)
        if self.preset not in PRESETS:
            raise InputError(f"Unknown preset {self.preset!r}. Choose one of {', '.join(PRESETS)}.", setting="preset")

    def target_path(self, path: str) -> str:
        """Return the path of the new file for the one at ``path``, relative to the new folder."""
        return Path(path).with_suffix(".y4m" if self.uncompressed else ".mp4").as_posix()


@dataclasses.dataclass(frozen=True)
class EncodedFile:
    """The size of a new file, and the size and modification time of its source; or the ``reason`` why it is missing.

    ``disk_full``: the disk is full, so that no other file can be written either.
    """

    size_bytes: int = 0
    mtime_ns: int = 0
    target_bytes: int = 0
    reason: str = ""
    disk_full: bool = False


def encode_file(file: ListedFile, *, base: Path, to: Path, encoding: Encoding) -> EncodedFile:
    """Encode ``file`` below ``base`` to its ``target_path`` below ``to``; write it whole or not at all."""
    import av

    target = to / encoding.target_path(file.path)
    source = source_of(file.record(base))
    try:
        source.check()
        state = (base / file.path).stat()
        with atomic_write(target) as temporary:
            encode(source, temporary, encoding)
        return EncodedFile(state.st_size, state.st_mtime_ns, target.stat().st_size)
    except DecodeError as error:
        return EncodedFile(reason=error.reason)
    except (OSError, av.FFmpegError) as error:
        return EncodedFile(reason=f"cannot be encoded ({error_message(error)})", disk_full=error.errno in _DISK_FULL)


def encode(source: Source, target: Path, encoding: Encoding) -> None:
    """Write the frames on display of ``source`` to ``target``, in yuv420p.

    In mp4 (H.264), times in seconds stay the same, also at a variable rate. There the end of the last frame may be off
    by some frames, because mp4 stores only decoding times for it. Y4m stores no times: the new file has as many frames,
    at the average rate, each of them the one on display in the middle of its time.

    Raises:
        DecodeError: if frames of ``source`` cannot be decoded.
        OSError, av.FFmpegError: if ``target`` cannot be written.
    """
    timeline = read_timeline(source)
    pictures = (
        _picture(frame, encoding.short_side, timeline.upright)
        for frame in _frames(source, timeline, deinterlace=encoding.deinterlace)
    )
    if encoding.uncompressed:
        _write_y4m(target, pictures, timeline)
    else:
        _write_mp4(target, pictures, timeline, encoding)


def _write_mp4(target: Path, pictures: Iterator[Any], timeline: Timeline, encoding: Encoding) -> None:
    import av

    with av.open(str(target), "w", format="mp4", options={"movflags": "faststart"}) as output:
        stream: Any = None
        for picture in pictures:
            if stream is None:
                stream = _new_stream(output, picture, timeline, encoding)
            output.mux(stream.encode(picture))
        output.mux(stream.encode())


def _write_y4m(target: Path, pictures: Iterator[Any], timeline: Timeline) -> None:
    rate, aspect, size = _rate(timeline), timeline.aspect, None
    with target.open("wb") as file:
        for picture in _at_rate(pictures, rate, timeline.info.frames):
            if size is None:
                size = (picture.width, picture.height)
                ratios = f"F{rate.numerator}:{rate.denominator} Ip A{aspect.numerator}:{aspect.denominator}"
                file.write(f"YUV4MPEG2 W{size[0]} H{size[1]} {ratios} C420mpeg2 XCOLORRANGE=LIMITED\n".encode())
            file.write(b"FRAME\n")
            file.write(_in_bt601(picture.reformat(*size)).data)  # of the first size, if it changes


def _at_rate(pictures: Iterator[Any], rate: Fraction, count: int) -> Iterator[Any]:
    """Yield ``count`` pictures, for each n the one on display at (n + 1/2) / ``rate``."""
    shown, number = next(pictures), 0
    for picture in pictures:
        while number < count and (number + Fraction(1, 2)) / rate < picture.pts * picture.time_base:
            yield shown
            number += 1
        shown = picture
    for _ in range(number, count):
        yield shown


def _in_bt601(picture: Any) -> np.ndarray:
    """Return the planes of a yuv420p frame, uint8 [rows * 3/2, columns], in BT.601, because y4m names no color space.

    FFmpeg's own conversion makes pictures about 2 of 255 darker.
    """
    cells = picture.to_ndarray()
    given, wanted = (np.array(colors("yuv420p", space, False).matrix) for space in (picture.colorspace, UNTAGGED))
    if np.array_equal(given, wanted):
        return cells
    rows, columns = picture.height, picture.width
    mix = np.linalg.solve(wanted[:, :3], given[:, :3])  # luma stays, and chroma does not depend on it
    luma, chroma = cells[:rows], cells[rows:].reshape(2, rows // 2, columns // 2).astype(np.float64) - 128
    light = np.tensordot(mix[0, 1:], chroma, 1).repeat(2, 0).repeat(2, 1)
    color = np.tensordot(mix[1:, 1:], chroma, 1) + 128
    planes = [luma + light, color.reshape(rows // 2, columns)]
    return np.concatenate(planes).round().clip(0, 255).astype(np.uint8)


def _rate(timeline: Timeline) -> Fraction:
    return Fraction(timeline.info.fps).limit_denominator(_LARGEST_DENOMINATOR)


def scaled_even(width: int, height: int, short_side: int) -> tuple[int, int]:
    """Return (width, height) scaled down to this short side; both even, which 4:2:0 needs."""
    scale = min(1.0, short_side / min(width, height))
    return max(2, 2 * round(width * scale / 2)), max(2, 2 * round(height * scale / 2))


def _frames(source: Source, timeline: Timeline, *, deinterlace: bool) -> Iterator[Any]:
    """Yield the decoded frames on display; their times start at 0 and rise, in units of their ``time_base``.

    Of several frames at one time, which mp4 cannot store, the last is kept.
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
            frame.time_base = 1 / _rate(timeline)
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
    """Return the frame scaled and upright, in 8-bit yuv420p of limited range, at its time."""
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
    picture.pict_type = 0  # the new encoder chooses its keyframes
    return picture


def _full_range(frame: Any) -> bool:
    """Return whether black is 0 in every plane, by the file or, where it does not say, by the pixel format."""
    from av.video.reformatter import ColorRange

    if frame.color_range != ColorRange.UNSPECIFIED:
        return bool(frame.color_range == ColorRange.JPEG)
    return bool(frame.format.is_rgb or frame.format.name.startswith(("yuvj", "gray")))


def _turned(picture: Any, upright: Upright) -> Any:
    """Return a yuv420p frame turned upright."""
    import av

    if upright == Upright():
        return picture
    turns = upright.turns
    rows, columns = picture.height, picture.width
    cells, luma = picture.to_ndarray().ravel(), rows * columns
    planes = [
        cells[:luma].reshape(rows, columns),
        cells[luma : luma * 5 // 4].reshape(rows // 2, columns // 2),
        cells[luma * 5 // 4 :].reshape(rows // 2, columns // 2),
    ]
    planes = [plane[::-1] for plane in planes] if upright.mirrored else planes
    result = np.concatenate([np.rot90(plane, turns).ravel() for plane in planes])
    turned = av.VideoFrame.from_ndarray(result.reshape(-1, rows if turns % 2 else columns), format="yuv420p")
    turned.colorspace, turned.color_range = picture.colorspace, picture.color_range
    turned.color_primaries, turned.color_trc = picture.color_primaries, picture.color_trc
    return turned


def _new_stream(output: Any, picture: Any, timeline: Timeline, encoding: Encoding) -> Any:
    """Return a stream for pictures with the time base and color description of ``picture``."""
    from av.codec.context import Flags

    # cpu-independent=1 gives the same file on every processor, at no measurable cost.
    options = {"crf": str(encoding.crf), "preset": encoding.preset, "x264-params": "cpu-independent=1"}
    stream = output.add_stream("libx264", rate=_rate(timeline), options=options)
    stream.width, stream.height, stream.pix_fmt = picture.width, picture.height, "yuv420p"
    stream.sample_aspect_ratio = timeline.aspect  # keeps the displayed shape
    codec = stream.codec_context
    codec.thread_count = 1  # there is a process for every core
    codec.flags |= Flags.frame_duration  # otherwise the last frame lasts one tick of the stream's clock
    codec.gop_size = encoding.keyframe_interval
    codec.time_base = picture.time_base
    codec.colorspace, codec.color_range = picture.colorspace, picture.color_range
    codec.color_primaries, codec.color_trc = picture.color_primaries, picture.color_trc
    return stream
