"""Trackers by stand-ins for their clients, and by the real ones where they are installed."""

from __future__ import annotations

import json
import math
import sys
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import QUICK, ROOT
from videopool.engine.watching import trackers as trackers_module
from videopool.engine.watching.trackers import Trackers, check_trackers
from videopool.errors import InputError

CONFIG = {"out": "runs/mine", "train": {"epochs": 3, "trackers": ["wandb"]}, "model": {"arguments": {}}}
VALUES = {"loss": 0.5, "step": 7, "top1": float("nan"), "lr/blocks.0 decay": 0.25}


class FakeWandb(types.ModuleType):
    """Keeps what it is given."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.started: list[dict[str, Any]] = []
        self.logged: list[tuple[dict[str, float], int]] = []
        self.finished = 0

    def init(self, **settings: Any) -> FakeWandb:
        self.started.append(settings)
        return self

    def log(self, values: dict[str, float], *, step: int) -> None:
        self.logged.append((values, step))

    def finish(self) -> None:
        self.finished += 1


class FakeMlflow(types.ModuleType):
    """Keeps what it is given, and refuses what a server refuses."""

    def __init__(self) -> None:
        super().__init__("mlflow")
        self.started: list[tuple[str | None, str | None]] = []
        self.parameters: dict[str, str] = {}
        self.logged: list[tuple[dict[str, float], int, str]] = []
        self.ended = 0

    def start_run(self, *, run_id: str | None, run_name: str | None) -> Any:
        self.started.append((run_id, run_name))
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id=run_id or "made by the server"))

    def log_params(self, values: dict[str, str]) -> None:
        assert len(values) <= 100
        assert not self.parameters.keys() & values.keys()
        self.parameters.update(values)

    def log_metrics(self, values: dict[str, float], *, step: int, run_id: str) -> None:
        assert all(map(math.isfinite, values.values()))
        self.logged.append((values, step, run_id))

    def end_run(self) -> None:
        self.ended += 1


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> FakeWandb:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> FakeMlflow:
    fake = FakeMlflow()
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    return fake


def start(names: list[str], folder: Path, said: list[str], config: dict[str, Any] = CONFIG) -> Trackers:
    folder.mkdir(exist_ok=True)
    return Trackers(names, folder, start_step=0, config=config, warn=said.append)


def test_wandb_continues_the_run_of_a_folder(wandb: FakeWandb, tmp_path: Path) -> None:
    said: list[str] = []
    for _ in range(2):
        trackers = start(["wandb"], tmp_path / "mine", said)
        trackers.log("train", VALUES, 7)
        trackers.close()
    first, second = wandb.started
    assert first == second
    assert (first["name"], first["dir"], first["resume"]) == ("mine", str(tmp_path / "mine"), "allow")
    assert first["config"] == CONFIG
    start(["wandb"], tmp_path / "other", said)
    assert wandb.started[2]["id"] != first["id"]
    values, step = wandb.logged[0]
    assert (values["train/loss"], values["train/lr/blocks.0 decay"], step) == (0.5, 0.25, 7)
    assert values.keys() == {"train/loss", "train/top1", "train/lr/blocks.0 decay"}
    assert wandb.finished == 2
    assert said == []


def test_mlflow_continues_the_run_of_a_folder(mlflow: FakeMlflow, tmp_path: Path) -> None:
    said: list[str] = []
    config = {**CONFIG, "many": {f"key{number}": "x" * 10_000 for number in range(150)}}
    for _ in range(2):
        trackers = start(["mlflow"], tmp_path / "mine", said, config)
        trackers.log("validation", {**VALUES, "lr/a[0]": 1.0}, 7)
        trackers.close()
    assert mlflow.started == [(None, "mine"), ("made by the server", None)]
    assert mlflow.parameters["train.epochs"] == "3"
    assert mlflow.parameters["model.arguments"] == "{}"
    assert len(mlflow.parameters) == 154
    assert max(map(len, mlflow.parameters.values())) == 500
    expected = {"validation/loss": 0.5, "validation/lr/blocks.0 decay": 0.25, "validation/lr/a_0_": 1.0}
    assert mlflow.logged == [(expected, 7, "made by the server")] * 2
    assert mlflow.ended == 2
    assert said == []


def test_errors_of_a_client_are_warnings(
    wandb: FakeWandb, mlflow: FakeMlflow, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*given: object, **named: object) -> None:
        raise ConnectionError("no route to the server\nmany details")

    said: list[str] = []
    monkeypatch.setattr(wandb, "init", fail)
    trackers = start(["wandb", "mlflow"], tmp_path, said)
    assert said == ["warning: wandb cannot be used: no route to the server; training continues"]
    monkeypatch.setattr(mlflow, "log_metrics", fail)
    for step in range(10):
        trackers.log("train", VALUES, step)
        trackers._open["mlflow"]._thread.submit(int).result()  # the values before were sent
    trackers.close()
    assert [text.rpartition(":")[2] for text in said[1:]] == [" no route to the server; training continues"] * 3
    assert all(text.startswith("warning: mlflow lacks values, by step ") for text in said[1:])
    assert mlflow.ended == 1


def test_no_step_waits_for_a_server(mlflow: FakeMlflow, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answers = threading.Event()
    monkeypatch.setattr(trackers_module, "_CLOSE_SECONDS", 0.01)
    monkeypatch.setattr(mlflow, "log_metrics", lambda *given, **named: answers.wait(60))
    said: list[str] = []
    trackers = start(["mlflow"], tmp_path, said)
    for step in range(5):
        trackers.log("train", VALUES, step)
    trackers.close()
    assert mlflow.ended == 0
    assert said == [
        "warning: mlflow may lack the last values: the server did not take the values of 5 log entries; training "
        "continues"
    ]
    answers.set()


def test_a_missing_client_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "wandb" else object())
    check_trackers(["tensorboard", "mlflow"])
    with pytest.raises(InputError, match=r"wandb is not installed\. Run pip install wandb\.") as error:
        check_trackers(["tensorboard", "wandb"])
    assert error.value.setting == "trackers"


def test_a_training_run_logs_to_all(
    wandb: FakeWandb, mlflow: FakeMlflow, motion_videos: Path, tmp_path: Path, tool: Callable
) -> None:
    out = tmp_path / "run"
    ended = tool(
        "train", "--config", ROOT / "configs/demo.yaml", *QUICK, f"data.root={motion_videos}", f"out={out}",
        "train.trackers=[wandb, mlflow]", "train.epochs=1", "optim.warmup_epochs=0",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    lines = [json.loads(line) for line in (out / "log.jsonl").open()]
    assert [(values["train/loss"], step) for values, step in wandb.logged if "train/loss" in values] == [
        (line["loss"], line["step"]) for line in lines
    ]
    assert [values["validation/video_top1"] for values, *_ in mlflow.logged if "validation/video_top1" in values] == [
        json.loads(line)["video_top1"] for line in (out / "validation.jsonl").open()
    ]
    assert not (out / "tensorboard").exists()
    assert wandb.started[0]["config"]["train"]["epochs"] == 1


@pytest.mark.slow
def test_the_real_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="runs where mlflow is installed")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/store.db")
    mlflow.set_tracking_uri(None)
    said: list[str] = []
    for step in (1, 2):
        trackers = start(["mlflow"], tmp_path / "mine", said)
        trackers.log("train", VALUES, step)
        trackers.close()
    assert said == []
    identity = json.loads((tmp_path / "mine/trackers.json").read_text())["mlflow"]
    client = mlflow.MlflowClient()
    run = client.get_run(identity)
    assert (run.info.run_name, run.info.status, run.data.params["train.epochs"]) == ("mine", "FINISHED", "3")
    history = client.get_metric_history(identity, "train/loss")
    assert sorted((metric.step, metric.value) for metric in history) == [(1, 0.5), (2, 0.5)]
    assert len(client.search_runs([run.info.experiment_id])) == 1


@pytest.mark.slow
def test_the_real_wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="runs where wandb is installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    said: list[str] = []
    trackers = start(["wandb"], tmp_path / "mine", said)
    trackers.log("train", VALUES, 1)
    trackers.log("validation", VALUES, 1)
    trackers.close()
    assert said == []
    (record,) = (tmp_path / "mine/wandb").glob("offline-run-*/run-*.wandb")
    identity = json.loads((tmp_path / "mine/trackers.json").read_text())["wandb"]
    assert record.name == f"run-{identity}.wandb"
    assert b"validation/loss" in record.read_bytes()
