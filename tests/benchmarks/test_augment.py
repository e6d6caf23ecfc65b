"""The augmentation benchmark: all variants of a tiny batch run and agree, and a row has all its cells."""

import torch

from benchmarks import augment
from videopool.data.augment import OPERATIONS


def test_rows_of_a_tiny_batch() -> None:
    clips = augment.smooth_clips(3, 2, 16)
    found = augment.augmentations(clips.shape, torch.device("cpu"), with_kornia=False)
    assert set(OPERATIONS) - {"identity"} < found.keys()
    for name in (augment.JITTER, "rotate", "mixup", "cutmix"):
        line, others = augment.row(name, found[name], clips, rounds=2)
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert len(cells) == 10
        assert cells[0] == name
        assert cells[7:] == ["", "", ""]  # without kornia
        assert "1.00" in cells
        assert 0 <= others <= 1


def test_operation_draws_have_the_magnitude_of_the_benchmark() -> None:
    rotated = abs(augment.operation_draws("rotate", 4, augment.np.random.default_rng(0)).strengths)
    torch.testing.assert_close(torch.from_numpy(rotated), torch.full((1, 4), 27.0))
