"""tools/make_cifar10.py writes the images of the evidence's comparison."""

from collections.abc import Callable
from pathlib import Path

import numpy as np


def test_images_are_written_by_split_and_class(tool: Callable, tmp_path: Path) -> None:
    files = [bytes([number]) * (number + 1) for number in range(24)]  # not decoded
    arrays = {
        "jpeg": np.frombuffer(b"".join(files), np.uint8),
        "offset": np.cumsum([0, *map(len, files)]),
        "label": np.arange(24) % 2,
        "is_test": np.arange(24) >= 20,
        "classes": np.array(["cat", "dog"]),
    }
    np.savez(tmp_path / "all.npz", **arrays)
    ended = tool("make_cifar10", tmp_path / "all.npz", "--to", tmp_path / "out")
    assert ended.code == 0, ended.err
    written = {path.relative_to(tmp_path / "out").as_posix(): path for path in (tmp_path / "out").rglob("*.jpg")}
    assert len(written) == 24
    assert [name for name in sorted(written) if not name.startswith("train")] == [
        *("test/cat/00020.jpg", "test/cat/00022.jpg", "test/dog/00021.jpg", "test/dog/00023.jpg"),
        *("val/dog/00009.jpg", "val/dog/00019.jpg"),
    ]
    assert written["train/cat/00004.jpg"].read_bytes() == files[4]


def test_a_wrong_file_is_an_error(tool: Callable, tmp_path: Path) -> None:
    ended = tool("make_cifar10", tmp_path / "none.npz", "--to", tmp_path / "out")
    assert (ended.code, ended.err) == (2, f"error: {tmp_path / 'none.npz'} does not exist\n")
    np.savez(tmp_path / "few.npz", jpeg=np.zeros(3, np.uint8), label=np.zeros(1))
    ended = tool("make_cifar10", tmp_path / "few.npz", "--to", tmp_path / "out")
    assert ended.code == 2
    assert "few.npz has no array classes, is_test, offset; see --help" in ended.err
