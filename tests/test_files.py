"""Atomic writes, and text without paths of this machine."""

import errno
import json
import os
from pathlib import Path

import pytest

from videopool.files import atomic_write, escape_surrogates, strip_local_paths, write_text


def test_strip_local_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    here, out = str(tmp_path), Path("/elsewhere/out")
    cases = {
        "data.root=/data/my/videos": "data.root=.../videos",
        "data={root: /data/videos, workers: 0}": "data={root: .../videos, workers: 0}",
        f"{here}/configs/a.yaml": "configs/a.yaml",
        '"/elsewhere/out/runs/max/run.json": bad': '"runs/max/run.json": bad',
        "lists/a.csv:3 and/or https://x.org/a/b, 3 / 4, ../up, ./here": None,
        "lp 2,soft": None,
    }
    for text, expected in cases.items():
        assert strip_local_paths(text, out) == (text if expected is None else expected)


def write_half(path: Path) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")


def test_error_names_the_file_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "new/table.md"
    with pytest.raises(OSError, match=r"new/table\.md") as raised:
        write_half(path)
    assert raised.value.filename == str(path)
    assert list(path.parent.iterdir()) == []


def test_write_text_escapes_names_that_are_not_utf8(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9 \xe6\x97\xa5")
    path = write_text(tmp_path / "new" / "names.json", json.dumps([name], ensure_ascii=False))
    assert path.read_bytes() == b'["caf\\udce9 \xe6\x97\xa5"]'
    assert json.loads(path.read_text(encoding="utf-8")) == [name]
    assert [entry.name for entry in path.parent.iterdir()] == ["names.json"]
    assert escape_surrogates(name) == "caf\\udce9 日"
