"""Pools that are called as functions: found with an example, replaced by layers, restored."""

import copy
import pickle

import pytest
import torch
from small_networks import DenseNet, Inception
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint

from videopool.errors import InputError
from videopool.models.build import with_pooling
from videopool.pooling import METHODS, MaxPool, SoftPool, restore, sites, swap

SHOWN = torch.empty(2, 3, 65, 65, device="meta")


class Sized(nn.Module):
    """A network whose window is computed from the size of its input."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        x = self.conv(functional.max_pool2d(x, x.shape[-1] // 4))
        return functional.max_pool2d(x, 2)


class Checkpointed(nn.Module):
    """A network that calls its pool in a checkpoint in training only."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def stage(self, x):
        return self.conv(functional.max_pool2d(x, 2))

    def forward(self, x):
        return checkpoint(self.stage, x, use_reentrant=False) if self.training else self.stage(x)


class Always(Checkpointed):
    """A network that always calls its pool in a checkpoint."""

    def forward(self, x):
        return checkpoint(self.stage, x, use_reentrant=False)


class Chain(nn.Sequential):
    """A container that calls a function after its layers."""

    def forward(self, x):
        return functional.max_pool2d(super().forward(x), 2)


class Every(nn.Module):
    """A network that calls every function, also with keywords."""

    def forward(self, x):
        line, plane, room = x.flatten(2), x, x.unsqueeze(2)
        functional.max_pool1d(line, 2)
        torch.max_pool1d(line, 3, 2)
        functional.avg_pool1d(input=line, kernel_size=3, padding=1, count_include_pad=False)
        functional.avg_pool2d(plane, (3, 2), ceil_mode=True)
        functional.avg_pool2d(plane, 2, divisor_override=3)
        functional.max_pool3d(room, (1, 2, 2), dilation=(1, 2, 2), stride=3)
        functional.max_pool2d(plane, 2, return_indices=True)
        torch.adaptive_max_pool1d(line, 1)[1]
        torch._C._nn.adaptive_max_pool2d(plane, 1)[1]
        functional.adaptive_avg_pool2d(plane, 3)
        functional.lp_pool2d(plane, 2, 2)
        plane.mean((2, 3))
        return functional.adaptive_max_pool1d(line, 1)


def test_windows_of_every_function():
    found = {site.path: site for site in sites(nn.Sequential(Every()), torch.zeros(2, 3, 8, 8))}
    assert {path: (site.kind, site.describe()) for path, site in found.items()} == {
        "0:max_pool1d[0]": ("pool", "max 2 stride 2"),
        "0:max_pool1d[1]": ("pool", "max 3 stride 2"),
        "0:avg_pool1d[0]": ("pool", "avg 3 stride 3 padding 1"),
        "0:avg_pool2d[0]": ("pool", "avg 3x2 stride 3x2 ceil"),
        "0:avg_pool2d[1]": ("pool", "avg (divisor 3) 2x2 stride 2x2"),
        "0:max_pool3d[0]": ("pool", "max 1x2x2 stride 3x3x3 dilation 1x2x2"),
        "0:adaptive_max_pool1d[0]": ("head", "max global"),
    }
    assert {site.channels for site in found.values()} == {3}
    assert found["0:max_pool3d[0]"].input_shape == (2, 3, 1, 8, 8)


def test_calls_belong_to_the_module_whose_forward_makes_them():
    found = [site.path for site in sites(Inception(), SHOWN)]
    assert found == [
        "conv",
        "mixed1.smooth",
        "mixed1:avg_pool2d[0]",
        "mixed1:max_pool2d[0]",
        "mixed2.smooth",
        "mixed2:avg_pool2d[0]",
        "mixed2:max_pool2d[0]",
        "aux.0",
        "avgpool",
        ":max_pool2d[0]",
        ":max_pool2d[1]",
    ]
    (head,) = [site for site in sites(DenseNet(), SHOWN) if site.kind == "head"]
    assert (head.path, head.channels) == (":adaptive_avg_pool2d[0]", 8)


@pytest.mark.slow
@pytest.mark.parametrize("network", [DenseNet, Inception])
@pytest.mark.parametrize("method", METHODS)
def test_swapped_and_given_back(network, method):
    torch.manual_seed(0)
    model, x = network().eval(), torch.randn(2, 3, 65, 65)
    expected, state, text = model(x), copy.deepcopy(model.state_dict()), repr(model)
    kinds = ("pool",) if method == "gated" else ("pool", "head")  # gated pooling cannot be global
    where = [site.path for site in sites(model, x) if site.kind in kinds and site.input_shape is not None]
    generator = torch.get_rng_state()
    changes = swap(model, method, where, example=x)
    assert torch.equal(torch.get_rng_state(), generator)
    assert [change.path for change in changes] == where
    assert all(torch.equal(model.state_dict()[name], value) for name, value in state.items())
    if method not in ("avg", "max"):
        assert not torch.equal(model(x), expected)
    for side in (65, 66, 70):
        assert model(torch.randn(1, 3, side, side + 1)).shape == (1, 5)
    swapped = [site for site in sites(model, x) if site.path in where]
    assert {site.method for site in swapped} == {method}
    restore(model, changes)
    assert repr(model) == text
    assert torch.equal(model(x), expected)
    assert list(model.state_dict()) == list(state)


def test_the_answer_is_what_the_layer_gives():
    torch.manual_seed(0)
    model, x = Checkpointed().eval(), torch.randn(2, 3, 9, 9)
    (change,) = swap(model, "soft", example=x, arguments={"beta": 2.0})
    assert (change.was, change.now) == ("max 2x2 stride 2x2", "soft beta 2.0 2x2 stride 2x2")
    assert torch.equal(model(x), model.conv(SoftPool(2, 2, beta=2.0)(x)))
    assert isinstance(model.pool_max_pool2d_0, SoftPool)


def test_a_layer_gets_a_name_that_is_free():
    model, x = Checkpointed().eval(), torch.randn(2, 3, 9, 9)
    model.pool_max_pool2d_0 = taken = nn.Identity()
    (change,) = swap(model, "soft", example=x)
    assert model.pool_max_pool2d_0 is taken
    assert model.pool_max_pool2d_0_ is change.new


def test_a_module_that_runs_several_times_makes_one_call():
    stage = Looped()
    model, x = nn.Sequential(stage, nn.Upsample(scale_factor=2), stage).eval(), torch.randn(1, 3, 8, 8)
    assert [(site.path, site.calls) for site in sites(model, x)] == [("0:max_pool2d[0]", 1)]
    swap(model, "soft", example=x)
    once = SoftPool(2, 2)(stage.conv(x))
    again = SoftPool(2, 2)(stage.conv(functional.interpolate(once, scale_factor=2)))
    assert torch.equal(model(x), again)


def test_another_method_at_a_call_and_back_in_steps():
    model, x = Checkpointed().eval(), torch.randn(2, 3, 9, 9)
    expected = model(x)
    first = swap(model, "soft", example=x)
    second = swap(model, "gated", ":max_pool2d[0]")
    assert all(name.startswith("pool_max_pool2d_0.") for name in list(model.state_dict())[2:])
    assert len(model.state_dict()) > 2
    assert not swap(model, "gated")[0].changed
    with pytest.raises(InputError, match="does not have the layer of this swap"):
        restore(model, first)
    restore(model, [*first, *second])
    assert type(model) is Checkpointed
    assert torch.equal(model(x), expected)


def test_copies_pickles_and_modes():
    model, x = Inception().eval(), torch.randn(2, 3, 65, 65)
    swap(model, "adapool", example=x)
    expected = model(x)
    twin = copy.deepcopy(model)
    assert twin.mixed1.pool_avg_pool2d_0 is not model.mixed1.pool_avg_pool2d_0
    assert isinstance(twin, Inception)
    assert torch.equal(twin(x), expected)
    assert torch.equal(pickle.loads(pickle.dumps(model))(x), expected)
    fresh = Inception().eval()
    swap(fresh, "adapool", example=x)
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh(x), expected)
    model.train()(x).sum().backward()
    assert all(p.grad is not None for name, p in model.named_parameters() if "pool_" in name)
    assert model.to(torch.float64)(x.double()).dtype == torch.float64


def test_a_pooled_module_can_be_parametrized():
    model, x = Checkpointed().eval(), torch.randn(2, 3, 9, 9)
    changes = swap(model, "soft", example=x)
    model.gain = nn.Parameter(torch.ones(1))
    expected = model(x)
    parametrize.register_parametrization(model, "gain", nn.Identity())
    assert torch.equal(model(x), expected)
    with pytest.raises(InputError, match="its class has changed since"):
        restore(model, changes)
    with pytest.raises(InputError, match="its class has changed since"):
        swap(model, "max", example=x)


@pytest.mark.filterwarnings("ignore")
def test_compiled_and_exported_results_are_equal():
    torch.manual_seed(0)
    model, x = Checkpointed().eval(), torch.randn(2, 3, 9, 9)
    swap(model, "soft", example=x)
    outer = nn.Sequential(nn.Conv2d(3, 3, 1), model, nn.ReLU()).eval()
    expected = outer(x)
    torch.testing.assert_close(torch.compile(outer, backend="eager")(x), expected)
    batch = {0: torch.export.Dim("batch", min=1)}
    program = torch.export.export(outer, (x,), dynamic_shapes=(batch,))
    more = torch.randn(5, 3, 9, 9)
    torch.testing.assert_close(program.module()(more), outer(more))
    assert "soft_pool" in str(program.graph) or "exp" in str(program.graph)
    torch.testing.assert_close(torch.jit.trace(outer, (x,))(x), expected)


def test_a_window_made_from_the_input_is_refused_for_another_size():
    model = Sized().eval()
    swap(model, "soft", ":max_pool2d[0]", example=torch.zeros(1, 3, 16, 16))
    model(torch.zeros(1, 3, 19, 19))
    with pytest.raises(InputError, match=r"Sized calls max_pool2d\[0\] with window 5x5 .*; it was swapped as 4x4"):
        model(torch.zeros(1, 3, 20, 20))


class Looped(nn.Module):
    """A network that pools until little is left."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        while x.shape[-1] > 4:
            x = functional.max_pool2d(self.conv(x), 2)
        return x


class Aside(nn.Module):
    """A network that calls one more pool in training, before the other."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        if self.training:
            x = x + functional.max_pool2d(x, 2).mean()
        return functional.max_pool2d(self.conv(x), 2)


class AllChildren(nn.Module):
    """A network that runs every registered layer."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

    def forward(self, x):
        for child in self.children():
            x = child(x)
        return functional.max_pool2d(x, 2)


def test_another_number_of_calls_than_in_the_example_is_refused():
    """The k-th call could be another one then, which the layer must not replace."""
    looped, x = Looped().eval(), torch.zeros(1, 3, 16, 16)
    changes = swap(looped, "soft", example=x)
    assert [change.path for change in changes] == [":max_pool2d[0]", ":max_pool2d[1]"]
    assert looped(torch.zeros(1, 3, 10, 10)).shape == (1, 3, 2, 2)
    for size, times in ((32, 3), (8, 1)):
        with pytest.raises(InputError, match=f"Looped calls max_pool2d {times} times, and 2 times in the example"):
            looped(torch.zeros(1, 3, size, size))
    restore(looped, changes)
    assert looped(torch.zeros(1, 3, 32, 32)).shape == (1, 3, 4, 4)
    aside = Aside().eval()
    (site,) = sites(aside, x)
    swap(aside, "soft", sites=[site])  # what the example showed travels with the site
    with pytest.raises(InputError, match="Aside calls max_pool2d 2 times, and 1 times in the example"):
        aside.train()(x)


def test_a_forward_that_would_run_the_new_layer_by_itself_is_refused():
    model, x = AllChildren().eval(), torch.randn(1, 3, 8, 8)
    expected = model(x)
    with pytest.raises(InputError, match=r"Site ':max_pool2d\[0\]' is in a forward that runs all layers of its module"):
        swap(model, "soft", example=x)
    assert type(model) is AllChildren
    assert torch.equal(model(x), expected)


def test_checkpointed_calls():
    x = torch.randn(2, 3, 9, 9)
    assert [site.path for site in sites(Always(), x)] == []
    model = Checkpointed().eval()
    swap(model, "soft", example=x)
    with pytest.raises(InputError, match=r"Checkpointed calls max_pool2d within torch\.utils\.checkpoint"):
        model.train()(x)


def test_a_whole_module_may_be_checkpointed():
    torch.manual_seed(0)
    model, x = Checkpointed().eval(), torch.randn(2, 3, 9, 9, requires_grad=True)
    swap(model, "soft", example=x)
    (plain,) = torch.autograd.grad(model(x).square().sum(), x)
    (again,) = torch.autograd.grad(checkpoint(model, x, use_reentrant=False).square().sum(), x)
    assert torch.equal(plain, again)


def test_refusals_name_the_call():
    x = torch.randn(2, 3, 9, 9)
    with pytest.raises(InputError, match=r"Site ':max_pool2d\[0\]' is a call of max_pool2d inside Chain\.forward"):
        swap(Chain(nn.Conv2d(3, 4, 3)), "soft", example=x)
    own = Checkpointed()
    own.forward = own.stage
    with pytest.raises(InputError, match=r"its forward was replaced\. Use a pooling module"):
        swap(own, "soft", example=x)
    with pytest.raises(InputError, match=r"'pool'\. Its kinds: none\. .* are found with example="):
        swap(Checkpointed(), "soft")
    with pytest.raises(InputError, match=r"Unknown pooling site ':max_pool2d\[0\]'\. .* are found with example="):
        swap(Checkpointed(), "soft", ":max_pool2d[0]")
    with pytest.raises(InputError, match=r"Unknown pooling site ':max_pool2d\[1\]'\. Did you mean ':max_pool2d\[0\]'"):
        swap(Checkpointed(), "soft", ":max_pool2d[1]", example=x)


def test_a_site_that_an_example_showed_needs_no_other():
    model, x = Checkpointed().eval(), torch.randn(2, 3, 9, 9)
    (site,) = sites(model, x)
    (change,) = swap(model, "lip", sites=[site])
    assert change.changed
    assert model(x).shape == (2, 4, 2, 2)
    assert isinstance(swap(model, "max", sites=[site.path])[0].new, MaxPool)


class Clips(nn.Module):
    """A video network of another package, whose pools are functions."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv3d(3, 4, 3), nn.Linear(4, 5)

    def forward(self, x):
        x = functional.max_pool3d(self.conv(functional.max_pool3d(x, (1, 2, 2))), 2)
        return self.fc(functional.adaptive_avg_pool3d(x, 1).flatten(1))


@pytest.mark.parametrize("method", ["soft", "dpp"])
def test_networks_of_others_are_shown_a_clip_when_built_from_a_config(method):
    model = Clips()
    changes = with_pooling(model, method, ("pool", ":adaptive_avg_pool3d[0]"), clip=(8, 16, 16))
    assert [change.path for change in changes] == [":max_pool3d[0]", ":max_pool3d[1]", ":adaptive_avg_pool3d[0]"]
    assert [change.kind for change in changes] == ["pool", "pool", "head"]
    assert model(torch.randn(2, 3, 8, 20, 20)).shape == (2, 5)
