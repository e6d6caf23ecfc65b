"""Scan a list into a manifest: measure every file in a worker process and keep finished results in a journal."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from videopool.console import FileProgress
from videopool.data.lists.columns import text_columns
from videopool.data.lists.manifest import MEASURED, Manifest, write_manifest
from videopool.data.lists.records import VideoList
from videopool.data.lists.table import VideoTable
from videopool.errors import InputError
from videopool.prepare.distinct_files import DistinctFiles, ListedFile, distinct_files
from videopool.prepare.journal import Journal
from videopool.prepare.measure import MeasuredFile, file_state, measure
from videopool.prepare.write_list import write_reasons
from videopool.processes.pool import Failure, WorkerPool

_REPLACED = (*MEASURED, "reason", "reason_ends", "sha256")  # columns of an earlier scan


def scan(
    videos: VideoList,
    to: Path,
    *,
    quick: bool = False,
    sha256: bool = False,
    processes: int = 1,
    timeout: float = 60.0,
    command: str = "",
    stopped: Callable[[], bool] = lambda: False,
) -> bool:
    """Write the manifest of ``videos`` to ``to``, and a list of unreadable videos beside it (``bad_list``).

    Results are kept in ``to``.partial.jsonl until all files are measured. A repeated call measures only files that are
    new, have changed in size or modification time, or were given up.

    Args:
        quick: list packets instead of decoding each file to its last frame.
        sha256: hash the files.
        processes: how many files are measured at a time.
        timeout: seconds after which a file is given up.
        command: the command line, for the metadata of the manifest.
        stopped: polled while files are measured; True ends the scan.

    Returns:
        Whether the scan finished; False if ``stopped`` ended it.

    Raises:
        InputError: if ``to`` exists, or if a scan with other options was started there.
    """
    if to.exists():
        raise InputError(f"{to} already exists. Name another file, or delete it to scan again.", setting="to")
    files, base = distinct_files(videos.records), videos.records.base
    with Journal(to.with_name(f"{to.name}.partial.jsonl"), {"quick": quick, "sha256": sha256}) as journal:
        work = functools.partial(measure, base=base, quick=quick, sha256=sha256)
        answers = WorkerPool(work, processes=processes, timeout=timeout, stopped=stopped).answers
        if not _measure_all(journal, files, base, answers):
            return False
        columns, codecs = _columns(journal, files)
        kept = {name: column for name, column in videos.records.columns.items() if name not in _REPLACED}
        manifest = Manifest(VideoTable({**kept, **columns}, base), videos.classes, codecs, command)
        write_reasons(bad_list(to), manifest.bad_videos())
        write_manifest(to, manifest)
        journal.path.unlink()
    return True


def bad_list(manifest: Path) -> Path:
    """Return the file beside a manifest that lists unreadable videos: path and reason, a JSON object a line."""
    return manifest.with_name(f"{manifest.name}.bad.jsonl")


_Answers = Callable[[list[ListedFile]], Iterator[tuple[ListedFile, MeasuredFile | Failure]]]


def _measure_all(journal: Journal, files: DistinctFiles, base: Path, answers: _Answers) -> bool:
    """Measure the files that no earlier scan has measured; return False if stopped before the last."""
    done = _done_before(journal, files, base)
    left = [file for file, number in files.number.items() if number not in done]
    measured = bad = 0
    with FileProgress("scan", total=len(files), done=len(done)) as progress:
        if done:
            progress.print(f"resuming: {len(done)} of {len(files)} files are already measured")
        for file, answer in answers(left):
            found = answer
            if isinstance(found, Failure):
                found = dataclasses.replace(file_state(file, base), reason=found.reason)
            given_up = isinstance(answer, Failure)
            journal.append({**file._asdict(), "given_up": given_up, **dataclasses.asdict(found)})
            measured, bad = measured + 1, bad + bool(found.reason)
            progress.advance(f"{bad} bad" if bad else "")
    return measured == len(left)


def _done_before(journal: Journal, files: DistinctFiles, base: Path) -> set[int]:
    """Return the files that an earlier scan has measured and that are unchanged."""
    found: dict[ListedFile, Any] = {}
    for file, entry in _entries(journal, files):
        found[file] = None if entry["given_up"] else (entry["size_bytes"], entry["mtime_ns"])
    return {files.number[file] for file, state in found.items() if state == _state(file_state(file, base))}


def _state(now: MeasuredFile) -> object:
    """Return what must be equal for an unchanged file; a missing file equals nothing."""
    return object() if now.reason else (now.size_bytes, now.mtime_ns)


def _entries(journal: Journal, files: DistinctFiles) -> Iterator[tuple[ListedFile, dict[str, Any]]]:
    """Yield the journal's results of files that are still in the list."""
    for entry in journal.entries():
        file = ListedFile(entry["path"], tuple(entry["part"]) if entry["part"] else None, entry["frames"])
        if file in files.number:
            yield file, entry


def _columns(journal: Journal, files: DistinctFiles) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Return the measured columns of the list's videos, and the names of the codecs."""
    columns: dict[str, np.ndarray] = {
        name: np.full(len(files), _unknown(kind), kind) for name, kind in MEASURED.items()
    }
    hashes, reasons, codecs = np.zeros((len(files), 32), np.uint8), [""] * len(files), {"": 0}
    for file, entry in _entries(journal, files):
        number = files.number[file]
        codec = codecs.setdefault(entry["codec"], len(codecs))
        values = {**entry, "codec": codec, "size_bytes": _size(file, entry)}
        for name, kind in MEASURED.items():
            columns[name][number] = _unknown(kind) if values[name] is None else values[name]
        hashes[number] = np.frombuffer(bytes.fromhex(entry["sha256"] or 64 * "0"), np.uint8)
        reasons[number] = entry["reason"]
    if hashes.any():
        columns["sha256"] = hashes
    of_videos = {name: column[files.of_video] for name, column in columns.items()}
    of_videos["reason"], of_videos["reason_ends"] = text_columns([reasons[n] for n in files.of_video.tolist()])
    return of_videos, tuple(codecs)


def _size(file: ListedFile, entry: dict[str, Any]) -> int | None:
    """Return the bytes of a file or of its part; None for a folder of frames."""
    if file.part is not None:
        return file.part[1]
    return None if file.frames is not None else entry["size_bytes"]


def _unknown(kind: str) -> float:
    return {"f": np.nan, "i": -1, "u": 0}[np.dtype(kind).kind]
