"""Export weights as safetensors."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from safetensors.torch import load, save

from videopool.export import verify
from videopool.export.deployed import Deployed, Exported
from videopool.export.description import PROPERTY, Description
from videopool.files import atomic_write

FILE = "model.safetensors"


@torch.inference_mode()
def export_weights(deployed: Deployed, description: Description, folder: Path) -> Exported:
    """Write ``model.safetensors`` and the description; verify the file.

    The file is read into a second network whose weights are zero, and their logits are compared.
    """
    expected = verify.expected_logits(deployed, description)
    tensors = {name: tensor.contiguous() for name, tensor in deployed.model.state_dict().items()}
    with atomic_write(folder / FILE) as path:
        # safetensors cannot open a file whose path is not UTF-8.
        path.write_bytes(save(tensors, metadata={PROPERTY: description.document()}))
        reloaded = copy.deepcopy(deployed)
        for tensor in reloaded.model.state_dict().values():
            tensor.zero_()
        reloaded.model.load_state_dict(load(path.read_bytes()))
        found = {name: reloaded(clips) for name, clips in description.checks().items()}
        difference = verify.compare(expected, found, of=FILE)
    description.write(folder)
    return Exported(folder / FILE, difference)
