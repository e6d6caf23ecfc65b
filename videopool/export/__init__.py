"""Export trained networks as weights (safetensors), programs (torch.export) or ONNX."""

from videopool.export import onnx, portable, program, weights
from videopool.export.deployed import Deployed, Exported, Exporter, largest_difference
from videopool.export.description import Description, read_description

# The function that writes and verifies each format.
FORMATS: dict[str, Exporter] = {
    "weights": weights.export_weights,
    "program": program.export_program,
    "portable": portable.export_portable,
    "onnx": onnx.export_onnx,
}

__all__ = ["FORMATS", "Deployed", "Description", "Exported", "Exporter", "largest_difference", "read_description"]
