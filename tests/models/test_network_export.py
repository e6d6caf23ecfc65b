"""torch.export works for every network with SoftPool at every kind of site."""

import pytest
import torch
from small_models import EVERY, clips_for, small

from videopool.pooling import sites, swap


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY)
def test_exported_program_gives_the_same_logits(name):
    model = small(name).eval()
    swap(model, "soft", {site.kind for site in sites(model)})
    # One program for all batch sizes; in one network alone, since symbols make tracing several times slower.
    shapes = ({0: torch.export.Dim("batch", max=64)},) if name == "c3d" else None
    clips = clips_for(name)
    program = torch.export.export(model, (clips,), dynamic_shapes=shapes)
    wanted = clips if shapes is None else clips[:1].repeat(3, 1, 1, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(wanted), model(wanted))
