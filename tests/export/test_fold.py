"""Batch normalization is folded into the convolutions before it, wherever that gives the same network."""

import copy

import pytest
import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from tests.export.test_formats import deployed
from tests.models.small_models import SMALL
from videopool.export import trace
from videopool.export.fold import fold_batch_norm

CLIPS = torch.randn(3, 3, 4, 8, 8, generator=torch.Generator().manual_seed(0))


def randomize(model: nn.Module) -> nn.Module:
    """Give every batch normalization statistics and parameters as after a training."""
    generator = torch.Generator().manual_seed(1)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d) and layer.track_running_stats:
            layer.running_mean.normal_(generator=generator)
            layer.running_var.uniform_(0.5, 2, generator=generator)
            if layer.affine:
                layer.weight.data.uniform_(0.5, 1.5, generator=generator)
                layer.bias.data.normal_(generator=generator)
    return model.eval()


def exported(model: nn.Module, clips: torch.Tensor) -> ExportedProgram:
    return torch.export.export(copy.deepcopy(model), (clips,), dynamic_shapes=({0: Dim("batch", min=1)},))


def norms(program: ExportedProgram) -> int:
    return sum(node.target is torch.ops.aten.batch_norm.default for node in program.graph.nodes)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("padding", [1, "same"])
def test_a_folded_convolution(bias: bool, affine: bool, padding: int | str) -> None:
    torch.manual_seed(0)
    conv = nn.Conv3d(3, 6, 3, padding=padding, groups=3, bias=bias)
    model = randomize(nn.Sequential(conv, nn.BatchNorm3d(6, affine=affine), nn.ReLU(), nn.Conv3d(6, 2, 1))).double()
    program = exported(model, CLIPS.double())
    assert fold_batch_norm(program) == 1
    assert norms(program) == 0
    # 3 * 27 products a channel, each rounded a few times
    torch.testing.assert_close(program.module()(CLIPS.double()), model(CLIPS.double()), rtol=1e-13, atol=1e-13)
    assert not [name for name in program.state_dict if "running_var" in name]


class _Uses(nn.Module):
    """A convolution whose result has two uses, or whose weights two convolutions share."""

    def __init__(self, shared: bool) -> None:
        super().__init__()
        self.conv, self.norm, self.shared = nn.Conv3d(3, 3, 1), nn.BatchNorm3d(3), shared

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        return self.norm(y) + (self.conv(x + 1) if self.shared else y)


@pytest.mark.parametrize("shared", [False, True])
def test_values_with_other_uses_are_not_folded(shared: bool) -> None:
    model = randomize(_Uses(shared))
    program = exported(model, CLIPS)
    assert fold_batch_norm(program) == 0
    torch.testing.assert_close(program.module()(CLIPS), model(CLIPS), rtol=0, atol=0)


def test_norms_that_cannot_be_folded_remain() -> None:
    batch_statistics = nn.BatchNorm3d(3, track_running_stats=False)
    model = randomize(
        nn.Sequential(nn.BatchNorm3d(3), nn.ReLU(), nn.BatchNorm3d(3), nn.Conv3d(3, 3, 1), batch_statistics)
    )
    program = exported(model, CLIPS)
    assert fold_batch_norm(program) == 0
    torch.testing.assert_close(program.module()(CLIPS), model(CLIPS), rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_every_batch_norm_of_every_family_is_folded(name: str) -> None:
    network, described = deployed(name)
    randomize(network).double()
    normalize = network.preprocess
    normalize.center, normalize.spread = normalize.center.double(), normalize.spread.double()
    program = trace.trace(network, described)
    assert norms(program) == 0
    clips = described.example(3)
    with torch.inference_mode():
        expected, found = network(clips), program.module()(clips)
    assert expected.dtype == found.dtype == torch.float64
    # In float32, rounding alone causes differences of about 1e-6, which depend on the processor.
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-13
