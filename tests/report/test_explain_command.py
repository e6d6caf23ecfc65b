"""``videopool explain``: pictures and videos are of the clip that the network saw; wrong input is one sentence."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from videopool.cli.main import main
from videopool.report.overlay import OPACITY, draw_strip, overlay, side_by_side

av = pytest.importorskip("av")
pytest.importorskip("matplotlib", reason="matplotlib is in the extra study")


def test_the_color_is_where_the_heat_is() -> None:
    frames = np.full((3, 4, 5, 3), 100, np.uint8)
    heat = np.zeros((3, 4, 5))
    heat[1, 2, 3], heat[2, 0, 0] = 4.0, 2.0
    shown = overlay(frames, heat)
    assert (shown[heat == 0] == 100).all()
    from matplotlib import colormaps

    for place, relative in (((1, 2, 3), 1.0), ((2, 0, 0), 0.5)):
        color = 255 * np.array(colormaps["inferno"](relative)[:3])
        opacity = OPACITY * relative
        np.testing.assert_allclose(shown[place], (1 - opacity) * 100 + opacity * color, atol=0.51)
    assert (overlay(frames, np.zeros((3, 4, 5))) == 100).all()


@pytest.mark.parametrize(("height", "width", "times"), [(4, 5, 56), (113, 224, 2), (225, 301, 1)])
def test_frames_of_videos_are_large_and_even(height: int, width: int, times: int) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (2, height, width, 3)).astype(np.uint8)
    both = side_by_side(frames, np.zeros((2, height, width)))
    assert both.shape[1] % 2 == both.shape[2] % 2 == 0
    np.testing.assert_array_equal(both[:, : height * times : times, : width * times : times], frames)


def test_a_strip_spreads_its_frames() -> None:
    frames = np.arange(16, dtype=np.uint8)[:, None, None, None].repeat(6, 1).repeat(5, 2).repeat(3, 3)
    figure = draw_strip(frames, np.zeros((16, 6, 5)), [number / 10 for number in range(16)], "a $title$")
    pictures = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    assert [int(picture[0, 0, 0]) for picture in pictures[:8]] == [1, 3, 5, 7, 9, 11, 13, 15]
    assert figure.axes[0].get_title() == "0.10 s"
    assert not draw_strip(frames[:1], np.zeros((1, 6, 5)), [], "").axes[0].get_title()


def explain(trained: Path, *arguments: object) -> int:
    return main(["explain", str(trained / "checkpoints/last.pt"), *map(str, arguments)])


@pytest.mark.slow
def test_files_of_videos(trained: Path, motion_videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    videos = sorted((motion_videos / "test").rglob("*.mp4"))[:2]
    assert explain(trained, *videos, "--to", tmp_path / "to", "--class", "up", "--layer", "blocks.1") == 0
    out = capsys.readouterr().out
    for number, video in enumerate(videos, start=1):
        stem = tmp_path / f"to/{number:02d}-{video.stem}"
        assert f"{video}: up " in out
        assert f"written: {stem}.png, {stem}.mp4" in out
        with av.open(f"{stem}.mp4") as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
            # 4 frames at stride 2 of a video of 10 frames a second.
            assert container.streams.video[0].average_rate == Fraction(5)
        assert (len(frames), frames[0].shape) == (4, (224, 448, 3))
    assert "layer blocks.1" in out


@pytest.mark.slow
def test_a_run_and_a_folder_of_videos(
    trained: Path, motion_videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "videos").mkdir()
    for name in ("\u4e0a.mp4", "b.mp4"):
        (tmp_path / "videos" / name).write_bytes(next((motion_videos / "test").rglob("*.mp4")).read_bytes())
    assert main(["explain", str(trained), str(tmp_path / "videos"), "--to", str(tmp_path / "to")]) == 0
    assert len(list((tmp_path / "to").glob("*.png"))) == 2
    assert main(["explain", str(trained), "http://127.0.0.1:9/v.mp4", "--to", str(tmp_path / "to")]) == 2
    assert "http://127.0.0.1:9/v.mp4 is not a file" in capsys.readouterr().err


@pytest.mark.slow
def test_an_image_has_no_video(trained: Path, tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 48, 3)).astype(np.uint8)).save(tmp_path / "a.png")
    assert explain(trained, tmp_path / "a.png", "--to", tmp_path / "to") == 0
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["01-a.png"]


@pytest.mark.slow
def test_an_unreadable_video_does_not_stop_the_others(
    trained: Path, motion_videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    assert explain(trained, broken, next((motion_videos / "test").rglob("*.mp4")), "--to", tmp_path / "to") == 2
    read = capsys.readouterr()
    assert read.err.startswith(f"error: 1 of 2 videos could not be read: {broken} ")
    assert len(list((tmp_path / "to").glob("02-*"))) == 2


@pytest.mark.slow
def test_wrong_input(trained: Path, motion_videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    video = next((motion_videos / "test").rglob("*.mp4"))
    for arguments, message in (
        ((video, "--class", "lefd"), "--class: 'lefd' is not a class of the network. Did you mean 'left'?"),
        ((video, "--class", "zzz"), "--class: 'zzz' is not a class of the network. It has clockwise, "),
        ((video, "--layer", "block.1"), "--layer: Unknown layer 'block.1'. Did you mean 'blocks.1' or "),
        ((video, "evaluate.clips=4"), "evaluate.clips=4 has no effect here; the clip is the middle one, center crop"),
        ((video, "optim.lr=1"), "optim.lr=1 has no effect here; it is for training"),
        (("clip.frames=4",), "no video is given, only key=value; add the paths of videos"),
    ):
        assert explain(trained, *arguments, "--to", tmp_path) == 2
        assert message in capsys.readouterr().err
