"""A handler of TorchServe for portable.pt2. Needs torch and numpy.

    torch-model-archiver --model-name action --version 1 --handler handler.py --extra-files portable.pt2 --export-path .
    torchserve --start --model-store . --models action=action.mar
    curl http://localhost:8080/predictions/action -T clip.npy

The body of a request is a clip as a .npy file (numpy.save): uint8 RGB [3,T,H,W], scaled and cropped. The response maps
the most probable classes to their probabilities. The requests of a batch are classified together. Other servers, such
as Triton's Python backend, can call ``load`` once and ``classify`` for each batch.
"""

import io
import json
from pathlib import Path

import numpy as np
import torch


class Handler:
    """Load a portable program once and classify batches of clips."""

    def initialize(self, context) -> None:
        """Load portable.pt2 of a model archive; TorchServe calls it once in each worker."""
        properties = context.system_properties
        gpu = properties.get("gpu_id")
        device = f"cuda:{gpu}" if gpu is not None and torch.cuda.is_available() else "cpu"
        self.load(Path(properties["model_dir"], "portable.pt2"), device)

    def load(self, file: Path, device: str = "cpu") -> None:
        """Load a program on a device."""
        self.device = torch.device(device)
        described = {"videopool.json": ""}
        program = torch.export.load(str(file), extra_files=described)
        if self.device.type != "cpu":
            from torch.export.passes import move_to_device_pass

            program = move_to_device_pass(program, self.device)
        self.program = program.module()
        self.about = json.loads(described["videopool.json"])

    def handle(self, data: list[dict], context) -> list[dict[str, float]]:
        """Return the most probable classes of each request; TorchServe calls it with the requests of a batch."""
        bodies = [request.get("data") or request.get("body") for request in data]
        clips = np.stack([np.load(io.BytesIO(body), allow_pickle=False) for body in bodies])
        return self.classify(torch.from_numpy(clips))

    @torch.inference_mode()
    def classify(self, clips: torch.Tensor, top: int = 5) -> list[dict[str, float]]:
        """Return the probabilities of the most probable classes of each clip, uint8 [B,3,T,H,W]."""
        size = clips.shape[3:] if self.about.get("any_size") else [self.about["crop"]] * 2
        expected = (3, self.about["frames"], *size)
        if clips.dtype != torch.uint8 or tuple(clips.shape[1:]) != expected:
            raise ValueError(f"clips must be uint8 [B,{','.join(map(str, expected))}], not {clips.dtype} {clips.shape}")
        logits = self.program(clips.to(self.device)).cpu()
        probabilities = logits.sigmoid() if self.about["several_labels"] else logits.softmax(1)
        values, indices = probabilities.topk(min(top, len(self.about["classes"])), dim=1)
        return [
            {self.about["classes"][index]: value for index, value in zip(row, numbers, strict=True)}
            for row, numbers in zip(indices.tolist(), values.tolist(), strict=True)
        ]


_handler = Handler()


def handle(data, context):
    """Handle the requests of a batch; TorchServe calls it, the first time without requests."""
    if not hasattr(_handler, "program"):
        _handler.initialize(context)
    return None if data is None else _handler.handle(data, context)
