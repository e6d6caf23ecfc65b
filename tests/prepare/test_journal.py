"""A full disk while a journal or a manifest is written: the error names the file, and nothing is written later."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import file_size_limit
from videopool.data.lists.columns import write_columns
from videopool.data.lists.records import read_videos
from videopool.errors import InputError
from videopool.prepare.journal import Journal
from videopool.prepare.split import groups_by_path


def test_a_line_that_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path, {"quick": False}) as journal:
        journal.append({"number": 1})
        with file_size_limit(path.stat().st_size + 5), pytest.raises(OSError, match=r"too large|No space") as error:
            journal.append({"number": 2, "long": "x" * 100})
        assert error.value.filename == str(path)
    with Journal(path, {"quick": False}) as journal:  # the partial line is removed
        assert list(journal.entries()) == [{"number": 1}]
        journal.append({"number": 3})
    assert [json.loads(line).get("number") for line in path.read_text().splitlines()] == [None, 1, 3]


def test_a_journal_that_cannot_be_started(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with file_size_limit(3), pytest.raises(OSError, match=r"too large|No space") as error:
        Journal(path, {"quick": False})
    assert error.value.filename == str(path)
    with Journal(path, {"quick": False}) as journal:
        assert list(journal.entries()) == []


def test_columns_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "a.manifest"
    with file_size_limit(1000), pytest.raises(OSError, match=r"too large|No space") as error:
        write_columns(path, {"label": np.zeros(10_000, np.int32)}, {})
    assert error.value.filename == str(path)
    assert list(tmp_path.iterdir()) == []


def test_an_optional_group_that_does_not_match(tmp_path: Path) -> None:
    for name in ("x/1.mp4", "y/a.mp4"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("")
    with pytest.raises(InputError, match=r"does not match y/a\.mp4\. It must match every path"):
        groups_by_path(read_videos(tmp_path).records, r"(x/)?[0-9a]\.mp4")
