"""Loading weights: fitting tensors are copied, others are reported."""

import pytest
import torch
from small_models import EVERY, small

from videopool.errors import InputError
from videopool.models import load_weights, state_dict_of


def other_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value + 1 for name, value in model.state_dict().items()}


@pytest.mark.parametrize("name", EVERY)
def test_published_weights_fit_with_any_pooling(name):
    weights = other_weights(small(name))
    model = small(name, pooling="soft", pooling_sites=("pool",) if name == "c3d" else ("shortcut", "stride"))
    report = load_weights(model, weights)
    assert set(report.loaded) == set(weights)
    assert report.missing == report.unexpected == report.shape == ()
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    "container", ["model", "model_state", "model_state_dict", "state_dict", "model_ema", "state_dict_ema"]
)
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.module."])
def test_containers_and_prefixes(container, prefix):
    model = small("c3d")
    weights = other_weights(model)
    checkpoint = {container: {prefix + name: value for name, value in weights.items()}, "step": 3}
    assert list(state_dict_of(checkpoint)) == list(weights)
    load_weights(model, checkpoint)
    assert torch.equal(model.blocks[0].conv0.weight, weights["blocks.0.conv0.weight"])


def test_classifier_for_other_classes():
    torch.manual_seed(0)
    pretrained = other_weights(small("c3d", frames=4))
    pretrained["blocks.4.proj.weight"] = torch.zeros(400, 32)
    pretrained["blocks.4.proj.bias"] = torch.zeros(400)
    model = small("c3d")
    head = model.blocks[4].proj.weight.clone()
    with pytest.raises(
        InputError, match=r"2 of another shape \(blocks.4.proj.weight is \[400, 32\], the model's \[5, 32\]"
    ):
        load_weights(model, pretrained)
    assert not torch.equal(model.blocks[0].conv0.weight, pretrained["blocks.0.conv0.weight"])
    report = load_weights(model, pretrained, new_head=True)
    assert report.shape == ("blocks.4.proj.weight", "blocks.4.proj.bias")
    assert torch.equal(model.blocks[0].conv0.weight, pretrained["blocks.0.conv0.weight"])
    assert torch.equal(model.blocks[4].proj.weight, head)
    assert report.shapes == (((400, 32), (5, 32)), ((400,), (5,)))
    assert str(report) == (
        "24 of the model's 26 tensors loaded; 2 of another shape, not loaded (blocks.4.proj.weight [400, 32] -> "
        "[5, 32], blocks.4.proj.bias [400] -> [5])"
    )


def test_report_counts_and_shortens():
    model = small("c3d")
    weights = other_weights(model)
    for name in [name for name in weights if name.startswith("blocks.0.") and "num_batches" not in name]:
        del weights[name]
    weights["extra"] = torch.zeros(1)
    report = load_weights(model, weights, strict=False)
    assert (
        "; 5 not in the file, new (blocks.0.conv0.weight, blocks.0.norm0.weight, blocks.0.norm0.bias and 2 more)"
        in (str(report))
    )
    assert str(report).endswith("; 1 of the file not in the model (extra)")


def test_partial_weights_only_without_strict():
    model = small("c3d")
    weights = other_weights(model)
    del weights["blocks.0.conv0.weight"]
    weights["extra"] = torch.zeros(1)
    with pytest.raises(InputError, match=r"1 missing \(blocks.0.conv0.weight\), 1 not in the model \(extra\)"):
        load_weights(model, weights)
    report = load_weights(model, weights, strict=False)
    assert (report.missing, report.unexpected) == (("blocks.0.conv0.weight",), ("extra",))


@pytest.mark.parametrize("strict", [True, False])
def test_weights_of_another_architecture(strict):
    weights = small("x3d").state_dict()
    model = small("r2plus1d")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(InputError, match=r"another architecture than the model: .* tensors fit"):
        load_weights(model, weights, strict=strict)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_another_width_is_another_architecture():
    with pytest.raises(InputError, match="another architecture"):
        load_weights(small("c3d"), small("c3d", width=8).state_dict(), strict=False)


@pytest.mark.parametrize("checkpoint", [{}, {"model": {}}, {"step": 3, "model": {"a": 1}}])
def test_no_weights_at_all(checkpoint):
    with pytest.raises(InputError, match=r"no weights under model_ema, .*, state_dict, or at its top level"):
        load_weights(small("c3d"), checkpoint)


def test_missing_batch_counts_are_no_fault():
    model = small("c3d")
    weights = {name: value for name, value in model.state_dict().items() if "num_batches" not in name}
    assert load_weights(model, weights).missing == ()


def test_values_take_the_dtype_of_the_model():
    model = small("c3d").double()
    half = {name: value.half() for name, value in model.state_dict().items()}
    load_weights(model, half)
    assert model.blocks[0].conv0.weight.dtype == torch.float64
