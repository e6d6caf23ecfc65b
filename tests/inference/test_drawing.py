"""Annotated videos, fonts and pictures of timelines."""

import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from videopool.data import DecodeError, open_video
from videopool.data.decoding.decode import READING
from videopool.data.video_file import write_video
from videopool.errors import InputError
from videopool.inference import Prediction
from videopool.inference.annotate import Captions, LiveAnnotator, VideoWriter, annotate
from videopool.inference.fonts import Fonts, _has
from videopool.inference.picture import ScoreHistory, draw_timeline
from videopool.inference.timeline import Segment, Window
from videopool.types import VideoRecord

REAL = Path(__file__).resolve().parents[3] / "shared/data/clips"
NO_CHARACTER = "\U000f0000"  # for private use: only fonts made for a single program have it


@pytest.fixture
def captions() -> Captions:
    found = Captions(Fonts(["walk", "run"]))
    found.add(0.5, [Prediction("walk", 0.9)])
    found.add(1.5, [Prediction("run", 0.8), Prediction("walk", 0.1)])
    return found


def test_a_caption_is_that_of_the_nearest_window(captions: Captions) -> None:
    assert [captions.at(time)[0].label for time in (0.0, 0.9, 1.1, 9.0)] == ["walk", "walk", "run", "run"]
    assert Captions(Fonts(())).at(1.0) == ()


def test_captions_change_the_top_of_a_picture_only(captions: Captions) -> None:
    picture = np.full((120, 160, 3), 128, np.uint8)
    drawn = captions.draw(picture, captions.at(1.5))
    assert (drawn[70:] == picture[70:]).all()
    assert drawn[:20].max() > 230  # letters
    assert drawn[:20].min() < 60  # the bar
    assert captions.draw(picture, ()) is picture


def test_an_annotated_copy_has_the_frames_and_times_of_the_video(captions: Captions, tmp_path: Path) -> None:
    source, target = tmp_path / "video.mp4", tmp_path / "deep/copy.mp4"
    gray = np.repeat(np.linspace(40, 200, 30)[:, None, None, None], 65 * 81 * 3, 1).reshape(30, 65, 81, 3)
    write_video(source, gray.astype(np.uint8)[:, :64, :80], 12)
    annotate(VideoRecord("v", source, 0), captions, target, READING)
    with open_video(source) as before, open_video(target) as after:
        left, right = before.info, after.info
        assert (right.width, right.height, right.frames) == (left.width, left.height, left.frames)
        assert right.duration_seconds == pytest.approx(left.duration_seconds)
        times = (np.arange(30) + 0.5) / 12
        below = [video.frames_at(times).float()[:, :, 50:] for video in (before, after)]
    assert (below[0] - below[1]).abs().mean() < 4  # of 255, from encoding again


@pytest.mark.parametrize(("start", "end", "frames"), [(1.0, 2.0, 12), (None, 0.5, 6)])
def test_a_span_is_cut_out(start: float | None, end: float, frames: int, captions: Captions, tmp_path: Path) -> None:
    source, target = tmp_path / "video.mp4", tmp_path / "copy.mp4"
    write_video(source, np.zeros((30, 48, 64, 3), np.uint8), 12)
    annotate(VideoRecord("v", source, 0, start_seconds=start, end_seconds=end), captions, target, READING)
    with open_video(target) as copy:
        assert copy.timing.frames == frames


def test_frames_in_a_folder(captions: Captions, tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    for number in range(20):
        Image.new("RGB", (65, 51), (10 * number, 0, 0)).save(tmp_path / f"frames/{number:03}.png")
    annotate(VideoRecord("v", tmp_path / "frames", 0, frames=0), captions, tmp_path / "copy.mp4", READING)
    with open_video(tmp_path / "copy.mp4") as copy:
        info = copy.info
    assert (info.frames, info.width, info.height) == (20, 64, 50)
    assert info.fps == pytest.approx(30)


@pytest.mark.slow
@pytest.mark.skipif(not REAL.exists(), reason="needs the real videos of ../shared/data")
def test_real_videos_keep_size_and_length(captions: Captions, tmp_path: Path) -> None:
    copied = 0
    for source in sorted(REAL.iterdir()):
        target = tmp_path / f"{copied}.mp4"
        try:
            with open_video(source) as video:
                info = video.info
            if info.frames > 100 or info.width > 700 or "zero" in source.name:  # those have damaged frames
                continue
            annotate(VideoRecord("v", source, 0), captions, target, READING)
        except DecodeError:  # a broken one
            continue
        with open_video(target) as copy:
            found = copy.info
        assert (found.width, found.height) == (info.width // 2 * 2, info.height // 2 * 2), source.name
        assert found.frames == pytest.approx(info.frames, abs=1 + 0.02 * info.frames), source.name
        copied += 1
    assert copied >= 5


def test_a_video_without_frames_has_no_file(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "none.mp4", 10):
        pass
    assert not list(tmp_path.iterdir())


def test_frames_at_the_time_of_the_one_before_are_left_out(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "v.mp4", 10, Fraction(4, 3)) as writer:
        for seconds in (5.0, 5.1, 5.1, 5.0, 5.2):
            writer.add(np.zeros((32, 32, 3), np.uint8), seconds)
    with open_video(tmp_path / "v.mp4") as video:
        assert video.timing.frames == 3


def test_a_stream_is_annotated_while_it_is_read(captions: Captions, tmp_path: Path) -> None:
    import av

    with LiveAnnotator(tmp_path / "live.mp4", captions) as annotator:
        annotator.predictions = captions.at(0.0)
        for number in range(10):
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            annotator.on_frame(number / 10, frame)
    with open_video(tmp_path / "live.mp4") as video:
        assert video.timing.frames + annotator.omitted == 10
        assert video.frames_at([0.05])[:, 0, :12].max() > 200


def test_an_error_of_the_annotation_is_raised(captions: Captions, tmp_path: Path) -> None:
    import av

    (tmp_path / "file").touch()
    annotator = LiveAnnotator(tmp_path / "file/live.mp4", captions)
    with pytest.raises(InputError, match=r"live.mp4 cannot be written \((Not a directory|File exists)\)"), annotator:
        annotator.on_frame(0.0, av.VideoFrame(32, 32, "rgb24"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device of Linux that is always full")
def test_a_full_disk_is_an_error_of_the_output(captions: Captions, tmp_path: Path) -> None:
    source = tmp_path / "v.mp4"
    write_video(source, np.random.default_rng(0).integers(0, 255, (30, 64, 64, 3)).astype(np.uint8), 10)
    full = tmp_path / "full.mp4"
    full.symlink_to("/dev/full")
    with pytest.raises(InputError, match=r"full.mp4 cannot be written \(No space left on device\)"):
        annotate(VideoRecord("v", source, 0), captions, full, READING)
    (tmp_path / f"w.mp4.tmp-{os.getpid()}").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught:
        write_video(tmp_path / "w.mp4", np.zeros((3, 64, 64, 3), np.uint8), 10)
    assert caught.value.filename == str(tmp_path / "w.mp4")
    assert not list(tmp_path.glob("w.mp4*"))


@pytest.mark.parametrize("text", ["walk", "ходьба", "Κίνηση", "naïve café"])
def test_a_font_is_found_for_the_scripts_it_has(text: str) -> None:
    fonts = Fonts([text])
    assert (fonts.missing, fonts.note()) == ((), "")
    assert fonts.font(text, 20).getlength(text) > 10
    assert all(_has(fonts.path(text), letter) for letter in text if letter != " ")


def test_names_without_a_font_are_reported_and_drawn() -> None:
    fonts = Fonts(["walk", NO_CHARACTER, f"run {NO_CHARACTER}"])
    assert fonts.missing == (NO_CHARACTER, f"run {NO_CHARACTER}")
    assert "and 1 more; they are drawn as boxes" in fonts.note()
    captions = Captions(fonts)
    captions.draw(np.zeros((64, 64, 3), np.uint8), [Prediction(NO_CHARACTER, 0.5)])


def test_a_given_font_is_used_for_all_names(tmp_path: Path) -> None:
    found = Fonts(["walk"]).path("walk")
    if found is None:
        pytest.skip("no font file is installed")
    assert Fonts(["walk", "ход"], found).path("ход") == found
    (tmp_path / "bad.ttf").write_bytes(b"no font")
    with pytest.raises(InputError, match=r"bad\.ttf cannot be read as a font"):
        Fonts(["walk"], tmp_path / "bad.ttf")


def test_the_history_has_bounded_memory_and_keeps_the_mean() -> None:
    history = ScoreHistory()
    scores = np.random.default_rng(0).random((20_000, 2)).astype(np.float32)
    for number, row in enumerate(scores):
        history.add(Window(number, number + 1.0, torch.from_numpy(row)))
    times, points = history.points()
    each = 20_000 // len(times)
    assert (len(times), each) == (2500, 8)
    expected = scores.astype(np.float64).reshape(2500, 8, 2).mean(1)
    np.testing.assert_allclose(points, expected, rtol=8 * np.finfo(np.float32).eps)
    np.testing.assert_allclose(times, np.arange(20_000).reshape(2500, 8).mean(1) + 0.5)
    history.add(Window(20_000, 20_001.0, torch.ones(2)))  # the last windows are a point, even if they are fewer
    times, points = history.points()
    assert (len(times), times[-1], points[-1].tolist()) == (2501, 20_000.5, [1.0, 1.0])


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_picture_of_a_timeline(suffix: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    history = ScoreHistory()
    for number in range(5):
        history.add(Window(number, number + 1.0, torch.tensor([0.2, 0.8])))
    classes = ("ходьба", "$run$")
    segments = [Segment(0, 3, "$run$", 0.8), Segment(3, 5, "ходьба", 0.6)]
    path = draw_timeline(tmp_path / f"t.v1{suffix}", "a $title", history, segments, classes, Fonts(classes))
    assert path == tmp_path / f"t.v1{suffix}"
    assert path.stat().st_size > 1000


def test_the_picture_of_a_video_without_segments(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    draw_timeline(tmp_path / "none.png", "none", ScoreHistory(), [], ("a",), Fonts(("a",)))
    assert (tmp_path / "none.png").exists()
