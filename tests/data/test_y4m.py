"""Uncompressed files (y4m): their reader returns what PyAV does, and leaves unusual files to it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from videopool.data.decoding.decode import open_video
from videopool.data.decoding.reader import DecodeError
from videopool.data.decoding.source import Source
from videopool.data.decoding.y4m_reader import read_layout

FRAMES = 9
ORDER = [0.0, 0.31, 0.32, 0.05, 0.3, 0.3, 5.0, -1.0]


def bytes_of(
    header: str, frame_bytes: int, *, frames: int = FRAMES, frame_line: bytes = b"FRAME\n", seed: int = 0
) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (frames, frame_bytes), dtype=np.uint8)
    return f"YUV4MPEG2 {header}\n".encode() + b"".join(frame_line + frame.tobytes() for frame in noise)


def frame_bytes(width: int, height: int, columns: int, rows: int) -> int:
    return width * height + 2 * -(-width // columns) * -(-height // rows)


def assert_as_pyav(video: Path | bytes | Source) -> None:
    with open_video(video) as ours, open_video(video, decoder="pyav") as theirs:
        assert ours.info.frames == theirs.info.frames
        assert (ours.info.width, ours.info.height) == (theirs.info.width, theirs.info.height)
        assert ours.info.fps == pytest.approx(theirs.info.fps, rel=1e-9)
        assert ours.info.duration_seconds == pytest.approx(theirs.info.duration_seconds, rel=1e-9)
        for short_side in (None, 20):
            assert torch.equal(ours.frames_at(ORDER, short_side), theirs.frames_at(ORDER, short_side))


@pytest.mark.parametrize(
    ("colors", "columns", "rows"),
    [("420jpeg", 2, 2), ("420mpeg2", 2, 2), ("420paldv", 2, 2), ("420", 2, 2), ("422", 2, 1), ("444", 1, 1)],
)
@pytest.mark.parametrize("size", [(64, 48), (33, 27)])
def test_frames_of_every_format(colors: str, columns: int, rows: int, size: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / "a.y4m"
    header = f"W{size[0]} H{size[1]} F30000:1001 Ip A0:0 C{colors}"
    path.write_bytes(bytes_of(header, frame_bytes(*size, columns, rows)))
    assert read_layout(Source(path)) is not None
    assert_as_pyav(path)


@pytest.mark.parametrize("fields", ["", " I?", " XCOLORRANGE=FULL", " XCOLORRANGE=LIMITED XYSCSS=420MPEG2"])
def test_optional_fields(fields: str, tmp_path: Path) -> None:
    path = tmp_path / "A.Y4M"
    path.write_bytes(bytes_of(f"W64 H48 F25:1{fields}", frame_bytes(64, 48, 2, 2)))
    assert read_layout(Source(path)) is not None
    assert_as_pyav(path)


def test_pixels_that_are_not_square(tmp_path: Path) -> None:
    path = tmp_path / "a.y4m"
    path.write_bytes(bytes_of("W64 H48 F25:1 A4:3 C420", frame_bytes(64, 48, 2, 2)))
    layout = read_layout(Source(path))
    assert layout is not None
    assert layout.aspect == Fraction(4, 3)
    with (
        open_video(path, square_pixels=True) as ours,
        open_video(path, square_pixels=True, decoder="pyav") as theirs,
    ):
        assert ours.info.width == theirs.info.width == 85
        assert torch.equal(ours.frames_at(ORDER), theirs.frames_at(ORDER))


def test_bytes_and_parts_of_files(tmp_path: Path) -> None:
    content = bytes_of("W64 H48 F25:1 C420", frame_bytes(64, 48, 2, 2))
    path = tmp_path / "a.tar"
    path.write_bytes(b"#" * 512 + content + b"#" * 100)
    part = Source(path, part=(512, len(content)))
    assert read_layout(part) is not None
    assert_as_pyav(part)
    assert_as_pyav(content)


@pytest.mark.parametrize(
    ("header", "count"),
    [
        ("W64 H48 F25:1 It C420", frame_bytes(64, 48, 2, 2)),
        ("W64 H48 F25:1 C420p10", 2 * frame_bytes(64, 48, 2, 2)),
        ("W64 H48 F25:1 Cmono", 64 * 48),
        ("W64 H48 F25:1 C411", frame_bytes(64, 48, 4, 1)),
        ("W64 H48 F0:0 C420", frame_bytes(64, 48, 2, 2)),
        ("W64 H48 C420", frame_bytes(64, 48, 2, 2)),
    ],
)
def test_other_files_are_left_to_pyav(header: str, count: int, tmp_path: Path) -> None:
    path = tmp_path / "a.y4m"
    path.write_bytes(bytes_of(header, count))
    assert read_layout(Source(path)) is None
    assert_as_pyav(path)


def test_frames_with_parameters_are_left_to_pyav(tmp_path: Path) -> None:
    path = tmp_path / "a.y4m"
    path.write_bytes(bytes_of("W64 H48 F25:1 Ip C420", frame_bytes(64, 48, 2, 2), frame_line=b"FRAME Xa\n"))
    assert read_layout(Source(path)) is None
    assert_as_pyav(path)


@pytest.mark.parametrize(
    "header", ["W64 H48 F25:1 C420".replace("64", "x"), "H48 F25:1", "W0 H48 F25:1", "W64 H48 F25", ""]
)
def test_damaged_headers_are_left_to_pyav(header: str, tmp_path: Path) -> None:
    path = tmp_path / "a.y4m"
    path.write_bytes(bytes_of(header, frame_bytes(64, 48, 2, 2)))
    assert read_layout(Source(path)) is None


def test_a_file_that_ends_early_is_left_to_pyav(tmp_path: Path) -> None:
    path = tmp_path / "a.y4m"
    content = bytes_of("W64 H48 F25:1 C420", frame_bytes(64, 48, 2, 2))
    path.write_bytes(content[:-100])
    assert read_layout(Source(path)) is None
    for decoder in ("auto", "pyav"):
        with open_video(path, decoder=decoder) as video:
            assert video.info.frames in (FRAMES - 1, FRAMES)


def test_a_frame_that_is_not_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "a.y4m"
    content = bytearray(bytes_of("W64 H48 F25:1 C420", frame_bytes(64, 48, 2, 2)))
    begin = content.index(b"FRAME", content.index(b"FRAME", content.index(b"FRAME") + 1) + 1)
    content[begin : begin + 5] = b"frame"
    path.write_bytes(content)
    with open_video(path) as video:
        video.frames_at([0.0, 0.3])
        with pytest.raises(DecodeError, match=r"a\.y4m is damaged: its frame 2 is not where it should be"):
            video.frames_at([0.0, 0.09])


def test_a_file_that_is_cut_while_it_is_open(tmp_path: Path) -> None:
    path = tmp_path / "a.y4m"
    path.write_bytes(bytes_of("W64 H48 F25:1 C420", frame_bytes(64, 48, 2, 2)))
    with open_video(path) as video:
        with path.open("r+b") as file:
            file.truncate(10000)
        video.frames_at([0.0])
        with pytest.raises(DecodeError, match="its frame 8 is not where it should be"):
            video.frames_at([9.0])
