"""The examples of the documentation run, in a folder that has what they name. The quickstart trains its network."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from tests.conftest import ROOT
from tests.docs.pages import PAGES, Block, Command, blocks, commands, name_of
from videopool.cli.main import main

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]

QUICKSTART = ROOT / "docs/quickstart.md"
# The tests that run the examples of a page in Python.
OTHER_TESTS = {
    "docs/loading.md": "tests/data/test_loading_page.py",
    "docs/pretrained.md": "tests/cli/test_pretrained_networks.py",
}
EXAMPLES = {
    page: [block for block in blocks(page) if block.language in ("bash", "python") and not block.reason]
    for page in PAGES
}
RUN_HERE = [
    page
    for page, examples in EXAMPLES.items()
    if page != QUICKSTART and any(b.language == "bash" or b.page not in OTHER_TESTS for b in examples)
]


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the commands of the quickstart have run, and what other pages name; shared by all workers."""
    pytest.importorskip("av")
    folder = tmp_path_factory.getbasetemp()
    shared = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "quickstart"
    with FileLock(f"{shared}.lock"):
        if not shared.exists():
            making = shared.with_name("quickstart-unfinished")
            making.mkdir()
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(making)
                run_page(QUICKSTART)
                add_what_pages_name(making)
            making.rename(shared)
    return shared


def add_what_pages_name(folder: Path) -> None:
    """Add copies of videos, lists and runs under the names that the pages give them."""
    videos = folder / "my_videos"
    names = ("video", "other", "a", "b", "long")
    for name, motion in zip(names, ("up", "down", "left", "right", "grow"), strict=True):
        shutil.copy(videos / f"test/{motion}/{motion}-0000.mp4", folder / f"{name}.mp4")
    for part, lists in {"train": ["train.csv"], "test": ["val.csv"]}.items():
        paths = [path.relative_to(videos) for path in sorted((videos / part).rglob("*.mp4"))]
        for name in lists:
            (folder / name).write_text("path,label\n" + "".join(f"{path},{path.parent.name}\n" for path in paths))
    (folder / "test.txt").write_text("".join(f"{path}\n" for path in paths))
    add_videos_in_groups(folder)
    for name in ("a", "b", "demo"):
        shutil.copytree(folder / "runs/mine", folder / "runs" / name)
    (folder / "runs/demo/videos").symlink_to("../../my_videos")


def add_videos_in_groups(folder: Path) -> None:
    """Add ``videos``, whose names have groups, as folder, as ``all.csv``, and in the XML of docs/extending.md."""
    (folder / "videos").mkdir()
    motions = ("up", "walk")
    rows = [("walk", "a.mp4"), *((motion, f"{motion}_g{n:02}_c0.mp4") for n in range(1, 6) for motion in motions)]
    for _, name in rows:
        shutil.copy(folder / "video.mp4", folder / "videos" / name)
    lines = "".join(f"videos/{name},{motion}\n" for motion, name in rows[1:])
    (folder / "all.csv").write_text(f"path,label\n{lines}")
    clips = "".join(f'<clip file="{name}" action="{motion}"/>' for motion, name in rows)
    for part in ("train", "test"):
        (folder / f"videos/{part}.xml").write_text(f"<clips>{clips}</clips>")


@pytest.fixture
def desk(quickstart: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of ``quickstart`` as the current folder, in which Python finds modules, and which it forgets later."""
    shutil.copytree(quickstart, tmp_path / "desk", symlinks=True)
    monkeypatch.chdir(tmp_path / "desk")
    monkeypatch.syspath_prepend(tmp_path / "desk")
    before = set(sys.modules)
    yield tmp_path / "desk"
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def run_page(page: Path) -> None:
    """Run the examples of a page in their order. Examples in Python share their names."""
    names: dict[str, object] = {"__name__": "__example__"}
    for block in EXAMPLES[page]:
        if block.language == "bash":
            run_commands(block, shorten=page != QUICKSTART)
        elif block.page not in OTHER_TESTS:
            run_python(block, names)


def run_python(block: Block, names: dict[str, object]) -> None:
    """Run a block, or write it to the file that its first line names."""
    file = re.match(r"# (\S+\.py)\n", block.text)
    if file:
        Path(file[1]).write_text(block.text, encoding="utf-8")
    else:
        exec(compile(block.text, str(block), "exec"), names)


def run_commands(block: Block, *, shorten: bool) -> None:
    """Run the commands of a block: those of videopool in this process, blocks with other programs in a shell."""
    found = [*commands(block)]
    if all(command.words[0] == "videopool" for command in found):
        for command in found:
            words = arguments(command, shorten=shorten)
            assert main(words) == 0, f"{block}: videopool {' '.join(words)}"
        return
    missing = [name for name in ("ffmpeg",) if name in block.text and not shutil.which(name)]
    if missing:
        pytest.skip(f"needs {missing[0]}, which .ci/run installs")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(["bash", "-ec", block.text], env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, f"{block}: {ended.stderr}"


def arguments(command: Command, *, shorten: bool) -> list[str]:
    """Return the arguments of a command with patterns replaced by files. A new training is shortened to two epochs."""
    words = [name for word in command.words[1:] for name in (files(word) if "*" in word else [word])]
    out = next((word.removeprefix("out=") for word in words if word.startswith("out=")), "")
    trains = words[0] == "train" and not {"--dry-run", "--print-schedule"} & set(words)
    if shorten and trains and not (out and Path(out).exists()):
        words += ["train.epochs=2", "optim.warmup_epochs=0"]
    return words


def files(pattern: str) -> list[str]:
    """Return the files that match a pattern, sorted."""
    return sorted(map(str, Path().glob(pattern)))


def test_the_quickstart_runs(quickstart: Path) -> None:
    for name in ("evaluation/report.html", "export/portable.pt2", "checkpoints/best.pt"):
        assert (quickstart / "runs/mine" / name).exists()
    assert (quickstart / "explained/01-up-0000.mp4").exists()
    assert (quickstart / "predictions.csv").read_text().count("\nvideo,") == 16 * 5


@pytest.mark.parametrize("page", RUN_HERE, ids=name_of)
@pytest.mark.usefixtures("desk")
def test_examples_run(page: Path) -> None:
    run_page(page)


def test_the_plan_of_a_training_is_what_the_page_shows(capfd: pytest.CaptureFixture) -> None:
    page = ROOT / "docs/scale.md"
    (block,) = EXAMPLES[page]
    capfd.readouterr()
    run_commands(block, shorten=True)
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) > 5
    assert "".join(f"    {line}\n" for line in lines) in page.read_text(encoding="utf-8")
