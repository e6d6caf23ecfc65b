"""What ``videopool predict`` prints and writes, and its errors."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from videopool.data import open_video


@pytest.fixture(scope="module")
def test_videos(motion_videos: Path) -> list[Path]:
    return sorted((motion_videos / "test").rglob("*.mp4"))


def test_only_results_are_on_standard_output(trained: Path, test_videos: list[Path], tool: Callable) -> None:
    folder = test_videos[0].parent.parent
    ended = tool("predict", trained, folder, "--format", "json", "--top", 3)
    assert (ended.code, ended.err) == (0, "")
    found = json.loads(ended.out)
    assert [Path(each["video"]) for each in found] == test_videos
    assert all(len(each["predictions"]) == 3 for each in found)
    ended = tool("predict", trained, f"{folder}/*/*.mp4", "--format", "csv", "--top", 1)
    rows = [*csv.DictReader(io.StringIO(ended.out))]
    assert [row["class"] for row in rows] == [each["predictions"][0]["class"] for each in found]
    ended = tool("predict", trained, folder, "--format", "jsonl", "--top", 3)
    assert [json.loads(line) for line in ended.out.splitlines()] == found


def test_probabilities_are_those_of_evaluate(
    trained: Path, motion_videos: Path, test_videos: list[Path], tool: Callable, tmp_path: Path
) -> None:
    assert tool("evaluate", trained / "checkpoints/last.pt", "--to", tmp_path).code == 0
    saved = np.load(tmp_path / "scores.npz")
    means = saved["scores"].astype(np.float64).reshape(8, -1, 8).mean(1)
    (tmp_path / "list.txt").write_text("".join(f"{path.relative_to(motion_videos)} 5\n" for path in test_videos))
    given = ("predict", trained, tmp_path / "list.txt", f"data.root={motion_videos}", "--format", "json", "--top", 8)
    for each, mean in zip(json.loads(tool(*given).out), means, strict=True):
        found = [prediction["probability"] for prediction in each["predictions"]]
        assert found == pytest.approx(sorted(mean, reverse=True), abs=1e-6)


def test_unreadable_videos_are_listed_and_the_others_classified(
    trained: Path, test_videos: list[Path], tool: Callable, tmp_path: Path
) -> None:
    broken, missing = tmp_path / "broken.mp4", tmp_path / "missing.mp4"
    broken.write_bytes(b"no video")
    for mode in ([], ["--timeline"]):
        to = tmp_path / "out.csv"
        given = ("predict", trained, broken, test_videos[0], missing, *mode, "--format", "jsonl", "--to", to)
        ended = tool(*given)
        assert ended.code == 2
        assert ended.err.startswith("error: 2 of 3 videos could not be read: ")
        records = [json.loads(line) for line in ended.out.splitlines()]
        assert [each["video"] for each in records if each["kind"] == "unreadable"] == [str(broken), str(missing)]
        assert any(each["video"] == str(test_videos[0]) for each in records)
        kinds = [row["kind"] for row in csv.DictReader(to.open(newline=""))]
        assert kinds.count("unreadable") == 2
        assert len(kinds) > 2


def test_a_video_that_is_too_short_is_listed(trained: Path, test_videos: list[Path], tool: Callable) -> None:
    ended = tool("predict", trained, test_videos[0], "clip.short=error", "clip.stride=9")
    assert ended.code == 2
    assert "is too short: it has 10 frames (1.00 s), a clip needs 28" in ended.err


def test_features_of_views_and_of_windows(
    trained: Path, test_videos: list[Path], tool: Callable, tmp_path: Path
) -> None:
    to = tmp_path / "deep/features.npz"
    ended = tool("predict", trained, *test_videos[:3], "--features", "blocks.1", "--to", to, "--top", 1)
    assert ended.code == 0, ended.err
    assert ended.out.count("%") == 3
    with np.load(to) as saved:
        assert saved["features"].shape[0] == 3 * 6
        assert saved["videos"].tolist() == [*map(str, test_videos[:3])]
    windows = ("evaluate.clips=0", "evaluate.hop=0.1", "evaluate.crops=1")
    assert tool("predict", trained, test_videos[0], "--features", "blocks.1", "--to", to, *windows).code == 0
    with np.load(to) as saved:
        assert np.diff(saved["start"]) == pytest.approx([0.1] * 3)


def test_a_timeline_and_its_files(trained: Path, test_videos: list[Path], tool: Callable, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    files = [tmp_path / f"t.{suffix}" for suffix in ("json", "txt", "mp4", "png")]
    ended = tool("predict", trained, test_videos[0], "--hop", 0.1, *(part for file in files for part in ("--to", file)))
    assert ended.code == 0, ended.err
    assert ended.out.startswith(f"{test_videos[0]}\n  segment       0.00 - ")
    assert files[1].read_text() == ended.out
    records = json.loads(files[0].read_text())
    windows = [each for each in records if each["kind"] == "window"]
    assert [each["start"] for each in windows] == pytest.approx([0.0, 0.1, 0.2, 0.3])
    segments = [each for each in records if each["kind"] == "segment"]
    assert (segments[0]["start"], segments[-1]["end"]) == (0.0, 1.0)
    with open_video(files[2]) as video:
        assert video.timing.frames == 10
    assert files[3].read_bytes().startswith(b"\x89PNG")


def test_a_file_for_each_video(trained: Path, test_videos: list[Path], tool: Callable, tmp_path: Path) -> None:
    stem = test_videos[0].stem
    copies = [tmp_path / test_videos[0].name, tmp_path / f"{stem}-2.mp4"]  # the second has the name given to the first
    for copy in copies:
        copy.write_bytes(test_videos[0].read_bytes())
    ended = tool("predict", trained, *test_videos[:2], *copies, "--to", tmp_path / "out/{name}.mp4")
    assert ended.code == 0, ended.err
    names = [stem, test_videos[1].stem, f"{stem}-2", f"{stem}-2-2"]
    assert sorted(path.stem for path in (tmp_path / "out").iterdir()) == sorted(names)
    ended = tool("predict", trained, *test_videos[:2], "--to", tmp_path / "one.mp4")
    assert ended.code == 2
    assert "is for one video, but 2 are given" in ended.err
    assert "/{name}.mp4'" in ended.err


def test_inputs_are_not_overwritten(trained: Path, test_videos: list[Path], tool: Callable, tmp_path: Path) -> None:
    copy, listing = tmp_path / "copy.mp4", tmp_path / "list.csv"
    content = test_videos[0].read_bytes()
    copy.write_bytes(content)
    listing.write_text("copy.mp4,0\n")
    (tmp_path / "link.mp4").symlink_to(copy)
    for given, place in (
        ([copy], copy),
        ([copy], tmp_path / "link.mp4"),
        ([copy], tmp_path / f"../{tmp_path.name}/{{name}}.mp4"),
        ([copy, "--live"], copy),
        ([listing], listing),
        ([listing], copy),
    ):
        ended = tool("predict", trained, *given, "--to", place)
        assert ended.code == 2
        assert ended.err.startswith(f"error: --to {place} would overwrite ")
    assert copy.read_bytes() == content
    assert listing.read_text() == "copy.mp4,0\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device of Linux that is always full")
@pytest.mark.parametrize("suffix", [".txt", ".csv", ".json", ".jsonl"])
def test_a_full_disk_is_one_sentence(
    suffix: str, trained: Path, test_videos: list[Path], tool: Callable, tmp_path: Path
) -> None:
    place = tmp_path / f"full{suffix}"
    place.symlink_to("/dev/full")
    ended = tool("predict", trained, test_videos[0], "--to", place)
    assert ended.code == 2
    assert ended.err == f"error: {place}: No space left on device. Check the path, or give another one.\n"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["none/*.mp4"], "none/*.mp4: no file matches this pattern"),
        (["--to", "x.doc", "VIDEO"], "--to x.doc: the suffix must be one of .txt, .csv, .json, .jsonl, .mp4"),
        (["--to", "{name}.csv", "VIDEO"], "{name} is for .mp4 and pictures"),
        (["--to", "x.npz", "VIDEO"], "--to FILE.npz needs --features LAYER"),
        (["--features", "blocks.1", "VIDEO"], "--features needs --to FILE.npz"),
        (["--features", "blcks", "--to", "x.npz", "VIDEO"], "no layer 'blcks'. Did you mean 'blocks"),
        (["--features", "blocks.1", "--to", "x.npz", "--hop", "1", "VIDEO"], "evaluate.clips=0 evaluate.hop=SECONDS"),
        (["--threshold", "2", "VIDEO"], "expected a probability from 0 to 1, got 2"),
        (["--format", "xml", "VIDEO"], "--format=xml; choose one of table, json, jsonl, csv"),
        (["--timeline", "clip.sampling=segments", "VIDEO"], "Add clip.sampling=dense and clip.window=SECONDS"),
        (["lavfi:testsrc2", "VIDEO"], "so it must be the only input"),
        (["lavfi:nothing=1"], "lavfi:nothing=1 cannot be read ("),
        (["tcp://127.0.0.1:9"], "tcp://127.0.0.1:9 cannot be read (Connection refused). Check the address"),
        (["--live", "."], ". is not a file"),
        (["rtsp://127.0.0.1:9/x", "--timeout", "3"], "rtsp://127.0.0.1:9/x cannot be read (Connection refused)"),
        (["http://127.0.0.1:9/v.mp4"], "http://127.0.0.1:9/v.mp4 cannot be read (Connection refused)"),
    ],
)
def test_errors_are_one_sentence(
    given: list[str],
    message: str,
    trained: Path,
    test_videos: list[Path],
    tool: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    ended = tool("predict", trained, *(test_videos[0] if each == "VIDEO" else each for each in given))
    assert ended.code == 2
    assert message in ended.err
    assert "Traceback" not in ended.err
    assert ended.err.count("\n") == 1
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".npz"]
