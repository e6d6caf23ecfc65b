"""One run of a comparison, in its own process. Its result is ``run.json``, which is written last.

The process is forked from a server that has imported torch, so it starts at once and its peak memory is its own.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from videopool.compare.meters import StepClock, hardware, parameters, peak_memory, weights_hash
from videopool.compare.plan import RESULT, STARTED, Run, finished_result, hash_of_lists
from videopool.config import Config, to_plain
from videopool.config.error_keys import KEYS, worded
from videopool.engine.builders.parts import build_model, load_pretrained, read_list
from videopool.engine.builders.testing import build_test, load_trained, write_evaluation
from videopool.engine.builders.training import build_training
from videopool.engine.cluster.distributed import World, connect
from videopool.engine.cluster.stop import EXIT_STOPPED, StopRequest
from videopool.engine.scoring.evaluation import EvaluationPlan, evaluate
from videopool.engine.scoring.scores import Metrics, VideoResults
from videopool.errors import InputError
from videopool.files import remove_unfinished, write_text
from videopool.pooling import sites
from videopool.processes.children import unblock_stop_signals, when_parent_ends
from videopool.processes.cores import limit_threads
from videopool.processes.lock import locked
from videopool.report.similarity import kept_by_site, pooling_layers

CURVE_POINTS = 40

# What the fork server imports, which would take a run seconds.
PRELOAD = ("videopool.compare.run", "torch.utils.tensorboard", "torch._dynamo", "av", "decord")


def main(run: Run, output: Path, threads: int, gpu: int, side_by_side: int, keep: bool) -> None:
    """Do ``run`` with its output in the file ``output``, and exit with 0, 1, 2 or 75 as the command line does.

    When the comparison that started this process ends, the run saves a checkpoint and stops, as after SIGTERM.

    Args:
        run: the run.
        output: the file of its output.
        threads: of torch; 0 lets torch decide.
        gpu: the number of its GPU, if there are any.
        side_by_side: how many runs run at a time.
        keep: whether its last checkpoint is kept.
    """
    with output.open("ab") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for names that are not UTF-8
    limit_threads(threads)
    os.environ["LOCAL_RANK"] = str(gpu)  # the GPU that ``connect`` takes
    when_parent_ends(lambda: os.kill(os.getpid(), signal.SIGTERM))
    try:
        code = train_and_test(run, side_by_side, keep=keep)
    except InputError as error:
        code = _report(worded(error, KEYS))
    except OSError as error:
        if error.filename is None:
            raise
        code = _report(f"{error.filename}: {error.strerror}")
    sys.exit(code)


def _report(sentence: str) -> int:
    print(f"error: {sentence}", file=sys.stderr)
    return 2


def train_and_test(run: Run, side_by_side: int, *, keep: bool) -> int:
    """Do ``run``, or what is left of it, and return the exit code."""
    # The lock waits until a run left by a killed comparison has saved and ended.
    with StopRequest() as stop, locked(run.folder / ".lock"):
        unblock_stop_signals()
        if finished_result(run):
            return 0
        remove_unfinished(run.folder)
        _write(run.folder / STARTED, {"config": to_plain(run.config), "lists": run.lists})
        world = connect(run.config.train.device)
        trained = train(run.config, world, stop)
        if not trained:
            return EXIT_STOPPED
        named = {"method": run.method, "fold": run.fold, "seed": run.seed, "side_by_side": side_by_side}
        _write(run.folder / RESULT, {**named, **trained, **test(run.config, world)})
        if not keep:
            shutil.rmtree(run.folder / "checkpoints", ignore_errors=True)
    return 0


def train(config: Config, world: World, stop: StopRequest) -> dict[str, Any]:
    """Train as ``videopool train`` does, and return what was measured; empty if stopped."""
    before = peak_memory(world.device)
    run = build_training(config, world, stop)
    clock = StepClock(run.trainer, Path(config.out) / "step_seconds.json")
    run.trainer.log.say(run.about)
    try:
        with run.trainer.log:
            if not (run.finished or run.trainer.run()):
                return {}
    finally:
        clock.save()
        run.close()
    model, _ = build_model(config, run.trainer.identity["classes"])
    load_pretrained(model, config)
    return {
        **clock.figures(),
        **parameters(model),
        **training_curve(Path(config.out) / "log.jsonl", run.trainer.total_steps),
        "peak_memory": peak_memory(world.device),
        "memory_before": before,
        "initial_weights": weights_hash(model),
        "hardware": hardware(world.device),
    }


def test(config: Config, world: World) -> dict[str, Any]:
    """Test the last checkpoint as ``videopool evaluate`` does; return metrics, correct videos and information kept."""
    out = Path(config.out)
    checkpoint = out / "checkpoints" / "last.pt"
    loaded = load_trained(checkpoint, trust=True)
    classes, model = loaded.classes, loaded.model.to(world.device)
    trained = read_list(config, config.data.train, classes).records
    records = read_list(config, config.data.test, classes).records
    loader, plan = build_test(loaded, records, world)
    with contextlib.closing(loader):
        result = evaluate(model, plan, world=world)
        kept = information(config, model, classes, plan, world)
    write_evaluation(out / "evaluation", loaded, result, records, checkpoint=checkpoint, overrides=[])
    metrics = result.metrics
    assert isinstance(metrics, Metrics)  # make_plan refuses lists with several classes per video
    return {
        "video_top1": metrics.video_top1,
        "clip_top1": metrics.clip_top1,
        "mean_class_accuracy": metrics.mean_class_accuracy,
        "unscored": metrics.unscored,
        "correct": _correct(result.videos, [record.id for record in records]),
        "information_kept": kept,
        "lists": hash_of_lists(trained, records, classes),
        "config": to_plain(config),
    }


def information(
    config: Config, model: nn.Module, classes: Sequence[str], plan: EvaluationPlan, world: World
) -> dict[str, float]:
    """Return what each exchanged pooling layer keeps of its input, by path (``report.similarity``).

    It is averaged over the middle view of the test videos (of sliding windows, the first view). If no layer is
    exchanged, all pooling layers but the head are measured.
    """
    middle = plan.views // 2
    views = (batch.clips[batch.view == middle] for batch in plan.batches)
    clips = (part for clips in views if len(clips) for part in clips.split(plan.batch))
    paths = {change.path for change in build_model(config, classes)[1]}
    paths = paths or {site.path for site in sites(model) if site.kind != "head"}
    if not paths & pooling_layers(model).keys():
        return {}
    kept = kept_by_site(model, (plan.preprocess(part.to(world.device)) for part in clips))
    return {path: value for path, value in kept.items() if path in paths}


def training_curve(log: Path, total_steps: int) -> dict[str, Any]:
    """Return the loss and accuracy of training: the mean of the last tenth, and a curve of up to ``CURVE_POINTS``.

    A point of the curve is [last step, loss, top-1], the mean of the logged steps since the point before.

    Raises:
        InputError: if the last tenth is missing because the disk was full.
    """
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    last = [line for line in lines if line["step"] > 0.9 * total_steps]
    if not last:
        raise InputError(f"{log} lacks the last steps. Free disk space and delete {log.parent} to repeat the run.")
    parts = np.array_split(np.arange(len(lines)), min(CURVE_POINTS, len(lines)))
    points = [[lines[i] for i in part] for part in parts]
    curve = [[part[-1]["step"], *(round(_mean(part, key), 4) for key in ("loss", "top1"))] for part in points]
    return {"train_loss": _mean(last, "loss"), "train_top1": _mean(last, "top1"), "curve": curve}


def _mean(lines: Sequence[dict[str, Any]], key: str) -> float:
    return sum(line[key] for line in lines) / len(lines)


def _correct(videos: VideoResults, names: list[str]) -> dict[str, int]:
    """Return 1 (correct) or 0 for every scored video, by name."""
    right = (videos.predicted == videos.labels).tolist()
    return {name: int(r) for name, r, whole in zip(names, right, videos.complete.tolist(), strict=True) if whole}


def _write(path: Path, content: dict[str, Any]) -> None:
    write_text(path, json.dumps(content, indent=1) + "\n")
