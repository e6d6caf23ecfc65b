"""Training starts from weights of other packages, and reports what was loaded."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from videopool import models
from videopool.models.video_resnet import FORMS

PAGE = (Path(__file__).parents[2] / "docs/pretrained.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_training_starts_from_an_inflated_image_network(train: Callable, tmp_path: Path) -> None:
    images = models.build("resnet", classes=10, frames=1, crop=32, width=8)
    torch.save(
        {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in images.state_dict().items()}}, tmp_path / "i.pth"
    )
    ended = train(
        f"model={{name: r3d, arguments: {{depth: 18, width: 8}}, pretrained: {tmp_path / 'i.pth'}, drop_path: 0.1}}",
        "model.pooling_sites=[shortcut]",
        "model.checkpoint_activations=['*']",
        "model.freeze=[stem, layer1]",
        "model.freeze_norms=all",
    )
    line = re.search(r"pretrained: .*", ended.out)
    assert line is not None
    assert "i.pth: 120 of the model's 122 tensors loaded from torchvision ResNet" in line[0]
    assert "; 20 inflated from 2D; 2 of another shape, not loaded (fc.weight [10, 64] -> [" in line[0]
    trained = torch.load(tmp_path / "run/checkpoints/last.pt", weights_only=True)["model"]
    kernel = images.conv1.weight.detach().unsqueeze(2) / 3
    torch.testing.assert_close(trained["stem.0.weight"], kernel.expand_as(trained["stem.0.weight"]), rtol=1e-6, atol=0)
    assert torch.equal(trained["layer1.1.conv2.1.running_var"], images.layer1[1].bn2.running_var)


def test_weights_of_another_network_are_an_error(train: Callable, tmp_path: Path) -> None:
    torch.save({"model_state": {"s1.pathway0_stem.conv.weight": torch.zeros(64, 3, 1, 7, 7)}}, tmp_path / "slow.pyth")
    ended = train(f"model.pretrained={tmp_path / 'slow.pyth'}", code=2)
    assert f"{tmp_path / 'slow.pyth'}: The weights are of another architecture than the model" in ended.err
    assert "The file has names of PySlowFast, whose weights fit slow, c2d or i3d." in ended.err


@pytest.mark.slow
def test_the_example_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for code in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL):
        exec(compile(code, "docs/pretrained.md", "exec"), {})


def test_the_page_lists_every_form_and_network() -> None:
    for name in ("slow", "c2d", "csn", "i3d", "slowfast", "x3d", "r2plus1d", "r3d", "mc3", "resnet"):
        assert f"`{name}`" in PAGE
    assert {*re.findall(r"form: (\w+)", PAGE), "torchvision"} == set(FORMS)
