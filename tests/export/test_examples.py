"""The programs of examples/ give the predictions of videopool, without importing it."""

import io
import re
import runpy
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import videopool
from tests.conftest import ROOT
from videopool.data import open_video

EXAMPLES = ROOT / "examples"


@pytest.mark.slow
def test_onnx_with_pyav_and_pillow(trained: Path, motion_videos: Path, tool: Callable, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs videopool[onnx]")
    pytest.importorskip("onnxscript", reason="needs videopool[onnx]")
    checkpoint = trained / "checkpoints/last.pt"
    ended = tool("export", checkpoint, "--format", "onnx", "--to", tmp_path)
    assert ended.code == 0, ended.err
    video = sorted((motion_videos / "test").rglob("*.mp4"))[0]
    classifier = videopool.load(checkpoint, ["evaluate.clips=1", "evaluate.crops=1"])
    expected = {found.label: found.probability for found in classifier.predict(video, top=8)}
    command = [sys.executable, "-I", EXAMPLES / "predict_onnx.py", tmp_path / "model.onnx", video]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(lines) == 5
    for line in lines:
        probability, label = line.split(maxsplit=1)
        # Frames are converted to RGB before they are resized, which rounds once more.
        assert float(probability) == pytest.approx(expected[label], abs=0.02)


@pytest.mark.slow
def test_handler_of_the_portable_form(trained: Path, motion_videos: Path, tool: Callable, tmp_path: Path) -> None:
    checkpoint = trained / "checkpoints/last.pt"
    assert tool("export", checkpoint, "--format", "portable", "--to", tmp_path).code == 0
    handle = runpy.run_path(str(EXAMPLES / "handler.py"))["handle"]
    context = types.SimpleNamespace(system_properties={"model_dir": str(tmp_path), "gpu_id": None})
    assert handle(None, context) is None
    with open_video(sorted((motion_videos / "test").rglob("*.mp4"))[0]) as video:
        clip = video.frames_at([0.05, 0.25, 0.45, 0.65])[:, :, 4:36, 4:36]
    clips = torch.stack([clip, clip.flip(-1)])
    classifier = videopool.load(checkpoint)
    with torch.inference_mode():
        expected = classifier.model(classifier.preprocessing(clips)).softmax(1)
    found = handle([{"data": as_npy(clips[0])}, {"body": as_npy(clips[1])}], context)
    assert len(found) == 2
    for row, probabilities in zip(expected, found, strict=True):
        assert len(probabilities) == 5
        for label, probability in probabilities.items():
            assert probability == pytest.approx(float(row[classifier.classes.index(label)]), abs=1e-5)
    with pytest.raises(ValueError, match=r"uint8 \[B,3,4,32,32\]"):
        handle([{"body": as_npy(clips[0, :, :2])}], context)


def as_npy(clip: torch.Tensor) -> bytes:
    content = io.BytesIO()
    np.save(content, clip.numpy())
    return content.getvalue()


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_examples_do_not_import_videopool(path: Path) -> None:
    assert not re.search(r"^\s*(import|from) videopool", path.read_text(encoding="utf-8"), re.MULTILINE)
