"""Every form of a network gives the scores of ``videopool evaluate`` on its checkpoint."""

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import videopool
from tests.conftest import ROOT
from videopool.errors import InputError
from videopool.inference.backends import ModuleBackend, PackageBackend, ProgramBackend, SessionBackend

FORMATS = {
    "weights": ("model.safetensors", ModuleBackend),
    "program": ("program.pt2", ProgramBackend),
    "portable": ("portable.pt2", ProgramBackend),
    "onnx": ("model.onnx", SessionBackend),
    "int8": ("int8.onnx", SessionBackend),
    "aoti": ("aoti.pt2", PackageBackend),
}
LONG = ("onnx", "int8", "aoti")
OF_FLOAT32 = {"atol": 1e-5, "rtol": 0}  # the probabilities of two orders of summation


@pytest.fixture(scope="module")
def checkpoint(trained: Path) -> Path:
    return trained / "checkpoints/last.pt"


@pytest.fixture(scope="module")
def exported(checkpoint: Path, motion_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``exported(form)`` returns the file of a form, exported at its first use."""
    from videopool.cli.main import main

    def export(form: str) -> Path:
        if form in ("onnx", "int8") and importlib.util.find_spec("onnxscript") is None:
            pytest.skip("needs the packages of videopool[onnx]")
        folder = folders.setdefault(form, tmp_path_factory.mktemp(form))
        path = folder / FORMATS[form][0]
        if not path.exists():
            calibrate = [f"--calibrate-on={next((motion_videos / 'test').rglob('*.mp4'))}"] if form == "int8" else []
            assert main(["export", str(checkpoint), "--format", form, "--to", str(folder), *calibrate]) == 0
        return path

    folders: dict[str, Path] = {}
    return export


@pytest.fixture(scope="module")
def evaluated(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, np.ndarray]]:
    """The scores of the evaluation of 2 x 3 views, and of sliding windows."""
    from videopool.cli.main import main

    found = {}
    for name, views in (("views", []), ("windows", ["evaluate.clips=0", "evaluate.hop=0.2", "evaluate.crops=3"])):
        folder = tmp_path_factory.mktemp(name)
        assert main(["evaluate", str(checkpoint), "--to", str(folder), *views]) == 0
        found[name] = dict(np.load(folder / "scores.npz"))
    return found


@pytest.fixture(scope="module")
def videos(motion_videos: Path) -> list[Path]:
    return sorted((motion_videos / "test").rglob("*.mp4"))


def check_scores(classifier: videopool.inference.Classifier, videos: list[Path], evaluated: dict) -> None:
    """Check the scores of views, and those of sliding windows, against the evaluation."""
    saved = evaluated["views"]
    expected = saved["scores"].astype(np.float64).reshape(8, 6, 8).mean(1)
    found = classifier.scores(videos).probabilities
    torch.testing.assert_close(found, torch.from_numpy(expected), **OF_FLOAT32)
    saved = evaluated["windows"]
    for number in (0, 5):
        windows = [*classifier.windows(videos[number], hop=0.2)]
        of_video = saved["video"] == number
        scores = saved["scores"][of_video].reshape(-1, 3, 8).mean(1)
        seconds = saved["seconds"][of_video][::3]
        np.testing.assert_array_equal([(window.start, window.end) for window in windows], seconds)
        torch.testing.assert_close(
            torch.stack([window.probabilities for window in windows]), torch.from_numpy(scores), **OF_FLOAT32
        )


@pytest.mark.parametrize("place", ["", "checkpoints/last.pt", "checkpoints/best.pt"])
def test_a_run_and_its_checkpoints(place: str, trained: Path, videos: list[Path], evaluated: dict) -> None:
    classifier = videopool.load(trained / place)
    assert isinstance(classifier.backend, ModuleBackend)
    if "best" not in place:  # the weights of another epoch
        check_scores(classifier, videos, evaluated)


@pytest.mark.slow
@pytest.mark.parametrize(
    "form", [pytest.param(each, marks=[pytest.mark.long] * (each in LONG)) for each in sorted(FORMATS)]
)
def test_an_exported_form(form: str, exported: Callable, videos: list[Path], evaluated: dict) -> None:
    path = exported(form)
    for place in (path, path.parent):
        classifier = videopool.load(place)
        assert isinstance(classifier.backend, FORMATS[form][1])
    if form == "int8":
        expected = evaluated["views"]["scores"].reshape(8, 6, 8).mean(1)
        assert np.abs(classifier.scores(videos).probabilities.numpy() - expected).max() < 0.1
    else:
        check_scores(classifier, videos, evaluated)
    alone = classifier.model(classifier.preprocessing(torch.zeros(2, 3, 4, 32, 32, dtype=torch.uint8)))
    assert alone.shape == (2, 8)


@pytest.mark.slow
def test_a_file_alone_is_enough(exported: Callable, videos: list[Path], evaluated: dict, tmp_path: Path) -> None:
    shutil.copy(exported("program"), tmp_path / "renamed.pt2")
    check_scores(videopool.load(tmp_path / "renamed.pt2"), videos, evaluated)


def test_configurations_ship_with_the_classes(trained: Path) -> None:
    config = videopool.load(trained, ["evaluate.clips=1"]).config
    assert config.evaluate.clips == 1
    assert (ROOT / "configs").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("network.engine", b"x", r"network\.engine is not a network that can be read\. Give a checkpoint"),
        ("none.onnx", None, r"none\.onnx does not exist\. Give a checkpoint"),
        ("network.pt2", b"PK not an archive", r"network\.pt2 cannot be read"),
        ("network.onnx", b"no graph", r"network\.onnx cannot be read"),
        ("network.safetensors", b"x", r"network\.safetensors cannot be read"),
        ("network.pt", b"x", r"network\.pt"),
    ],
)
def test_other_files_are_refused(name: str, content: bytes | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    if name.endswith("onnx"):
        pytest.importorskip("onnxruntime")
    with pytest.raises(InputError, match=message):
        videopool.load(tmp_path / name)


def test_a_program_of_another_kind_is_refused(exported: Callable, tmp_path: Path) -> None:
    import zipfile

    path = tmp_path / "program.pt2"
    with zipfile.ZipFile(exported("program")) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            if not name.endswith(".json") or "extra" in name:
                target.writestr(name, source.read(name))
    with pytest.raises(InputError, match=r"cannot be read as a program .*; export it again"):
        videopool.load(path)
    assert json.loads(videopool.export.read_description(path).document())["classes"]
