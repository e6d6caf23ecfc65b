"""The docstrings of the public API describe arguments that exist; several names may share a description."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator

import pytest

from tests.conftest import ROOT

PUBLIC = (ROOT / "tests/public_names.txt").read_text().split()


def functions(value: object) -> Iterator[tuple[str, object]]:
    """Yield a function, or a class and its public methods, with the docstrings of their arguments."""
    if inspect.isroutine(value):
        yield inspect.getdoc(value) or "", value
    elif inspect.isclass(value):
        yield value.__doc__ or "", value
        for name, each in vars(value).items():
            if inspect.isfunction(each) and (not name.startswith("_") or name == "__init__"):
                yield inspect.getdoc(each) or "", each


def described(docstring: str) -> list[str]:
    """Return the names of the section Args of a docstring."""
    section = re.search(r"^Args:\n((?:[ ]+.*\n?|\n)*)", inspect.cleandoc(docstring), re.MULTILINE)
    entries = re.findall(r"^    (\S[^:\n]*):", section[1], re.MULTILINE) if section else []
    return [name.strip("*` ") for entry in entries for name in re.sub(r" \(.*\)", "", entry).split(", ")]


@pytest.mark.parametrize("full", PUBLIC)
def test_described_arguments_exist(full: str) -> None:
    package, _, name = full.rpartition(".")
    for docstring, function in functions(getattr(importlib.import_module(package), name)):
        names = described(docstring)
        if names:
            assert set(names) <= set(inspect.signature(function).parameters), function


def test_the_names_of_a_docstring() -> None:
    text = "Do it.\n\n    Args:\n        a, b: 2.\n            More: text.\n        *c: 3.\n\n    Raises:\n        d"
    assert described(text) == ["a", "b", "c"]
