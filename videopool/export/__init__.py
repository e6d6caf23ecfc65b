"""Trained networks for use elsewhere: weights (safetensors) and programs (torch.export)."""

from videopool.export import program, weights
from videopool.export.deployed import Deployed, Description, Exported, Exporter, largest_difference

# One module a format, with the name of its FILE and the function that writes and verifies it.
FORMATS: dict[str, Exporter] = {"weights": weights.export_weights, "program": program.export_program}

__all__ = ["FORMATS", "Deployed", "Description", "Exported", "Exporter", "largest_difference"]
