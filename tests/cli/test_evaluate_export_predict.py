"""Evaluation does not depend on batches, workers or the decoder; exports and predictions agree with the network."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import videopool.ops  # noqa: F401  # the kernels of the exported program
from tests.conftest import ROOT
from videopool.engine.checkpoints.files import read_checkpoint


def evaluated(folder: Path) -> tuple[dict, dict]:
    return json.loads((folder / "metrics.json").read_text()), dict(np.load(folder / "scores.npz"))


def test_metrics_follow_from_the_scores(trained: Path, tool: Callable, tmp_path: Path) -> None:
    ended = tool("evaluate", trained / "checkpoints/last.pt", "--to", tmp_path)
    assert ended.code == 0, ended.err
    metrics, saved = evaluated(tmp_path)
    assert saved["scores"].shape == (8 * 6, 8)
    assert saved["video"].tolist() == np.repeat(np.arange(8), 6).tolist()
    assert saved["view"].tolist() == list(range(6)) * 8
    np.testing.assert_allclose(saved["scores"].sum(1), 1, rtol=1e-5)
    video = saved["scores"].reshape(8, 6, 8).astype(np.float64).sum(1)
    labels = saved["labels"].reshape(8, 6)[:, 0]
    assert metrics["video_top1"] == pytest.approx(np.mean(video.argmax(1) == labels))
    assert metrics["clip_top1"] == pytest.approx(np.mean(saved["scores"].argmax(1) == saved["labels"]))
    top5 = [label in row.argsort()[-5:] for row, label in zip(video, labels, strict=True)]
    assert metrics["video_top5"] == pytest.approx(np.mean(top5))
    assert (metrics["videos"], metrics["unscored"], metrics["views"]) == (8, 0, 6)
    assert "video-level top-1" in ended.out


@pytest.mark.slow
@pytest.mark.parametrize(
    "changed", [["evaluate.batch=1"], ["evaluate.batch=13", "data.workers=2"], ["data.decoder=pyav"]]
)
def test_scores_do_not_depend_on_batches_workers_or_decoder(
    changed: list[str], trained: Path, tool: Callable, tmp_path: Path
) -> None:
    assert tool("evaluate", trained / "checkpoints/last.pt", "--to", tmp_path / "a").code == 0
    assert tool("evaluate", trained / "checkpoints/last.pt", "--to", tmp_path / "b", *changed).code == 0
    (one, first), (other, second) = evaluated(tmp_path / "a"), evaluated(tmp_path / "b")
    assert one.pop("overrides") == []
    assert other.pop("overrides") == changed
    if "data.decoder=pyav" not in changed:
        # What follows from ranks is equal, what follows from confidences within the rounding below.
        confidences = [(each.pop("ece"), each["intervals"].pop("ece", None)) for each in (one, other)]
        assert confidences[0] == (
            pytest.approx(confidences[1][0], abs=1e-6),
            pytest.approx(confidences[1][1], abs=1e-6),
        )
        assert one == other
    assert first["video"].tolist() == second["video"].tolist()
    # Another batch size may take another algorithm, which sums in another order: float32 rounding of probabilities.
    # Another decoder converts colors with another rounding.
    tolerance = 2e-2 if "data.decoder=pyav" in changed else 1e-5
    np.testing.assert_allclose(first["scores"], second["scores"], atol=tolerance)


def test_unscored_videos_are_listed_and_refused(
    trained: Path, motion_videos: Path, tool: Callable, tmp_path: Path
) -> None:
    root, checkpoint = tmp_path / "videos", trained / "checkpoints/last.pt"
    shutil.copytree(motion_videos, root)
    broken = sorted((root / "test").rglob("*.mp4"))[2]
    broken.write_bytes(b"not a video")
    refused = tool("evaluate", checkpoint, "--to", tmp_path / "to", f"data.root={root}")
    assert refused.code == 2
    assert "1 of 8 videos could not be scored" in refused.err
    assert "evaluate.allow_missing=true" in refused.err
    assert not (tmp_path / "to/metrics.json").exists()
    listed = json.loads((tmp_path / "to/unscored.jsonl").read_text())
    assert listed["path"] == str(broken)
    allowed = tool("evaluate", checkpoint, "--to", tmp_path / "to", f"data.root={root}", "evaluate.allow_missing=true")
    assert allowed.code == 0, allowed.err
    assert allowed.out.count("1 of 8 videos unscored") >= 4  # next to every metric
    assert json.loads((tmp_path / "to/metrics.json").read_text())["unscored"] == 1


@pytest.mark.slow
def test_export_equals_the_checkpoint(trained: Path, tool: Callable, tmp_path: Path) -> None:
    ended = tool("export", trained / "checkpoints/last.pt", "--to", tmp_path)
    assert ended.code == 0, ended.err
    state = read_checkpoint(trained / "checkpoints/last.pt")
    weights = load_file(tmp_path / "model.safetensors")
    assert weights.keys() == state["model"].keys()
    assert all(torch.equal(weights[name], state["model"][name]) for name in weights)
    assert json.loads((tmp_path / "classes.json").read_text()) == state["classes"]
    preprocessing = json.loads((tmp_path / "preprocessing.json").read_text())
    assert (preprocessing["frames"], preprocessing["crop"]) == (4, 32)
    assert (preprocessing["square_pixels"], preprocessing["deinterlace"]) == (False, False)
    assert len({path.stat().st_mode for path in tmp_path.iterdir()}) == 1  # all have the same permissions
    program = torch.export.load(tmp_path / "program.pt2").module()
    for batch in (1, 5):
        clips = torch.randint(0, 256, (batch, 3, 4, 32, 32), dtype=torch.uint8)
        assert program(clips).shape == (batch, 8)


def test_predict_a_folder_of_frames(trained: Path, tool: Callable, tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    for number in range(20):
        Image.new("RGB", (40, 36), (12 * number, 0, 0)).save(tmp_path / f"frames/{number:04d}.png")
    ended = tool("predict", trained / "checkpoints/last.pt", tmp_path / "frames", "--top", 1)
    assert ended.code == 0, ended.err
    assert str(tmp_path / "frames") in ended.out
    (tmp_path / "none").mkdir()
    empty = tool("predict", trained / "checkpoints/last.pt", tmp_path / "none")
    assert (empty.code, "none" in empty.err, "Traceback" in empty.err) == (2, True, False)


@pytest.mark.slow
def test_export_to_a_full_disk(trained: Path, tmp_path: Path) -> None:
    """A limit on the size of files simulates the full disk."""
    tool = [sys.executable, ROOT / "tools/export.py", trained / "checkpoints/last.pt", "--format", "program"]
    command = ["bash", "-c", 'ulimit -f 20; exec "$@"', "bash", *tool, "--to", tmp_path]  # 20 KiB
    ended = subprocess.run(command, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f"error: {tmp_path / 'program.pt2'}: File too large. Check the path, or give another one.\n"
    assert not list(tmp_path.iterdir())


def test_predict_agrees_with_evaluate(trained: Path, motion_videos: Path, tool: Callable, tmp_path: Path) -> None:
    checkpoint = trained / "checkpoints/last.pt"
    assert tool("evaluate", checkpoint, "--to", tmp_path).code == 0
    video = sorted((motion_videos / "test").rglob("*.mp4"))[0]
    ended = tool("predict", checkpoint, video, "evaluate.batch=3", "--top", 1)
    assert ended.code == 0, ended.err
    _, saved = evaluated(tmp_path)
    mean = saved["scores"][saved["video"] == 0].mean(0)
    assert read_checkpoint(checkpoint)["classes"][mean.argmax()] in ended.out
    assert f"{100 * mean.max():.2f} %" in ended.out
    missing = tool("predict", checkpoint, video, tmp_path / "none.mp4")
    assert missing.code == 2
    assert "none.mp4" in missing.err
