"""Unreadable files: one DecodeError with path and reason, for any error of a library."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from tests.data.conftest import WriteVideo
from videopool.data.decoding import container, listed_frames
from videopool.data.decoding.decode import open_video
from videopool.data.decoding.reader import DecodeError, decode_errors
from videopool.errors import InputError
from videopool.prepare.distinct_files import ListedFile
from videopool.prepare.encode import Encoding, encode_file
from videopool.prepare.measure import measure

ReadNumbers = Callable[[torch.Tensor], list[int]]
ENCODING = Encoding(short_side=48, keyframe_interval=12, crf=10, preset="ultrafast")


def read(path: Path) -> torch.Tensor:
    with open_video(path) as video:
        return video.frames_at([0.0, 1.0])


def check_refused(path: Path, reason: str) -> None:
    """Check that reader, scan and transcode give the same reason."""
    with pytest.raises(DecodeError, match=reason) as caught:
        read(path)
    assert caught.value.path == str(path)
    listed = ListedFile(path.name)
    found = measure(listed, base=path.parent, quick=False, sha256=False).reason
    assert found == caught.value.reason
    assert encode_file(listed, base=path.parent, to=path.parent / "copies", encoding=ENCODING).reason == found
    assert not list((path.parent / "copies").rglob("*.mp4"))


def replaced(path: Path, old: bytes, new: bytes) -> Path:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))
    return path


@pytest.mark.parametrize("suffix", ["avi", "mp4", "mkv", "mov"])
def test_a_tag_that_is_not_utf8(tmp_path: Path, suffix: str, read_numbers: ReadNumbers) -> None:
    path = tmp_path / f"a.{suffix}"
    with av.open(str(path), "w") as target:
        target.metadata["title"] = "caf-of-the-corner"
        stream = target.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(25):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 8 * number, np.uint8), format="rgb24")
            target.mux(stream.encode(frame))
        target.mux(stream.encode())
    replaced(path, b"caf-of-the-corner", b"caf\xe9of-the-corner")
    with open_video(path) as video:
        assert video.timing.frames == 25
        assert video.frames_at([0.05, 2.45]).float().mean((0, 2, 3)).tolist() == pytest.approx([0, 192], abs=4)
    assert measure(ListedFile(path.name), base=tmp_path, quick=False, sha256=False).reason == ""


def test_a_pyav_without_an_option_for_such_tags(tmp_path: Path, write_video: WriteVideo, monkeypatch: Any) -> None:
    path, opened = write_video(tmp_path / "a.mp4", 12), av.open

    def without_choice(file: Any, *arguments: Any, **named: Any) -> Any:
        if "metadata_errors" in named:
            raise TypeError("open() got an unexpected keyword argument 'metadata_errors'")
        return opened(file, *arguments, **named)

    monkeypatch.setattr(av, "open", without_choice)
    container._open_options.cache_clear()
    try:
        assert read(path).shape[1] == 2
        assert container._open_options() == {}
    finally:
        container._open_options.cache_clear()


@pytest.mark.parametrize(("suffix", "tag"), [("mp4", b"avc1"), ("mov", b"avc1"), ("mkv", b"V_MPEG4/ISO/AVC")])
def test_a_codec_without_a_decoder(tmp_path: Path, suffix: str, tag: bytes, write_video: WriteVideo) -> None:
    path = replaced(write_video(tmp_path / f"a.{suffix}", 12), tag, b"x" + tag[1:-1] + b"q")
    check_refused(path, "cannot decode|not a video|cannot be decoded|no video stream")


@pytest.mark.parametrize(
    "name", ["notes.nfo", "notes.txt", "notes.mp4", "notes.ans", "notes.bin", "notes.xbin", "n.avi"]
)
def test_text_is_not_a_video(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("hello\n" * 30)
    check_refused(path, "is text, not a video|is not a video")


def test_a_playlist_is_not_a_video(tmp_path: Path, write_video: WriteVideo) -> None:
    write_video(tmp_path / "a.ts", 12, fps=25)
    path = tmp_path / "list.m3u8"
    path.write_text("#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXTINF:0.5,\na.ts\n#EXT-X-ENDLIST\n")
    check_refused(path, "is a playlist|is not a video")


def test_an_encrypted_video(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    options = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "76" * 16, "encryption_kid": "a7" * 16}
    with av.open(str(path), "w", options=options) as target:
        stream = target.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(25):
            target.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), number, np.uint8))))
        target.mux(stream.encode())
    check_refused(path, "is encrypted; decrypt it")


@pytest.mark.parametrize(
    "error",
    [
        IndexError("list index out of range"),
        UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "invalid"),
        AttributeError("'NoneType' object has no attribute 'name'"),
        OverflowError("value too large"),
        ZeroDivisionError("division by zero"),
        RuntimeError("it\nbreaks off"),
    ],
)
def test_any_error_of_a_library_is_a_decode_error(
    tmp_path: Path, error: Exception, write_video: WriteVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "a.ts", 12, fps=25)
    with open_video(path) as video:  # while frames are read
        monkeypatch.setattr(listed_frames, "open_container", raising(error))
        with pytest.raises(DecodeError, match=str(error.args[0]).split()[0]) as caught:
            video.frames_at([0.0])
        assert caught.value.path == str(path)
        assert "\n" not in caught.value.reason
    monkeypatch.setattr(av, "open", raising(error))  # while it is opened
    with pytest.raises(DecodeError) as caught, open_video(path):
        pass
    assert caught.value.path == str(path)


def raising(error: BaseException) -> Callable[..., Any]:
    def raise_it(*_arguments: Any, **_named: Any) -> Any:
        raise error

    return raise_it


@pytest.mark.parametrize("error", [MemoryError(), InputError("a sentence"), KeyboardInterrupt(), DecodeError("p", "r")])
def test_other_errors_pass_unchanged(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, decode_errors("a.mp4"):
        raise error
    assert caught.value is error


# --- mutated files ---------------------------------------------------------------------------------------------------

CONTAINERS = {
    "a.mp4": "libx264",
    "b.mp4": "mpeg4",
    "a.mov": "mjpeg",
    "a.avi": "mpeg4",
    "a.mkv": "libx264",
    "a.webm": "libvpx",
    "a.ts": "libx264",
    "a.mpg": "mpeg2video",
    "a.flv": "flv",
    "a.ogv": "libtheora",
    "a.nut": "libx265",
    "a.mxf": "mpeg2video",
    "a.wmv": "wmv2",
}
CASES = 500


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, bytes]]:
    found = []
    folder = tmp_path_factory.mktemp("whole")
    for name, codec in CONTAINERS.items():
        if codec not in av.codecs_available:
            continue
        path = folder / name
        with av.open(str(path), "w") as target:
            stream = target.add_stream(codec, rate=25)
            stream.width, stream.height = 64, 48
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            for number in range(20):
                picture = np.random.default_rng(number // 5).integers(0, 256, (48, 64, 3)).astype(np.uint8)
                target.mux(stream.encode(av.VideoFrame.from_ndarray(picture).reformat(format=stream.pix_fmt)))
            target.mux(stream.encode())
        found.append((name, path.read_bytes()))
    assert len(found) >= 10
    return found


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Return data with some bytes changed, a part removed, repeated or zeroed, or the end cut off."""
    changed = bytearray(data)
    kind = int(rng.integers(5))
    begin = int(rng.integers(len(data)))
    size = int(rng.integers(1, 200))
    if kind == 0:
        for place in rng.integers(0, len(data), int(rng.integers(1, 30))):
            changed[place] = int(rng.integers(256))
    elif kind == 1:
        del changed[begin : begin + size]
    elif kind == 2:
        changed[begin:begin] = changed[begin : begin + size]
    elif kind == 3:
        changed[begin : begin + size] = bytes(len(changed[begin : begin + size]))
    else:
        del changed[begin:]
    return bytes(changed)


def fault_of(video: Path | bytes) -> DecodeError | None:
    """Return the error of reading a video, or None."""
    try:
        with open_video(video) as opened:
            assert opened.timing.duration_seconds > 0
            assert opened.frames_at([0.0, opened.timing.duration_seconds / 2], 48).shape[:2] == (3, 2)
    except DecodeError as error:
        return error
    return None


@pytest.mark.slow
def test_mutated_files_raise_decode_errors_only(tmp_path: Path, whole_files: list[tuple[str, bytes]]) -> None:
    """Reading returns frames or raises a DecodeError with the path; scanning raises nothing."""
    rng = np.random.default_rng(11)
    read_well = refused = 0
    for case in range(CASES):
        name, data = whole_files[case % len(whole_files)]
        path = tmp_path / f"{case}-{name}"
        path.write_bytes(mutated(data, rng))
        error = fault_of(path)
        if error is None:
            read_well += 1
        else:
            assert error.path == str(path)
            assert error.reason
            assert "\n" not in error.reason
            refused += 1
        measure(ListedFile(path.name), base=tmp_path, quick=case % 3 == 0, sha256=False)
        path.unlink()
    assert read_well > CASES / 5
    assert refused > CASES / 5


def test_mutated_bytes_in_memory(whole_files: list[tuple[str, bytes]]) -> None:
    rng = np.random.default_rng(12)
    for case in range(100):
        data = mutated(whole_files[case % len(whole_files)][1], rng)
        error = fault_of(data)
        assert error is None or error.path.endswith("bytes in memory>")


def test_the_probe_of_pyav_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    container._open_options.cache_clear()
    calls = []
    opened = av.open
    monkeypatch.setattr(av, "open", lambda *a, **k: (calls.append(k), opened(*a, **k))[1])
    for _ in range(3):
        assert container._open_options() == {"metadata_errors": "replace"}
    assert len(calls) == 1
    with pytest.raises(av.FFmpegError):
        opened(io.BytesIO(b""))
