"""A quick comparison: 2 methods x 2 folds x 2 seeds of four steps on small videos."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT
from videopool.compare.plan import make_plan
from videopool.compare.results import Report
from videopool.compare.supervise import Supervisor
from videopool.config.comparison import load_comparison

FILE = """
train: {train}
out: {out}
seeds: [0, 1]
videos: all.csv
group: person
folds: 2
settings:
  data: {{root: {root}, workers: 0}}
  clip: {{frames: 4, stride: 2, scale: [24, 26], crop: 24, flip: false}}
  model: {{arguments: {{width: 2, depth: 2}}}}
  optim: {{name: adamw, lr: 2e-3, warmup_epochs: 0, clip_norm: 1.0}}
  train: {{epochs: 2, batch: 6, log_every: 1, save_every: 1, device: cpu}}
  evaluate: {{clips: 2, crops: 1}}
methods:
  soft: {{pooling: soft}}
  max pool: {{pooling: max}}
"""


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory, motion_videos: Path) -> Path:
    """A folder with all.csv: 24 videos of 8 classes, 3 people who each do every motion once."""
    root = tmp_path_factory.mktemp("people")
    lines = ["path,label,person"]
    for folder in sorted((motion_videos / "train").iterdir()):
        videos = [*sorted(folder.glob("*.mp4")), *sorted((motion_videos / "test" / folder.name).glob("*.mp4"))]
        for person, video in zip(("ann", "bob", "eve"), videos, strict=True):
            name = f"{folder.name}_{person}.mp4"
            shutil.copyfile(video, root / name)
            lines.append(f"{name},{folder.name},{person}")
    (root / "all.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="session")
def comparison_file(people: Path) -> Callable[[Path], Path]:
    """``comparison_file(folder)`` writes folder/compare.yaml, whose runs go to folder/out."""

    def write(folder: Path) -> Path:
        path = folder / "compare.yaml"
        path.write_text(FILE.format(train=ROOT / "configs/demo.yaml", out=folder / "out", root=people))
        return path

    return write


@pytest.fixture(scope="session")
def compared(tmp_path_factory: pytest.TempPathFactory, comparison_file: Callable[[Path], Path]) -> Path:
    """The folder of an undisturbed comparison."""
    folder = tmp_path_factory.mktemp("compared")
    plan = make_plan(load_comparison(comparison_file(folder)))
    write = Report(plan, "compare").write
    supervisor = Supervisor(plan, methods=["soft", "max pool"], processes=2, write=write, say=lambda text: None)
    assert supervisor.run()
    assert not supervisor.failures
    return folder / "out"
