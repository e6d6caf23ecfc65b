"""The command ``videopool migrate``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.migrate.mmaction2_recipes import RECIPES as MMACTION2
from tests.migrate.mmaction2_recipes import as_python
from tests.migrate.pyslowfast_recipes import RECIPES as PYSLOWFAST
from tests.migrate.pyslowfast_recipes import as_yaml
from videopool.cli.main import main
from videopool.migrate import read

SLOW = as_yaml(PYSLOWFAST["Kinetics/SLOW_8x8_R50"])


def test_the_result_is_on_standard_output(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "SLOW.yaml").write_text(SLOW)
    assert main(["migrate", str(tmp_path / "SLOW.yaml")]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("# SLOW.yaml of PySlowFast, converted by videopool migrate.\n# Start: torchrun")
    assert "  lr: 0.1  # SOLVER.BASE_LR\n" in out
    assert "# 2 keys have no meaning here: DATA_LOADER.PIN_MEMORY, MODEL.NUM_CLASSES." in out
    lost = "everything that changes results is carried over; 2 keys have no meaning here"
    assert err == f"PySlowFast: {len(read(tmp_path / 'SLOW.yaml').values)} keys set; {lost}\n"


def test_lost_keys_are_on_standard_error_and_in_the_file(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "i3d.yaml").write_text(as_yaml(PYSLOWFAST["Kinetics/I3D_NLN_8x8_R50"]))
    assert main(["migrate", str(tmp_path / "i3d.yaml"), "--out", str(tmp_path / "out.yaml")]) == 0
    out, err = capsys.readouterr()
    assert not out
    assert err.splitlines()[0] == "not carried over: NONLOCAL.LOCATION: there are no non-local blocks here"
    assert "1 not carried over" in err.splitlines()[-1]
    text = (tmp_path / "out.yaml").read_text()
    assert f"-m videopool.cli.train --config {tmp_path / 'out.yaml'}\n" in text
    assert "# Not carried over:\n# - NONLOCAL.LOCATION: there are no non-local blocks here\n" in text


@pytest.mark.parametrize(
    ("name", "text"), [("slow.yaml", SLOW), ("slow_8xb16-8x8x1.py", as_python(MMACTION2["slowonly_r50_8xb16-8x8x1"]))]
)
def test_the_result_can_be_trained_up_to_the_data(
    name: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    source, out = tmp_path / name, tmp_path / "out.yaml"
    source.write_text(text)
    assert main(["migrate", str(source), "--out", str(out)]) == 0
    assert main(["train", "--config", str(out), f"data.root={tmp_path / 'nowhere'}", "--dry-run"]) == 2
    assert "nowhere" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("gone.yaml", None, "is not a file; give a YAML file of PySlowFast or a Python file of mmaction2"),
        ("list.yaml", "- 1\n", "expected `key: value` lines at the top level, got a list"),
        ("text.yaml", "a: [", "not YAML"),
        ("own.yaml", "clip: {frames: 8}\n", "is a configuration of videopool already; use it with videopool train"),
        ("script.py", "print('hello')\n", "has no model = dict(type=...)"),
        ("binary.py", "\0\0", "not Python"),
    ],
)
def test_other_files_exit_with_2_and_a_sentence(
    name: str, text: str | None, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    assert main(["migrate", str(tmp_path / name)]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert expected in err
    assert len(err.splitlines()) == 1


def test_the_source_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "slow.yaml").write_text(SLOW)
    assert main(["migrate", str(tmp_path / "slow.yaml"), "--out", str(tmp_path / "slow.yaml")]) == 2
    assert "is the file that is read; give another one" in capsys.readouterr().err
    assert (tmp_path / "slow.yaml").read_text() == SLOW
