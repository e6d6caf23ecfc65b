"""C3D's heads: the mean of all positions, or all positions."""

import pytest
import torch

from videopool.errors import InputError
from videopool.models import build
from videopool.pooling import sites


def network(frames: int = 5, crop: int = 20, head: str = "flatten", stem_stride: int = 2) -> torch.nn.Module:
    torch.manual_seed(0)
    arguments = {"width": 2, "depth": 3, "stem_stride": stem_stride, "head": head, "dropout": 0.0}
    return build("c3d", classes=4, frames=frames, crop=crop, pooling="max", **arguments).eval()


@pytest.mark.parametrize(("frames", "crop", "stem_stride"), [(5, 20, 2), (8, 16, 1), (1, 9, 2), (16, 48, 2)])
def test_flatten_classifies_the_features_of_all_positions(frames: int, crop: int, stem_stride: int) -> None:
    model = network(frames, crop, stem_stride=stem_stride)
    x = torch.rand(2, 3, frames, crop, crop)
    features = x
    for block in list(model.blocks)[:-1]:
        features = block(features)
    head = model.blocks[-1]
    torch.testing.assert_close(model(x), head.proj(features.flatten(1)))


def test_only_flatten_sees_the_order_of_distant_frames() -> None:
    """Two still halves in either order: the mean over all positions differs at their border only."""
    halves = torch.rand(2, 3, 1, 20, 20).expand(2, 3, 16, 20, 20)
    clips = torch.stack([torch.cat(list(pair), 1) for pair in (halves, halves.flip(0))])
    mirrored = {head: network(32, 20, head)(clips) for head in ("flatten", "average")}
    change = {head: (out[0] - out[1]).norm().item() / out.norm().item() for head, out in mirrored.items()}
    assert change["flatten"] > 4 * change["average"]


def test_flatten_takes_clips_of_other_sizes_and_leaves_the_pools_to_the_methods() -> None:
    model = network(8, 24)
    assert model(torch.rand(1, 3, 3, 50, 31)).shape == (1, 4)
    assert [site.kind for site in sites(model) if site.kind != "stride"] == ["pool", "pool"]
    with pytest.raises(InputError, match="head='mean' of c3d must be average or flatten"):
        network(head="mean")
