"""Errors of decoding: they contain path and reason, and name decoders that are missing, too old or too slow."""

from __future__ import annotations

import pickle
import threading
import time
import tomllib
import typing
from pathlib import Path

import av
import pytest

from tests.data.conftest import middle
from videopool.config.schema import Data
from videopool.data.decoding import decode as decode_module
from videopool.data.decoding.decode import DECODERS, check_decoder, open_video
from videopool.data.decoding.reader import DecodeError
from videopool.data.decoding.timeout import with_timeout
from videopool.errors import InputError


def test_errors_name_path_and_reason(tmp_path, decoder):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video")
    expected = {
        "absent.mp4": "cannot be read",
        "empty.mp4": "is empty",
        "text.mp4": "is not a video",
        ".": "is a folder, not a file",
    }
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
            # Matroska stores no number of frames, so half a file may be read as a shorter video, up to its end.
            assert reader.info.frames < 60
            reader.frames_at(middle(list(range(reader.info.frames)), reader.info.fps))
    except DecodeError:
        pass


def test_damage_affects_only_clips_that_contain_it(tmp_path, decoder, write_video, read_numbers):
    path = write_video(tmp_path / "v.mp4", 120, size=(128, 96))
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for place, size in places[40:44]:
        data[place : place + size] = bytes(size)
    path.write_bytes(bytes(data))
    for whole in ([0, 1, 2], [80, 119]):
        if decoder == "decord":
            break  # it decodes ahead, and may find the damage before it returns these frames
        with open_video(path, decoder=decoder) as reader:
            assert read_numbers(reader.frames_at(middle(whole, 10))) == whole
    with open_video(path, decoder=decoder) as reader, pytest.raises(DecodeError, match="decoded"):
        reader.frames_at(middle(list(range(36, 60)), 10))


def test_the_configuration_accepts_every_decoder():
    assert set(typing.get_args(typing.get_type_hints(Data)["decoder"])) == set(DECODERS)


def test_unknown_decoder():
    with pytest.raises(InputError, match="decoder='opencv' must be one of auto, decord, pyav, torchcodec"):
        open_video("any.mp4", decoder="opencv").__enter__()


def test_an_old_pyav_is_refused(monkeypatch):
    monkeypatch.setattr(decode_module.importlib.metadata, "version", lambda name: "14.4.0")
    decode_module._check_pyav.cache_clear()
    try:
        with pytest.raises(InputError, match=r"PyAV 14\.4\.0 is too old\. Run pip install -U 'av>=18\.1'"):
            check_decoder("auto")
    finally:
        decode_module._check_pyav.cache_clear()
    needed = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())["project"]
    assert f"av>={'.'.join(map(str, decode_module._PYAV))}" in needed["optional-dependencies"]["train"]


def test_auto_and_decord_without_decord(tmp_path, monkeypatch, write_video, read_numbers):
    monkeypatch.setattr("videopool.data.decoding.decode._find_spec", lambda package: None)
    path = write_video(tmp_path / "v.mp4", 5)
    with open_video(path) as reader:
        assert read_numbers(reader.frames_at([0.35])) == [3]
    with pytest.raises(InputError, match="decord is not installed"):
        open_video(path, decoder="decord").__enter__()


def test_a_torchcodec_that_does_not_load_is_an_error(monkeypatch):
    monkeypatch.setattr("videopool.data.decoding.decode.load_fault", lambda: "libavutil.so: cannot open it")
    monkeypatch.setattr("videopool.data.decoding.decode._find_spec", lambda package: package)
    with pytest.raises(InputError, match=r"torchcodec cannot be loaded \(libavutil\.so.*Install those, or use auto"):
        check_decoder("torchcodec")


def test_decode_errors_can_be_pickled():
    error = pickle.loads(pickle.dumps(DecodeError(Path("a/b.mp4"), "is empty")))
    assert isinstance(error, DecodeError)
    assert (error.path, error.reason, str(error)) == ("a/b.mp4", "is empty", "a/b.mp4 is empty")


def test_timeout_names_the_path():
    never = threading.Event()
    began = time.monotonic()
    with pytest.raises(DecodeError, match=r"slow\.mp4 took longer than 0\.2 s to decode"):
        with_timeout(never.wait, path="slow.mp4", seconds=0.2)
    never.set()
    assert time.monotonic() - began < 30


def test_timeout_returns_results_and_raises_errors():
    assert with_timeout(lambda: None, path="a", seconds=30) is None

    def fail() -> None:
        raise InputError("no")

    with pytest.raises(InputError, match="no"):
        with_timeout(fail, path="a", seconds=30)
