"""Files that FFmpeg's index or a seek would misread."""

from __future__ import annotations

import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition

from tests.data.conftest import middle, numbered_image
from videopool.data.decoding.container import best_stream
from videopool.data.decoding.decode import open_video
from videopool.data.decoding.index_times import index_times
from videopool.data.decoding.reader import DecodeError
from videopool.data.decoding.source import Source


def written(path: Path, frames: int, **options: str) -> Path:
    """Write a video of H.264 whose frames show their numbers, with these options of x264."""
    with av.open(str(path), "w") as container:
        given = ":".join(f"{name.replace('_', '-')}={value}" for name, value in options.items())
        stream = container.add_stream("libx264", rate=10, options={"x264-params": given})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(numbered_image(number, (64, 48)), format="rgb24")))
        container.mux(stream.encode())
    return path


def one_by_one(path: Path, read_numbers: Any, times: np.ndarray) -> list[int]:
    """Return the numbers of the frames at ``times``, opening the file for each of them."""
    numbers = []
    for time_ in times:
        with open_video(path, decoder="pyav") as video:
            numbers += read_numbers(video.frames_at([time_]))
    return numbers


def test_h264_in_an_avi_without_display_times(tmp_path, write_video, read_numbers):
    path = write_video(tmp_path / "v.avi", 30, b_frames=0)
    times = middle(np.arange(30), 10)
    assert one_by_one(path, read_numbers, times) == list(range(30))
    with open_video(path, decoder="pyav") as video:
        assert read_numbers(video.frames_at(times)) == list(range(30))


@pytest.mark.slow
def test_streams_that_can_only_be_decoded_from_their_start(tmp_path, read_numbers):
    path = written(tmp_path / "v.mp4", 90, intra_refresh="1", keyint="20", bframes="0", scenecut="0")
    assert one_by_one(path, read_numbers, middle(np.arange(90), 10)) == list(range(90))


def test_an_edit_list_that_hides_whole_groups(tmp_path, write_video, read_numbers):
    plain = write_video(tmp_path / "plain.mp4", 60, gop=10, b_frames=0)
    content = bytearray(plain.read_bytes())
    at = content.index(b"elst") + 12  # after version and number of entries: duration, start, rate
    duration, start = struct.unpack(">2i", content[at : at + 8])
    with av.open(str(plain)) as container:
        ticks = round(3.5 / container.streams.video[0].time_base)
    content[at : at + 8] = struct.pack(">2i", duration - 3500, start + ticks)  # the unit of the movie is milliseconds
    path = tmp_path / "hidden.mp4"
    path.write_bytes(content)
    with open_video(path, decoder="pyav") as video:
        assert video.timing.frames == 25
        assert read_numbers(video.frames_at(middle(np.arange(25), 10))) == list(range(35, 60))
    assert one_by_one(path, read_numbers, middle([0, 12, 24], 10)) == [35, 47, 59]


def test_an_avi_with_dropped_frames(tmp_path, write_video, read_numbers):
    """The frame before stays on display while others are missing."""
    ticks = [*range(10), *range(15, 30), *range(40, 45)]
    path = write_video(tmp_path / "v.avi", len(ticks), codec="mpeg4", b_frames=0, ticks=ticks)
    shown = [max(number for number, tick in enumerate(ticks) if tick <= at) for at in range(45)]
    with open_video(path, decoder="pyav") as video:
        assert video.timing.duration_seconds == pytest.approx(4.5)
        assert read_numbers(video.frames_at(middle(np.arange(45), 10))) == shown
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(DecodeError, match=r"truncated|not a video"), open_video(path, decoder="pyav") as video:
        video.frames_at([4.4])


def test_the_cover_of_a_sound_file_is_not_a_video():
    def container(disposition: Disposition) -> Any:
        stream = SimpleNamespace(disposition=disposition)
        return SimpleNamespace(streams=SimpleNamespace(best=lambda kind: stream))

    assert best_stream(container(Disposition.attached_pic | Disposition.default)) is None
    assert best_stream(container(Disposition.default)) is not None
    assert best_stream(SimpleNamespace(streams=SimpleNamespace(best=lambda kind: None))) is None


def test_transport_streams_that_were_joined(tmp_path, write_video, read_numbers):
    one, two = (write_video(tmp_path / f"{frames}.ts", frames, b_frames=0) for frames in (20, 12))
    path = tmp_path / "joined.ts"
    path.write_bytes(one.read_bytes() + two.read_bytes())
    with open_video(path, decoder="pyav") as video:
        assert video.timing.frames == 32
        assert read_numbers(video.frames_at(middle(np.arange(32), video.timing.fps))) == [*range(20), *range(12)]


def test_an_index_longer_than_the_duration_is_not_used(tmp_path, write_video):
    """An edit list may hide frames between the first and the last; the stream is then shorter than its frames."""
    source = Source(write_video(tmp_path / "v.mp4", 30))
    with av.open(str(source.path)) as opened:
        stream = opened.streams.video[0]

        class Shorter:
            duration = stream.duration - round(1 / (stream.average_rate * stream.time_base))

            def __getattr__(self, name: str) -> Any:
                return getattr(stream, name)

        container = SimpleNamespace(format=opened.format, size=opened.size)
        container.streams = SimpleNamespace(best=lambda kind: stream)
        assert index_times(container, source).timing.frames == 30
        container.streams = SimpleNamespace(best=lambda kind: Shorter())
        assert index_times(container, source) is None
