"""Windows that slide over real and synthetic videos: the clips of the evaluation, with bounded memory."""

from pathlib import Path

import numpy as np
import pytest
import torch

from videopool.data.clip_times import sliding_clips
from videopool.data.decoding.decode import READING, OpenVideo
from videopool.data.decoding.reader import DecodeError
from videopool.data.loading.windows import WindowVideos
from videopool.data.sampling import ClipSampling
from videopool.data.video_file import write_video
from videopool.errors import InputError
from videopool.inference import windows
from videopool.inference.windows import newest_window, sliding_windows, window_seconds
from videopool.types import Clip, VideoRecord

REAL = Path(__file__).resolve().parents[3] / "shared/data"
SAMPLING = ClipSampling(frames=4, stride=2, scale=(32, 32), crop=32, test_scale=32, test_crop=32)


def record_of(path: Path, **span: float) -> VideoRecord:
    return VideoRecord(path.name, path, 0, **span)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("windows") / "noise.mp4"
    write_video(path, np.random.default_rng(0).integers(0, 255, (300, 40, 48, 3), dtype=np.uint8), 25)
    return path


def check_equal(record: VideoRecord, sampling: ClipSampling, hop: float, crops: int) -> int:
    """Check that windows have the pixels and times of those of the evaluation, and return their number."""
    expected = [*WindowVideos([record], sampling, hop=hop, crops=crops).clips(0)]
    found = [*sliding_windows(record, sampling, hop=hop, crops=crops, reading=READING)]
    assert all(isinstance(clip, Clip) for clip in expected)
    assert len(found) * crops == len(expected)
    for number, window in enumerate(found):
        for crop in range(crops):
            clip = expected[number * crops + crop]
            assert torch.equal(window.crops[crop], clip.frames)
            assert (window.start, window.end) == clip.seconds
    return len(found)


@pytest.mark.slow
@pytest.mark.parametrize("crops", [1, 3])
@pytest.mark.parametrize("hop", [0.04, 0.1, 1.0])
def test_windows_are_those_of_the_evaluation(hop: float, crops: int, video: Path) -> None:
    assert check_equal(record_of(video), SAMPLING, hop, crops) > 10


def test_windows_of_a_span(video: Path) -> None:
    assert check_equal(record_of(video, start_seconds=3.0, end_seconds=5.0), SAMPLING, 0.2, 1) == 10


def test_a_video_shorter_than_a_window_has_one(tmp_path: Path) -> None:
    path = tmp_path / "short.mp4"
    write_video(path, np.zeros((3, 40, 48, 3), np.uint8), 25)
    assert check_equal(record_of(path), SAMPLING, 0.1, 1) == 1


@pytest.mark.skipif(not REAL.exists(), reason="needs the real videos of ../shared/data")
@pytest.mark.parametrize("name", ["weizmann/eli_walk.avi", "weizmann/daria_run.avi"])
def test_windows_of_real_videos(name: str) -> None:
    place = next((path for path in (REAL / "weizmann").rglob(Path(name).name)), None)
    if place is None:
        pytest.skip(f"{name} is not in ../shared/data")
    dense = ClipSampling(
        frames=8, stride=1, method="dense", window=0.6, scale=(96, 96), crop=96, test_scale=112, test_crop=96
    )
    for sampling in (dense, SAMPLING):
        assert check_equal(record_of(place), sampling, 0.1, 3) > 5


def test_each_frame_is_decoded_once_and_few_are_kept(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    kept: list[int] = []
    clips, reach = OpenVideo.clips, windows._KeptFrames.reach

    def counted(self: OpenVideo, times: np.ndarray, grids: object) -> list[torch.Tensor]:
        asked.extend(np.asarray(times).tolist())
        return clips(self, times, grids)

    def measured(self: windows._KeptFrames, times: np.ndarray, first: int) -> int:
        stop = reach(self, times, first)
        kept.append(len(self._times))
        return stop

    monkeypatch.setattr(OpenVideo, "clips", counted)
    monkeypatch.setattr(windows._KeptFrames, "reach", measured)
    found = [*sliding_windows(record_of(video), SAMPLING, hop=0.04, crops=1, reading=READING)]
    assert len(found) == 294
    assert len(asked) == len(set(asked)) == 300
    assert max(kept) <= windows._AT_ONCE + 2 * 7  # the frames of a seek, those of the next window, and of the last one


def test_half_a_window_is_the_default_distance(video: Path) -> None:
    found = [*sliding_windows(record_of(video), SAMPLING, hop=0.0, crops=1, reading=READING)]
    length = window_seconds(SAMPLING, 25.0)
    assert length == pytest.approx(7 / 25)
    assert found[1].start - found[0].start == pytest.approx(length / 2, abs=0.5 / 25)


def test_a_video_that_breaks_off_gives_its_windows_first(video: Path, tmp_path: Path) -> None:
    path = tmp_path / "broken.mp4"
    content = bytearray(video.read_bytes())
    half = len(content) // 2
    content[half : half + 20_000] = bytes(20_000)
    path.write_bytes(content)
    found = sliding_windows(record_of(path), SAMPLING, hop=0.2, crops=1, reading=READING)
    assert next(found).start == 0
    with pytest.raises(DecodeError, match=r"broken\.mp4"):
        list(found)


def test_segments_of_whole_videos_have_no_windows(video: Path) -> None:
    sampling = ClipSampling(frames=4, stride=1, method="segments", scale=(32, 32), crop=32, test_scale=32, test_crop=32)
    with pytest.raises(InputError, match=r"clip\.sampling=dense"):
        next(sliding_windows(record_of(video), sampling, hop=0.1, crops=1, reading=READING))


@pytest.mark.parametrize("fps", [10.0, 23.976, 60.0])
@pytest.mark.parametrize("rate", [0.0, 12.5])
def test_the_newest_window_is_the_last_one_of_the_video_so_far(fps: float, rate: float) -> None:
    sampling = ClipSampling(frames=5, stride=3, fps=rate, scale=(32, 32), crop=32, test_scale=32, test_crop=32)
    duration = round(fps * 9) / fps
    last = sliding_clips(duration=duration, fps=fps, sampling=sampling, hop=0.5)[-1]
    np.testing.assert_allclose(newest_window(duration, fps, sampling), last, atol=1e-9)
