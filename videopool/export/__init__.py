"""Export trained networks as weights (safetensors) or as programs (torch.export)."""

from videopool.export import portable, program, weights
from videopool.export.deployed import Deployed, Description, Exported, Exporter, largest_difference

# The function that writes and verifies each format.
FORMATS: dict[str, Exporter] = {
    "weights": weights.export_weights,
    "program": program.export_program,
    "portable": portable.export_portable,
}

__all__ = ["FORMATS", "Deployed", "Description", "Exported", "Exporter", "largest_difference"]
