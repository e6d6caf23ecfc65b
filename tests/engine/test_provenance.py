"""The provenance of an export: the digest of the training list, and the metrics of the same step."""

import dataclasses
import json
from pathlib import Path

from videopool.config import load
from videopool.engine.builders.parts import read_list
from videopool.engine.builders.provenance import provenance
from videopool.engine.scoring.score_file import hash_of_list


def test_the_list_and_the_metrics_of_the_step(motion_videos: Path, tmp_path: Path) -> None:
    config = load(None, [f"data.root={motion_videos}"])
    digest = hash_of_list(read_list(config, "train", None).records)
    assert provenance(config, tmp_path, 7, "raw") == {"train_list_sha256": digest}
    file = tmp_path / "evaluation/metrics.json"
    file.parent.mkdir()
    values = {
        "video_top1": 0.5,
        "views": 30,
        "per_class": {"a": 1.0},
        "step": 7,
        "list_sha256": "ab",
        "checkpoint": "/x",
        "weights": "raw",
    }
    file.write_text(json.dumps(values))
    metrics = {"video_top1": 0.5, "views": 30, "list_sha256": "ab"}
    assert provenance(config, tmp_path, 7, "raw") == {"train_list_sha256": digest, "metrics": metrics}
    assert "metrics" not in provenance(config, tmp_path, 8, "raw")
    assert "metrics" not in provenance(config, tmp_path, 7, "averaged")


def test_a_missing_data_set_and_damaged_metrics_are_left_out(tmp_path: Path) -> None:
    config = load(None, [f"data.root={tmp_path / 'absent'}"])
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation/metrics.json").write_text("{")
    assert provenance(config, tmp_path, 7, "raw") == {}
    assert provenance(dataclasses.replace(config), tmp_path / "none", None, "") == {}
