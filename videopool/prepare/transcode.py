"""Transcode a data set: encode its files again in worker processes and keep finished ones in a journal."""

from __future__ import annotations

import dataclasses
import errno
import functools
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from videopool.console import FileProgress
from videopool.data.decoding.image_reader import is_image
from videopool.data.lists.columns import text_columns
from videopool.data.lists.records import VideoList
from videopool.data.lists.table import VideoTable
from videopool.errors import InputError
from videopool.prepare.distinct_files import DistinctFiles, ListedFile, distinct_files
from videopool.prepare.encode import EncodedFile, Encoding, encode_file
from videopool.prepare.journal import Journal
from videopool.prepare.measure import file_state
from videopool.prepare.write_list import check_csv, write_list, write_reasons
from videopool.processes.pool import Failure, WorkerPool

JOURNAL, FAILED, LIST = "transcoded.jsonl", "failed.jsonl", "videos.csv"
_LEFTOVER = re.compile(r"(.+)\.tmp-\d+")  # a temporary file of atomic_write, left by a killed process

_Sizes = dict[ListedFile, tuple[int, int]]  # bytes of the source and of the new file


@dataclasses.dataclass(frozen=True)
class TranscodeResult:
    """The number of encoded files, the bytes of their sources and of the new files, and why other files failed.

    ``finished`` is False if it was stopped before the last file.
    """

    files: int
    source_bytes: int
    target_bytes: int
    failed: dict[str, str]
    finished: bool


def transcode(
    videos: VideoList,
    to: Path,
    encoding: Encoding | None = None,
    *,
    processes: int = 1,
    timeout: float = 600.0,
    stopped: Callable[[], bool] = lambda: False,
) -> TranscodeResult:
    """Write every file of ``videos`` again below ``to``, under its path in the list, and a list of them (LIST).

    Files whose source was encoded before and has the same size and modification time are skipped. Files that cannot be
    encoded are listed in FAILED with the reason. They stay in LIST, so that its readers report them as missing.

    Args:
        encoding: by default ``Encoding()``.
        processes: how many files are encoded at a time.
        timeout: seconds after which a file is given up.
        stopped: polled while files are encoded; True ends the work.

    Raises:
        InputError: for videos in tar files, folders of frames, images, paths outside the list's folder, two files that
            would get one name, and a ``to`` that is inside the class folders, or holds other files or those of other
            settings.
        OSError: if the disk is full.
    """
    encoding = encoding or Encoding()
    check_csv(videos.records, videos.classes, videos.source, "Leave them out, or train on the original files.")
    _check_place(videos, to)
    files, base = distinct_files(videos.records), videos.records.base
    _check_targets(files, base, to, encoding)
    with Journal(to / JOURNAL, dataclasses.asdict(encoding)) as journal:
        done = _done_before(journal, files, base, to, encoding)
        left = [file for file in files.number if file not in done]
        _remove_leftovers(left, to, encoding)
        failed: dict[str, str] = {}
        work = functools.partial(encode_file, base=base, to=to, encoding=encoding)
        pool = WorkerPool(work, processes=processes, timeout=timeout, stopped=stopped)
        with FileProgress("transcode", total=len(files), done=len(done)) as progress:
            if done:
                progress.print(f"resuming: {len(done)} of {len(files)} files are already encoded")
            for file, answer in pool.answers(left):
                _record(journal, file, answer, to, done, failed)
                progress.advance(f"{len(failed)} failed" if failed else "")
    _remove_leftovers([file for file in left if file not in done], to, encoding)
    finished = len(done) + len(failed) == len(files)
    if finished:
        _write_results(videos, files, to, encoding, failed)
    sources, targets = (sum(sizes[place] for sizes in done.values()) for place in (0, 1))
    return TranscodeResult(len(done), sources, targets, failed, finished)


def _check_place(videos: VideoList, to: Path) -> None:
    """Raise InputError for images, and for a ``to`` where the copies would be read as videos of the list."""
    source, table = Path(videos.source).resolve(), videos.records
    if videos.format == "directories" and to.resolve() != source and to.resolve().is_relative_to(source):
        raise InputError(
            f"{to} is inside {source}, where it would be read as a class. Name a folder outside.", setting="to"
        )
    image = next((path for path in map(table.path_at, range(len(table))) if is_image(Path(path))), None)
    if image is not None:
        raise InputError(f"{videos.source}: {image} is an image. Transcode only videos; images need no transcoding.")


def _check_targets(files: DistinctFiles, base: Path, to: Path, encoding: Encoding) -> None:
    """Raise InputError unless every file has its own place below ``to``, and no other files are there."""
    places: dict[str, str] = {}
    for file in files.number:
        if Path(file.path).is_absolute() or os.path.normpath(file.path).startswith(".."):
            raise InputError(f"{file.path} is outside {base}. Name a folder that holds all videos.", setting="root")
        target = encoding.target_path(file.path)
        other = places.setdefault(os.path.normpath(target), file.path)
        if other != file.path:
            raise InputError(f"{file.path} and {other} would both become {target}. Rename one of them.")
    if not (to / JOURNAL).exists() and to.exists() and any(to.iterdir()):
        raise InputError(f"{to} is not empty, and nothing in it is overwritten. Name a new folder.", setting="to")


def _done_before(journal: Journal, files: DistinctFiles, base: Path, to: Path, encoding: Encoding) -> _Sizes:
    """Return the files that were encoded earlier and whose sources are unchanged."""
    done: _Sizes = {}
    for entry in journal.entries():
        file = ListedFile(entry["path"])
        now, target = file_state(file, base), to / encoding.target_path(file.path)
        same = (now.size_bytes, now.mtime_ns) == (entry["size_bytes"], entry["mtime_ns"])
        if file in files.number and same and target.is_file() and target.stat().st_size == entry["target_bytes"]:
            done[file] = (entry["size_bytes"], entry["target_bytes"])
        else:
            done.pop(file, None)
    return done


def _record(
    journal: Journal, file: ListedFile, answer: EncodedFile | Failure, to: Path, done: _Sizes, failed: dict[str, str]
) -> None:
    """Record the result of a file."""
    if isinstance(answer, EncodedFile) and answer.disk_full:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(to))
    if isinstance(answer, Failure) or answer.reason:
        failed[file.path] = answer.reason
    else:
        done[file] = (answer.size_bytes, answer.target_bytes)
        entry = {"size_bytes": answer.size_bytes, "mtime_ns": answer.mtime_ns, "target_bytes": answer.target_bytes}
        journal.append({"path": file.path, **entry})


def _remove_leftovers(files: Iterable[ListedFile], to: Path, encoding: Encoding) -> None:
    """Remove the unfinished copies of ``files`` that killed processes left."""
    targets = {to / encoding.target_path(file.path) for file in files}
    for folder in {target.parent for target in targets}:
        for path in folder.glob("*.tmp-*"):
            found = _LEFTOVER.fullmatch(path.name)
            if found and folder / found[1] in targets:
                path.unlink(missing_ok=True)


def _write_results(
    videos: VideoList, files: DistinctFiles, to: Path, encoding: Encoding, failed: dict[str, str]
) -> None:
    """Write LIST, and FAILED if any file failed."""
    listed = list(files.number)
    paths = text_columns([encoding.target_path(listed[number].path) for number in files.of_video.tolist()])
    columns = {**videos.records.columns, "path": paths[0], "path_ends": paths[1]}
    write_list(to / LIST, VideoTable(columns, to), videos.classes)
    write_reasons(to / FAILED, failed.items())
