"""What to classify, as the user writes it: files, folders, patterns, lists, addresses and cameras."""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import re
import urllib.parse
from collections.abc import Sequence
from pathlib import Path

from videopool.data.decoding.image_reader import is_image
from videopool.data.lists.formats.entries import SUFFIXES, VIDEO_SUFFIXES
from videopool.data.lists.records import read_videos
from videopool.errors import InputError
from videopool.types import VideoRecord

DEVICES = ("v4l2", "avfoundation", "dshow", "gdigrab", "x11grab", "kmsgrab", "decklink", "lavfi")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_DEVICE = re.compile(rf"({'|'.join(DEVICES)}):(.+)", re.DOTALL)
_WEB = ("http://", "https://")
_CAMERA = re.compile(r"/dev/video\d+")
_LIST_SUFFIXES = (".txt", ".csv", ".tsv", ".list", ".lst", ".json", ".jsonl", ".tar", ".manifest")
_READER_OR_PART = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+:.+|.*#.+|.*\{\d+\.\.\d+\}.*", re.DOTALL)
_FILES_SHOWN = 3
_DEPTH = 3  # folders below a folder of videos


@dataclasses.dataclass(frozen=True)
class Stream:
    """A video whose end is unknown: a stream or a camera.

    Attributes:
        name: as the user gave it.
        address: what FFmpeg opens; always text, because a path would lose a slash of ``http://``.
        device: the input device of FFmpeg, such as ``"v4l2"``; "" for an address.
        paced: whether to wait between frames, for files and generators, which would be read at once.
    """

    name: str
    address: str
    device: str = ""
    paced: bool = False


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What to classify: videos, which have an end, ``addresses`` that may be videos or streams, and streams."""

    records: tuple[VideoRecord, ...]
    addresses: tuple[str, ...]
    streams: tuple[Stream, ...]


def find_inputs(given: Sequence[str], *, root: str | None = None, images: bool = False, live: bool = False) -> Inputs:
    """Return what each text of ``given`` names, without repeats.

    Args:
        given: files, folders of frames or of videos, patterns such as ``"videos/*.mp4"``, lists of videos
            (docs/lists.md), addresses such as ``"rtsp://camera/1"``, cameras (``/dev/video0``) and devices
            (``"v4l2:/dev/video0"``).
        root: the folder that relative paths of lists start from; None is the folder of the list.
        images: each image of a folder is a video, for networks of images; otherwise they are the frames of one.
        live: addresses and files are read like a camera.

    Raises:
        InputError: for a pattern without matches, a folder without videos, and a list that cannot be read.
    """
    records: list[VideoRecord] = []
    addresses: list[str] = []
    streams: list[Stream] = []
    for item in dict.fromkeys(given):
        stream = find_stream(item, live=live)
        if stream is not None:
            streams.append(stream)
        elif item.lower().startswith(_WEB):
            addresses.append(item)
        else:
            records += _records(item, root, images)
    return Inputs(tuple(records), tuple(addresses), tuple(streams))


def find_stream(item: str, *, live: bool = False) -> Stream | None:
    """Return the stream or camera that ``item`` names; None for files, and for ``http`` without ``live``."""
    device = _DEVICE.fullmatch(item)
    if device:
        return Stream(item, device[2], device[1], paced=device[1] == "lavfi")
    if _CAMERA.fullmatch(item):
        return Stream(item, item, "v4l2")
    if _URL.match(item):
        return Stream(item, item) if live or not item.lower().startswith((*_WEB, "file://")) else None
    if live:
        if not Path(item).is_file():
            raise InputError(f"{item} is not a file, and --live reads one file, address or camera.")
        return Stream(item, item if ":" not in item else f"file:{item}", paced=True)
    return None


def is_address(item: str) -> bool:
    """Return whether ``item`` is an address or a device, in which "=" does not mean ``key=value``."""
    return bool(_URL.match(item) or _DEVICE.fullmatch(item))


def _records(item: str, root: str | None, images: bool) -> list[VideoRecord]:
    path = Path(urllib.parse.unquote(item[7:]) if item.startswith("file://") else item)
    if path.is_dir():
        return _in_folder(path, images)
    if not path.exists() and glob.has_magic(item):
        matches = sorted(glob.glob(item, recursive=True))  # noqa: PTH207  # Path.glob has no absolute patterns
        if matches:
            return [record for match in matches for record in _records(match, root, images)]
        if not _READER_OR_PART.fullmatch(item):
            raise InputError(f"{item}: no file matches this pattern. Check the folder and the suffix.")
    if path.name.lower().endswith(_LIST_SUFFIXES) or (not path.exists() and _READER_OR_PART.fullmatch(item)):
        return [*read_videos(item, root).records]
    return [VideoRecord(item, path, 0)]


def _in_folder(folder: Path, images: bool, depth: int = _DEPTH) -> list[VideoRecord]:
    """Return the videos of a folder: those in it; or itself, if it has frames; or those of the folders in it.

    Raises:
        InputError: if there are none.
    """
    files = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    videos = [path for path in files if path.name.lower().endswith(VIDEO_SUFFIXES) and path.is_file()]
    frames = [path for path in files if is_image(path)]
    if videos or (frames and images):
        return [VideoRecord(str(path), path, 0) for path in videos or frames]
    if frames:
        return [VideoRecord(str(folder), folder, 0, frames=0)]
    found: list[VideoRecord] = []
    for inside in (path for path in files if depth and path.is_dir()):
        with contextlib.suppress(InputError):
            found += _in_folder(inside, images, depth - 1)
    if found:
        return found
    shown = ", ".join(path.name for path in files[:_FILES_SHOWN])
    raise InputError(
        f"{folder} has no videos or frames ({f'it has {shown}' if shown else 'it is empty'}). Expected files that end "
        f"in {', '.join(SUFFIXES[:4])} or another suffix of docs/lists.md."
    )
