"""Layers that must not train in channels_last order are found, and train in contiguous order."""

import pytest
import torch
from torch import nn

from videopool import models
from videopool.engine.step.memory_order import avoid_faulty_layers, channels_last, faulty_layers

CONVOLUTIONS = {
    "2 channels": (nn.Conv2d(2, 8, 1, 2), True),
    "7 channels": (nn.Conv2d(7, 8, 1, 2), True),
    "stride of one axis": (nn.Conv2d(4, 8, 1, (1, 3)), True),
    "padded": (nn.Conv2d(4, 8, 1, 2, padding=1, padding_mode="reflect"), True),
    "4 channels a group": (nn.Conv2d(16, 16, 1, 2, groups=4), True),
    "transposed": (nn.ConvTranspose2d(16, 4, 1, 2, output_padding=1), True),
    "8 channels": (nn.Conv2d(8, 4, 1, 2), False),
    "8 channels a group": (nn.Conv2d(16, 4, 1, 2, groups=2), False),
    "stride 1": (nn.Conv2d(4, 8, 1), False),
    "kernel 1x3": (nn.Conv2d(4, 8, (1, 3), 2), False),
    "transposed to 8": (nn.ConvTranspose2d(4, 8, 1, 2), False),
    "3D": (nn.Conv3d(4, 8, 1, 2), False),
    "1D": (nn.Conv1d(4, 8, 1, 2), False),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_faulty_layers(name: str) -> None:
    layer, expected = CONVOLUTIONS[name]
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ModuleDict({"inner": layer}))
    assert list(faulty_layers(model)) == (["1.inner"] if expected else [])


@pytest.mark.parametrize(("width", "expected"), [(4, ["layer2.0.downsample.0"]), (8, []), (64, [])])
def test_faulty_layers_of_resnet(width: int, expected: list[str]) -> None:
    with torch.device("meta"):
        model = models.build("resnet", classes=3, frames=1, crop=32, width=width)
    assert list(faulty_layers(model)) == expected


@pytest.mark.parametrize("layer", [nn.Conv2d(4, 8, 1, 2), nn.ConvTranspose2d(8, 4, 1, 2, output_padding=1)], ids=repr)
def test_faulty_layers_train_in_contiguous_order(layer: nn.Module) -> None:
    model = nn.Sequential(nn.Conv2d(3, layer.in_channels, 3), layer, nn.Conv2d(layer.out_channels, 4, 3))
    model = channels_last(model).to(memory_format=torch.channels_last)  # the builder of a network may have done this
    x = torch.randn(2, 3, 12, 12).contiguous(memory_format=torch.channels_last)
    expected = model(x)
    sentence = avoid_faulty_layers(model)
    assert sentence.startswith("contiguous instead of channels_last: 1;")
    assert layer.weight.stride() == layer.weight.new_empty(layer.weight.shape).stride()
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    seen = []
    layer.register_forward_hook(lambda module, inputs, output: seen.extend((inputs[0], output)))
    torch.testing.assert_close(model(x), expected)
    assert all(tensor.is_contiguous() for tensor in seen)
    with torch.no_grad():  # the fault is in the gradient
        model(x)
    assert seen[2].is_contiguous(memory_format=torch.channels_last)


def test_other_networks_are_unchanged() -> None:
    model = models.build("resnet", classes=3, frames=1, crop=32, width=8)
    assert avoid_faulty_layers(model) == ""
    assert not any(module._forward_pre_hooks for module in model.modules())
