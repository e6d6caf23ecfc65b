"""Videos with several classes in a list like that of Charades: training, evaluation, prediction, export."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import QUICK, ROOT, ToolResult
from tests.engine.slow_precision import slow_precision
from videopool.engine.checkpoints.files import read_checkpoint

CLASSES = ("across", "up or down", "turning", "growing or shrinking", "forward", "never")
OF_MOTION = {
    "left": "c000", "right": "c000 c004", "up": "c001", "down": "c001 c004", "clockwise": "c002 c004",
    "counter-clockwise": "c002", "grow": "c003 c004", "shrink": "",
}  # fmt: skip


@pytest.fixture(scope="module")
def charades(motion_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of train/ and test/, each with videos and a list, and a file of class names."""
    root = tmp_path_factory.mktemp("charades")
    names = "".join(f"c{number:03} {name}\n" for number, name in enumerate(CLASSES))
    (root / "Charades_v1_classes.txt").write_text(names)
    for split in ("train", "test"):
        shutil.copytree(motion_videos / split, root / split)
        with (root / split / "list.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["id", "subject", "actions"])
            for path in sorted((root / split).rglob("*.mp4")):
                codes = OF_MOTION[path.parent.name].split()
                rows.writerow([path.stem, "S1", ";".join(f"{code} 0.00 1.00" for code in codes)])
    return root


def lists(root: Path) -> list[str]:
    return [f"data.train={root / 'train/list.csv'}", f"data.test={root / 'test/list.csv'}", "data.root="]


def arguments(root: Path, out: Path, *more: str) -> list[str]:
    demo = ["--config", str(ROOT / "configs/demo.yaml"), *QUICK, "optim.label_smoothing=0"]
    return [*demo, *lists(root), f"out={out}", *more]


@pytest.fixture
def run(charades: Path, tmp_path: Path, tool: Callable) -> tuple[Path, ToolResult]:
    """The folder of a finished run with mixed clips, and the output of its training."""
    out = tmp_path / "run"
    ended = tool("train", *arguments(charades, out, "augment={mixup: 0.4, cutmix: 1.0, erase: 0.25}"))
    assert ended.code == 0, ended.err
    return out, ended


def test_from_training_to_export(run: tuple[Path, ToolResult], charades: Path, tool: Callable) -> None:
    out, trained = run
    checkpoint = out / "checkpoints/last.pt"
    state = read_checkpoint(checkpoint)
    assert state["several_labels"] is True
    assert tuple(state["classes"]) == CLASSES
    assert "evaluation: video mAP" in trained.out
    validation = [json.loads(line) for line in (out / "validation.jsonl").open()]
    assert state["best"] == max(line["video_map"] for line in validation)
    best = read_checkpoint(out / "checkpoints/best.pt")["step"]
    assert best == max(validation, key=lambda line: (line["video_map"], -line["step"]))["step"]

    ended = tool("evaluate", checkpoint)
    assert ended.code == 0, ended.err
    assert "video-level mAP" in ended.out
    check_metrics(out / "evaluation")

    (out / "paths.txt").write_text("".join(f"{path}\n" for path in sorted((charades / "test").rglob("*.mp4"))))
    ended = tool("evaluate", checkpoint, "--to", out / "unlabeled", "data.root=", f"data.test={out / 'paths.txt'}")
    assert ended.code == 0, ended.err
    check_predictions(out / "unlabeled")

    video = charades / "test/grow/grow-0000.mp4"
    ended = tool("predict", checkpoint, video, "--top", 6)
    assert ended.code == 0, ended.err
    saved = np.load(out / "evaluation/scores.npz")
    names = sorted(path.stem for path in (charades / "test").rglob("*.mp4"))
    mean = saved["scores"].reshape(8, 6, 6)[names.index("grow-0000")].mean(0)
    for name, probability in zip(CLASSES, mean, strict=True):
        assert f"{100 * probability:6.2f} %  {name}" in ended.out

    ended = tool("export", checkpoint, "--format", "weights")
    assert ended.code == 0, ended.err
    assert "sigmoid of each logit" in json.loads((out / "export/preprocessing.json").read_text())["probabilities"]


def check_predictions(folder: Path) -> None:
    """Check the predictions for a list without labels: the most probable class and its sigmoid."""
    saved = dict(np.load(folder / "scores.npz"))
    assert "targets" not in saved
    assert (np.abs(saved["scores"].sum(1) - 1) > 0.01).any()  # not softmax
    means = saved["scores"].reshape(8, 6, 6).astype(np.float64).mean(1)
    with (folder / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == [CLASSES[best] for best in means.argmax(1)]
    assert [float(row["probability"]) for row in rows] == pytest.approx(means.max(1).tolist(), abs=1e-6)


def check_metrics(folder: Path) -> None:
    """Check the metrics of 8 videos x 6 views against the scores."""
    metrics, saved = json.loads((folder / "metrics.json").read_text()), dict(np.load(folder / "scores.npz"))
    assert not {"video_top1", "clip_top1", "confusion"} & metrics.keys()
    assert saved["scores"].shape == (48, 6)
    assert (np.abs(saved["scores"].sum(1) - 1) > 0.01).any()  # not softmax
    targets, labeled = saved["targets"], saved["targets"].any(1)
    assert targets.sum(0).tolist() == [2, 2, 2, 1, 4, 0]
    video = saved["scores"].reshape(8, 6, 6).astype(np.float64).sum(1)
    expected = [slow_precision(video[labeled, k].tolist(), targets[labeled, k].tolist()) for k in range(5)]
    assert metrics["video_map"] == pytest.approx(np.mean(expected))
    assert metrics["per_class"] == {**dict(zip(CLASSES, map(pytest.approx, expected), strict=False)), "never": None}
    clip, wide = saved["scores"][labeled.repeat(6)], targets.repeat(6, 0)[labeled.repeat(6)]
    by_clip = [slow_precision(clip[:, k].tolist(), wide[:, k].tolist()) for k in range(5)]
    assert metrics["clip_map"] == pytest.approx(np.mean(by_clip))
    assert (metrics["absent_classes"], metrics["unlabeled"], metrics["videos"]) == (1, 1, 8)


def test_refused_combinations(
    charades: Path, motion_videos: Path, trained: Path, tmp_path: Path, tool: Callable
) -> None:
    ended = tool("train", *arguments(charades, tmp_path / "run", "optim.label_smoothing=0.1"))
    assert ended.code == 2
    assert "optim.label_smoothing=0.1 must be 0, because the training videos may have several" in ended.err
    state = torch.load(trained / "checkpoints/last.pt", weights_only=True)
    state["classes"] = [*CLASSES, "more", "and more"]
    torch.save(state, tmp_path / "other.pt")
    ended = tool("evaluate", tmp_path / "other.pt", "data.root=", f"data.test={charades / 'test/list.csv'}")
    assert ended.code == 2
    assert "have several classes each, but the network was trained on one each" in ended.err
    assert not (tmp_path / "run").exists()
    comparison = tmp_path / "compare.yaml"
    methods = "methods: {max: {pooling: max}, avg: {pooling: avg}}"
    comparison.write_text(f"train: {ROOT / 'configs/demo.yaml'}\nout: {tmp_path / 'c'}\n{methods}\n")
    ended = tool("compare_pooling", "--config", comparison, *lists(charades))
    assert ended.code == 2
    assert "has videos with several classes" in ended.err
