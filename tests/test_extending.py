"""The examples of docs/extending.md run, and what they build can be named in a configuration.

In a section, a block of Python whose first line is ``# name.py`` is written to a file of that name; other blocks run.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from videopool.config import load
from videopool.engine.builders.parts import augmentation, build_model
from videopool.types import Batch

PAGE = (Path(__file__).parents[1] / "docs/extending.md").read_text(encoding="utf-8")
SECTIONS = dict(part.split("\n", 1) for part in PAGE.split("\n## ")[1:])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder in which Python finds modules, and which it forgets afterwards."""
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def run_examples(section: str, folder: Path) -> None:
    """Write the files of a section and run its other blocks, in their order."""
    names: dict[str, object] = {"__name__": "__example__"}
    for code in re.findall(r"```python\n(.*?)```", SECTIONS[section], flags=re.DOTALL):
        file = re.match(r"# (\S+\.py)\n", code)
        if file:
            (folder / file[1]).parent.mkdir(parents=True, exist_ok=True)
            (folder / file[1]).write_text(code, encoding="utf-8")
        else:
            exec(compile(code, f"docs/extending.md, {section}", "exec"), names)


@pytest.mark.parametrize("section", SECTIONS)
def test_examples_run(section: str, folder: Path) -> None:
    run_examples(section, folder)


def test_the_augmentation_is_found_by_its_name(folder: Path) -> None:
    run_examples("Custom augmentations", folder)
    overrides = ["augment.target=stutter.stutter", "augment.arguments={probability: 0.5}"]
    augment = augmentation(load(None, overrides), ["a", "b"])
    numbers = torch.arange(4)
    clips = torch.randint(0, 256, (4, 3, 8, 32, 32), dtype=torch.uint8)
    batch = Batch(clips, numbers % 2, numbers, numbers * 0, numbers < 0)
    assert torch.equal(augment(batch, 3).clips, augment(batch, 3).clips)
    assert not torch.equal(augment(batch, 3).clips, clips)


@pytest.mark.parametrize(
    ("section", "overrides"),
    [
        ("Custom backbones", ["model.target=factored.factored", "model.arguments={width: 4, depth: 2}"]),
        ("Custom pooling methods", ["model.pooling=quantile.QuantilePool", "model.pooling_arguments={q: 0.8}"]),
    ],
)
def test_a_network_is_built_from_names_in_a_configuration(section: str, overrides: list[str], folder: Path) -> None:
    run_examples(section, folder)
    model, changes = build_model(load(None, [*overrides, "clip={frames: 4, crop: 16, scale: [16, 16]}"]), ["a", "b"])
    assert changes[0].now.startswith(("soft ", "quantile q 0.8 "))
    assert model(torch.randn(2, 3, 4, 16, 16)).shape == (2, 2)
