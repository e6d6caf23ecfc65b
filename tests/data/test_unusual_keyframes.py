"""Missing and wrong keyframes, joined recordings, damage: every frame is the one of a full decode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from tests.data.conftest import WriteVideo
from tests.data.streams import (
    ENCODING,
    ReadNumbers,
    check_every_frame,
    frame_alone,
    rename_box,
    scan,
    write_with_options,
)
from videopool.data.decoding.decode import open_video
from videopool.data.decoding.listed_frames import frames_from
from videopool.data.decoding.reader import DecodeError
from videopool.data.decoding.source import Source
from videopool.data.decoding.timeline import read_timeline
from videopool.prepare.encode import encode

# --- starts without a keyframe ---------------------------------------------------------------------------------------


def without_start(path: Path, packets: int) -> Path:
    """Write a copy of a transport or program stream without the bytes before packet ``packets``."""
    with av.open(str(path)) as container:
        place = [packet.pos for packet in container.demux(video=0) if packet.size][packets]
    data = path.read_bytes()
    if path.suffix == ".ts":
        place -= place % 188
        data = data[: 2 * 188] + data[place:]  # the tables are at the start
    else:
        data = data[place:]
    cut = path.with_name(f"cut{path.suffix}")
    cut.write_bytes(data)
    return cut


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "codec", "b_frames"),
    [("a.ts", "mpeg2video", 2), ("a.ts", "libx264", 2), ("a.ts", "libx265", 2), ("a.mpg", "mpeg1video", 2)],
)
def test_a_start_without_a_keyframe(
    tmp_path: Path, name: str, codec: str, b_frames: int, write_video: WriteVideo, read_numbers: ReadNumbers
) -> None:
    size = (640, 480) if name.endswith("mpg") else (64, 48)  # each frame is at least a pack of 2048 bytes
    whole = write_video(tmp_path / name, 80, fps=25, codec=codec, gop=20, b_frames=b_frames, size=size)
    path = without_start(whole, 7)
    with av.open(str(path)) as container:
        first = next(frame for frame in container.decode(video=0) if frame.key_frame)
        numbers = read_numbers(torch.from_numpy(first.to_ndarray(format="rgb24")).permute(2, 0, 1)[:, None])
    found = scan(path)
    assert found.left_out is not None
    assert 0 < found.left_out < 20
    begin = numbers[0]
    assert 0 < begin <= 22
    check_every_frame(path, list(range(begin, 80)), 25, read_numbers)


def test_a_stream_without_a_frame_that_can_be_decoded(tmp_path: Path) -> None:
    whole = write_with_options(tmp_path / "a.ts", 40, "libx264", {"g": "250", "sc_threshold": "0"})
    path = without_start(whole, 7)
    assert scan(path).reason == "has no frame that can be decoded"


# --- wrong keyframes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "mpeg4"), ("a.3gp", "h263"), ("a.mov", "libx264")])
def test_a_missing_table_of_keyframes(
    tmp_path: Path, name: str, codec: str, write_video: WriteVideo, read_numbers: ReadNumbers
) -> None:
    """Without it, every frame is marked as a keyframe; FFmpeg checks frames of H.264."""
    path = write_video(tmp_path / name, 90, gop=30, b_frames=0, codec=codec, size=(176, 144))
    rename_box(path, b"stss")
    assert read_timeline(path).false_keyframes == (codec != "libx264")
    with open_video(path) as video:
        expected = read_numbers(video.frames_at((np.arange(90) + 0.5) / 10))
    assert expected == list(range(90))
    for index in (1, 29, 45, 75, 89):
        assert read_numbers(frame_alone(path, (index + 0.5) / 10)[:, None]) == [index]


def test_a_wrong_table_of_keyframes(tmp_path: Path, write_video: WriteVideo, read_numbers: ReadNumbers) -> None:
    path = write_video(tmp_path / "a.mp4", 90, gop=30, b_frames=0, codec="mpeg4")
    data = bytearray(path.read_bytes())
    place = data.find(b"stss") + 8
    entries = int.from_bytes(data[place : place + 4], "big")
    assert entries > 2
    for entry in range(1, entries):  # all but the first, each some frames later
        at = slice(place + 4 + 4 * entry, place + 8 + 4 * entry)
        data[at] = (int.from_bytes(data[at], "big") + 5).to_bytes(4, "big")
    path.write_bytes(bytes(data))
    for index in (39, 40, 50, 54, 55, 59, 60, 89):
        assert read_numbers(frame_alone(path, (index + 0.5) / 10)[:, None]) == [index]


def test_an_avi_whose_index_marks_every_frame(
    tmp_path: Path, write_video: WriteVideo, read_numbers: ReadNumbers
) -> None:
    path = write_video(tmp_path / "a.avi", 60, gop=30, b_frames=0, codec="mpeg4")
    data = bytearray(path.read_bytes())
    place = data.rfind(b"idx1") + 8
    for entry in range(place, len(data) - 15, 16):
        if data[entry : entry + 4] == b"00dc":
            data[entry + 4] |= 0x10  # AVIIF_KEYFRAME
    path.write_bytes(bytes(data))
    for index in (1, 29, 45, 59):
        assert read_numbers(frame_alone(path, (index + 0.5) / 10)[:, None]) == [index]


# --- joined recordings -----------------------------------------------------------------------------------------------


def later(path: Path, seconds: float) -> Path:
    """Write a copy of a transport stream with later times."""
    moved = path.with_name(f"later{path.suffix}")
    with av.open(str(path)) as source, av.open(str(moved), "w") as target:
        stream = source.streams.video[0]
        out = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.size:
                shift = round(seconds / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, out
                target.mux(packet)
    return moved


@pytest.mark.parametrize(
    ("name", "seconds"), [("a.ts", 0.0), ("a.mpg", 0.0), ("a.vob", 0.0), ("a.ts", 5000.0), ("a.mpg", 5000.0)]
)
def test_recordings_that_were_joined(
    tmp_path: Path, name: str, seconds: float, write_video: WriteVideo, read_numbers: ReadNumbers
) -> None:
    codec = "libx264" if name.endswith("ts") else "mpeg2video"
    first = write_video(tmp_path / name, 50, fps=25, gop=10, codec=codec)
    second = later(first, seconds) if seconds else first
    path = tmp_path / f"joined{first.suffix}"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    check_every_frame(path, [*range(50), *range(50)], 25, read_numbers)


def test_a_gap_of_a_few_seconds_stays(tmp_path: Path, write_video: WriteVideo, read_numbers: ReadNumbers) -> None:
    first = write_video(tmp_path / "a.ts", 50, fps=25, gop=10)
    path = tmp_path / "joined.ts"
    path.write_bytes(first.read_bytes() + later(first, 6.0).read_bytes())
    with open_video(path) as video:
        assert video.timing.duration_seconds == pytest.approx(8.0, abs=0.1)
        assert read_numbers(video.frames_at([1.99, 5.0, 6.02, 7.99])) == [49, 49, 0, 49]


# --- damage ----------------------------------------------------------------------------------------------------------


def test_frames_with_errors_make_a_file_damaged(tmp_path: Path, write_video: WriteVideo) -> None:
    path = write_video(tmp_path / "a.mp4", 60, gop=20, size=(160, 120))
    data, rng = bytearray(path.read_bytes()), np.random.default_rng(0)
    begin = data.find(b"mdat") + 100
    for place in rng.integers(begin, len(data) - 3000, 25):
        data[place] ^= int(rng.integers(1, 256))
    path.write_bytes(bytes(data))
    found = scan(path)
    assert found.reason.startswith("is damaged: ")
    assert found.reason.endswith("frames can be decoded without errors")
    assert found.frames_decodable is not None
    assert found.frames_decodable < 60
    with pytest.raises(DecodeError), open_video(path) as video:
        video.frames_at((np.arange(60) + 0.5) / 10)
    with pytest.raises(DecodeError, match="is damaged"):
        encode(Source(path), tmp_path / "copy.mp4", ENCODING)


def test_decoding_can_begin_at_any_keyframe(tmp_path: Path, write_video: WriteVideo) -> None:
    """Decoding from a keyframe of a transport stream, found by its byte position, returns the remaining frames."""
    path = write_video(tmp_path / "a.ts", 60, fps=25, gop=10)
    timeline = read_timeline(path)
    assert (timeline.positions >= 0).all()
    every: list[Any] = [index for index, _ in frames_from(Source(path), timeline)]
    for entry in timeline.keyframes[1:]:
        begin = int(np.searchsorted(timeline.pts, entry))
        assert [index for index, _ in frames_from(Source(path), timeline, int(entry))] == every[begin:]
