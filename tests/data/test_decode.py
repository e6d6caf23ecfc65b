"""Frames on display in files whose frames show their number, in every decoder."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.data.conftest import LOADED, middle
from videopool.data.decoding.decode import open_video
from videopool.data.decoding.reader import DecodeError, frame_on_display, scaled_size

RNG = np.random.default_rng(0)


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
        for tail in ([99], [60, 61, 95], [0]):  # again, each with a seek
            assert read_numbers(reader.frames_at(middle(tail, 10))) == tail


def test_a_frame_is_on_display_from_its_start(tmp_path, decoder, write_video, read_numbers):
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
        pytest.raises(DecodeError, match=r"stores no display times.*use the decoder auto"),
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
    with pytest.raises(DecodeError, match=r"open groups.*use the decoder auto"), open_video(path, decoder="decord"):
        pass


def test_formats_without_an_index(tmp_path, write_video, read_numbers):
    path = write_video(tmp_path / "v.mpg", 60, codec="mpeg1video", fps=25)
    order = [0, 5, 6, 30, 57]
    for name in ("auto", "pyav"):
        with open_video(path, decoder=name) as reader:
            assert read_numbers(reader.frames_at(middle(order, 25))) == order
    with (
        pytest.raises(DecodeError, match=r"without an index.*use the decoder auto"),
        open_video(path, decoder="decord"),
    ):
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


def test_all_decoders_return_the_same_info(tmp_path, write_video):
    path = write_video(tmp_path / "v.mkv", 33, fps=30)
    infos = []
    for name in LOADED:
        with open_video(path, decoder=name) as reader:
            infos.append(reader.info)
    assert all(info == infos[0] for info in infos)
