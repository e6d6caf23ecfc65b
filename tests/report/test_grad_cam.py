"""Grad-CAM: captum as the reference, the sum rule before a linear classifier, default layers, and wrong input."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from videopool.errors import InputError
from videopool.models import build
from videopool.models.build import MODELS
from videopool.report.grad_cam import default_layer, grad_cam, pathway_maps

# name: arguments of ``build``, and the default layer
FAMILIES: dict[str, tuple[dict, str]] = {
    "c3d": ({"frames": 8, "pooling": "soft", "fuse_relu": True}, "blocks.3"),
    "r2plus1d": ({"frames": 4, "depth": 50, "width": 8}, "blocks.4"),
    "slowfast": ({"frames": 8, "depth": 18, "width": 16, "pooling": "soft"}, "blocks.4"),
    "x3d": ({"frames": 4}, "blocks.4"),
    "resnet": ({"frames": 1, "depth": 18}, "layer4"),
}


def network(name: str) -> tuple[nn.Module, torch.Tensor]:
    """Return a network in float64 with random statistics, and a clip."""
    arguments, _ = FAMILIES[name]
    torch.manual_seed(0)
    model = build(name, classes=5, crop=64, **arguments).double()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d) and module.affine:
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.3)
    return model, torch.randn(1, 3, arguments["frames"], 64, 64, dtype=torch.float64)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_maps_are_those_of_captum(name: str) -> None:
    captum = pytest.importorskip("captum.attr", reason="captum is in the extra dev")
    model, clip = network(name)
    layer = default_layer(model, clip)
    assert layer == FAMILIES[name][1]
    maps, logits, label = pathway_maps(model, clip, layer=layer, label=3)
    model.eval()
    found = captum.LayerGradCam(model, model.get_submodule(layer)).attribute(clip, target=3)
    expected = found if isinstance(found, tuple) else (found,)
    assert label == 3
    torch.testing.assert_close(logits, model(clip)[0].float())
    assert len(maps) == len(expected) == (2 if name == "slowfast" else 1)
    for mine, theirs in zip(maps, expected, strict=True):
        mean = mine.double() / mine.numel()  # captum weights by the mean gradient, not by the sum
        reference = theirs[0, 0].detach().reshape(mine.shape)
        assert reference.abs().max() > 0
        torch.testing.assert_close(mean, reference, rtol=1e-6, atol=1e-6 * float(reference.abs().max()))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_network_has_a_default_layer(name: str) -> None:
    """It is the last stage: two rows and columns for a clip of 64 pixels, four for C3D, which downsamples by 16."""
    frames = 1 if name == "resnet" else 8
    model, clip = build(name, classes=2, frames=frames, crop=64), torch.zeros(1, 3, frames, 64, 64)
    sizes: set[tuple[int, ...]] = set()

    def note(_: nn.Module, __: object, output: torch.Tensor | list[torch.Tensor]) -> None:
        sizes.update(tuple(part.shape[-2:]) for part in (output if isinstance(output, list) else [output]))

    model.get_submodule(default_layer(model, clip)).register_forward_hook(note)
    model.eval()(clip)
    assert sizes == {(4, 4) if name in ("c3d", "mc3", "r3d") else (2, 2)}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["c3d", "slowfast", "resnet"])
def test_averages_of_the_maps_add_up_to_the_logit(name: str) -> None:
    """Before a global average and a linear classifier, logit - bias is the sum of the averages over positions."""
    model, clip = network(name)
    maps, logits, label = pathway_maps(model, clip, layer=default_layer(model, clip), label=None)
    bias = [module for module in model.modules() if isinstance(module, nn.Linear)][-1].bias[label]
    assert label == int(logits.argmax())
    total = sum(float(one.double().mean()) for one in maps)
    # Maps are rounded to float32; each has fewer than 2**10 terms of the size of its largest value.
    size = sum(float(one.abs().max()) for one in maps)
    assert total == pytest.approx(float(logits[label]) - float(bias), abs=2**-22 * size + 1e-6)


def test_heat_is_where_the_evidence_is() -> None:
    """A network that sums the brightness of the second channel: the heat is on a bright square, at its time."""
    model = nn.Sequential(nn.Conv3d(3, 2, 1, bias=False), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(2, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 0, 0], [0, 1.0, 0]]).reshape(2, 3, 1, 1, 1))
        model[3].weight.copy_(torch.eye(2))
    clip = torch.zeros(1, 3, 6, 8, 8)
    clip[0, 1, 2:4, 1:3, 5:7] = 2.0
    clip[0, 0, 5, 0, 0] = -1.0
    found = grad_cam(model.train(), clip, label=1)
    assert model.training
    assert found.layer == "0"
    torch.testing.assert_close(found.heat, clip[0, 1])
    assert grad_cam(model, clip, label=0).heat.max() == 0  # its only evidence is against the class


def test_networks_that_work_in_place_are_not_disturbed() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv3d(3, 4, 3), nn.ReLU(inplace=True), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 2)]
    model, clip = nn.Sequential(*layers), torch.randn(1, 3, 4, 8, 8)
    expected = torch.einsum("c,cthw->thw", _gradient_sums(model, clip), model[0](clip)[0]).detach()
    (found,), _, _ = pathway_maps(model, clip, layer="0", label=1)
    torch.testing.assert_close(found, expected)
    assert not any(module._forward_hooks for module in model.modules())


def _gradient_sums(model: nn.Sequential, clip: torch.Tensor) -> torch.Tensor:
    """The gradient of logit 1 of each channel after the convolution, by a finite shift of the whole channel."""
    maps = model[0](clip).double().detach()
    rest = nn.Sequential(nn.ReLU(), *list(model)[2:]).double()
    step, sums = 1e-6, []
    for channel in range(maps.shape[1]):
        shift = torch.zeros_like(maps)
        shift[:, channel] = step
        sums.append((rest(maps + shift) - rest(maps - shift))[0, 1] / (2 * step))
    model.float()
    return torch.stack(sums).float()


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("blocks.2.nrm0", r"Unknown layer 'blocks\.2\.nrm0'\. Did you mean 'blocks\.2\.norm0' or "),
        ("zzz", r"Unknown layer 'zzz'\. The last ones are .*blocks\.4\.proj"),
        ("blocks.4.proj", r"The output of the layer blocks\.4\.proj is \[1, 5\], not feature maps"),
    ],
)
def test_wrong_layers(layer: str, message: str) -> None:
    model, clip = network("c3d")
    with pytest.raises(InputError, match=message):
        grad_cam(model, clip, layer=layer)


def test_networks_and_layers_without_maps() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(24, 2))
    with pytest.raises(InputError, match="No layer of the network has feature maps"):
        grad_cam(flat, torch.zeros(1, 3, 2, 2, 2))

    class Unused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.side, self.main, self.never = nn.Conv3d(3, 2, 1), nn.Conv3d(3, 2, 1), nn.Conv3d(3, 2, 1)

        def forward(self, clips: torch.Tensor) -> torch.Tensor:
            self.side(clips)
            return self.main(clips).mean((2, 3, 4))

    model, clip = Unused(), torch.rand(1, 3, 2, 4, 4)
    with pytest.raises(InputError, match="The scores do not depend on the layer side"):
        grad_cam(model, clip, layer="side")
    with pytest.raises(InputError, match="The layer never does not run"):
        grad_cam(model, clip, layer="never")


def test_maps_of_several_samples_for_one_clip_are_refused() -> None:
    class Frames(nn.Module):
        """An image network on each frame."""

        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

        def forward(self, clips: torch.Tensor) -> torch.Tensor:
            frames = clips.transpose(1, 2).flatten(0, 1)
            return self.fc(self.conv(frames).mean((2, 3))).unflatten(0, (len(clips), -1)).mean(1)

    with pytest.raises(InputError, match=r"The output of the layer conv is \[8, 4, 6, 6\], not feature maps \[1,C"):
        grad_cam(Frames(), torch.randn(1, 3, 8, 8, 8))
