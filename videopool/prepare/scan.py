"""From a list to its manifest: every file measured by a process that may be killed, what is done kept in a journal."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from videopool.data.lists.columns import text_columns
from videopool.data.lists.manifest import MEASURED, Manifest, write_manifest
from videopool.data.lists.records import VideoList
from videopool.data.lists.table import DECODER_CODES, VideoTable
from videopool.errors import InputError
from videopool.files import written_whole
from videopool.prepare.journal import Journal
from videopool.prepare.listed import Listed, ListedFiles, files_of
from videopool.prepare.measure import Measured, measure, stated
from videopool.prepare.progress import Watched
from videopool.prepare.workers import GivenUp, work_through

_OF_A_SCAN = (*MEASURED, "reason", "reason_ends", "sha256")


@dataclasses.dataclass(frozen=True)
class Scanning:
    """How files are measured: ``quick`` and ``sha256`` as in ``measure``, ``timeout`` seconds for one file."""

    quick: bool
    sha256: bool
    processes: int
    timeout: float


def scan(videos: VideoList, to: Path, how: Scanning, *, made: str, stopped: Callable[[], bool]) -> bool:
    """Write the manifest of ``videos`` to ``to``, and a list of what cannot be read beside it (``bad_list``).

    Results are kept in ``to``.partial.jsonl until all are there. The next start reads only files that are new or that
    have another size or time of change since, and those that were given up.

    Args:
        made: the command, for the metadata of the manifest.
        stopped: see ``work_through``.

    Returns:
        Whether it was finished; False if ``stopped`` ended it.

    Raises:
        InputError: if ``to`` exists, or if a scan with other options was started there.
    """
    if to.exists():
        raise InputError(f"{to}: exists already; name another file, or delete it to scan again")
    files, base = files_of(videos.records), videos.records.base
    settings = {"quick": how.quick, "sha256": how.sha256}
    with Journal(to.with_name(f"{to.name}.partial.jsonl"), settings) as journal:
        if not _measure_all(journal, files, base, how, stopped):
            return False
        columns, codecs = _columns(journal, files)
        kept = {name: column for name, column in videos.records.columns.items() if name not in _OF_A_SCAN}
        manifest = Manifest(VideoTable({**kept, **columns}, base), videos.classes, codecs, made)
        _write_bad_list(bad_list(to), manifest)
        write_manifest(to, manifest)
        journal.path.unlink()
    return True


def bad_list(manifest: Path) -> Path:
    """Return the file beside a manifest that lists unreadable videos: path and reason, a JSON object a line."""
    return manifest.with_name(f"{manifest.name}.bad.jsonl")


def _measure_all(journal: Journal, files: ListedFiles, base: Path, how: Scanning, stopped: Callable[[], bool]) -> bool:
    """Measure the files that no earlier run has measured; return False if it was stopped before the last."""
    done = _done_before(journal, files, base)
    left = [file for file, number in files.number.items() if number not in done]
    work = functools.partial(measure, base=base, quick=how.quick, sha256=how.sha256)
    measured = bad = 0
    with Watched("scan", total=len(files), done=len(done)) as watched:
        if done:
            watched.say(f"going on: {len(done)} of {len(files)} files were measured before")
        for file, answer in work_through(work, left, processes=how.processes, timeout=how.timeout, stopped=stopped):
            found = answer
            if isinstance(found, GivenUp):
                found = dataclasses.replace(stated(file, base), reason=found.reason)
            given_up = isinstance(answer, GivenUp)
            journal.append({**file._asdict(), "given_up": given_up, **dataclasses.asdict(found)})
            measured, bad = measured + 1, bad + bool(found.reason)
            watched.advance(f"{bad} bad" if bad else "")
    return measured == len(left)


def _done_before(journal: Journal, files: ListedFiles, base: Path) -> set[int]:
    """Return the files that an earlier run has measured and that are unchanged."""
    found: dict[Listed, Any] = {}
    for file, entry in _entries(journal, files):
        found[file] = None if entry["given_up"] else (entry["size_bytes"], entry["mtime_ns"])
    return {files.number[file] for file, state in found.items() if state == _state(stated(file, base))}


def _state(now: Measured) -> object:
    """Return what must be the same; a missing file equals nothing."""
    return object() if now.reason else (now.size_bytes, now.mtime_ns)


def _entries(journal: Journal, files: ListedFiles) -> Iterator[tuple[Listed, dict[str, Any]]]:
    """Yield the results of earlier runs, of files that are still in the list."""
    for entry in journal.entries():
        file = Listed(entry["path"], tuple(entry["part"]) if entry["part"] else None, entry["frames"])
        if file in files.number:
            yield file, entry


def _columns(journal: Journal, files: ListedFiles) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """The columns of the scan for each video of the list, and the names of the codecs."""
    columns: dict[str, np.ndarray] = {
        name: np.full(len(files), _unknown(kind), kind) for name, kind in MEASURED.items()
    }
    hashes, reasons, codecs = np.zeros((len(files), 32), np.uint8), [""] * len(files), {"": 0}
    for file, entry in _entries(journal, files):
        number = files.number[file]
        numbers = {**entry, **_numbers(file, entry, codecs)}
        for name, kind in MEASURED.items():
            columns[name][number] = _unknown(kind) if numbers[name] is None else numbers[name]
        hashes[number] = np.frombuffer(bytes.fromhex(entry["sha256"] or 64 * "0"), np.uint8)
        reasons[number] = entry["reason"]
    if hashes.any():
        columns["sha256"] = hashes
    of_videos = {name: column[files.of_video] for name, column in columns.items()}
    of_videos["reason"], of_videos["reason_ends"] = text_columns([reasons[n] for n in files.of_video.tolist()])
    return of_videos, tuple(codecs)


def _numbers(file: Listed, entry: dict[str, Any], codecs: dict[str, int]) -> dict[str, Any]:
    """What a column has in the place of a word, and the size of what is not a file of its own."""
    size = file.part[1] if file.part is not None else None if file.frames is not None else entry["size_bytes"]
    codec = codecs.setdefault(entry["codec"], len(codecs))
    return {"codec": codec, "decoder": DECODER_CODES.index(entry["decoder"]), "size_bytes": size}


def _unknown(kind: str) -> float:
    return {"f": np.nan, "i": -1, "u": 0}[np.dtype(kind).kind]


def _write_bad_list(path: Path, manifest: Manifest) -> None:
    lines = [json.dumps({"path": name, "reason": reason}) + "\n" for name, reason in manifest.faults()]
    path.unlink(missing_ok=True)
    if lines:
        with written_whole(path) as temporary:
            temporary.write_text("".join(lines), encoding="utf-8")
