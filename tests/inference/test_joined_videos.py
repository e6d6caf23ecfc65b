"""The timeline of joined videos: its segments meet at the joins, and a stream of them gives the same classes."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

import videopool
from videopool.data import DecodeError, open_video
from videopool.data.video_file import write_video
from videopool.inference import Classifier
from videopool.inference.capture import Capture
from videopool.inference.inputs import find_stream
from videopool.inference.trained import read_network

REAL = Path(__file__).resolve().parents[3] / "shared/data/clips"
FPS, SECONDS, SIZE = 12, 3, (48, 64)


class Thumbnails:
    """A backend that names the part of a joined video from the coarse colors of its frames.

    Args:
        prototypes: uint8 [K,3,h,w], a small picture of each part.
    """

    def __init__(self, prototypes: torch.Tensor) -> None:
        self._prototypes = prototypes.float()

    def scores(self, clips: torch.Tensor) -> torch.Tensor:
        frames = clips.float().transpose(1, 2)  # [B,T,3,H,W]
        small = torch.nn.functional.adaptive_avg_pool2d(frames.flatten(0, 1), 4).unflatten(0, frames.shape[:2])
        far = (small[:, :, None] - self._prototypes).flatten(3).norm(dim=3)  # [B,T,K]
        return -far.mean(1) / 10


def real_parts(count: int) -> list[np.ndarray]:
    """Return the first seconds of ``count`` real videos that look different, uint8 [T,H,W,3] each."""
    found: list[np.ndarray] = []
    for path in sorted(REAL.iterdir()):
        try:
            with open_video(path) as video:
                if video.timing.duration_seconds < SECONDS:
                    continue
                frames = video.frames_at((np.arange(FPS * SECONDS) + 0.5) / FPS).float()
        except DecodeError:
            continue
        scaled = torch.nn.functional.interpolate(frames.transpose(0, 1), SIZE, mode="area")
        part = scaled.permute(0, 2, 3, 1).round().byte().numpy()
        if all(np.abs(part.mean((0, 1, 2)) - other.mean((0, 1, 2))).max() > 15 for other in found):
            found.append(part)
        if len(found) == count:
            return found
    pytest.skip(f"{REAL} has fewer than {count} videos that look different")


@pytest.fixture(scope="module")
def joined(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Classifier]:
    """Four real videos in one file, and a classifier whose classes are their numbers."""
    if not REAL.exists():
        pytest.skip("needs the real videos of ../shared/data")
    parts = real_parts(4)
    path = tmp_path_factory.mktemp("joined") / "joined.mp4"
    write_video(path, np.concatenate(parts), FPS)
    network = read_network(trained, ["evaluate.crops=1", "clip.stride=3"])
    with open_video(path) as video:
        times = (np.arange(4) + 0.5) * SECONDS
        crop = videopool.load(trained).sampling
        square = video.frames_at(times, short_side=crop.test_scale)
    left = (square.shape[3] - crop.test_crop) // 2
    top = (square.shape[2] - crop.test_crop) // 2
    center = square[:, :, top : top + crop.test_crop, left : left + crop.test_crop].float()
    prototypes = torch.nn.functional.adaptive_avg_pool2d(center.transpose(0, 1), 4)
    trained_on = dataclasses.replace(network.trained, classes=("0", "1", "2", "3"))
    return path, Classifier(dataclasses.replace(network, trained=trained_on, backend=Thumbnails(prototypes)))


def order_of(labels: Sequence[str]) -> list[str]:
    """Return the labels without repeats of the one before."""
    return [label for number, label in enumerate(labels) if number == 0 or labels[number - 1] != label]


@pytest.mark.parametrize("settings", [{}, {"smooth": 0.0}, {"smooth": 2.0}])
@pytest.mark.parametrize("hop", [0.0, 0.25])
def test_segments_meet_within_a_window_of_the_joins(hop: float, settings: dict, joined: tuple) -> None:
    path, classifier = joined
    found = classifier.timeline(path, hop, **settings)
    window = found.windows[0].length
    assert window == pytest.approx(10 / FPS)
    assert [segment.label for segment in found.segments] == ["0", "1", "2", "3"]
    assert (found.segments[0].start, found.segments[-1].end) == (0.0, pytest.approx(4 * SECONDS))
    for number, segment in enumerate(found.segments[:-1], start=1):
        assert segment.end == found.segments[number].start
        assert abs(segment.end - number * SECONDS) <= window


@pytest.mark.slow
def test_a_stream_of_them_shows_the_same_classes(joined: tuple) -> None:
    path, classifier = joined
    stream = find_stream(str(path), live=True)
    assert stream is not None
    labels, after = [], 0.0
    with Capture(stream, classifier.sampling, crops=1, timeout=30) as capture:
        while (clip := capture.next_window(after)) is not None:
            (window,) = classifier.score_windows([clip])
            labels.append(classifier.classes[int(window.probabilities.argmax())])
            after = window.end + 0.4
    assert order_of(labels) == ["0", "1", "2", "3"]
