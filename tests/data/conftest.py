"""Small real videos whose frames show their number, the decoders, and the shared test data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from videopool.data.decoding.decode import DECODERS
from videopool.data.decoding.torchcodec_reader import load_fault

BITS = 8  # bars in a frame: white where the bit of the frame's number is set
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"

WriteVideo = Callable[..., Path]

NO_TORCHCODEC = "runs where torchcodec and FFmpeg's shared libraries are installed (.ci/run installs them)"


def torchcodec_loads() -> bool:
    """Return whether torchcodec and the FFmpeg libraries that it needs can be loaded."""
    return not load_fault()


LOADED = [decoder for decoder in DECODERS if decoder != "torchcodec" or torchcodec_loads()]


@pytest.fixture(params=DECODERS)
def decoder(request: pytest.FixtureRequest) -> str:
    """Each decoder in turn."""
    if request.param not in LOADED:
        pytest.skip(NO_TORCHCODEC)
    return request.param


def middle(frames: Sequence[int] | np.ndarray, fps: float) -> np.ndarray:
    """Return the times in the middle of the display of these frames, in seconds."""
    return (np.asarray(frames) + 0.5) / fps


@pytest.fixture(scope="session")
def write_video() -> WriteVideo:
    """Return ``write(path, frames, ...)``, which writes a video whose frame i shows the number i in bars."""

    def write(
        path: Path,
        frames: int,
        *,
        fps: int = 10,
        gop: int = 12,
        size: tuple[int, int] = (64, 48),
        codec: str = "libx264",
        b_frames: int = 2,
        ticks: Sequence[int] | None = None,
    ) -> Path:
        """Write the video. ``ticks``: the start of each frame in units of 1/fps, for a variable rate."""
        import av  # here, so that other tests run without PyAV

        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=fps)
            stream.width, stream.height = size
            stream.pix_fmt = "yuv420p"
            stream.gop_size = gop
            stream.thread_count = 1
            stream.codec_context.max_b_frames = b_frames
            stream.codec_context.time_base = Fraction(1, fps)
            for number in range(frames):
                frame = av.VideoFrame.from_ndarray(numbered_image(number, size), format="rgb24")
                frame.pts = number if ticks is None else ticks[number]
                frame.time_base = Fraction(1, fps)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path

    return write


def numbered_image(number: int, size: tuple[int, int]) -> np.ndarray:
    width, height = size
    bars = np.array([255 * (number >> bit & 1) for bit in range(BITS)], dtype=np.uint8)
    row = bars[np.arange(width) * BITS // width]
    return np.broadcast_to(row[None, :, None], (height, width, 3)).copy()


@pytest.fixture(scope="session")
def read_numbers() -> Callable[[torch.Tensor], list[int]]:
    """Return a function from frames [C,T,H,W] of ``write_video`` to the numbers that they show."""

    def read(frames: torch.Tensor) -> list[int]:
        width = frames.shape[-1]
        centers = [(2 * bit + 1) * width // (2 * BITS) for bit in range(BITS)]
        bars = frames.float().mean(dim=(0, 2))[:, centers] > 127
        return [sum(1 << bit for bit in range(BITS) if row[bit]) for row in bars]

    return read


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not SHARED.is_dir():
        pytest.skip("needs ../shared/data, the folder of test videos beside the checkout")
    return SHARED
