"""The demo's videos: classes differ in motion only, and files are complete and reproducible."""

from __future__ import annotations

import numpy as np
import pytest

from videopool.data import synthetic
from videopool.data.decoding.decode import open_video
from videopool.data.lists.records import read_videos
from videopool.data.synthetic import (
    MOTIONS,
    draw,
    motion_frames,
    motion_states,
    random_scene,
    write_motion_videos,
)
from videopool.errors import InputError

SIZE = (64, 48)
OPPOSITES = {"left": "right", "up": "down", "clockwise": "counter-clockwise", "grow": "shrink"}


def path_of(motion: str, seed: int, frames: int = 9) -> np.ndarray:
    """Return the states of a video."""
    rng = np.random.default_rng(seed)
    return motion_states(motion, start=rng.random(4), frames=frames, rng=rng)


@pytest.mark.parametrize(("motion", "opposite"), OPPOSITES.items())
def test_opposites_are_each_other_played_backwards(motion, opposite):
    scene = random_scene(size=SIZE, rng=np.random.default_rng(3))
    forth, back = path_of(motion, seed=4), path_of(opposite, seed=4)
    np.testing.assert_allclose(forth - forth[0], -(back - back[0]), atol=1e-12)  # same speed, other direction
    played = draw(scene, forth)
    moved_back = back - back[0] + forth[-1]
    np.testing.assert_array_equal(draw(scene, moved_back), played[::-1])
    assert (played[0] != played[-1]).mean() > 0.05


def test_each_motion_moves_one_axis_in_its_direction():
    moves = {motion: np.diff(path_of(motion, seed=1), axis=0) for motion in MOTIONS}
    assert len(MOTIONS) == 8
    for motion, (axis, direction) in synthetic._AXES.items():
        step = moves[motion]
        assert (step[:, axis] * direction > 0).all()
        assert np.ptp(step[:, axis]) < 1e-12
        assert (np.delete(step, axis, axis=1) == 0).all()


def test_single_frames_do_not_depend_on_the_class():
    """The state of each frame is uniform in every class (Kolmogorov-Smirnov test)."""
    count = 400
    for motion in ("right", "shrink", "clockwise", "up"):
        paths = np.stack([path_of(motion, seed, frames=5) for seed in range(count)]) % 1
        for time in (0, 2, 4):
            for axis in range(4):
                ordered = np.sort(paths[:, time, axis])
                gap = np.abs(ordered - (np.arange(count) + 0.5) / count).max()
                assert gap < 1.95 / np.sqrt(count)  # p = 0.001
    first = {motion: motion_frames(motion, size=SIZE, frames=3, rng=np.random.default_rng(8))[0] for motion in MOTIONS}
    for image in first.values():  # the same draws give the same first frame in every class
        np.testing.assert_array_equal(image, first["left"])


def marker_scene(phase: float = 0.5) -> synthetic.Scene:
    """One white patch with an opaque right half on black; the other patch is invisible at phase 0.5."""
    side = synthetic._TEXTURE
    pixels = np.zeros((side, side, 4), dtype=np.uint8)
    pixels[side // 4 : side * 3 // 4, side // 2 : side * 3 // 4] = 255
    patch = pixels.view(np.uint32)[..., 0]
    return synthetic.Scene(np.zeros((*SIZE[::-1], 3), np.float32), (patch, patch), np.array([0.5, 0.5, 0.0, phase]))


def center(image: np.ndarray) -> np.ndarray:
    """Return (x, y) of the center of brightness, relative to the middle of the frame."""
    weight = image[..., 0].astype(float)
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    middle = np.array([SIZE[0] / 2, SIZE[1] / 2])
    return np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum() - middle


def test_the_state_moves_the_patch():
    scene = marker_scene()
    states = np.tile(scene.state, (6, 1))
    states[1, 2] += 0.25  # a quarter turn clockwise moves the right to the bottom
    states[2, 0] += 0.1
    states[3, 1] += 0.1
    states[4, 3] += 0.2  # larger
    states[5, 0] += 1.0  # once around
    frames = draw(scene, states)
    right, turned = center(frames[0]), center(frames[1])
    assert right[0] > 2
    assert abs(right[1]) < 1
    assert turned[1] > 2
    assert abs(turned[0]) < 1
    np.testing.assert_allclose(center(frames[2]) - right, [6.4, 0], atol=0.7)
    np.testing.assert_allclose(center(frames[3]) - right, [0, 4.8], atol=0.7)
    assert (frames[4] > 60).sum() > 1.2 * (frames[0] > 60).sum()
    np.testing.assert_array_equal(frames[5], frames[0])


def test_growth_is_periodic_without_a_jump():
    scene = random_scene(size=SIZE, rng=np.random.default_rng(0))
    states = np.tile(scene.state, (201, 1))
    states[:, 3] = scene.state[3] + np.arange(201) / 200
    frames = draw(scene, states).astype(float)
    np.testing.assert_array_equal(frames[-1], frames[0])
    steps = np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3))
    assert steps.max() < 4 * np.median(steps)


def write(root, **changes):
    settings = {"train_per_class": 2, "test_per_class": 1, "size": SIZE, "frames": 6, "fps": 10, "seed": 0}
    return write_motion_videos(root, **{**settings, **changes})


@pytest.mark.slow
def test_files_are_class_folders_of_h264(tmp_path):
    calls = []
    assert write(tmp_path, progress=lambda done, total: calls.append((done, total))) == 24
    assert calls == [(done, 24) for done in range(1, 25)]
    train, test = read_videos(tmp_path / "train"), read_videos(tmp_path / "test")
    assert set(train.classes) == set(test.classes) == set(MOTIONS)
    assert (len(train.records), len(test.records)) == (16, 8)
    with open_video(train.records[0].path) as reader:
        info = reader.info
        frames = reader.frames_at((np.arange(6) + 0.5) / 10)
    assert (info.frames, info.width, info.height) == (6, *SIZE)
    assert info.fps == pytest.approx(10)
    motion = train.classes[train.records[0].label]
    rng = np.random.default_rng((0, 0, MOTIONS.index(motion), 0))
    expected = motion_frames(motion, size=SIZE, frames=6, rng=rng)
    error = np.abs(frames.permute(1, 2, 3, 0).numpy().astype(float) - expected).mean()
    assert error < 12  # colors are stored at half resolution
    import av

    with av.open(str(train.records[0].path)) as container:
        assert container.streams.video[0].codec_context.name == "h264"


@pytest.mark.slow
def test_existing_files_are_kept(tmp_path):
    write(tmp_path)
    path = next((tmp_path / "train" / "counter-clockwise").glob("*.mp4"))
    before, content = path.stat().st_mtime_ns, path.read_bytes()
    assert write(tmp_path) == 0
    assert path.stat().st_mtime_ns == before
    path.unlink()
    assert write(tmp_path, train_per_class=3) == 1 + 8
    assert path.read_bytes() == content
    assert not list(tmp_path.rglob("*.tmp-*"))


def test_other_settings_are_refused(tmp_path):
    write(tmp_path, train_per_class=0, test_per_class=0)
    with pytest.raises(InputError, match="contains videos with other settings"):
        write(tmp_path, seed=1)
    for change in ({"size": (63, 48)}, {"frames": 0}, {"seed": -1}):
        with pytest.raises(InputError):
            write(tmp_path / "new", **change)
    assert not (tmp_path / "new").exists()


def test_an_interrupted_file_is_written_again(tmp_path, monkeypatch):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(synthetic.Path, "replace", stop)
        (tmp_path / "motions.json").write_text('{"size": [64, 48], "frames": 6, "fps": 10, "seed": 0}')
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path)
    assert [path.name for path in tmp_path.rglob("*.*")] == ["motions.json"]
    assert write(tmp_path) == 24


@pytest.mark.slow
def test_files_are_the_same_each_time(tmp_path):
    """Also in sizes that are not multiples of 16, in which an encoder may read uninitialized memory."""
    contents = set()
    for number in range(3):
        write(tmp_path / str(number), size=(80, 72), frames=30, train_per_class=1, test_per_class=0)
        files = sorted((tmp_path / str(number)).rglob("*.mp4"))
        assert len(files) == len(MOTIONS)
        contents.add(b"".join(path.read_bytes() for path in files))
    assert len(contents) == 1
