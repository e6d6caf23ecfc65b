"""Helpers of the tests of unusual streams: reader, scan and transcode must agree on every frame."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from tests.data.conftest import numbered_image
from videopool.data.decoding.decode import open_video
from videopool.data.decoding.source import Source
from videopool.prepare.distinct_files import ListedFile
from videopool.prepare.encode import Encoding, encode
from videopool.prepare.measure import MeasuredFile, measure

ReadNumbers = Callable[[torch.Tensor], list[int]]
ENCODING = Encoding(short_side=48, keyframe_interval=12, crf=10, preset="ultrafast")


def scan(path: Path) -> MeasuredFile:
    return measure(ListedFile(path.name), base=path.parent, quick=False, sha256=False)


def frame_alone(path: Path, seconds: float, decoder: str = "auto") -> torch.Tensor:
    """Return the frame on display, uint8 [3,H,W], from a new reader."""
    with open_video(path, decoder=decoder) as video:
        return video.frames_at([seconds])[:, 0]


def check_every_frame(path: Path, expected: list[int], fps: float, read_numbers: ReadNumbers) -> None:
    """Check that reader, scan and transcode find ``expected``, the numbers that the frames show."""
    middles = (np.arange(len(expected)) + 0.5) / fps
    with open_video(path) as video:
        assert video.timing.frames == len(expected)
        assert video.timing.duration_seconds == pytest.approx(len(expected) / fps, rel=1e-3)
        assert read_numbers(video.frames_at(middles)) == expected
    for index in {0, 1, len(expected) // 3, len(expected) // 2, len(expected) - 2, len(expected) - 1}:
        assert read_numbers(frame_alone(path, middles[index])[:, None]) == [expected[index]]
    found = scan(path)
    assert (found.reason, found.frames_decodable) == ("", len(expected))
    copy = path.with_name(f"{path.name}.copy.mp4")
    encode(Source(path), copy, ENCODING)
    with open_video(copy) as video:
        assert read_numbers(video.frames_at(middles)) == expected


def rename_box(path: Path, box: bytes) -> None:
    data = path.read_bytes()
    assert data.count(box) == 1
    path.write_bytes(data.replace(box, b"free"))


def write_with_options(path: Path, frames: int, codec: str, options: dict[str, str]) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(numbered_image(number, (64, 48)), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
