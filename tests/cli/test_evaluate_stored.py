"""``videopool evaluate --from``: the same numbers as the evaluation, without videos or a checkpoint."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def evaluated(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an evaluation with 4 clips x 3 crops of 8 videos."""
    to = tmp_path_factory.mktemp("evaluated")
    keys = ["evaluate.clips=4", "evaluate.resamples=100"]
    tool = [sys.executable, str(ROOT / "tools/evaluate.py"), str(trained / "checkpoints/last.pt")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*tool, "--to", str(to), *keys], check=True, env=environment, stdout=subprocess.DEVNULL)
    return to


def sum_of_scores(scores: torch.Tensor, labels: torch.Tensor) -> float:
    """A custom metric."""
    return float(scores.sum())


def read(folder: Path) -> tuple[dict, list[dict[str, str]]]:
    with (folder / "predictions.csv").open(newline="") as file:
        return json.loads((folder / "metrics.json").read_text()), list(csv.DictReader(file))


def test_all_numbers_are_those_of_the_evaluation(evaluated: Path, tool: Callable, tmp_path: Path) -> None:
    ended = tool("evaluate", "--from", evaluated / "scores.npz", "evaluate.resamples=100", "--to", tmp_path)
    assert ended.code == 0, ended.err
    (expected, rows), (found, again) = read(evaluated), read(tmp_path)
    assert rows == again
    assert [row["label"] for row in rows] == [Path(row["path"]).parent.name for row in rows]
    assert {name: found.get(name) for name in expected.keys() - {"checkpoint", "step", "overrides"}} == {
        name: value for name, value in expected.items() if name not in ("checkpoint", "step", "overrides")
    }
    assert [number for number, _ in found["views_curve"]] == [1, 2, 3, 4, 12]
    assert found["views_curve"][-1][1] == found["video_top1"]
    assert sum(map(sum, found["confusion"])) == 8
    assert {"video_top1", "video_top5", "clip_top1", "mean_class_accuracy", "macro_f1", "ece"} <= found[
        "intervals"
    ].keys()
    for name, (low, high) in found["intervals"].items():
        assert 0 <= low <= high <= 1, name
    low, high = found["intervals"]["video_top1"]
    assert low <= found["video_top1"] <= high
    assert (
        f"video-level top-1      {100 * found['video_top1']:6.2f} %  [{100 * low:.2f}, {100 * high:.2f}]" in ended.out
    )


def test_two_evaluations_are_an_ensemble_and_are_compared(
    evaluated: Path, trained: Path, tool: Callable, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    assert (
        tool("evaluate", sorted((trained / "checkpoints").glob("step-*.pt"))[0], "--to", other, "evaluate.clips=2").code
        == 0
    )
    files = [evaluated / "scores.npz", other / "scores.npz"]
    ended = tool("evaluate", "--to", tmp_path / "both", "--average", "logits", "--from", *files)
    assert ended.code == 0, ended.err
    saved = [np.load(file) for file in files]
    logits = [one["logits"].astype(np.float64).reshape(8, -1, 8).mean(1) for one in saved]
    predicted = (logits[0] + logits[1]).argmax(1)
    found, rows = read(tmp_path / "both")
    assert [row["class"] for row in rows] == saved[0]["classes"][predicted].tolist()
    assert (found["views"], found["clips"], found["average"]) == (18, 144, "logits")
    assert found["views_curve"] == []
    ended = tool("evaluate", "--from", files[0], "--against", files[1], "--to", tmp_path / "pair")
    assert ended.code == 0, ended.err
    comparison = read(tmp_path / "pair")[0]["comparison"]
    one, two = (json.loads((file.parent / "metrics.json").read_text())["video_top1"] for file in files)
    assert (comparison["first"], comparison["second"]) == (one, two)
    assert comparison["difference"] == pytest.approx(one - two)
    assert comparison["only_first"] - comparison["only_second"] == round(8 * (one - two))
    assert "McNemar's exact test: p = " in ended.out
    ended = tool(
        "evaluate", "--from", files[0], "--against", *files, "evaluate.resamples=0", "--to", tmp_path / "three"
    )
    assert ended.code == 0, ended.err
    comparison = read(tmp_path / "three")[0]["comparison"]
    both = sum(one["scores"].astype(np.float64).reshape(8, -1, 8).mean(1) for one in saved)
    labels = [saved[0]["classes"].tolist().index(row["label"]) for row in rows]
    assert comparison["second"] == np.mean(both.argmax(1) == labels)
    assert comparison["against"] == [str(file) for file in files]


def test_custom_metrics_of_stored_scores(evaluated: Path, tool: Callable, tmp_path: Path) -> None:
    metric = "evaluate.metrics=[tests.cli.test_evaluate_stored.sum_of_scores]"
    ended = tool("evaluate", "--from", evaluated / "scores.npz", metric, "evaluate.resamples=0", "--to", tmp_path)
    assert ended.code == 0, ended.err
    found = read(tmp_path)[0]
    assert found["custom"] == {"sum_of_scores": pytest.approx(8, rel=1e-6)}  # probabilities of 8 videos
    assert "sum_of_scores          8" in ended.out
    assert found["weights"] == read(evaluated)[0]["weights"] == "raw"


def test_a_refused_evaluation_can_be_measured_later(
    trained: Path, motion_videos: Path, tool: Callable, tmp_path: Path
) -> None:
    listed = sorted(path.relative_to(motion_videos / "test") for path in (motion_videos / "test").rglob("*.mp4"))
    lines = [f"{path} {path.parent}\n" for path in listed]
    (tmp_path / "test.txt").write_text("".join([*lines, f"none.mp4 {listed[0].parent}\n"]))
    places = [f"data.root={motion_videos / 'test'}", f"data.test={tmp_path / 'test.txt'}", "--to", tmp_path / "to"]
    refused = tool("evaluate", trained / "checkpoints/last.pt", *places)
    assert refused.code == 2
    scores = tmp_path / "to/scores.npz"
    assert f"add --from {scores} to do so without decoding" in refused.err
    assert not (tmp_path / "to/metrics.json").exists()
    again = tool("evaluate", "--from", scores)
    assert (again.code, "1 of 9 videos do not have all scores. Set evaluate.allow_missing to true" in again.err) == (
        2,
        True,
    )
    allowed = tool("evaluate", "--from", scores, "evaluate.allow_missing=true")
    assert allowed.code == 0, allowed.err
    assert "1 of 9 videos unscored" in allowed.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from", "{scores}", "data.root=/x"], "data.root=/x has no effect here; --from reads stored scores"),
        (["--from", "{scores}", "evaluate.resamples=-1"], "evaluate.resamples=-1 must be 0 or more"),
        (["--from", "{metrics}"], "metrics.json is not a file of scores. Give the scores.npz of an evaluation."),
        (["--from", "/none/scores.npz"], "/none/scores.npz: No such file or directory"),
        (["x.pt", "--from", "{scores}"], "x.pt and --from were given; give a checkpoint or stored scores"),
        (["x.pt", "--against", "{scores}"], "x.pt and --against were given; give a checkpoint or stored scores"),
        (["--against", "{scores}"], "--against needs the scores to compare with"),
        (["--from", "{scores}", "--against", "evaluate.resamples=0"], "--against needs a file of scores, such as"),
        (["--from", "{scores}", "--average", "sum"], "--average: expected probabilities, logits or maximum, got sum"),
        ([], "checkpoint is missing; see videopool evaluate --help"),
    ],
)
def test_wrong_arguments(arguments: list[str], message: str, evaluated: Path, tool: Callable) -> None:
    names = {"scores": evaluated / "scores.npz", "metrics": evaluated / "metrics.json"}
    ended = tool("evaluate", *[argument.format(**names) for argument in arguments])
    assert ended.code == 2
    assert message in ended.err
    assert ended.err.count("\n") == 1
