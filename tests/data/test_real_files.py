"""Real files: every decoder returns the frames of a full decode."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.conftest import LOADED
from videopool.data.decoding.decode import open_video
from videopool.data.decoding.pixels import Upright, planes_of
from videopool.data.decoding.reader import DecodeError, Outputs, scaled_size, whole_frame

REAL = [
    "clips/WUzgd7C1pWA.mp4",  # 29.97 fps, two keyframes
    "clips/flipping_a_pancake.mkv",
    "clips/h265_10bits.mp4",
    "clips/hevc.mkv",
    "clips/nasa_13013.mp4",  # several video streams; the best one is used
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
    """Decode all frames of a file without skipping any, as a reference.

    Returns:
        The start of each frame in seconds [N]; the frames [N,H,W,3] converted by FFmpeg and scaled by Pillow; the
        frames [N,H,W,3] converted and scaled by videopool.
    """
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


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_real_files_against_a_full_decode(shared_data, name):
    path = shared_data / name
    starts, images, ours = decode_all(path)
    wanted = np.unique(np.linspace(0, len(starts) - 1, 12).astype(int))
    times = starts[wanted] + 0.004
    for decoder in sorted(set(LOADED) - {"auto"}):  # auto is PyAV
        if decoder in ("decord", "torchcodec") and name in REFUSED:
            with pytest.raises(DecodeError, match="use the decoder auto"), open_video(path, decoder=decoder):
                pass
            continue
        with open_video(path, decoder=decoder) as reader:
            assert reader.info.frames == len(starts)
            frames = reader.frames_at(times, SHORT_SIDE)
            half = len(times) // 2
            part = reader.frames_at(times[half:], SHORT_SIDE)  # with its own seek, and with skipped frames
        torch.testing.assert_close(part, frames[:, half:], rtol=0, atol=0)
        if decoder == "pyav":
            expected = torch.from_numpy(ours[wanted]).permute(3, 0, 1, 2)
            torch.testing.assert_close(frames, expected, rtol=0, atol=0)
        check_same_frames(frames, images, wanted)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["speed/h264_340_g12_0.mp4", "clips/v_Basketball_g01_c01.avi", "clips/demo__demo.mp4"])
def test_skipping_frames_changes_no_others(shared_data, name):
    """Clips of several strides, each read alone, are those of a full decode."""
    starts, _, ours = decode_all(shared_data / name)
    with open_video(shared_data / name, decoder="pyav") as reader:
        for stride in (1, 2, 4, 7):
            for begin in range(0, len(starts) - 3 * stride, 31):
                wanted = begin + stride * np.arange(4)
                frames = reader.frames_at(starts[wanted[wanted < len(starts)]] + 0.004, SHORT_SIDE)
                expected = torch.from_numpy(ours[wanted[wanted < len(starts)]]).permute(3, 0, 1, 2)
                torch.testing.assert_close(frames, expected, rtol=0, atol=0)


def check_same_frames(frames: torch.Tensor, images: np.ndarray, wanted: np.ndarray) -> None:
    """Check that each frame [C,T,H,W] is closer to its own image than to any other that differs from it visibly.

    Decoders convert colors differently, by up to 5 of 255 on average for 10-bit video.
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
