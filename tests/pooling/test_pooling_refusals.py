"""Errors of ``swap``: they name the site, and the model is not changed."""

import dataclasses

import pytest
import torch
from small_networks import ResNet
from torch import nn

from videopool.errors import InputError
from videopool.pooling import (
    sites,
    swap,
)

ALL = ("pool", "head", "shortcut", "stride")


def test_channels_that_a_site_does_not_have_are_refused():
    pool = next(site for site in sites(ResNet(), torch.zeros(1, 3, 32, 32)) if site.path == "maxpool")
    model = ResNet()
    words = r"Site 'maxpool': 'dpp' pooling .* does not fit its input of shape \[1, 4, 16, 16\]: .* each of 7 channels"
    with pytest.raises(InputError, match=words):
        swap(model, "dpp", sites=[dataclasses.replace(pool, channels=7)])
    assert type(model.maxpool) is nn.MaxPool2d


def test_a_site_of_another_model_is_refused():
    known = sites(nn.Sequential(nn.MaxPool2d(2)))
    with pytest.raises(InputError, match="Site '0' is not a site of this model, or it has changed"):
        swap(nn.Sequential(nn.MaxPool2d(3)), "soft", sites=known)
    with pytest.raises(InputError, match=r"Unknown pooling site 'maxpol'\. Did you mean 'maxpool'"):
        swap(ResNet(), "soft", sites=["maxpol"])


def test_a_layer_that_runs_by_another_name_is_refused():
    class Listed(nn.Module):
        def __init__(self):
            super().__init__()
            self.pool, self.conv = nn.MaxPool2d(2), nn.Conv2d(3, 3, 3)
            self.steps = [self.pool, self.conv]

        def forward(self, x):
            return self.steps[1](self.steps[0](x))

    class Picky(Listed):
        def forward(self, x):
            return self.conv(self.pool(x)) * self.pool.dilation.bit_count()

    x = torch.zeros(1, 3, 16, 16)
    for network, words in (
        (Listed, "Site 'pool' runs under another name than"),
        (Picky, "With the new layers: The model does not run on an example .* no attribute 'bit_count'"),
    ):
        model = network()
        pool = model.pool
        with pytest.raises(InputError, match=words):
            swap(model, "soft", example=x)
        assert model.pool is pool


def test_unknown_arguments_of_a_method_are_refused():
    for name in ("example", "sites", "where", "channels", 3):
        with pytest.raises(InputError, match=f"Pooling method 'soft' has no argument '{name}'"):
            swap(ResNet(), "soft", arguments={name: 1})


def test_a_window_that_does_not_fit_is_refused_before_anything_changes():
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.MaxPool2d(2), nn.Conv2d(3, 3, 1), nn.MaxPool2d(9), nn.Conv2d(3, 3, 3))
    with pytest.raises(InputError, match=r"example of shape \[1, 3, 16, 16\], at '3': .*too small"):
        swap(model, "soft", example=torch.zeros(1, 3, 16, 16))
    with pytest.raises(InputError, match="Site 'avgpool': 'gated' pooling has a weight for each cell"):
        swap(ResNet(), "gated", ALL)
    assert type(model[1]) is nn.MaxPool2d


@pytest.mark.parametrize(
    ("method", "where", "arguments", "words"),
    [
        ("sofd", ("pool",), {}, "Unknown pooling method 'sofd'. Did you mean 'soft'"),
        ("soft", ("maxpol",), {}, "Unknown pooling site 'maxpol'. Did you mean 'maxpool'"),
        ("soft", ("layer9",), {}, "Unknown pooling site 'layer9'. Give a kind"),
        ("nowhere.pools.Median", ("pool",), {}, "cannot import nowhere.pools"),
        ("torch.nn.MaxPool2d", ("pool",), {}, "pooling='torch.nn.MaxPool2d' is not a pooling method"),
        (nn.MaxPool2d, ("pool",), {}, "is not a pooling method. Derive a class from videopool.pooling.Pool"),
        ("max", ("pool",), {"beta": 2.0}, "Pooling method 'max' has no argument 'beta'. It takes none"),
    ],
)
def test_refusals_name_the_value(method, where, arguments, words):
    with pytest.raises(InputError, match=words):
        swap(ResNet(), method, where, arguments=arguments)


def test_a_kind_without_a_site_is_refused():
    model = nn.Sequential(nn.Conv2d(3, 3, 3), nn.AdaptiveAvgPool2d(1))
    with pytest.raises(InputError, match=r"no pooling site of kind 'pool'\. Its kinds: head"):
        swap(model, "soft")


def test_an_error_leaves_the_model_unchanged():
    model = nn.Sequential(nn.AvgPool2d(2), nn.MaxPool2d(2, dilation=2), nn.Conv2d(3, 3, 3))
    with pytest.raises(InputError, match="Site '1': 'avg' pooling does not allow dilation"):
        swap(model, "avg")
    with pytest.raises(InputError, match="Unknown pooling site"):
        swap(model, "soft", ("pool", "nowhere"))
    model[1].register_forward_hook(lambda *_: None)
    with pytest.raises(InputError, match="Site '1' has hooks"):
        swap(model, "soft")
    assert [type(module) for module in model] == [nn.AvgPool2d, nn.MaxPool2d, nn.Conv2d]
