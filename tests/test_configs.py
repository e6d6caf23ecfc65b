"""Every shipped configuration loads, and its model runs on a clip of its size."""

from pathlib import Path

import pytest
import torch

from videopool.config import load
from videopool.engine.builders.parts import build_model, clip_sampling

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted(
    path
    for path in (ROOT / "configs").rglob("*.yaml")
    if path.parent.name != "base" and not path.name.startswith("compare_")  # see tests/compare
)


def test_expected_configs_exist() -> None:
    names = {str(path.relative_to(ROOT / "configs").with_suffix("")) for path in CONFIGS}
    assert {"demo", "small/c3d"} <= names
    for model in ("r2plus1d", "slowfast", "x3d"):
        assert f"small/{model}" in names
        assert any(name.startswith(f"kinetics400/{model}") for name in names)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT / "configs")))
def test_config_loads_and_its_model_runs(path: Path) -> None:
    config = load(path)
    clip_sampling(config)
    with torch.device("meta"):  # no arithmetic, because some networks are large
        model, changes = build_model(config, [str(k) for k in range(10)])
        clips = torch.empty(2, 3, config.clip.frames, config.clip.crop, config.clip.crop)
        assert model.eval()(clips).shape == (2, 10)
        test_crop = torch.empty(1, 3, config.clip.frames, config.test_crop, config.test_crop)
        assert model(test_crop).shape == (1, 10)
    assert changes
    assert {change.kind for change in changes} <= {"pool", "head", "shortcut", "stride"}
