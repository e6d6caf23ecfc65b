"""Trained networks for use elsewhere: weights (safetensors) and programs (torch.export)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from videopool.export.deployed import Deployed, Description
from videopool.export.program import export_program
from videopool.export.weights import export_weights

Exporter = Callable[[Deployed, Description, Path], float]

# name: (the file in the folder, the function that writes it and returns the largest difference of reloaded logits)
FORMATS: dict[str, tuple[str, Exporter]] = {
    "weights": ("model.safetensors", export_weights),
    "program": ("program.pt2", export_program),
}

__all__ = ["FORMATS", "Deployed", "Description", "Exporter", "export_program", "export_weights"]
