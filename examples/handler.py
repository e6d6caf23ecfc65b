"""A model handler for portable.pt2, as servers such as TorchServe and Triton's Python backend call one. Needs torch.

handler = Handler("portable.pt2")
handler.handle(clips)  # uint8 [B,3,T,H,W] -> one list of (class, probability) for each clip
"""

import json

import torch


class Handler:
    """Load a portable program once and classify batches of clips."""

    def __init__(self, file: str, device: str = "cpu") -> None:
        self.device = torch.device(device)
        described = {"videopool.json": ""}
        program = torch.export.load(file, extra_files=described)
        if self.device.type != "cpu":
            from torch.export.passes import move_to_device_pass

            program = move_to_device_pass(program, self.device)
        self.program = program.module()
        self.about = json.loads(described["videopool.json"])

    @torch.inference_mode()
    def handle(self, clips: torch.Tensor, top: int = 5) -> list[list[tuple[str, float]]]:
        """Return the most probable classes of each clip, uint8 [B,3,T,H,W]."""
        expected = (3, self.about["frames"], self.about["crop"], self.about["crop"])
        if clips.dtype != torch.uint8 or tuple(clips.shape[1:]) != expected:
            raise ValueError(f"clips must be uint8 [B,{','.join(map(str, expected))}], not {clips.dtype} {clips.shape}")
        logits = self.program(clips.to(self.device)).cpu()
        probabilities = logits.sigmoid() if self.about["several_labels"] else logits.softmax(1)
        values, indices = probabilities.topk(min(top, len(self.about["classes"])), dim=1)
        return [
            [(self.about["classes"][index], value) for index, value in zip(row, numbers, strict=True)]
            for row, numbers in zip(indices.tolist(), values.tolist(), strict=True)
        ]
