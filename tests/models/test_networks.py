"""Every network: one clip tensor in, logits out, for every pooling, mode, size and layout."""

import pytest
import torch
from small_models import CLASSES, EVERY, clips_for, small
from torch import nn

from videopool.errors import InputError
from videopool.models import DEFAULT_SITES, build
from videopool.pooling import sites, swap

ALL = ("pool", "head", "shortcut", "stride")


def all_kinds(model: nn.Module) -> tuple[str, ...]:
    present = {site.kind for site in sites(model)}
    return tuple(kind for kind in ALL if kind in present)


@pytest.mark.parametrize("pooling", ["soft", "max", "avg"])
@pytest.mark.parametrize("name", EVERY)
def test_forward_and_backward_with_every_pooling_at_every_site(name, pooling):
    model = small(name)
    shape = list(model.state_dict())
    changes = swap(model, pooling, all_kinds(model))
    assert list(model.state_dict()) == shape
    assert len(changes) == len(sites(model))
    logits = model(clips_for(name))
    assert logits.shape == (2, CLASSES)
    nn.functional.cross_entropy(logits, torch.tensor([1, 3])).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("name", EVERY)
def test_default_sites_are_swapped_and_reported(name):
    model = small(name, pooling="soft")
    expected = [site.path for site in sites(model) if site.kind in DEFAULT_SITES[name]]
    assert expected
    assert [change.path for change in model.changes] == expected
    assert {site.method for site in sites(model) if site.path in expected} == {"soft"}
    assert all(change.changed for change in model.changes)


@pytest.mark.parametrize("name", EVERY)
def test_none_keeps_the_published_architecture(name):
    model = small(name)
    assert model.changes == ()
    assert not any(site.method == "soft" for site in sites(model))


@pytest.mark.parametrize("larger", [0, 1, 33])
@pytest.mark.parametrize("name", EVERY)
def test_logits_in_both_modes_at_training_and_larger_crops(name, larger):
    """The result is the averaged logits of the last linear layer, not probabilities, also in evaluation."""
    model = small(name, pooling="soft")
    seen = []
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    linear.register_forward_hook(lambda _module, _inputs, out: seen.append(out))
    clips = clips_for(name, larger=larger)
    assert model(clips).shape == (2, CLASSES)
    with torch.no_grad():
        logits = model.eval()(clips)
    torch.testing.assert_close(logits, seen[-1].reshape(2, -1, CLASSES).mean(1))
    assert torch.equal(model(clips), logits)


@pytest.mark.parametrize("name", [name for name in EVERY if name != "slowfast"])
def test_longer_clips_than_in_training(name):
    model = small(name, pooling="soft").eval()
    frames = EVERY[name]["frames"] + 3
    assert model(torch.randn(1, 3, frames, 64, 70)).shape == (1, CLASSES)


@pytest.mark.parametrize("name", ["c2d", "csn", "i3d", "r2plus1d", "slow", "slowfast", "x3d"])
def test_smallest_clip_is_the_smallest(name):
    model = small(name).eval()
    frames, side, _ = model.smallest
    assert model(torch.randn(1, 3, frames, side, side)).shape == (1, CLASSES)
    with pytest.raises(InputError, match=r"too small for this model, which takes \d+ frames of 33x33 pixels or more"):
        model(torch.randn(1, 3, frames, side, side - 1))


@pytest.mark.parametrize("name", ["c3d", "mc3", "r3d"])
@pytest.mark.parametrize("pooling", ["soft", "max", "avg"])
@pytest.mark.parametrize("size", [(1, 1, 1), (2, 16, 16), (3, 17, 19)])
def test_clips_of_any_size(size, pooling, name):
    model = small(name, pooling=pooling)
    assert model.eval()(torch.randn(1, 3, *size)).shape == (1, CLASSES)


@pytest.mark.parametrize("name", ["c2d", "i3d"])
def test_an_odd_last_frame_is_pooled_with_none(name):
    """The pool of two frames leaves it out, so in c2d, which sees single frames before, it changes nothing."""
    model = small(name, frames=5).eval()
    assert model.smallest[0] == 4
    clips = torch.randn(1, 3, 5, 64, 64)
    assert model(clips).shape == (1, CLASSES)
    if name == "c2d":
        torch.testing.assert_close(model(clips), model(clips[:, :, :4]))


def test_c2d_without_the_pool_in_time_averages_its_frames():
    whole, single = small("c2d", time_pool=False).eval(), small("c2d", frames=1, time_pool=False).eval()
    single.load_state_dict(whole.state_dict())
    clips = torch.randn(2, 3, 4, 64, 64)
    frames = torch.stack([single(clips[:, :, [frame]]) for frame in range(4)])
    torch.testing.assert_close(whole(clips), frames.mean(0))


def test_i3d_without_the_pool_in_time_has_twice_the_features_in_time():
    clips = torch.randn(1, 3, 4, 64, 64)
    for time_pool, expected in ((True, 2), (False, 4)):
        features = clips
        for block in list(small("i3d", time_pool=time_pool).eval().blocks)[:-1]:
            features = block(features)
        assert features.shape[2] == expected


@pytest.mark.parametrize("name", ["c2d", "csn", "i3d", "slow", "slowfast", "x3d"])
def test_clips_of_any_size_after_take_any_size(name):
    model = small(name, any_size=True).eval()
    frames = {"c2d": 2, "i3d": 2, "slowfast": 4}.get(name, 1)
    assert model.smallest == (frames, 1, 1)
    assert model(torch.randn(1, 3, frames, 7, 5)).shape == (1, CLASSES)
    if frames > 1:
        with pytest.raises(InputError, match="too small"):
            model(torch.randn(1, 3, frames - 1, 7, 5))


@pytest.mark.parametrize("name", ["c3d", "r3d"])
@pytest.mark.parametrize("shape", [(3, 8, 32, 32), (2, 1, 8, 32, 32), (2, 8, 3, 32, 32)])
def test_other_tensors_than_clips_are_errors(shape, name):
    with pytest.raises(InputError, match=r"takes clips \[B,3,T,H,W\], not"):
        small(name)(torch.randn(shape))


def test_slowfast_refuses_another_number_of_frames():
    with pytest.raises(InputError, match=r"takes clips of 8 frames, not 12\. Build it with frames=12"):
        small("slowfast")(torch.randn(1, 3, 12, 64, 64))


@pytest.mark.parametrize(("frames", "alpha"), [(8, 4), (32, 4), (32, 8), (64, 8), (4, 4), (16, 1)])
def test_slow_pathway_sees_the_frames_of_the_published_rule(frames, alpha):
    model = small("slowfast", frames=frames, alpha=alpha)
    expected = torch.linspace(0, frames - 1, frames // alpha).long()
    assert torch.equal(model.slow_frames(torch.empty(1, 3, frames, 1, 1)), expected)


@pytest.mark.parametrize("name", EVERY)
def test_channels_last_gives_the_same_logits(name):
    """In float64, so that a difference means a wrong layout, not rounding."""
    model = small(name, pooling="soft").eval().double()
    clips = clips_for(name, dtype=torch.float64)
    expected = model(clips)
    model.to(memory_format=torch.channels_last_3d)
    actual = model(clips.contiguous(memory_format=torch.channels_last_3d))
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", EVERY)
def test_seed_decides_the_weights_and_the_pooling_does_not(name):
    states = [small(name, pooling=pooling).state_dict() for pooling in ("none", "none", "soft", "max")]
    for state in states[1:]:
        assert list(state) == list(states[0])
        assert all(torch.equal(state[key], states[0][key]) for key in state)
    torch.manual_seed(1)
    other = build(name, classes=CLASSES, **EVERY[name]).state_dict()
    assert any(not torch.equal(other[key], states[0][key]) for key in other)


def test_lateral_connections_of_slowfast_are_strides():
    model = small("slowfast")
    lateral = [site for site in sites(model) if "fusion" in site.path]
    assert len(lateral) == 4
    assert {(site.kind, site.stride) for site in lateral} == {("stride", (4, 1, 1))}


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("c2d", {"pool": 2, "head": 1, "shortcut": 3, "stride": 4}),
        ("c3d", {"pool": 3, "head": 1, "stride": 1}),
        ("i3d", {"pool": 2, "head": 1, "shortcut": 3, "stride": 4}),
        ("mc3", {"head": 1, "shortcut": 3, "stride": 4}),
        ("r3d", {"head": 1, "shortcut": 3, "stride": 4}),
        ("slow", {"pool": 1, "head": 1, "shortcut": 3, "stride": 4}),
        ("r2plus1d", {"head": 1, "shortcut": 4, "stride": 7}),
        ("slowfast", {"pool": 2, "head": 2, "shortcut": 6, "stride": 12}),
        ("x3d", {"head": 1, "shortcut": 4, "stride": 5}),
    ],
)
def test_sites_of_every_network(name, counts):
    kinds = [site.kind for site in sites(small(name))]
    assert {kind: kinds.count(kind) for kind in ALL if kind in kinds} == counts


def test_c3d_stages():
    model = build("c3d", classes=7, frames=16, crop=112, width=8, depth=5, convs=(1, 1, 2, 2, 2))
    channels = [m.out_channels for m in model.modules() if isinstance(m, nn.Conv3d)]
    assert channels == [8, 16, 32, 32, 64, 64, 64, 64]
    pools = [site.stride for site in sites(model) if site.kind == "pool"]
    assert pools == [(1, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2)]
