"""Where the values of a run are shown: TensorBoard, Weights & Biases, MLflow, each by its own client.

Projects, servers and accounts are those of the client's environment variables, such as ``WANDB_PROJECT``,
``WANDB_MODE``, ``MLFLOW_TRACKING_URI`` and ``MLFLOW_EXPERIMENT_NAME``.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import json
import math
import re
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Protocol

from videopool.errors import InputError
from videopool.files import write_text

PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow"}
_WARNINGS = 3  # of a tracker
_CLOSE_SECONDS = 30.0  # to send the last values to a server; then they are dropped
_MLFLOW_PARAMETERS = 100  # that a request may have
_MLFLOW_LENGTH = 500  # of the value of a parameter


class Tracker(Protocol):
    """Receives the values of a run. Its methods may raise anything."""

    def log(self, kind: str, values: Mapping[str, float], step: int) -> None:
        """Add ``values`` of ``step``; ``kind`` is train or validation."""

    def close(self) -> None:
        """Send what is left."""


def check_trackers(names: Sequence[str]) -> None:
    """Raise ``InputError`` if the client of a tracker is not installed."""
    for name in names:
        package = PACKAGES[name]
        if package not in sys.modules and importlib.util.find_spec(package) is None:
            raise InputError(f"{package} is not installed. Run pip install {package}.", setting="trackers")


class Trackers:
    """The trackers of a run. Their errors are warnings; after three, those of a tracker are no longer printed.

    Args:
        names: keys of ``PACKAGES``.
        folder: of the run.
        start_step: values of later steps are discarded or replaced.
        config: plain values, by section.
        warn: prints a sentence.
    """

    def __init__(
        self,
        names: Sequence[str],
        folder: Path,
        *,
        start_step: int,
        config: Mapping[str, Any],
        warn: Callable[[str], None],
    ) -> None:
        self._warn = warn
        self._warned = dict.fromkeys(names, 0)
        self._open: dict[str, Tracker] = {}
        makers: dict[str, Callable[[], Tracker]] = {
            "tensorboard": lambda: _TensorBoard(folder / "tensorboard", start_step + 1),
            "wandb": lambda: _Wandb(folder, config),
            "mlflow": lambda: _Mlflow(folder, config),
        }
        for name in names:
            tracker = self._guarded(name, "cannot be used", makers[name])
            if tracker is not None:
                self._open[name] = tracker

    def log(self, kind: str, values: Mapping[str, Any], step: int) -> None:
        """Add the floats of ``values``."""
        numbers = {name: value for name, value in values.items() if isinstance(value, float)}
        for name, tracker in self._open.items():
            self._guarded(name, f"lacks values, by step {step}", functools.partial(tracker.log, kind, numbers, step))

    def close(self) -> None:
        """Send what is left."""
        for name, tracker in self._open.items():
            self._guarded(name, "may lack the last values", tracker.close)

    def _guarded(self, name: str, fault: str, call: Callable[[], Any]) -> Any:
        """Return the result of ``call``; None after an error, which becomes a warning."""
        try:
            return call()
        except Exception as error:  # clients raise their own errors, those of networks and of disks
            self._warned[name] += 1
            if self._warned[name] <= _WARNINGS:
                reason = str(error).strip().partition("\n")[0] or type(error).__name__
                self._warn(f"warning: {name} {fault}: {reason}; training continues")
            return None


class _TensorBoard:
    """A TensorBoard writer that discards what an earlier run wrote from ``first_step`` on.

    TensorBoard takes 0.14 s to import, and seconds from a cold disk; the first steps run meanwhile.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        thread = ThreadPoolExecutor(1, thread_name_prefix="tensorboard")
        self._board = thread.submit(_summary_writer, folder, first_step)
        thread.shutdown(wait=False)

    def log(self, kind: str, values: Mapping[str, float], step: int) -> None:
        board = self._board.result()
        for name, value in values.items():
            board.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        self._board.result().close()


def _summary_writer(folder: Path, first_step: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=first_step)


class _Wandb:
    """A run of Weights & Biases, which a resumed run continues. It ignores new values of steps that it already has."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        wandb = importlib.import_module("wandb")
        identity = _run_identity(folder, "wandb") or secrets.token_hex(4)
        self._run = wandb.init(
            dir=str(folder), name=folder.resolve().name, id=identity, resume="allow", config=dict(config)
        )
        _keep_identity(folder, "wandb", identity)

    def log(self, kind: str, values: Mapping[str, float], step: int) -> None:
        self._run.log({f"{kind}/{name}": value for name, value in values.items()}, step=step)

    def close(self) -> None:
        self._run.finish()


class _Mlflow:
    """A run of MLflow, which a resumed run continues. A thread sends the values, so that no step waits for a server."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        self._mlflow = mlflow = importlib.import_module("mlflow")
        known = _run_identity(folder, "mlflow")
        run = mlflow.start_run(run_id=known or None, run_name=None if known else folder.resolve().name)
        self._identity = run.info.run_id
        if not known:
            parameters = [(name, str(value)[:_MLFLOW_LENGTH]) for name, value in _flat(config)]
            for first in range(0, len(parameters), _MLFLOW_PARAMETERS):
                mlflow.log_params(dict(parameters[first : first + _MLFLOW_PARAMETERS]))
        _keep_identity(folder, "mlflow", self._identity)

        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mlflow")
        self._sent: list[Future[None]] = []

    def log(self, kind: str, values: Mapping[str, float], step: int) -> None:
        finite = {_mlflow_name(f"{kind}/{name}"): value for name, value in values.items() if math.isfinite(value)}
        send = functools.partial(self._mlflow.log_metrics, finite, step=step, run_id=self._identity)
        self._sent.append(self._thread.submit(send))
        self._raise_errors()

    def close(self) -> None:
        late = wait(self._sent, timeout=_CLOSE_SECONDS).not_done
        self._thread.shutdown(wait=False, cancel_futures=True)
        if late:  # the server would not accept the end of the run either
            raise TimeoutError(f"the server did not take the values of {len(late)} log entries")
        self._mlflow.end_run()
        self._raise_errors()

    def _raise_errors(self) -> None:
        """Raise the first error of what was sent."""
        done = [one for one in self._sent if one.done()]
        self._sent = [one for one in self._sent if not one.done()]
        for one in done:
            if not one.cancelled():
                one.result()


def _mlflow_name(name: str) -> str:
    """Return ``name`` with the characters that MLflow allows."""
    return re.sub(r"[^\w\-. :/]", "_", name)


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _identities(folder: Path) -> dict[str, str]:
    path = folder / "trackers.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _run_identity(folder: Path, name: str) -> str:
    """Return the tracker's name of this run, or "" if it has none yet."""
    return _identities(folder).get(name, "")


def _keep_identity(folder: Path, name: str, identity: str) -> None:
    write_text(folder / "trackers.json", json.dumps({**_identities(folder), name: identity}) + "\n")
