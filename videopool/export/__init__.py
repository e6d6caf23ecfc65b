"""Export trained networks as weights (safetensors), programs (torch.export), ONNX or compiled packages."""

from videopool.export import aoti, int8, onnx, portable, program, weights
from videopool.export.deployed import Deployed, Exported, Exporter, largest_difference
from videopool.export.description import Description, read_description

# The function that writes and verifies each format.
FORMATS: dict[str, Exporter] = {
    "weights": weights.export_weights,
    "program": program.export_program,
    "portable": portable.export_portable,
    "onnx": onnx.export_onnx,
    "int8": int8.export_int8,
    "aoti": aoti.export_aoti,
}

__all__ = ["FORMATS", "Deployed", "Description", "Exported", "Exporter", "largest_difference", "read_description"]
