"""Feature maps before and after pooling: the pictures show the numbers of the network."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from videopool.errors import InputError
from videopool.pooling import fuse_relu, swap
from videopool.report.feature_maps import draw_overview, draw_site, site_maps, write_maps
from videopool.report.similarity import information_kept


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv3d(3, 6, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool3d((1, 2, 2)),
        nn.Conv3d(6, 8, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool3d(2),
        nn.AdaptiveAvgPool3d(1),
        nn.Flatten(),
        nn.Linear(8, 2),
    )


@torch.no_grad()
def test_maps_are_the_input_and_output_of_each_layer() -> None:
    model, clip = network().train(), torch.randn(1, 3, 4, 12, 10)
    first, second, head = site_maps(model, clip, channels=4)
    x = model[:2](clip)
    assert torch.equal(first.x, x[0])
    assert torch.equal(first.y, model[2](x)[0])
    assert first.kept == pytest.approx(information_kept(x, model[2](x)).item())
    assert [maps.path for maps in (first, second, head)] == ["2", "5", "6"]
    assert first.describe() == f"max 1x2x2 stride 1x2x2, 6x4x12x10 to 6x4x6x5, information kept {first.kept:.3f}"
    variances = x[0].flatten(1).var(1)
    assert list(first.channels) == variances.argsort(descending=True)[:4].tolist()
    assert tuple(head.y.shape) == (8, 1, 1, 1)
    assert model.training


def test_a_fused_relu_is_applied_to_the_shown_input() -> None:
    model, clip = network().eval(), torch.randn(1, 3, 4, 12, 10)
    swap(model, "soft")
    plain = site_maps(model, clip, channels=2)
    assert fuse_relu(model) == ("2", "5")
    fused = site_maps(model, clip, channels=2)
    assert fused[0].x.min() == 0
    for one, other in zip(plain, fused, strict=True):
        torch.testing.assert_close(one.x, other.x)
        assert one.kept == pytest.approx(other.kept, abs=1e-6)
    assert "soft" in fused[0].method


def test_pictures_hold_the_maps() -> None:
    maps = site_maps(network(), torch.randn(1, 3, 6, 20, 18), channels=3)[1]
    figure = draw_site(maps)
    pictures = [axes for axes in figure.axes if axes.get_title()]
    before = pictures[0].images[0].get_array()
    # 6 frames to 3: each output is shown with a frame of its window.
    assert "frames 1, 3, 5 of 0 to 5" in pictures[0].get_title()
    finer = -(-16 // maps.x.shape[3])
    expected = maps.x[maps.channels[0], 1].repeat_interleave(finer, 0).repeat_interleave(finer, 1)
    np.testing.assert_array_equal(before[:, : expected.shape[1]], expected.numpy())
    assert np.ma.getmaskarray(before).any()  # the gaps
    low, high = pictures[0].images[0].get_clim()
    values = torch.cat([maps.x[maps.channels[0]].flatten(), maps.y[maps.channels[0]].flatten()])
    assert (low, high) == pytest.approx((values.min().item(), values.max().item()))
    assert len(draw_overview([maps], "title").axes) == 3  # input, output and the color bar


@pytest.mark.slow
def test_files_of_every_site(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = site_maps(network(), torch.randn(1, 3, 4, 12, 10), channels=2)
    written = write_maps(found, tmp_path, title="title", board=True)
    assert [path.name for path in written] == ["overview.png", "01-2.png", "02-5.png", "03-6.png", "tensorboard"]
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert events.Tags()["images"] == [f"{path}/{side}" for path in "256" for side in ("input", "output")]
    assert events.Scalars("information_kept/5")[0].value == pytest.approx(found[1].kept)


def test_two_axes_and_constant_maps() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3), nn.Flatten())
    (maps,) = site_maps(model, torch.zeros(1, 3, 8, 8), channels=9)
    assert tuple(maps.x.shape) == (4, 1, 8, 8)
    assert (maps.kept, len(maps.channels)) == (1.0, 4)
    picture = draw_site(maps)
    assert [axes.get_title() for axes in picture.axes[:2]] == ["input", "output"]  # an image needs no frame numbers
    overview = draw_overview([maps], "title")
    assert overview.get_figwidth() == picture.get_figwidth() < 5


def test_zero_information_is_not_printed_as_negative() -> None:
    maps = site_maps(network(), torch.randn(1, 3, 4, 12, 10), channels=1)[0]
    assert dataclasses.replace(maps, kept=-1e-7).describe().endswith("information kept 0.000")


def test_a_model_without_pooling_is_refused() -> None:
    with pytest.raises(InputError, match="no pooling layer to show"):
        site_maps(nn.Sequential(nn.Conv3d(3, 4, 3)), torch.zeros(1, 3, 4, 8, 8), channels=1)
