"""``restore`` returns the original network, bit for bit, with weights that were trained since."""

import copy

import pytest
import torch
from small_networks import ResNet
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from videopool.errors import InputError
from videopool.pooling import (
    SoftPool,
    fuse_relu,
    restore,
    sites,
    swap,
)

ALL = ("pool", "head", "shortcut", "stride")


def test_there_and_back_is_the_original_bit_for_bit():
    torch.manual_seed(0)
    model = ResNet().eval()
    x = torch.randn(2, 3, 37, 41)
    expected = model(x)
    swap(model, "soft", ("pool", "head"))
    assert not torch.equal(model(x), expected)
    swap(model, "max", ("pool",))
    swap(model, "avg", ("head",))
    assert torch.equal(model(x), expected)


def test_convolutions_keep_what_they_learned_when_restored():
    torch.manual_seed(0)
    model, x = ResNet(), torch.randn(4, 3, 32, 32)
    changes = swap(model, "lip", ALL, example=x)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(x).square().sum().backward()
    optimizer.step()
    later = {name: value + 1 for name, value in model.state_dict().items()}
    model.load_state_dict(later, assign=True)  # other parameters, which the convolutions of before do not share
    learned = {name: value for name, value in later.items() if ".pool." not in name}
    restore(model, changes)
    state = model.state_dict()
    assert list(state) == list(ResNet().state_dict())
    assert all(torch.equal(state[name], learned[name]) for name in state)
    assert not torch.equal(state["conv1.weight"], ResNet().conv1.weight)
    assert model.training
    assert model.conv1.training
    changes = swap(model, "soft", ALL)
    restore(model.eval(), changes)
    assert not any(module.training for module in model.modules())


def test_pools_come_back_with_their_own_parameters():
    model, x = ResNet(), torch.zeros(1, 3, 32, 32)
    first = swap(model, "gated", example=x)
    with torch.no_grad():
        for p in model.maxpool.parameters():
            p.fill_(0.25)
    second = swap(model, "soft")
    model.double()
    restore(model, second)
    assert all((p == 0.25).all() and p.dtype == torch.float64 for p in model.maxpool.parameters())
    restore(model, first)
    assert type(model.maxpool) is nn.MaxPool2d


def test_restoring_goes_backwards_and_refuses_by_name():
    model = ResNet().eval()
    x = torch.randn(1, 3, 33, 33)
    expected, text = model(x), repr(model)
    changes = [*swap(model, "soft", ALL), *swap(model, "max", ("stride", "pool"))]
    twin, theirs = copy.deepcopy((model, changes))
    with pytest.raises(InputError, match=r"Site 'layer2.0.conv1' does not have the layer of this swap"):
        restore(model, changes[:5])
    model.avgpool.register_forward_hook(lambda *_: None)
    with pytest.raises(InputError, match="Site 'avgpool' has hooks, which a restore would lose"):
        restore(model, changes)
    model.avgpool._forward_hooks.clear()
    restore(model, changes)
    assert repr(model) == text
    assert torch.equal(model(x), expected)
    with pytest.raises(InputError, match="does not have the layer of this swap"):
        restore(model, changes)
    with pytest.raises(InputError, match="does not have the layer"):
        restore(twin, changes)
    restore(twin, theirs)
    assert torch.equal(twin(x), expected)


def test_a_fused_relu_is_not_lost_in_restoring():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3))
    changes = swap(model, "soft")
    fuse_relu(model)
    with pytest.raises(InputError, match="Site '2' applies the ReLU before it, which a restore would lose"):
        restore(model, changes)
    assert "old" not in repr(changes[0])


def test_what_was_done_to_a_layer_is_not_lost():
    model = ResNet()
    model.maxpool.forward = lambda x: x
    with pytest.raises(InputError, match="Site 'maxpool' has a replaced forward, which a swap would lose"):
        swap(model, "soft")
    del model.maxpool.forward
    changes = swap(model, "soft", ("pool", "stride"))
    model.conv1.pool.register_forward_hook(lambda *_: None)
    with pytest.raises(InputError, match="Site 'conv1' has hooks, which a restore would lose"):
        restore(model, changes)
    model.conv1.pool._forward_hooks.clear()
    parametrizations.weight_norm(model.conv1)
    assert "conv1" not in {site.path for site in sites(model)}
    with pytest.raises(
        InputError, match="Site 'conv1' has been parametrized since the swap, which a restore would lose"
    ):
        restore(model, changes)
    assert isinstance(model.maxpool, SoftPool)
    parametrize.remove_parametrizations(model.conv1, "weight")
    restore(model, changes)
    assert type(model.conv1) is nn.Conv2d
