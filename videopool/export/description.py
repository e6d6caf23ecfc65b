"""The description of an exported network: classes, preprocessing, configuration and provenance.

Every exported file holds it as one JSON text; ``read_description`` reads it from any of them.
"""

from __future__ import annotations

import dataclasses
import json
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from videopool.errors import InputError
from videopool.files import strip_local_paths, write_text

METADATA = "videopool.json"  # the name of the description inside a .pt2 file
PROPERTY = "videopool"  # its name in the metadata of .safetensors and .onnx files

_FRAMES_AT = {  # by clip.sampling
    "random": "stride / fps seconds apart (fps 0: the rate of the video), each the frame shown at that time",
    "dense": "window / frames seconds apart, each the frame shown at that time",
    "segments": "the video is divided into as many equal parts as frames, each frame from the middle of its part",
}
_WRITTEN = (
    *("frames", "sampling", "stride", "fps", "window", "short", "short_side", "crop", "mean", "std"),
    *("square_pixels", "deinterlace"),
)
_SOFTMAX = "softmax of the logits over the classes, averaged over views"
_SIGMOID = "sigmoid of each logit (a video may have several classes), averaged over views"


@dataclasses.dataclass(frozen=True)
class Description:
    """What is needed to run an exported network.

    Attributes:
        frames, sampling, stride, fps, window, short: how clips are sampled, as in ``videopool.data.ClipSampling``; fps
            0 is the rate of the video.
        short_side, crop: pixels of the shorter side of a frame, and of the side of the square crop.
        mean, std: normalization of each channel, for values from 0 to 1.
        square_pixels, deinterlace: whether frames get their displayed shape, and are made progressive.
        classes: names in label order.
        several_labels: whether a video may have several classes; logits become probabilities by sigmoid, not softmax.
        config: the configuration as YAML.
        any_size: whether the exported network takes clips of any height and width, not only crop x crop.
        provenance: where the network comes from: versions of videopool and torch, step of the checkpoint, digest of the
            training list, metrics of the evaluation.
        sample: uint8 [B,3,T,H,W], a clip of a video to verify on.
        calibration: uint8 [N,3,T,H,W], clips of videos to measure the ranges of an int8 network on.
        calibration_labels: the class of each of these clips; empty if they are unknown.
    """

    frames: int
    sampling: str
    stride: int
    fps: float
    window: float
    short: str
    short_side: int
    crop: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    square_pixels: bool
    deinterlace: bool
    classes: tuple[str, ...]
    several_labels: bool
    config: str
    any_size: bool = False
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    sample: torch.Tensor | None = dataclasses.field(default=None, compare=False, repr=False)
    calibration: torch.Tensor | None = dataclasses.field(default=None, compare=False, repr=False)
    calibration_labels: tuple[int, ...] = dataclasses.field(default=(), compare=False, repr=False)

    def example(self, batch: int) -> torch.Tensor:
        """Return random uint8 clips [batch,3,T,H,W] of the input shape, the same at every call."""
        generator = torch.Generator().manual_seed(0)
        shape = (batch, 3, self.frames, self.crop, self.crop)
        return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)

    def larger_example(self) -> torch.Tensor:
        """Return random uint8 clips [2,3,T,H,W] with H and W more than twice the crop."""
        generator = torch.Generator().manual_seed(1)
        shape = (2, 3, self.frames, 2 * self.crop + 6, 2 * self.crop + 11)
        return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)

    def checks(self) -> dict[str, torch.Tensor]:
        """Return the clips that an exported file is verified on, by name, in batches of different sizes."""
        noise = self.example(3)
        clips = {"noise": noise, "black": torch.zeros_like(noise[:1])}
        if self.any_size:
            clips["larger noise"] = self.larger_example()[:1, ..., : self.crop + 5, : self.crop + 3]
        return clips if self.sample is None else {**clips, "sample": self.sample}

    def document(self) -> str:
        """Return classes, preprocessing, provenance and configuration as JSON, without paths of this machine."""
        parts = {"classes": list(self.classes), **self._preprocessing(), "config": without_paths(self.config)}
        return json.dumps(parts, indent=1)

    def write(self, folder: Path) -> None:
        """Write ``config.yaml``, ``classes.json`` and ``preprocessing.json``, without paths of this machine."""
        texts = {
            "config.yaml": without_paths(self.config),
            "classes.json": json.dumps(list(self.classes), indent=1, ensure_ascii=False) + "\n",
            "preprocessing.json": json.dumps(self._preprocessing(), indent=1) + "\n",
        }
        for name, text in texts.items():
            write_text(folder / name, text)

    def _preprocessing(self) -> dict[str, Any]:
        return {
            "input": f"uint8 RGB [batch, 3, frames, {'height, width' if self.any_size else 'crop, crop'}]",
            "any_size": self.any_size,
            "output": "logits [batch, classes]",
            "probabilities": _SIGMOID if self.several_labels else _SOFTMAX,
            "program": "import videopool.ops, then torch.export.load('program.pt2').module()",
            "portable": "torch.export.load('portable.pt2').module()",
            "aoti": "torch._inductor.aoti_load_package('aoti.pt2')",
            "frames_at": _FRAMES_AT[self.sampling],
            "scaling": "short side to short_side, bilinear with antialiasing; then a square crop, from the center",
            **{key: getattr(self, key) for key in _WRITTEN},
            "several_labels": self.several_labels,
            "normalization": "(value / 255 - mean) / std, per channel; outside model.safetensors, inside other files",
            "provenance": dict(self.provenance),
        }


def read_description(path: Path) -> Description:
    """Return the description of an exported file (.pt2, .onnx or .safetensors).

    It is read from inside the file. Files that videopool 0.1 wrote may lack it; then ``config.yaml``, ``classes.json``
    and ``preprocessing.json`` in the same folder are read.

    Raises:
        InputError: if the file cannot be read, has another suffix, or has no description.
    """
    if path.suffix not in _READERS:
        raise InputError(f"{path} is not an exported file; expected {', '.join(_READERS)}")
    try:
        text = _READERS[path.suffix](path)
    except InputError:
        raise
    except Exception as error:  # a damaged file fails in many ways
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise InputError(f"{path} cannot be read ({reason}); export it again") from error
    values = _read_beside(path) if text is None else json.loads(text)
    try:
        return _from_values(values)
    except (KeyError, TypeError) as error:
        raise InputError(f"The description in {path} lacks {error}; export it again") from error


def without_paths(config: str) -> str:
    """Return a configuration, as YAML, without the absolute paths of this machine.

    Paths inside the working directory become relative to it; any other becomes ``.../name``.
    """
    return yaml.safe_dump(_without_paths(yaml.safe_load(config)), sort_keys=False, default_flow_style=None, width=100)


def _without_paths(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_paths(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_paths(item) for item in value]
    if not isinstance(value, str):
        return value
    reader, colon, file = value.partition(":")  # a list may be package.module.function:FILE
    if colon and Path(file).is_absolute() and not file.startswith("//"):
        return f"{reader}:{_without_paths(file)}"
    path = Path(value)
    if not path.is_absolute():
        return strip_local_paths(value)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else f".../{path.name}"


def is_compiled(path: Path) -> bool:
    """Return whether a .pt2 file was compiled by AOTInductor; otherwise it holds a ``torch.export`` program."""
    with zipfile.ZipFile(path) as archive:
        return any("/data/aotinductor/" in name for name in archive.namelist())


def _from_values(values: Mapping[str, Any]) -> Description:
    several = values.get("several_labels", values["probabilities"].startswith("sigmoid"))
    given: dict[str, Any] = {key: tuple(values[key]) if key in ("mean", "std") else values[key] for key in _WRITTEN}
    provenance = values.get("provenance", {})
    return Description(
        **given,
        classes=tuple(values["classes"]),
        several_labels=several,
        config=values["config"],
        any_size=values.get("any_size", False),
        provenance=provenance,
    )


def _in_archive(path: Path) -> str | None:
    with zipfile.ZipFile(path) as archive:
        found = [name for name in archive.namelist() if name.endswith(f"/extra/{METADATA}")]
        return archive.read(found[0]).decode("utf-8") if found else None


def _in_safetensors(path: Path) -> str | None:
    with path.open("rb") as file:  # an 8-byte length, then a JSON header of this length
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(min(length, 100_000_000)))
    text: str | None = header.get("__metadata__", {}).get(PROPERTY)
    return text


def _in_onnx(path: Path) -> str | None:
    try:
        import onnxruntime
    except ImportError as error:
        message = f"{path.name} needs onnxruntime: pip install 'videopool[onnx]'"
        raise InputError(message) from error
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    text: str | None = session.get_modelmeta().custom_metadata_map.get(PROPERTY)
    return text


def _read_beside(path: Path) -> dict[str, Any]:
    """Return the values of the description files in the folder of ``path``."""
    texts = {}
    for name in ("preprocessing.json", "classes.json", "config.yaml"):
        beside = path.with_name(name)
        if not beside.exists():
            raise InputError(f"{path} has no description inside, and {beside} is missing; export it again")
        texts[name] = beside.read_text(encoding="utf-8")
    classes = json.loads(texts["classes.json"])
    return {**json.loads(texts["preprocessing.json"]), "classes": classes, "config": texts["config.yaml"]}


_READERS: dict[str, Callable[[Path], str | None]] = {
    ".pt2": _in_archive,
    ".onnx": _in_onnx,
    ".safetensors": _in_safetensors,
}
