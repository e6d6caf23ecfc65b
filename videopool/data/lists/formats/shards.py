"""Tar files of videos with their labels, as webdataset has them: ``key.mp4`` beside ``key.cls``, ``.json`` or ``.txt``.

``.cls`` holds the number or name of the class, ``.json`` an object with ``label`` (a number, a name, or a list of them
for videos of several classes), ``.txt`` the name; the first of the three counts. Only the headers of a tar file and the
labels are read. Images count where a tar file has no video.
"""

from __future__ import annotations

import json
import os
import re
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from videopool.data.decoding.image_reader import IMAGE_SUFFIXES
from videopool.data.lists.formats.entries import SUFFIXES, Entry, Listing, counted_suffixes
from videopool.data.lists.formats.passed_over import passed_over_note
from videopool.errors import InputError

_LABEL_SUFFIXES = (".cls", ".json", ".txt")  # the earlier counts
_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


def is_shard(place: Path) -> bool:
    """Whether ``place`` is named like a tar file, compressed or not, or like several (``{000..009}``)."""
    return place.name.lower().endswith((".tar", *_COMPRESSED))


def inside(folder: Path) -> list[Path]:
    """The tar files in ``folder``, sorted."""
    return sorted(path for path in folder.glob("*.tar") if not path.name.startswith("."))


def expanded(place: Path) -> list[Path]:
    """The tar files that ``place`` names: itself, or one for each number of its ranges ``{000..009}``.

    Numbers have as many digits as the longer end of the range, where one of the ends begins with 0.

    Raises:
        InputError: for a range that counts down.
    """
    found = _RANGE.search(str(place))
    if place.exists() or found is None:
        return [place]
    low, high = found.groups()
    if int(low) > int(high):
        raise InputError(f"{place}: the range {found[0]} is empty; give the smaller number first")
    width = max(len(low), len(high)) if "0" in (low[0], high[0]) else 0
    before, after = str(place)[: found.start()], str(place)[found.end() :]
    numbers = range(int(low), int(high) + 1)
    return [each for number in numbers for each in expanded(Path(f"{before}{number:0{width}d}{after}"))]


def read(shards: Sequence[Path], base: Path) -> Listing:
    """The videos of tar files, in their order.

    Raises:
        InputError: for a tar file that is missing, compressed or damaged, and, naming file and member, for a video
            without a label.
    """
    read_shards = [_read_shard(shard, base) for shard in shards]
    entries = [entry for found, _ in read_shards for entry in found]
    return Listing("shards", entries, base, note=passed_over_note(name for _, others in read_shards for name in others))


def _read_shard(shard: Path, base: Path) -> tuple[list[Entry], list[str]]:
    """The videos of a tar file, and the names of the members that are not read."""
    try:
        videos, labels, others = _members(shard)
    except (OSError, tarfile.TarError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{shard}: cannot be read as a tar file ({reason}); expected a whole one that is not compressed, because "
            "videos are read from the middle of it"
        ) from None
    suffixes = counted_suffixes(member.name for member in videos)
    others += [member.name for member in videos if not member.name.lower().endswith((*suffixes, *IMAGE_SUFFIXES))]
    videos = [member for member in videos if member.name.lower().endswith(suffixes)]
    path = shard.relative_to(base).as_posix() if shard.is_relative_to(base) else os.fspath(shard.absolute())
    keys = {_key(member.name) for member in videos}
    others += [f"{key}{next(iter(written))}" for key, written in labels.items() if key not in keys]
    entries = [_entry(f"{shard}: {member.name}", path, member, labels.get(_key(member.name), {})) for member in videos]
    return entries, others


def _members(shard: Path) -> tuple[list[tarfile.TarInfo], dict[str, dict[str, bytes]], list[str]]:
    """Videos and images; by key what the files of labels hold, by their suffixes; the names of all others."""
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
                assert content is not None  # it is a regular file
                labels.setdefault(_key(member.name), {})[suffix] = content.read()
            else:
                others.append(member.name)
    return videos, labels, others


def _key(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))


def _entry(where: str, path: str, member: tarfile.TarInfo, written: Mapping[str, bytes]) -> Entry:
    part = (member.offset_data, member.size)
    suffix = next((suffix for suffix in _LABEL_SUFFIXES if suffix in written), None)
    if suffix is None:
        raise InputError(f"{where} has no label; expected {' or '.join(_LABEL_SUFFIXES)} of the same name beside it")
    try:
        text = written[suffix].decode("utf-8").strip()
        label: Any = json.loads(text)["label"] if suffix == ".json" else text
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{where}: its label ({suffix}) cannot be read ({error!r}); write it anew") from None
    if isinstance(label, list):
        return Entry(where, 0, path, labels=tuple(_text(where, each) for each in label), part=part)
    return Entry(where, 0, path, _text(where, label), part=part)


def _text(where: str, label: Any) -> str:
    if isinstance(label, bool) or not isinstance(label, str | int) or str(label).strip() == "":
        raise InputError(f"{where}: {label!r} is no label; expected a name or a number")
    return str(label).strip()
