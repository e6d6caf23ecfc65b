"""The frame given is the frame on display: on files whose frames carry numbers, and on real ones, in every decoder."""

from __future__ import annotations

import ctypes
import gc
import pickle
import struct
import threading
import time
import tomllib
import typing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import torch
from av.stream import Disposition
from PIL import Image

from tests.data.conftest import NO_TORCHCODEC, numbered_image, torchcodec_loads
from videopool.config.schema import Data
from videopool.data.decoding import decode as decode_module
from videopool.data.decoding import pyav_reader
from videopool.data.decoding.container import best_stream
from videopool.data.decoding.decode import DECODERS, DecodeError, check_decoder, open_video, with_timeout
from videopool.data.decoding.index_times import index_times
from videopool.data.decoding.pixels import Upright, planes_of
from videopool.data.decoding.reader import Outputs, frame_on_display, scaled_size, whole_frame
from videopool.data.decoding.source import Source
from videopool.data.decoding.timeline import read_timeline
from videopool.errors import InputError

RNG = np.random.default_rng(0)


LOADED = [decoder for decoder in DECODERS if decoder != "torchcodec" or torchcodec_loads()]


@pytest.fixture(params=DECODERS)
def decoder(request) -> str:
    if request.param not in LOADED:
        pytest.skip(NO_TORCHCODEC)
    return request.param


def middle(frames: list[int] | np.ndarray, fps: float) -> np.ndarray:
    return (np.asarray(frames) + 0.5) / fps


FORMATS = {
    "h264.mp4": {},
    "h264_all_intra.mp4": {"gop": 1, "b_frames": 0},
    "h264_one_keyframe.mkv": {"gop": 250, "b_frames": 3},
    "mpeg4.avi": {"codec": "mpeg4", "b_frames": 0},
}


@pytest.mark.parametrize("name", FORMATS)
def test_frames_are_those_on_display(tmp_path, decoder, name, write_video, read_numbers):
    path = write_video(tmp_path / name, 100, **FORMATS[name])
    order = [*RNG.permutation(100)[:40].tolist(), 7, 7, 99, 0]
    with open_video(path, decoder=decoder) as reader:
        assert reader.info.frames == 100
        assert reader.info.fps == pytest.approx(10, rel=1e-6)
        assert reader.info.duration_seconds == pytest.approx(10, rel=1e-6)
        assert (reader.info.width, reader.info.height) == (64, 48)
        frames = reader.frames_at(middle(order, 10))
        assert frames.dtype == torch.uint8
        assert frames.shape == (3, len(order), 48, 64)
        assert read_numbers(frames) == order
        for tail in ([99], [60, 61, 95], [0]):  # again, with a seek each
            assert read_numbers(reader.frames_at(middle(tail, 10))) == tail


def test_a_frame_is_shown_from_its_start_on(tmp_path, decoder, write_video, read_numbers):
    path = write_video(tmp_path / "v.mp4", 20)
    with open_video(path, decoder=decoder) as reader:
        assert read_numbers(reader.frames_at(np.arange(20) / 10)) == list(range(20))
        assert read_numbers(reader.frames_at(np.arange(1, 20) / 10 - 0.001)) == list(range(19))
        assert read_numbers(reader.frames_at([-1.0, 2.0, 50.0])) == [0, 19, 19]


def test_variable_rate(tmp_path, decoder, write_video, read_numbers):
    ticks = [0, 1, 2, 9, 10, 20, 21, 40]
    path = write_video(tmp_path / "v.mp4", 8, ticks=ticks)
    times = [0.0, 0.19, 0.5, 0.89, 0.95, 1.5, 2.05, 2.5, 3.99, 4.05]
    with open_video(path, decoder=decoder) as reader:
        assert reader.info.frames == 8
        assert reader.info.fps == pytest.approx(8 / reader.info.duration_seconds)
        assert read_numbers(reader.frames_at(times)) == [0, 1, 2, 2, 3, 4, 5, 6, 6, 7]


def test_one_frame_is_repeated(tmp_path, decoder, write_video, read_numbers):
    path = write_video(tmp_path / "v.mp4", 1)
    with open_video(path, decoder=decoder) as reader:
        assert reader.info.frames == 1
        assert reader.frames_at([0.0, 0.05, 3.0]).shape[1] == 3
        assert read_numbers(reader.frames_at([0.05] * 4)) == [0] * 4


def test_avi_with_frames_out_of_order_has_no_times(tmp_path, write_video, read_numbers):
    path = write_video(tmp_path / "v.avi", 60, codec="mpeg4", b_frames=2)
    order = [0, 5, 6, 30, 57, 59]
    for name in ("auto", "pyav"):
        with open_video(path, decoder=name) as reader:
            assert reader.info.frames == 60
            assert read_numbers(reader.frames_at(middle(order, 10))) == order
    with (
        pytest.raises(DecodeError, match=r"stores no display times.*data\.decoder=auto"),
        open_video(path, decoder="decord"),
    ):
        pass


def test_open_groups_of_pictures(tmp_path, write_video, read_numbers):
    path = write_video(tmp_path / "v.mp4", 100, codec="libx265")  # open groups are its default
    order = [0, 9, 10, 11, 12, 13, 25, 58, 99]
    for name in ("auto", "pyav"):
        for frames in ([11], [25], order):
            with open_video(path, decoder=name) as reader:
                assert read_numbers(reader.frames_at(middle(frames, 10))) == frames
    with pytest.raises(DecodeError, match=r"open groups.*data\.decoder=auto"), open_video(path, decoder="decord"):
        pass


def test_formats_without_an_index(tmp_path, write_video, read_numbers):
    path = write_video(tmp_path / "v.mpg", 60, codec="mpeg1video", fps=25)
    order = [0, 5, 6, 30, 57]
    for name in ("auto", "pyav"):
        with open_video(path, decoder=name) as reader:
            assert read_numbers(reader.frames_at(middle(order, 25))) == order
    with pytest.raises(DecodeError, match=r"without an index.*data\.decoder=auto"), open_video(path, decoder="decord"):
        pass


@pytest.mark.parametrize(("short_side", "size"), [(24, (32, 24)), (30, (40, 30)), (96, (128, 96)), (48, (64, 48))])
def test_scaling_keeps_the_shape(tmp_path, decoder, write_video, read_numbers, short_side, size):
    path = write_video(tmp_path / "v.mp4", 12)
    with open_video(path, decoder=decoder) as reader:
        frames = reader.frames_at(middle([3, 11], 10), short_side)
        assert (reader.info.width, reader.info.height) == (64, 48)
    assert frames.shape == (3, 2, size[1], size[0])
    assert read_numbers(frames) == [3, 11]


def test_scaled_size():
    assert scaled_size(width=340, height=256, short_side=112) == (149, 112)
    assert scaled_size(width=256, height=340, short_side=112) == (112, 149)
    assert scaled_size(width=5, height=7, short_side=None) == (5, 7)


def test_frame_on_display():
    starts = np.array([0.0, 0.1, 0.4, 0.5])
    assert frame_on_display(starts, [0.05, 0.2, 0.3, 0.7]).tolist() == [0, 1, 1, 3]
    assert frame_on_display(starts, [-3.0, 0.4, 99.0]).tolist() == [0, 2, 3]


# --- real files ----------------------------------------------------------------------------------------------------

REAL = [
    "clips/WUzgd7C1pWA.mp4",  # 29.97 fps, two keyframes
    "clips/flipping_a_pancake.mkv",
    "clips/h265_10bits.mp4",
    "clips/hevc.mkv",
    "clips/nasa_13013.mp4",  # several video streams; the best one counts
    "clips/odd_331x247.mp4",
    "clips/ucf11_sample.mpg",  # begins at 0.5 s, no index
    "clips/v_Basketball_g01_c01.avi",
    "clips/vfr.mp4",
    "clips/video_90.mov",
    "clips/video_180.mov",
    "clips/vp9.webm",
    "clips/copytrim_ss_after.mp4",
    "speed/h264_340_g12_0.mp4",
    "trimmed/t0.mp4",  # hidden frames
    "trimmed/t3.mp4",
    "trimmed/t9.mp4",
]
REFUSED = {"clips/ucf11_sample.mpg", "trimmed/t0.mp4", "trimmed/t3.mp4", "trimmed/t9.mp4"}
SHORT_SIDE = 64


def decode_all(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of every frame that FFmpeg shows, decoded in one go, without any skipping: its start [N] in seconds, its picture
    [N,H,W,3] as FFmpeg converts and Pillow scales it, and as we do: the oracles."""
    starts, images, ours = [], [], []
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        for frame in container.decode(stream):
            starts.append(float(frame.pts * stream.time_base))
            turns = round(frame.rotation / 90) % 4
            width, height = scaled_size(width=frame.width, height=frame.height, short_side=SHORT_SIDE)
            image = Image.fromarray(frame.reformat(format="rgb24").to_ndarray())
            images.append(np.rot90(np.asarray(image.resize((width, height), Image.Resampling.BILINEAR)), turns))
            planes, about = planes_of(frame, Upright(turns))
            outputs = Outputs(np.zeros(1), [0.0], whole_frame(SHORT_SIDE))
            outputs.put(0, planes, about)
            ours.append(outputs.clips()[0][:, 0].permute(1, 2, 0).numpy())
    return np.array(starts) - starts[0], np.stack(images), np.stack(ours)


@pytest.mark.parametrize("name", REAL)
def test_real_files_against_a_full_decode(shared_data, name):
    path = shared_data / name
    starts, images, ours = decode_all(path)
    wanted = np.unique(np.linspace(0, len(starts) - 1, 12).astype(int))
    times = starts[wanted] + 0.004
    for decoder in LOADED:
        if decoder in ("decord", "torchcodec") and name in REFUSED:
            with pytest.raises(DecodeError, match=r"data\.decoder=auto"), open_video(path, decoder=decoder):
                pass
            continue
        with open_video(path, decoder=decoder) as reader:
            assert reader.info.frames == len(starts)
            frames = reader.frames_at(times, SHORT_SIDE)
            half = len(times) // 2
            part = reader.frames_at(times[half:], SHORT_SIDE)  # with a seek of its own, and frames passed over
        torch.testing.assert_close(part, frames[:, half:], rtol=0, atol=0)
        if decoder in ("pyav", "auto"):
            expected = torch.from_numpy(ours[wanted]).permute(3, 0, 1, 2)
            torch.testing.assert_close(frames, expected, rtol=0, atol=0)
        check_same_frames(frames, images, wanted)


@pytest.mark.parametrize("name", ["speed/h264_340_g12_0.mp4", "clips/v_Basketball_g01_c01.avi", "clips/demo__demo.mp4"])
def test_passing_over_frames_changes_none(shared_data, name):
    """Every third clip of every stride, read by itself, is what decoding all frames gives."""
    starts, _, ours = decode_all(shared_data / name)
    with open_video(shared_data / name, decoder="pyav") as reader:
        for stride in (1, 2, 4, 7):
            for begin in range(0, len(starts) - 3 * stride, 31):
                wanted = begin + stride * np.arange(4)
                frames = reader.frames_at(starts[wanted[wanted < len(starts)]] + 0.004, SHORT_SIDE)
                expected = torch.from_numpy(ours[wanted[wanted < len(starts)]]).permute(3, 0, 1, 2)
                torch.testing.assert_close(frames, expected, rtol=0, atol=0)


def check_same_frames(frames: torch.Tensor, images: np.ndarray, wanted: np.ndarray) -> None:
    """Each frame [C,T,H,W] is nearer to its own image than to any other that differs from it visibly.

    Decoders convert colors a little differently, by up to 5 of 255 on average on 10-bit video.
    """
    found = frames.permute(1, 2, 3, 0).numpy().astype(np.float32)
    assert found.shape[1:] == images.shape[1:]
    for frame, index in zip(found, wanted, strict=True):
        distances = np.abs(images.astype(np.float32) - frame).mean(axis=(1, 2, 3))
        assert distances[index] < 6
        assert distances[index] <= distances.min() + 0.05


def test_rotated_video_is_upright_in_every_decoder(shared_data, decoder):
    with open_video(shared_data / "clips/video_90.mov", decoder=decoder) as reader:
        assert (reader.info.width, reader.info.height) == (320, 568)
        assert reader.frames_at([0.0], 64).shape == (3, 1, 114, 64)


# --- errors --------------------------------------------------------------------------------------------------------


def test_errors_name_path_and_reason(tmp_path, decoder):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video")
    expected = {"absent.mp4": "cannot be read", "empty.mp4": "is empty", "text.mp4": "is no video", ".": "is a folder"}
    for name, reason in expected.items():
        path = tmp_path / name
        with pytest.raises(DecodeError, match=reason) as caught, open_video(path, decoder=decoder):
            pass
        assert caught.value.path == str(path)
        assert "\n" not in str(caught.value)


def test_truncated_file_is_refused(tmp_path, decoder, write_video):
    path = write_video(tmp_path / "v.mkv", 100, gop=1, b_frames=0)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    try:
        with open_video(path, decoder=decoder) as reader:
            # Matroska announces no count, so half a file may pass for a shorter one; then it must read to its end.
            assert reader.info.frames < 60
            reader.frames_at(middle(list(range(reader.info.frames)), reader.info.fps))
    except DecodeError:
        pass


def test_damage_in_the_middle_costs_only_clips_that_meet_it(tmp_path, decoder, write_video, read_numbers):
    path = write_video(tmp_path / "v.mp4", 120, size=(128, 96))
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for place, size in places[40:44]:
        data[place : place + size] = bytes(size)
    path.write_bytes(bytes(data))
    for whole in ([0, 1, 2], [80, 119]):
        if decoder == "decord":
            break  # it decodes ahead, and may or may not meet the damage before it has given these frames
        with open_video(path, decoder=decoder) as reader:
            assert read_numbers(reader.frames_at(middle(whole, 10))) == whole
    with open_video(path, decoder=decoder) as reader, pytest.raises(DecodeError, match="decoded"):
        reader.frames_at(middle(list(range(36, 60)), 10))


def test_all_decoders_tell_the_same(tmp_path, write_video):
    path = write_video(tmp_path / "v.mkv", 33, fps=30)
    infos = []
    for name in LOADED:
        with open_video(path, decoder=name) as reader:
            infos.append(reader.info)
    assert all(info == infos[0] for info in infos)


def test_the_configuration_knows_every_decoder():
    assert set(typing.get_args(typing.get_type_hints(Data)["decoder"])) == set(DECODERS)


def test_unknown_decoder():
    with pytest.raises(InputError, match=r"data\.decoder='opencv' is unknown; choose one of auto, decord, pyav, tor"):
        open_video("any.mp4", decoder="opencv").__enter__()


def test_a_pyav_that_is_too_old(monkeypatch):
    monkeypatch.setattr(decode_module.importlib.metadata, "version", lambda name: "14.4.0")
    decode_module._check_pyav.cache_clear()
    try:
        with pytest.raises(InputError, match=r"PyAV 14\.4\.0 is too old; videopool needs 18\.1 or newer: pip install"):
            check_decoder("auto")
    finally:
        decode_module._check_pyav.cache_clear()
    needed = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())["project"]
    assert f"av>={'.'.join(map(str, decode_module._PYAV))}" in needed["optional-dependencies"]["train"]


def test_auto_and_decord_without_decord(tmp_path, monkeypatch, write_video, read_numbers):
    monkeypatch.setattr("videopool.data.decoding.decode._installed", lambda package: False)
    path = write_video(tmp_path / "v.mp4", 5)
    with open_video(path) as reader:
        assert read_numbers(reader.frames_at([0.35])) == [3]
    with pytest.raises(InputError, match="decord is not installed"):
        open_video(path, decoder="decord").__enter__()


def test_a_torchcodec_that_does_not_load_is_named_before_the_work(monkeypatch):
    monkeypatch.setattr("videopool.data.decoding.decode.load_fault", lambda: "libavutil.so: cannot open it")
    monkeypatch.setattr("videopool.data.decoding.decode._installed", lambda package: True)
    with pytest.raises(InputError, match=r"torchcodec does not load \(libavutil\.so.*install those, or set"):
        check_decoder("torchcodec")


def test_decode_error_survives_the_way_out_of_a_worker():
    error = pickle.loads(pickle.dumps(DecodeError(Path("a/b.mp4"), "is empty")))
    assert isinstance(error, DecodeError)
    assert (error.path, error.reason, str(error)) == ("a/b.mp4", "is empty", "a/b.mp4: is empty")


def test_files_are_closed(tmp_path, decoder, write_video):
    path = write_video(tmp_path / "v.mp4", 30)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(path.read_bytes()[:1000])

    def read_both() -> None:
        with open_video(path, decoder=decoder) as reader:
            reader.frames_at([0.0, 1.5])
        with pytest.raises(DecodeError), open_video(broken, decoder=decoder):
            pass

    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("needs /proc, as on Linux")
    read_both()
    before = sum(1 for _ in descriptors.iterdir())
    for _ in range(10):
        read_both()
    assert sum(1 for _ in descriptors.iterdir()) <= before


# --- time limit ----------------------------------------------------------------------------------------------------


def test_timeout_gives_up_and_names_the_setting():
    never = threading.Event()
    began = time.monotonic()
    with pytest.raises(DecodeError, match=r"slow\.mp4: took longer than 0\.2 s to decode \(data\.decode_timeout\)"):
        with_timeout(never.wait, path="slow.mp4", seconds=0.2)
    never.set()
    assert time.monotonic() - began < 30


def test_timeout_passes_results_and_errors_on():
    assert with_timeout(lambda: None, path="a", seconds=30) is None

    def fail() -> None:
        raise InputError("no")

    with pytest.raises(InputError, match="no"):
        with_timeout(fail, path="a", seconds=30)


class _Malloc(ctypes.Structure):
    """``struct mallinfo2`` of <malloc.h>."""

    _fields_ = [(name, ctypes.c_size_t) for name in ["ar", "or", "sm", "hb", "hd", "us", "fs", "uordblks", "fo", "ke"]]


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="this C library does not count its memory")
@pytest.mark.parametrize("plain", [True, False])
def test_clips_leave_no_memory_behind(tmp_path, write_video, monkeypatch, plain):
    """What is left of each clip, however small, keeps the large buffers around it from being joined."""
    path = write_video(tmp_path / "a.mp4", 12, size=(48, 48))
    if not plain:
        monkeypatch.setattr(pyav_reader, "index_times", lambda container, source: None)
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = _Malloc

    def used(clips: int) -> int:
        for _ in range(clips):
            with open_video(path, decoder="pyav") as video:
                video.frames_at([0.1, 0.2])
        return mallinfo().uordblks

    begin = used(50)
    assert (used(300) - begin) / 300 < 50  # bytes; PyAV's generators, where they are dropped, leave 150


def with_matrix(source: Path, target: Path, matrix: tuple[int, int, int, int]) -> Path:
    """The mp4 with another display matrix (a, b, c, d): a pixel (x, y) is shown at (a x + c y, b x + d y)."""
    content = bytearray(source.read_bytes())
    at = content.index(b"tkhd") + 44
    a, b, c, d = (number << 16 for number in matrix)
    content[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    target.write_bytes(content)
    return target


@pytest.mark.parametrize(
    ("matrix", "upright"),
    [
        ((1, 0, 0, 1), lambda pixels: pixels),
        ((-1, 0, 0, -1), lambda pixels: pixels.flip(2, 3)),
        ((0, 1, -1, 0), lambda pixels: pixels.transpose(2, 3).flip(3)),  # a quarter clockwise
        ((0, -1, 1, 0), lambda pixels: pixels.transpose(2, 3).flip(2)),
        ((-1, 0, 0, 1), lambda pixels: pixels.flip(3)),
        ((0, 1, 1, 0), lambda pixels: pixels.transpose(2, 3)),
        ((0, -1, -1, 0), lambda pixels: pixels.transpose(2, 3).flip(2, 3)),
    ],
)
def test_the_display_matrix_turns_and_mirrors(tmp_path, write_video, matrix, upright):
    plain = write_video(tmp_path / "plain.mp4", 12, size=(64, 48))
    path = with_matrix(plain, tmp_path / "turned.mp4", matrix)
    times = [0.05, 0.55, 1.15]
    with open_video(plain, decoder="pyav") as video:
        expected = upright(video.frames_at(times))
    with open_video(path, decoder="pyav") as video:
        found = video.frames_at(times)
        assert (video.info.height, video.info.width) == found.shape[2:]
    assert found.shape == expected.shape
    assert (found.int() - expected.int()).abs().float().mean() < 1  # chroma lies a quarter of a pixel aside
    timeline = read_timeline(path)
    assert (timeline.info.height, timeline.info.width) == found.shape[2:]
    if timeline.upright.mirrored:
        for decoder in set(LOADED) & {"decord", "torchcodec"}:
            with pytest.raises(DecodeError, match="is mirrored by its header"), open_video(path, decoder=decoder):
                pass


def test_what_a_turned_clip_leaves_behind(tmp_path, write_video):
    path = with_matrix(write_video(tmp_path / "plain.mp4", 12, size=(64, 48)), tmp_path / "t.mp4", (0, 1, -1, 0))
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(50):
        with open_video(path, decoder="pyav") as video:
            video.frames_at([0.1, 0.2])
    assert len(gc.get_objects()) - before < 50  # else a frame and its side data for each clip


# --- files that were once taken for others --------------------------------------------------------------------------


def written(path: Path, frames: int, **options: str) -> Path:
    """A video of H.264 whose frames show their numbers, by these parameters of x264."""
    with av.open(str(path), "w") as container:
        given = ":".join(f"{name.replace('_', '-')}={value}" for name, value in options.items())
        stream = container.add_stream("libx264", rate=10, options={"x264-params": given})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(numbered_image(number, (64, 48)), format="rgb24")))
        container.mux(stream.encode())
    return path


def one_by_one(path: Path, read_numbers: Any, times: np.ndarray) -> list[int]:
    """The numbers of the frames at ``times``, for each of which the file is opened anew."""
    numbers = []
    for time_ in times:
        with open_video(path, decoder="pyav") as video:
            numbers += read_numbers(video.frames_at([time_]))
    return numbers


def test_h264_in_an_avi_without_display_times(tmp_path, write_video, read_numbers):
    path = write_video(tmp_path / "v.avi", 30, b_frames=0)
    times = middle(np.arange(30), 10)
    assert one_by_one(path, read_numbers, times) == list(range(30))
    with open_video(path, decoder="pyav") as video:
        assert read_numbers(video.frames_at(times)) == list(range(30))


def test_streams_that_can_be_entered_at_their_beginning_alone(tmp_path, read_numbers):
    path = written(tmp_path / "v.mp4", 90, intra_refresh="1", keyint="20", bframes="0", scenecut="0")
    assert one_by_one(path, read_numbers, middle(np.arange(90), 10)) == list(range(90))


def test_an_edit_list_that_hides_whole_groups(tmp_path, write_video, read_numbers):
    plain = write_video(tmp_path / "plain.mp4", 60, gop=10, b_frames=0)
    content = bytearray(plain.read_bytes())
    at = content.index(b"elst") + 12  # behind version and number of entries: duration, start, rate
    duration, start = struct.unpack(">2i", content[at : at + 8])
    with av.open(str(plain)) as container:
        ticks = round(3.5 / container.streams.video[0].time_base)
    content[at : at + 8] = struct.pack(">2i", duration - 3500, start + ticks)  # the movie counts milliseconds
    path = tmp_path / "hidden.mp4"
    path.write_bytes(content)
    with open_video(path, decoder="pyav") as video:
        assert video.timing.frames == 25
        assert read_numbers(video.frames_at(middle(np.arange(25), 10))) == list(range(35, 60))
    assert one_by_one(path, read_numbers, middle([0, 12, 24], 10)) == [35, 47, 59]


def test_an_avi_with_dropped_frames(tmp_path, write_video, read_numbers):
    """The frame before stays on display while others are missing."""
    ticks = [*range(10), *range(15, 30), *range(40, 45)]
    path = write_video(tmp_path / "v.avi", len(ticks), codec="mpeg4", b_frames=0, ticks=ticks)
    shown = [max(number for number, tick in enumerate(ticks) if tick <= at) for at in range(45)]
    with open_video(path, decoder="pyav") as video:
        assert video.timing.duration_seconds == pytest.approx(4.5)
        assert read_numbers(video.frames_at(middle(np.arange(45), 10))) == shown
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(DecodeError, match=r"truncated|no video"), open_video(path, decoder="pyav") as video:
        video.frames_at([4.4])


def test_the_picture_of_a_sound_file_is_no_video():
    def container(disposition: Disposition) -> Any:
        stream = SimpleNamespace(disposition=disposition)
        return SimpleNamespace(streams=SimpleNamespace(best=lambda kind: stream))

    assert best_stream(container(Disposition.attached_pic | Disposition.default)) is None
    assert best_stream(container(Disposition.default)) is not None
    assert best_stream(SimpleNamespace(streams=SimpleNamespace(best=lambda kind: None))) is None


def test_transport_streams_that_were_joined(tmp_path, write_video, read_numbers):
    one, two = (write_video(tmp_path / f"{frames}.ts", frames, b_frames=0) for frames in (20, 12))
    path = tmp_path / "joined.ts"
    path.write_bytes(one.read_bytes() + two.read_bytes())
    with open_video(path, decoder="pyav") as video:
        assert video.timing.frames == 32
        assert read_numbers(video.frames_at(middle(np.arange(32), video.timing.fps))) == [*range(20), *range(12)]


def test_a_header_whose_duration_lacks_frames_is_not_believed(tmp_path, write_video):
    """An edit list may hide frames between the first and the last: the stream is shorter than its frames then."""
    source = Source(write_video(tmp_path / "v.mp4", 30))
    with av.open(str(source.path)) as opened:
        stream = opened.streams.video[0]

        class Shorter:
            duration = stream.duration - round(1 / (stream.average_rate * stream.time_base))

            def __getattr__(self, name: str) -> Any:
                return getattr(stream, name)

        container = SimpleNamespace(format=opened.format, size=opened.size)
        container.streams = SimpleNamespace(best=lambda kind: stream)
        assert index_times(container, source).timing.frames == 30
        container.streams = SimpleNamespace(best=lambda kind: Shorter())
        assert index_times(container, source) is None
