"""Small videos for the tests of preparation."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.conftest import WriteVideo, read_numbers, shared_data, write_video  # noqa: F401  # fixtures

BROKEN = "b/broken.mp4"


@pytest.fixture
def folder(tmp_path: Path, write_video: WriteVideo) -> Path:  # noqa: F811
    """Class folders a and b with five videos, one of them broken, and class c with an image."""
    from PIL import Image

    root = tmp_path / "videos"
    write_video(root / "a/one.mp4", 10, gop=4)
    write_video(root / "a/two.avi", 7, codec="mpeg4", b_frames=0, size=(80, 48))
    write_video(root / "b/three.mp4", 5, gop=12)
    write_video(root / "b/four words.mp4", 24, fps=12, gop=6)
    (root / BROKEN).write_bytes((root / "b/three.mp4").read_bytes()[:900])
    (root / "c").mkdir()
    write_video(root / "c/five.mp4", 1)
    Image.new("RGB", (30, 20)).save(root / "c/preview.png")
    return root
