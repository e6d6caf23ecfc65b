"""Normalization."""

from __future__ import annotations

import pytest
import torch

from videopool.data.transforms import Normalize

MEAN, STD = (0.45, 0.4, 0.5), (0.225, 0.25, 0.2)


def test_normalize_against_float64():
    clips = torch.randint(0, 256, (2, 3, 4, 5, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(values, dtype=torch.float64).view(3, 1, 1, 1) for values in (MEAN, STD))
    expected = (clips.double() / 255 - mean) / std
    result = Normalize(MEAN, STD)(clips)
    assert result.dtype == torch.float32
    assert result.is_contiguous(memory_format=torch.channels_last_3d)
    # Values are at most 1 / std = 5, with a few roundings in float32.
    torch.testing.assert_close(result.double(), expected, rtol=2**-23, atol=5 * 4 * 2**-23)


def test_normalize_refuses_wrong_shapes_and_types():
    with pytest.raises(ValueError, match="uint8"):
        Normalize(MEAN, STD)(torch.zeros(1, 3, 1, 1, 1))
    with pytest.raises(ValueError, match="3 channels, mean and std 1"):
        Normalize((0.5,), (0.5,))(torch.zeros(1, 3, 1, 1, 1, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"mean=\(0\.5,\) and std=\(0\.5, 0\.5\) must have one number per channel"):
        Normalize((0.5,), (0.5, 0.5))
