"""Layers whose gradient torch computes wrongly on some processors train in another way."""

import copy

import pytest
import torch
from torch import nn

from videopool import models
from videopool.engine.step.faulty_layers import avoid_faulty_bfloat16, avoid_faulty_layers, faulty_layers
from videopool.engine.step.memory_order import channels_last

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


@pytest.mark.parametrize("kernel", [(3, 3, 3), (3, 1, 1), (5, 3, 3)], ids=str)
@pytest.mark.parametrize("frames", [1, 2, 4, 5])
def test_gradients_of_short_clips_in_bfloat16(kernel: tuple[int, int, int], frames: int) -> None:
    """The weight gradient is that of the rounded numbers, on every processor."""
    layer = nn.Conv3d(16, 16, kernel, padding=[size // 2 for size in kernel], bias=False)
    clips = torch.randn(4, 16, frames, 6, 6).contiguous(memory_format=torch.channels_last_3d)
    upstream = torch.randn_like(clips)
    layer(clips).backward(upstream)
    expected, layer.weight.grad = layer.weight.grad, None
    layer = copy.deepcopy(layer)
    avoid_faulty_bfloat16(nn.Sequential(layer))
    blocks = [torch.full((1 << size,), 1e30) for size in range(8, 18)]  # what uninitialized memory then contains
    del blocks
    with torch.autocast("cpu", torch.bfloat16):
        result = layer(clips)
    assert result.dtype == (torch.float32 if frames < kernel[0] else torch.bfloat16)
    result.backward(upstream.to(result.dtype))
    assert (layer.weight.grad - expected).norm() < 0.02 * expected.norm()


def test_gradients_of_short_results_of_a_transposed_convolution_in_bfloat16() -> None:
    layer = nn.ConvTranspose3d(8, 8, 3, 2, padding=1, output_padding=1)
    avoid_faulty_bfloat16(layer)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(2, 8, 1, 6, 6)).dtype == torch.float32  # two frames
        assert layer(torch.randn(2, 8, 2, 6, 6), (4, 12, 12)).dtype == torch.bfloat16


def test_short_clips_in_bfloat16_without_gradient() -> None:
    layer = nn.Conv3d(4, 4, 3, padding=1)
    avoid_faulty_bfloat16(layer)
    copied = copy.deepcopy(layer)
    copied.weight.data.zero_()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(1, 4, 2, 6, 6)).dtype == torch.bfloat16
        torch.testing.assert_close(copied(torch.randn(1, 4, 2, 6, 6))[0, :, 0, 0, 0], layer.bias.bfloat16())
