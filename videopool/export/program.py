"""Export a network as a torch.export program with the native pooling ops."""

from __future__ import annotations

from pathlib import Path

import torch

from videopool.export import trace, verify
from videopool.export.deployed import Deployed, Exported
from videopool.export.description import Description

FILE = "program.pt2"


@torch.inference_mode()
def export_program(deployed: Deployed, description: Description, folder: Path) -> Exported:
    """Write ``program.pt2`` (any batch size) and the description; verify the file.

    The program maps uint8 clips [B,3,T,H,W] to logits [B,K]. It is reloaded and compared with other batch sizes than
    that of the trace. Import ``videopool.ops`` before loading it, for the pooling kernels.

    Raises:
        RuntimeError: if the file does not give the logits of the network.
    """
    expected = verify.expected_logits(deployed, description)
    program = trace.trace(deployed, description)
    with trace.written(program, description, folder / FILE) as path:
        with path.open("rb") as file:
            reloaded = torch.export.load(file).module()
        found = {name: reloaded(clips) for name, clips in description.checks().items()}
        difference = verify.compare(expected, found, of=FILE)
    description.write(folder)
    return Exported(folder / FILE, difference)
