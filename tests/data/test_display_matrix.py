"""Display matrices: frames are rotated and mirrored as a player does."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tests.data.conftest import LOADED
from videopool.data.decoding.decode import open_video
from videopool.data.decoding.reader import DecodeError
from videopool.data.decoding.timeline import read_timeline


def with_matrix(source: Path, target: Path, matrix: tuple[int, int, int, int]) -> Path:
    """Write an mp4 with the display matrix (a, b, c, d): a pixel (x, y) is shown at (a x + c y, b x + d y)."""
    content = bytearray(source.read_bytes())
    at = content.index(b"tkhd") + 44
    a, b, c, d = (number << 16 for number in matrix)
    content[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    target.write_bytes(content)
    return target


@pytest.mark.parametrize(
    ("matrix", "upright"),
    [
        ((1, 0, 0, 1), lambda pixels: pixels),
        ((-1, 0, 0, -1), lambda pixels: pixels.flip(2, 3)),
        ((0, 1, -1, 0), lambda pixels: pixels.transpose(2, 3).flip(3)),  # a quarter clockwise
        ((0, -1, 1, 0), lambda pixels: pixels.transpose(2, 3).flip(2)),
        ((-1, 0, 0, 1), lambda pixels: pixels.flip(3)),
        ((0, 1, 1, 0), lambda pixels: pixels.transpose(2, 3)),
        ((0, -1, -1, 0), lambda pixels: pixels.transpose(2, 3).flip(2, 3)),
    ],
)
def test_the_display_matrix_rotates_and_mirrors(tmp_path, write_video, matrix, upright):
    plain = write_video(tmp_path / "plain.mp4", 12, size=(64, 48))
    path = with_matrix(plain, tmp_path / "turned.mp4", matrix)
    times = [0.05, 0.55, 1.15]
    with open_video(plain, decoder="pyav") as video:
        expected = upright(video.frames_at(times))
    with open_video(path, decoder="pyav") as video:
        found = video.frames_at(times)
        assert (video.info.height, video.info.width) == found.shape[2:]
    assert found.shape == expected.shape
    assert (found.int() - expected.int()).abs().float().mean() < 1  # chroma is a quarter of a pixel off
    timeline = read_timeline(path)
    assert (timeline.info.height, timeline.info.width) == found.shape[2:]
    if timeline.upright.mirrored:
        for decoder in set(LOADED) & {"decord", "torchcodec"}:
            with pytest.raises(DecodeError, match="is mirrored by its header"), open_video(path, decoder=decoder):
                pass
