"""Generated files are up to date, and the JSON schema accepts the same as ``load``."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.conftest import ROOT
from videopool.config import load
from videopool.config.comparison import Comparison
from videopool.config.keys import keys_of
from videopool.config.reference import files, json_schema
from videopool.config.schema import Config
from videopool.config.shipped import find_config, shipped_configs, summary_of
from videopool.errors import InputError

SCHEMAS = {cls: jsonschema.Draft7Validator(json_schema(cls)) for cls in (Config, Comparison)}
FILES = sorted((ROOT / "configs").rglob("*.yaml"))


@pytest.mark.parametrize("place", files(ROOT), ids=lambda place: place.name)
def test_generated_files_are_up_to_date(place: Path) -> None:
    assert place.read_text() == files(ROOT)[place], "run python -m videopool.config.reference"


def test_every_key_is_described() -> None:
    keys = list(keys_of(Config))
    assert len(keys) > 80
    for key in keys:
        assert key.about.endswith("."), key.name
        assert "''" not in str(key)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_schema_accepts_every_shipped_file(path: Path) -> None:
    content = yaml.safe_load(path.read_text())
    SCHEMAS[Comparison if "methods" in content else Config].validate(content)


@pytest.mark.parametrize(
    "content",
    [
        {"optim": {"lr": -1}},
        {"optim": {"lr": 0}},
        {"optim": {"momentum": 1}},
        {"clip": {"frames": 2.5}},
        {"clip": {"frame": 4}},
        {"clip": {"scale": [1, 2, 3]}},
        {"clip": {"std": [0.1, 0.1, 0]}},
        {"evaluate": {"crops": 2}},
        {"model": {"pooling": "sof"}},
        {"data": {"deinterlace": "yes please"}},
    ],
    ids=str,
)
def test_schema_and_load_refuse_the_same(content: dict[str, Any], tmp_path: Path) -> None:
    assert not SCHEMAS[Config].is_valid(content)
    (tmp_path / "wrong.yaml").write_text(json.dumps(content))
    with pytest.raises(InputError):
        load(tmp_path / "wrong.yaml")


def test_shipped_configurations_are_found_by_name() -> None:
    names = shipped_configs()
    assert "kinetics400/slowfast_r50_8x8" in names
    assert not any(name.startswith("base/") for name in names)
    for name, path in names.items():
        assert find_config(name) == path
        assert summary_of(path)
    with pytest.raises(InputError, match=r"Did you mean 'kinetics400/slowfast_r50_8x8'\?"):
        find_config("kinetics400/slowfast_8x8")
