"""Tar files: records point to the bytes of a member, and labels come from the members next to it."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from videopool.data.lists.records import VideoList, read_videos
from videopool.errors import InputError


def write_tar(path: Path, members: Mapping[str, bytes], form: int = tarfile.PAX_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def contents(videos: VideoList) -> list[tuple[bytes, str]]:
    found = []
    for record in videos.records:
        assert record.part is not None
        offset, size = record.part
        found.append((record.path.read_bytes()[offset : offset + size], videos.classes[record.label]))
    return found


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_and_labels(tmp_path, form):
    long = "folder/" + "x" * 90
    members = {
        "a.mp4": b"first",
        "a.cls": b"run\n",
        "./b.1.webm": b"second" * 200,
        "b.1.json": b'{"label": "walk", "caption": "she walks"}',
        "b.1.txt": b"she walks",
        f"{long}.txt": b"run",
        f"{long}.avi": b"third",
        "c.cls": b"no video",
        "._a.mp4": b"metadata of a file system",
    }
    videos = read_videos(write_tar(tmp_path / "s.tar", members, form))
    assert (videos.format, videos.classes) == ("shards", ("run", "walk"))
    assert contents(videos) == [(b"first", "run"), (b"second" * 200, "walk"), (b"third", "run")]
    assert not videos.several_labels
    assert len({record.id for record in videos.records}) == 3
    assert videos.note == "skipped 1 file: 1 .cls"


def test_ranges_and_folders_of_shards(tmp_path):
    for number in range(8, 12):
        write_tar(tmp_path / f"train-{number:03d}.tar", {"a.mp4": b"%d" % number, "a.cls": b"%d" % (number - 8)})
    some = read_videos("train-{009..010}.tar", root=tmp_path)
    assert contents(some) == [(b"9", "1"), (b"10", "2")]
    assert some.classes == ("0", "1", "2")
    assert [content for content, _ in contents(read_videos(tmp_path))] == [b"8", b"9", b"10", b"11"]
    assert read_videos(tmp_path).records[0].id == "train-008.tar#512"  # after the header


def test_images_count_only_without_videos(tmp_path):
    both = {"a.jpg": b"preview", "a.mp4": b"video", "a.cls": b"0"}
    assert contents(read_videos(write_tar(tmp_path / "both.tar", both))) == [(b"video", "0")]
    alone = {"a.JPEG": b"image", "a.cls": b"0"}
    assert contents(read_videos(write_tar(tmp_path / "alone.tar", alone))) == [(b"image", "0")]


def test_a_list_as_label_gives_several_classes(tmp_path):
    members = {
        "a.mp4": b"a",
        "a.json": b'{"label": ["walk", "run", "walk"]}',
        "b.mp4": b"b",
        "b.json": b'{"label": []}',
        "c.mp4": b"c",
        "c.cls": b"walk",
    }
    videos = read_videos(write_tar(tmp_path / "s.tar", members))
    assert videos.several_labels
    assert [(record.label, record.labels) for record in videos.records] == [(0, (0, 1)), (-1, ()), (1, (1,))]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a.mp4": b"x"}, r"s\.tar: a\.mp4 has no label; expected \.cls or \.json or \.txt with the same name"),
        ({"a.mp4": b"x", "a.json": b'{"caption": 3}'}, r"a\.mp4: its label \(\.json\) cannot be read \(KeyError"),
        ({"a.mp4": b"x", "a.json": b'{"label": null}'}, r"a\.mp4: the label None must be a name or a number"),
        ({"a.mp4": b"x", "a.cls": b"\xff"}, r"a\.mp4: its label \(\.cls\) cannot be read"),
        ({"a.mp4": b"x", "a.txt": b" \n"}, r"a\.mp4: the label '' must be a name or a number"),
        ({"a.cls": b"1"}, r"s\.tar: no videos found; expected files in it that end in \.mp4"),
    ],
)
def test_errors_name_the_member(tmp_path, members, message):
    with pytest.raises(InputError, match=message):
        read_videos(write_tar(tmp_path / "s.tar", members))


def test_compressed_damaged_and_missing_tar_files(tmp_path):
    whole = write_tar(tmp_path / "s-0.tar", {"a.mp4": b"x" * 3000, "a.cls": b"1", "b.mp4": b"y" * 9000}).read_bytes()
    refused = r"cannot be read as a tar file .* It must be complete and not compressed"
    (tmp_path / "s.tar.gz").write_bytes(gzip.compress(whole))
    (tmp_path / "cut.tar").write_bytes(whole[:8000])
    (tmp_path / "text.tar").write_text("no tar" * 1000)
    for name in ("s.tar.gz", "cut.tar", "text.tar"):
        with pytest.raises(InputError, match=f"{name} {refused}"):
            read_videos(tmp_path / name)
    write_tar(tmp_path / "t-0.tar", {"a.mp4": b"x", "a.cls": b"1"})
    with pytest.raises(InputError, match=r"t-1\.tar cannot be read as a tar file \(No such file or directory\)"):
        read_videos("t-{0..1}.tar", root=tmp_path)
    with pytest.raises(InputError, match=r"u-\{0\.\.1\}\.tar: no such file or folder"):
        read_videos(tmp_path / "u-{0..1}.tar")
    with pytest.raises(InputError, match=r"the range \{3\.\.1\} is empty\. Give the smaller number first"):
        read_videos(tmp_path / "t-{3..1}.tar")
