"""The count of bytes that a training step needs."""

import torch
from torch import nn

from benchmarks.activation_checkpointing import step_bytes


def test_bytes_of_a_chain_of_layers() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 256), nn.Sigmoid(), nn.Linear(256, 1))
    after, peak = step_bytes(model, torch.randn(100, 64))
    hidden, small = 100 * 256 * 4, 100 * 4
    # Sigmoid and the second layer keep the output of Sigmoid; the output of the first layer is freed.
    assert hidden <= after <= hidden + 2 * small
    # Backward: the gradient with respect to the output of Sigmoid, then that with respect to its input.
    assert 2 * hidden <= peak <= 3 * hidden + 4 * small
