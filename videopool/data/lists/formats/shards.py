"""Tar files of videos and labels in the layout of webdataset: ``key.mp4`` and ``key.cls``, ``.json`` or ``.txt``.

``.cls`` has the number or name of the class, ``.json`` an object with ``label`` (a number, a name, or a list of them
for several classes), ``.txt`` the name; the first of the three counts. Only tar headers and labels are read. Images
count if a tar file has no video.
"""

from __future__ import annotations

import json
import os
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from videopool.data.decoding.image_reader import IMAGE_SUFFIXES
from videopool.data.lists.formats import directories
from videopool.data.lists.formats.entries import SUFFIXES, ListEntry, Listing, data_suffixes
from videopool.data.lists.formats.list_source import ListSource
from videopool.errors import InputError

_LABEL_SUFFIXES = (".cls", ".json", ".txt")  # in order of precedence
_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


def is_shard(place: Path) -> bool:
    """Return whether ``place`` has the name of a tar file, compressed or not, or of several (``{000..009}``)."""
    return place.name.lower().endswith((".tar", *_COMPRESSED))


def claims(source: ListSource) -> bool:
    """Return whether the source is named like tar files, or is a folder of them without videos in class folders."""
    if not source.is_folder:
        return is_shard(source.place)
    return bool(_tar_files(source.place)) and not directories.read_folder(source.place).entries


def read(source: ListSource) -> Listing:
    """Return the videos of tar files, in their order. Paths start from the folder of the tar files."""
    shards = _tar_files(source.place) if source.is_folder else expanded(source.place)
    base = shards[0].parent
    contents = [_read_shard(shard, base) for shard in shards]
    entries = [entry for found, _ in contents for entry in found]
    return Listing(entries, base, note=directories.skipped_note([name for _, others in contents for name in others]))


def expanded(place: Path) -> list[Path]:
    """Return the tar files that ``place`` names: itself, or one for each number of its ranges ``{000..009}``.

    If an end of a range starts with 0, numbers have as many digits as the longer end.
    """
    found = _RANGE.search(str(place))
    if place.exists() or found is None:
        return [place]
    low, high = found.groups()
    if int(low) > int(high):
        raise InputError(f"{place}: the range {found[0]} is empty. Give the smaller number first.")
    width = max(len(low), len(high)) if "0" in (low[0], high[0]) else 0
    before, after = str(place)[: found.start()], str(place)[found.end() :]
    numbers = range(int(low), int(high) + 1)
    return [each for number in numbers for each in expanded(Path(f"{before}{number:0{width}d}{after}"))]


def _tar_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.tar") if not path.name.startswith("."))


def _read_shard(shard: Path, base: Path) -> tuple[list[ListEntry], list[str]]:
    """Return the videos of a tar file, and the names of the members that are not read."""
    try:
        videos, labels, others = _members(shard)
    except (OSError, tarfile.TarError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{shard} cannot be read as a tar file ({reason}). It must be complete and not compressed, because videos "
            "are read from the middle of it."
        ) from None
    suffixes = data_suffixes(member.name for member in videos)
    others += [member.name for member in videos if not member.name.lower().endswith((*suffixes, *IMAGE_SUFFIXES))]
    videos = [member for member in videos if member.name.lower().endswith(suffixes)]
    path = shard.relative_to(base).as_posix() if shard.is_relative_to(base) else os.fspath(shard.absolute())
    keys = {_key(member.name) for member in videos}
    others += [f"{key}{next(iter(written))}" for key, written in labels.items() if key not in keys]
    entries = [_entry(f"{shard}: {member.name}", path, member, labels.get(_key(member.name), {})) for member in videos]
    return entries, others


def _members(shard: Path) -> tuple[list[tarfile.TarInfo], dict[str, dict[str, bytes]], list[str]]:
    """Return the videos and images, the contents of label files by key and suffix, and the names of other members."""
    videos: list[tarfile.TarInfo] = []
    others: list[str] = []
    labels: dict[str, dict[str, bytes]] = {}
    with tarfile.open(shard, "r:") as tar:
        for member in tar:
            name, suffix = PurePosixPath(member.name).name, PurePosixPath(member.name).suffix.lower()
            if not member.isreg() or name.startswith("."):
                continue
            if suffix in SUFFIXES:
                videos.append(member)
            elif suffix in _LABEL_SUFFIXES:
                content = tar.extractfile(member)
                assert content is not None  # a regular file
                labels.setdefault(_key(member.name), {})[suffix] = content.read()
            else:
                others.append(member.name)
    return videos, labels, others


def _key(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))


def _entry(where: str, path: str, member: tarfile.TarInfo, written: Mapping[str, bytes]) -> ListEntry:
    part = (member.offset_data, member.size)
    suffix = next((suffix for suffix in _LABEL_SUFFIXES if suffix in written), None)
    if suffix is None:
        raise InputError(f"{where} has no label; expected {' or '.join(_LABEL_SUFFIXES)} with the same name")
    try:
        text = written[suffix].decode("utf-8").strip()
        label: Any = json.loads(text)["label"] if suffix == ".json" else text
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{where}: its label ({suffix}) cannot be read ({error!r}). Write it again.") from None
    if isinstance(label, list):
        return ListEntry(path, labels=tuple(_text(where, each) for each in label), part=part, file=where)
    return ListEntry(path, _text(where, label), part=part, file=where)


def _text(where: str, label: Any) -> str:
    if isinstance(label, bool) or not isinstance(label, str | int) or str(label).strip() == "":
        raise InputError(f"{where}: the label {label!r} must be a name or a number")
    return str(label).strip()
