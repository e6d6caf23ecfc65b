"""Python files that are read as text: what is evaluated, and that nothing is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videopool.errors import InputError
from videopool.migrate.python_file import Unevaluated, merged, read_python


def values_of(folder: Path, text: str) -> dict[str, Any]:
    (folder / "file.py").write_text(text)
    return read_python(folder / "file.py").values


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("dict(a=1, b=dict(c=[1, 2]), **dict(d=3))", {"a": 1, "b": {"c": [1, 2]}, "d": 3}),
        ("{'a': (1, 2), 3: None}", {"a": (1, 2), 3: None}),
        ("0.1 * 4 / 2 - 3 // 2 + 2**3 % 5", 0.1 * 4 / 2 - 3 // 2 + 2**3 % 5),
        ("[*x, *x][-1]", 2),
        ("f'{y}_split_{x[0]}.txt'", "k400_split_1.txt"),
        ("'%s-%d' % (y, 3)", "k400-3"),
        ("x * 2 + [y]", [1, 2, 1, 2, "k400"]),
        ("x.copy()", [1, 2]),
        ("not -True", False),
        ("list((1, 2))", [1, 2]),
    ],
)
def test_expressions(expression: str, expected: object, tmp_path: Path) -> None:
    assert values_of(tmp_path, f"x = [1, 2]\ny = 'k400'\nz = {expression}\n")["z"] == expected


def test_statements(tmp_path: Path) -> None:
    values = values_of(
        tmp_path,
        "import copy\nx: int = 3\nx += 2\na, b = 1, [2]\n"
        "p = [dict(t=1)]\nq = copy.deepcopy(p)\np[0]['t'] = 5\np += [6]\n",
    )
    assert values == {"x": 5, "a": 1, "b": [2], "p": [{"t": 5}, 6], "q": [{"t": 1}]}


@pytest.mark.parametrize(
    "expression",
    [
        "open('made', 'w')",
        "__import__('os').system('touch made')",
        "[i for i in range(10**9)]",
        "(lambda: 1)()",
        "10**10**10",
        "[0] * 10**9 * 10**9",
        "'%1000000000d' % 1",
        "x.__class__",
        "f'{unknown}'",
        "unknown + 1",
        "1 / 0",
        "dict.fromkeys([1])",
        "1 if x else 2",
    ],
)
def test_the_rest_is_not_evaluated_and_not_run(
    expression: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    values = values_of(tmp_path, f"x = [1]\nz = dict(inner={expression}, other=2)\n")
    assert isinstance(values["z"]["inner"], Unevaluated)
    assert values["z"]["inner"].where == f"{tmp_path / 'file.py'} line 2"
    assert values["z"]["other"] == 2
    assert not (tmp_path / "made").exists()


def test_bases(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "one.py").write_text("a = dict(x=1, y=dict(z=1, t=2))\nlist_ = [1]\nname = 'k'\n")
    (tmp_path / "two.py").write_text("_base_ = 'below/one.py'\nb = 2\n")
    text = (
        "_base_ = ['two' + '.py', 'gone.py']\n"
        "a = dict(y=dict(_delete_=True, z=3))\nlist_ = [2]\nfolder = _base_.name + '/x'\nc = {{_base_.b}}\n"
    )
    (tmp_path / "file.py").write_text(text)
    found = read_python(tmp_path / "file.py")
    assert found.missing == ["gone.py"]
    assert found.values == {"a": {"x": 1, "y": {"z": 3}}, "list_": [2], "name": "k", "b": 2, "folder": "k/x", "c": 2}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = (", "line 1: not Python"),
        ("a = '\0'", "not Python"),
        ("_base_ = 'file.py'", "is its own _base_"),
        ("_base_ = 3", "_base_ must be a file name or a list of them, not 3"),
        ("with read_base():\n    from .x import *\n", r"imports its bases with read_base\(\), which is not supported"),
        ("a = " + "-" * 5000 + "1", "nested too deeply|not Python"),
        ("a = " + "+".join("1" * 5000), "nested too deeply|not Python"),
    ],
)
def test_files_that_are_refused(text: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=expected):
        values_of(tmp_path, text)


_LEAVES = st.integers() | st.text(max_size=3)
_TREES = st.dictionaries(
    st.sampled_from("abc"), st.recursive(_LEAVES, lambda x: st.dictionaries(st.sampled_from("abc"), x))
)


@pytest.mark.slow
@settings(deadline=None)
@given(_TREES, _TREES)
def test_merging_takes_own_values_and_changes_neither(base: dict[str, Any], own: dict[str, Any]) -> None:
    before = repr((base, own))
    result = merged(base, own)
    assert repr((base, own)) == before
    assert result.keys() == base.keys() | own.keys()
    for key, value in own.items():
        if not isinstance(value, dict):
            assert result[key] == value
        elif isinstance(base.get(key), dict):
            assert result[key] == merged(base[key], value)
    assert merged(result, own) == result
