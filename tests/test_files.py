"""Files that are written whole, and text without the places of this machine."""

import errno
import json
import os
from pathlib import Path

import pytest

from videopool.files import portable, printable, write_text, written_whole


def test_portable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
        assert portable(text, out) == (text if expected is None else expected)


def fail(path: Path) -> None:
    with written_whole(path) as temporary:
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")


def test_an_error_names_the_file_that_was_to_be_written(tmp_path: Path) -> None:
    path = tmp_path / "new/table.md"
    with pytest.raises(OSError, match=r"new/table\.md") as raised:
        fail(path)
    assert raised.value.filename == str(path)
    assert list(path.parent.iterdir()) == []


def test_text_with_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9 \xe6\x97\xa5")
    path = write_text(tmp_path / "new" / "names.json", json.dumps([name], ensure_ascii=False))
    assert path.read_bytes() == b'["caf\\udce9 \xe6\x97\xa5"]'
    assert json.loads(path.read_text(encoding="utf-8")) == [name]
    assert [one.name for one in path.parent.iterdir()] == ["names.json"]
    assert printable(name) == "caf\\udce9 日"
