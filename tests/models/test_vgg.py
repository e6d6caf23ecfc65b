"""VGG: its arithmetic and its pooling sites."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from videopool.errors import InputError
from videopool.models import build
from videopool.models.vgg import vgg
from videopool.pooling import sites

TARGET = "videopool.models.vgg.vgg"


def test_arithmetic() -> None:
    torch.manual_seed(0)
    model = vgg(classes=3, channels=(4, 6), convs=(2, 1)).double().eval()
    x = images = torch.rand(2, 3, 9, 7, dtype=torch.float64)
    convs = [module.weight for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert [tuple(weight.shape[:2]) for weight in convs] == [(4, 3), (4, 4), (6, 4)]
    norm = (1 + 1e-5) ** -0.5  # a new normalization layer in evaluation mode
    for index, weight in enumerate(convs):
        x = (norm * F.conv2d(x, weight, padding=1)).relu()
        if index == 1:
            x = F.max_pool2d(x, 2, ceil_mode=True)
    torch.testing.assert_close(model(images), x.mean((2, 3)) @ model.fc.weight.T + model.fc.bias)


@pytest.mark.parametrize("pooling", ["soft", "avg", "lip"])
def test_methods_replace_the_pools_between_stages(pooling: str) -> None:
    model = build(TARGET, classes=5, frames=1, crop=32, pooling=pooling)
    assert [change.path for change in model.changes] == ["stages.0.pool", "stages.1.pool", "stages.2.pool"]
    assert [site.kind for site in sites(model)].count("head") == 1
    assert model(torch.rand(2, 3, 1, 32, 32)).shape == (2, 5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"frames": 8}, "frames=8 must be 1 for vgg"),
        ({"channels": (4, 8), "convs": (1,)}, r"channels=\[4, 8\], convs=\[1\]"),
        ({"channels": (4, 0)}, r"channels=\[4, 0\]"),
        ({"channels": ()}, r"channels=\[\]"),
    ],
)
def test_impossible_numbers(arguments: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        vgg(classes=2, **arguments)
