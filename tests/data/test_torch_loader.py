"""The private parts of torch's DataLoader on which the loaders depend are there, and behave as expected.

If one of these tests fails after an update of torch, adapt ``videopool/data/loading/torch_loader.py``.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from tests.conftest import ROOT
from videopool.data.loading.torch_loader import Get, has_workers, stop_workers, watch, worker_processes
from videopool.processes.children import fork_server

ADAPTER = ROOT / "videopool/data/loading/torch_loader.py"
CHANGED = f"torch {torch.__version__} has changed {{}}: adapt {ADAPTER.relative_to(ROOT)}"


@pytest.fixture
def loader() -> Iterator[DataLoader]:
    context = fork_server(())
    made: Any = DataLoader(
        range(4), batch_size=None, num_workers=1, persistent_workers=True, multiprocessing_context=context
    )
    yield made
    stop_workers(made)


def test_the_private_parts_exist(loader: Any) -> None:
    assert loader._iterator is None, CHANGED.format("DataLoader._iterator")
    iterator = iter(loader)
    assert loader._iterator is iterator, CHANGED.format("DataLoader._iterator")
    for name, parameters in {"_try_get_data": ["timeout"], "_shutdown_workers": []}.items():
        function = getattr(iterator, name, None)
        assert callable(function), CHANGED.format(f"{type(iterator).__name__}.{name}")
        found = list(inspect.signature(function).parameters)
        assert found == parameters, CHANGED.format(f"the parameters of {type(iterator).__name__}.{name}")
    assert [process.is_alive() for process in iterator._workers] == [True], CHANGED.format("the list _workers")


def test_batches_are_awaited_by_the_function_given(loader: DataLoader) -> None:
    calls: list[bool] = []

    def get(original: Get) -> tuple[bool, Any]:
        arrived, batch = original(0.05)
        calls.append(arrived)
        return arrived, batch

    iterator = iter(loader)
    watch(loader, get)
    assert [int(item) for item in iterator] == [0, 1, 2, 3]
    assert calls.count(True) >= 4, CHANGED.format("how _try_get_data is called")


def test_workers_are_found_and_stopped(loader: DataLoader) -> None:
    assert not has_workers(loader)
    assert worker_processes(loader) == []
    assert len(list(loader)) == 4
    (process,) = worker_processes(loader)
    assert has_workers(loader)
    assert process.is_alive()
    stop_workers(loader)
    process.join(10)
    assert process.exitcode is not None, CHANGED.format("_shutdown_workers")
    assert not has_workers(loader)
    assert len(list(loader)) == 4  # with a new worker
    assert worker_processes(loader)[0] is not process


def test_a_loader_without_workers_can_be_stopped() -> None:
    loader: Any = DataLoader(range(4), batch_size=None)
    assert len(list(loader)) == 4
    stop_workers(loader)
    assert worker_processes(loader) == []


def test_no_other_module_uses_them() -> None:
    private = re.compile(r"\._iterator\b|_try_get_data|_shutdown_workers|_worker_result_queue|_index_queues")
    users = [path for path in (ROOT / "videopool").rglob("*.py") if private.search(path.read_text(encoding="utf-8"))]
    assert users == [ADAPTER]
