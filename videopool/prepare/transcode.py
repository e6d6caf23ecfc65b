"""A smaller copy of a data set: files encoded anew by processes that may be killed; a journal keeps what is done."""

from __future__ import annotations

import dataclasses
import errno
import functools
import json
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from videopool.data.decoding.image_reader import is_image
from videopool.data.lists.columns import text_columns
from videopool.data.lists.records import VideoList
from videopool.data.lists.table import VideoTable
from videopool.errors import InputError
from videopool.files import write_text
from videopool.prepare.encode import Encoded, Encoding, encode_listed, target_of
from videopool.prepare.journal import Journal
from videopool.prepare.listed import Listed, ListedFiles, files_of
from videopool.prepare.lists import check_csv, write_list
from videopool.prepare.measure import stated
from videopool.prepare.progress import Watched
from videopool.prepare.workers import GivenUp, work_through

JOURNAL, FAILED, LIST = "transcoded.jsonl", "failed.jsonl", "videos.csv"
_LEFTOVER = re.compile(r"(.+)\.tmp-\d+")  # what written_whole leaves when its process is killed


@dataclasses.dataclass(frozen=True)
class Transcoded:
    """The number of encoded files, the bytes of their sources and of them, and why others could not be encoded.

    ``finished`` is False if it was stopped before the last file.
    """

    files: int
    source_bytes: int
    target_bytes: int
    failed: dict[str, str]
    finished: bool


def _check_place(videos: VideoList, to: Path) -> None:
    """Refuse a place where the copies would be read as videos of the list, and images."""
    source, table = Path(videos.source).resolve(), videos.records
    if videos.format == "directories" and to.resolve() != source and to.resolve().is_relative_to(source):
        raise InputError(f"{to}: lies among the classes of {source}, and would be read as one; name a folder outside")
    image = next((path for path in map(table.path_at, range(len(table))) if is_image(Path(path))), None)
    if image is not None:
        raise InputError(f"{videos.source}: {image} is an image; transcode is for videos, images need none")


def transcode(
    videos: VideoList, to: Path, encoding: Encoding, *, processes: int, timeout: float, stopped: Callable[[], bool]
) -> Transcoded:
    """Write every file of ``videos`` below ``to``, as mp4 under its path in the list, and the list of them (LIST).

    A file whose source, by size and time of change, was encoded before is left as it is. What cannot be encoded is
    listed in FAILED with the reason, and stays in LIST, whose readers report it as missing: nothing leaves a data set
    unseen.

    Raises:
        InputError: for videos in tar files, folders of frames, images, paths that lead out of the list's folder, two
            files that would get one name, and a ``to`` that lies among the classes, or has files of others, or of ours
            with other settings.
        OSError: when the disk is full.
    """
    check_csv(videos.records, videos.classes, videos.source, "leave them out, or train on them as they are")
    _check_place(videos, to)
    files, base = files_of(videos.records), videos.records.base
    _check_targets(files, base, to)
    with Journal(to / JOURNAL, dataclasses.asdict(encoding)) as journal:
        done = _done_before(journal, files, base, to)
        left = [file for file in files.number if file not in done]
        _remove_leftovers(left, to)
        failed: dict[str, str] = {}
        work = functools.partial(encode_listed, base=base, to=to, encoding=encoding)
        with Watched("transcode", total=len(files), done=len(done)) as watched:
            if done:
                watched.say(f"going on: {len(done)} of {len(files)} files were encoded before")
            for file, answer in work_through(work, left, processes=processes, timeout=timeout, stopped=stopped):
                _note(journal, file, answer, to, done, failed)
                watched.advance(f"{len(failed)} failed" if failed else "")
    _remove_leftovers([file for file in left if file not in done], to)
    finished = len(done) + len(failed) == len(files)
    if finished:
        _write_results(videos, files, to, failed)
    sources, targets = (sum(sizes[place] for sizes in done.values()) for place in (0, 1))
    return Transcoded(len(done), sources, targets, failed, finished)


Sizes = dict[Listed, tuple[int, int]]  # bytes of source and target of each file that is there


def _check_targets(files: ListedFiles, base: Path, to: Path) -> None:
    """Raise InputError unless every file has a place of its own below ``to``, and nothing of others is there."""
    places: dict[str, str] = {}
    for file in files.number:
        if Path(file.path).is_absolute() or os.path.normpath(file.path).startswith(".."):
            raise InputError(f"{file.path}: lies outside of {base}; give the folder above all videos with --root")
        other = places.setdefault(os.path.normpath(target_of(file.path)), file.path)
        if other != file.path:
            raise InputError(f"{file.path} and {other} would both become {target_of(file.path)}; rename one of them")
    if not (to / JOURNAL).exists() and to.exists() and any(to.iterdir()):
        raise InputError(f"{to}: is not empty, and nothing there is written over; name a new folder with --to")


def _done_before(journal: Journal, files: ListedFiles, base: Path, to: Path) -> Sizes:
    """The files that were encoded at an earlier start, whose sources are still the same."""
    done: Sizes = {}
    for entry in journal.entries():
        file, now = Listed(entry["path"]), stated(Listed(entry["path"]), base)
        target = to / target_of(file.path)
        same = (now.size_bytes, now.mtime_ns) == (entry["size_bytes"], entry["mtime_ns"])
        if file in files.number and same and target.is_file() and target.stat().st_size == entry["target_bytes"]:
            done[file] = (entry["size_bytes"], entry["target_bytes"])
        else:
            done.pop(file, None)
    return done


def _note(
    journal: Journal, file: Listed, answer: Encoded | GivenUp, to: Path, done: Sizes, failed: dict[str, str]
) -> None:
    """Record the result of a file."""
    if isinstance(answer, GivenUp):
        failed[file.path] = answer.reason
    elif answer.disk_full:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(to))
    elif answer.reason:
        failed[file.path] = answer.reason
    else:
        done[file] = (answer.size_bytes, answer.target_bytes)
        entry = {"size_bytes": answer.size_bytes, "mtime_ns": answer.mtime_ns, "target_bytes": answer.target_bytes}
        journal.append({"path": file.path, **entry})


def _remove_leftovers(files: Iterable[Listed], to: Path) -> None:
    """Unfinished files that killed processes left in the place of ``files``."""
    targets = {to / target_of(file.path) for file in files}
    for folder in {target.parent for target in targets}:
        for path in folder.glob("*.tmp-*"):
            found = _LEFTOVER.fullmatch(path.name)
            if found and folder / found[1] in targets:
                path.unlink(missing_ok=True)


def _write_results(videos: VideoList, files: ListedFiles, to: Path, failed: dict[str, str]) -> None:
    """LIST, and FAILED if anything has."""
    listed = list(files.number)
    paths = text_columns([target_of(listed[number].path) for number in files.of_video.tolist()])
    columns = {**videos.records.columns, "path": paths[0], "path_ends": paths[1]}
    write_list(to / LIST, VideoTable(columns, to), videos.classes)
    (to / FAILED).unlink(missing_ok=True)
    if failed:
        lines = (json.dumps({"path": path, "reason": reason}) + "\n" for path, reason in failed.items())
        write_text(to / FAILED, "".join(lines))
