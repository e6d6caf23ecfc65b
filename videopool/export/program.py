"""Export a network as a torch.export program: a graph that runs without the code that built it."""

from __future__ import annotations

import copy
import io
from pathlib import Path

import torch

from videopool.export.deployed import Deployed, Description, Exported, largest_difference
from videopool.files import atomic_write

FILE = "program.pt2"


@torch.no_grad()
def export_program(deployed: Deployed, description: Description, folder: Path) -> Exported:
    """Write ``program.pt2`` (any batch size) and the description; verify the file.

    The program maps uint8 clips [B,3,T,H,W] to logits [B,K]. It is reloaded and compared with another batch size than
    that of the trace. Import ``videopool.ops`` before loading it, for the pooling kernels.
    """
    deployed = copy.deepcopy(deployed).eval()
    for parameter in deployed.parameters():
        parameter.data = parameter.data.contiguous()  # the order that the archive stores them in
    program = torch.export.export(
        deployed, (description.example(2),), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},)
    )
    clips = description.example(3)
    with atomic_write(folder / FILE) as path:
        content = io.BytesIO()  # torch ends the process if it writes to a full disk
        torch.export.save(program, content)
        path.write_bytes(content.getbuffer())
        with path.open("rb") as file:
            reloaded = torch.export.load(file).module()
        difference = largest_difference(deployed(clips), reloaded(clips), of=FILE)
    description.write(folder)
    return Exported(folder / FILE, difference)
