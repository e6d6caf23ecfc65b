"""The forms of a trained network that can run: one small class for each, with the same method.

Shape legend: B batch, K classes, T frames, H rows, W columns.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from videopool.engine.scoring.evaluation import Preprocess
from videopool.engine.step.precision import Precision, autocast
from videopool.errors import InputError


class Backend(Protocol):
    """A network in one of its forms."""

    def scores(self, clips: torch.Tensor) -> torch.Tensor:
        """Return the logits, float32 [B,K], of uint8 RGB ``clips`` [B,3,T,H,W], which are scaled and cropped.

        The clips may be on any device; the logits are on the device of the network.
        """
        ...


class ModuleBackend:
    """The torch module of a checkpoint or of exported weights.

    Args:
        model: in evaluation mode, from what ``preprocess`` returns to logits [B,K]; moved to ``device``.
        preprocess: from uint8 clips [B,3,T,H,W].
        device: where the network runs.
        precision: of the forward pass.
    """

    def __init__(self, model: nn.Module, preprocess: Preprocess, device: torch.device, precision: Precision) -> None:
        self.model = model.to(device)
        self._preprocess, self._device, self._precision = preprocess, device, precision

    @torch.inference_mode()
    def scores(self, clips: torch.Tensor) -> torch.Tensor:
        with autocast(self._device, self._precision):
            return self.model(self._preprocess(clips.to(self._device))).float()


class ProgramBackend:
    """A program of ``torch.export`` (the formats ``program`` and ``portable``), which includes the preprocessing.

    Raises:
        InputError: if the file cannot be read.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        import videopool.ops  # noqa: F401  # its pooling kernels

        try:
            with path.open("rb") as file:
                self._program = torch.export.load(file).module().to(device)
        except Exception as error:  # a damaged archive fails in many ways
            raise _unreadable(path, "a program", error) from error
        self._device = device

    @torch.inference_mode()
    def scores(self, clips: torch.Tensor) -> torch.Tensor:
        return self._program(clips.to(self._device)).float()


class PackageBackend:
    """A program that AOTInductor compiled for CPUs, which includes the preprocessing.

    Raises:
        InputError: if the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._run: Any = torch._inductor.aoti_load_package(str(path))
        except Exception as error:  # loading a compiled library fails in many ways
            raise _unreadable(path, "a compiled program", error) from error

    @torch.inference_mode()
    def scores(self, clips: torch.Tensor) -> torch.Tensor:
        return self._run(clips.cpu()).float()


class SessionBackend:
    """An ONNX file in a session of onnxruntime on the CPU, which includes the preprocessing.

    Raises:
        InputError: if onnxruntime is not installed, or the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise InputError(f"{path} needs onnxruntime. Run pip install 'videopool[onnx]'.") from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has an error class for each status
            raise _unreadable(path, "an ONNX network", error) from error
        self._input = self._session.get_inputs()[0].name

    def scores(self, clips: torch.Tensor) -> torch.Tensor:
        (logits,) = self._session.run(["logits"], {self._input: clips.cpu().contiguous().numpy()})
        return torch.from_numpy(logits).float()


class BackendModule(nn.Module):
    """A backend as a torch module from uint8 clips [B,3,T,H,W] to logits [B,K], for code that needs one."""

    def __init__(self, backend: Backend) -> None:
        super().__init__()
        self.backend = backend

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Return the logits [B,K] of uint8 ``clips`` [B,3,T,H,W]."""
        return self.backend.scores(clips)


def _unreadable(path: Path, kind: str, error: Exception) -> InputError:
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())
    return InputError(f"{path} cannot be read as {kind} ({reason}); export it again")
