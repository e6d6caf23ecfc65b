"""Exported files give the logits of the network, for every family and pooling method, and run without videopool."""

import dataclasses
import json
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.conftest import ROOT
from tests.models.small_models import CLASSES, SMALL, small
from videopool.config import from_plain
from videopool.data import Normalize
from videopool.engine import Trained
from videopool.errors import InputError
from videopool.export import FORMATS, Deployed, Description, plain, read_description, trace, verify
from videopool.export.description import METADATA
from videopool.pooling import METHODS, make_pool, sites, swap

MEAN, STD = (0.45, 0.45, 0.45), (0.225, 0.225, 0.225)


def description(frames: int, crop: int) -> Description:
    return Description(
        frames=frames,
        sampling="random",
        stride=2,
        fps=0.0,
        window=0.0,
        short="hold",
        short_side=crop,
        crop=crop,
        mean=MEAN,
        std=STD,
        square_pixels=False,
        deinterlace=False,
        classes=tuple("abcde"),
        several_labels=False,
        config=f"data: {{root: {ROOT}/data}}\n",
        provenance={"videopool": "0.1.0", "step": 7},
        sample=torch.arange(2 * 3 * frames * crop**2).view(2, 3, frames, crop, crop).to(torch.uint8),
    )


def deployed(name: str) -> tuple[Deployed, Description]:
    """Return a small network with SoftPool at its pools and head, and logits of a few units."""
    model = small(name)
    swap(model, "soft", {site.kind for site in sites(model)} & {"pool", "head"})
    last = [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1]
    last.weight.data *= 100
    return Deployed(model, Normalize(MEAN, STD)).eval(), description(SMALL[name]["frames"], SMALL[name]["crop"])


def pooled(method: str) -> tuple[Deployed, Description]:
    """Return three layers with ``method`` between and after them: a padded window, a partial one, a global one."""
    torch.manual_seed(0)
    last = {"kernel_size": None} if method != "gated" else {"kernel_size": (2, 2, 2)}  # it cannot be global
    model = nn.Sequential(
        nn.Conv3d(3, 4, 3, padding=1),
        make_pool(method, 3, (1, 3, 3), (1, 2, 2), (0, 1, 1), channels=4),
        nn.Conv3d(4, 4, 3, padding=1),
        make_pool(method, 3, (2, 2, 2), (2, 3, 3), ceil_mode=True, channels=4),
        make_pool(method, 3, **last, channels=4),
        nn.Flatten(),
        nn.Linear(4, CLASSES),
    )
    model[-1].weight.data *= 10
    return Deployed(model, Normalize(MEAN, STD)).eval(), description(4, 8)


def embedded(file: Path) -> dict:
    """Return the description inside a .pt2 file."""
    with zipfile.ZipFile(file) as archive:
        name = next(name for name in archive.namelist() if name.endswith(METADATA))
        return json.loads(archive.read(name))


@pytest.mark.slow
def test_portable_runs_without_videopool_and_holds_its_description(tmp_path: Path) -> None:
    network, described = deployed("c3d")
    written = FORMATS["portable"](network, described, tmp_path)
    assert written.path == tmp_path / "portable.pt2"
    assert written.difference < 1e-5
    inside = embedded(written.path)
    assert inside["classes"] == list("abcde")
    assert inside["provenance"] == {"videopool": "0.1.0", "step": 7}
    assert (inside["frames"], inside["crop"], inside["mean"]) == (8, 32, list(MEAN))


@pytest.mark.slow
@pytest.mark.parametrize("format", ["program", "portable", "weights"])
def test_no_file_names_the_checkout(format: str, tmp_path: Path) -> None:
    network, described = deployed("c3d")
    written = FORMATS[format](network, described, tmp_path)
    contents = [written.path.read_bytes()]
    if zipfile.is_zipfile(written.path):
        with zipfile.ZipFile(written.path) as archive:
            contents += [archive.read(name) for name in archive.namelist()]
    for content in contents:
        assert str(ROOT).encode() not in content
        assert b".py" not in content.replace(b".pyt", b"")


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_decomposed_programs_of_every_family(name: str) -> None:
    network, described = deployed(name)
    program = trace.decompose(trace.trace(network, described), plain.table())
    assert not [op for op in trace.operators(program) if not op.startswith("aten.")]
    with torch.inference_mode():
        found = {key: program.module()(clips) for key, clips in described.checks().items()}
    assert verify.compare(verify.expected_logits(network, described), found, of=name) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_decomposed_programs_of_every_method(method: str) -> None:
    network, described = pooled(method)
    program = trace.decompose(trace.trace(network, described), plain.table())
    with torch.inference_mode():
        found = {key: program.module()(clips) for key, clips in described.checks().items()}
    assert verify.compare(verify.expected_logits(network, described), found, of=method) < 1e-5


class _Foreign(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.videopool_test.halve(x.mean((2, 3, 4)).repeat(1, 2)[:, :CLASSES])


@pytest.mark.slow
def test_an_operator_of_another_library_is_named(tmp_path: Path) -> None:
    @torch.library.custom_op("videopool_test::halve", mutates_args=())
    def halve(x: torch.Tensor) -> torch.Tensor:
        return x / 2

    halve.register_fake(torch.empty_like)
    network = Deployed(_Foreign(), Normalize(MEAN, STD)).eval()
    with pytest.raises(InputError, match=r"videopool_test\.halve"):
        FORMATS["portable"](network, description(4, 8), tmp_path)
    assert not list(tmp_path.iterdir())


class _Logits(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.first = nn.Conv3d(3, CLASSES, 1)
        self.first.bias.data.fill_(value)
        self.last = nn.Conv3d(CLASSES, CLASSES, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.first(x)).mean((2, 3, 4))


@pytest.mark.parametrize("format", FORMATS)
def test_a_network_with_nan_is_not_exported(format: str, tmp_path: Path) -> None:
    network = Deployed(_Logits(float("nan")), Normalize(MEAN, STD)).eval()
    described = dataclasses.replace(description(4, 8), calibration=description(4, 8).example(2))
    with pytest.raises(InputError, match="noise clip are not finite, from layer 'first' on"):
        FORMATS[format](network, described, tmp_path)
    assert not list(tmp_path.iterdir())


def test_wrong_and_nan_logits_are_refused() -> None:
    expected = {"noise": torch.ones(3, 2), "black": torch.ones(1, 2)}
    reference = verify.Reference(expected)
    assert verify.compare(reference, expected, of="f") == 0
    for value, reason in ((1.1, "differ by"), (float("nan"), "not finite")):
        wrong = {**expected, "black": torch.tensor([[1.0, value]])}
        with pytest.raises(RuntimeError, match=f"f.*black clip.*{reason}|f, black clip: .*{reason}"):
            verify.compare(reference, wrong, of="f")


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_limit_is_relative_to_how_much_the_logits_depend_on_the_clip(scale: float) -> None:
    expected = {"noise": scale * torch.tensor([[1.0, 5.0]]), "black": scale * torch.tensor([[0.0, 5.0]])}
    for offset, fits in ((0.5e-4, True), (2e-4, False)):
        found = {**expected, "black": expected["black"] + scale * offset}
        if fits:
            verify.compare(verify.Reference(expected), found, of="f")
        else:
            with pytest.raises(RuntimeError, match="more than"):
                verify.compare(verify.Reference(expected), found, of="f")
            verify.compare(verify.Reference(expected, rounding=scale * offset), found, of="f")


def test_the_rounding_error_of_the_network_is_measured() -> None:
    network, described = pooled("soft")
    rounding = verify.expected_logits(network, described).rounding
    largest = max(float(values.abs().max()) for values in verify.expected_logits(network, described).logits.values())
    assert 0 < rounding < 1e-5 * largest


def test_the_files_beside_an_export_name_no_paths(tmp_path: Path) -> None:
    description(4, 8).write(tmp_path)
    for path in tmp_path.iterdir():
        assert str(ROOT) not in path.read_text()


@pytest.mark.slow
def test_a_wrong_decomposition_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def wrong(x: torch.Tensor, *arguments: object) -> torch.Tensor:
        return plain.soft_pool3d(x, *arguments) + 0.01

    table = {**plain.table(), torch.ops.videopool.soft_pool3d.default: wrong}
    monkeypatch.setattr(plain, "table", lambda: table)
    network, described = pooled("soft")
    with pytest.raises(RuntimeError, match=r"noise clip: logits .* decomposition of videopool\.soft_pool3d\.default"):
        FORMATS["portable"](network, described, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_file_that_needs_videopool_is_refused(tmp_path: Path) -> None:
    network, described = deployed("c3d")
    with (
        pytest.raises(RuntimeError, match=r"does not run without videopool"),
        trace.written(trace.trace(network, described), described, tmp_path / "p.pt2") as path,
    ):
        verify.run_isolated(path, described)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("format", ["program", "portable", pytest.param("onnx", marks=pytest.mark.long)])
def test_clips_of_any_size(format: str, tmp_path: Path) -> None:
    if format == "onnx":
        pytest.importorskip("onnxruntime", reason="needs videopool[onnx]")
        pytest.importorskip("onnxscript", reason="needs videopool[onnx]")
    model = small("c3d")
    swap(model, "soft", {"pool"})
    network = Deployed(model, Normalize(MEAN, STD)).eval()
    described = dataclasses.replace(description(8, 32), any_size=True)
    assert described.checks()["larger noise"].shape == (1, 3, 8, 37, 35)
    path = FORMATS[format](network, described, tmp_path).path  # verified on the larger clip, too
    assert read_description(path).any_size
    if format != "onnx":
        clips = described.larger_example()
        with torch.inference_mode():
            torch.testing.assert_close(torch.export.load(path).module()(clips), network(clips), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["r2plus1d", *(pytest.param(name, marks=pytest.mark.long) for name in ("slowfast", "x3d"))]
)
def test_heads_of_a_fixed_size_average_over_all_cells(name: str, tmp_path: Path) -> None:
    frames, crop = SMALL[name]["frames"], SMALL[name]["crop"]
    config = from_plain({"clip": {"frames": frames, "crop": crop, "scale": [crop, crop]}}, "the test")
    trained = Trained(small(name).eval(), Normalize(MEAN, STD), config, tuple("abcde"), several_labels=False)
    fixed, _ = trained.deployed()
    network, described = trained.deployed(any_size=True)
    clips = described.example(2)
    with torch.inference_mode():
        torch.testing.assert_close(network(clips), fixed(clips), rtol=1e-4, atol=1e-6)
        assert not torch.allclose(network(described.larger_example()), fixed(described.larger_example()), atol=1e-6)
    program = torch.export.load(FORMATS["program"](network, described, tmp_path).path).module()
    larger = described.larger_example()[:, :, :, :-7, :-4]
    torch.testing.assert_close(program(larger), network(larger), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_a_window_of_a_fixed_size_is_named(tmp_path: Path) -> None:
    network, described = deployed("c3d")  # its global SoftPool is exported for one size
    with pytest.raises(InputError, match=r"any size, probably because layer 'blocks\.4\.pool' has a window"):
        FORMATS["program"](network, dataclasses.replace(described, any_size=True), tmp_path)
    assert not list(tmp_path.iterdir())


def test_descriptions_are_equal_whatever_their_sample() -> None:
    one = description(4, 8)
    assert dataclasses.replace(one, sample=None) == one
