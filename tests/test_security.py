"""What SECURITY.md promises: reading files runs no code and opens no connection."""

import ast
import pickle
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import ROOT
from videopool.cli.main import main
from videopool.config import load
from videopool.engine.builders.stored_config import stored_config
from videopool.engine.builders.teacher import teacher_of
from videopool.errors import InputError

SOURCES = sorted((ROOT / "videopool").rglob("*.py"))
# What opens connections, and why.
NETWORK = {
    "inference/download.py": {"http.client", "urllib.error", "urllib.parse", "urllib.request"},  # addresses of videos
    "inference/inputs.py": {"urllib.parse"},
    "engine/cluster/rendezvous.py": {"socket"},  # the other processes of a run
}
NAMES_OF_HOSTS = {"engine/cluster/distributed.py", "engine/cluster/probe.py", "engine/checkpoints/shards.py"}
NAMES_OF_HOSTS |= {"engine/cluster/reporting.py", "cli/run_folder.py"}

CODE = """
from pathlib import Path

from videopool.models import build

Path(__file__).with_suffix(".ran").touch()


def network(classes, **arguments):
    return build("c3d", classes=classes, **arguments)
"""


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that leaves a file when it is imported; its name, which no other test has imported."""
    name = f"foreign_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    return name


@pytest.fixture
def checkpoint(trained: Path, foreign: str, tmp_path: Path) -> Path:
    """A checkpoint whose network a function of ``foreign`` builds."""
    state = torch.load(trained / "checkpoints/last.pt", weights_only=True)
    state["config"]["model"] |= {"name": "c3d", "target": f"{foreign}.network"}
    torch.save(state, tmp_path / "foreign.pt")
    return tmp_path / "foreign.pt"


@pytest.mark.parametrize(
    "command",
    [
        ("evaluate", "--to"),
        ("predict", "--to"),
        ("export", "--format", "weights", "--to"),
        ("explain", "--to"),
        ("feature-maps", "--to"),
    ],
    ids=lambda command: command[0],
)
def test_functions_that_a_checkpoint_names_are_not_called(
    command: tuple[str, ...],
    checkpoint: Path,
    foreign: str,
    motion_videos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    name, *options = command
    videos = [] if name in ("evaluate", "export") else [str(next((motion_videos / "test").rglob("*.mp4")))]
    assert main([name, str(checkpoint), *videos, *options, str(tmp_path / "written.csv")]) == 2
    error = capsys.readouterr().err
    assert f"{checkpoint} names a function that would be called: model.target={foreign}.network." in error
    assert "Add --trust" in error
    assert not (tmp_path / f"{foreign}.ran").exists()


def test_trust_calls_them(checkpoint: Path, foreign: str, tool: Callable, tmp_path: Path) -> None:
    ended = tool("export", checkpoint, "--format", "weights", "--to", tmp_path / "export", "--trust")
    assert ended.code == 0, ended.err
    assert (tmp_path / f"{foreign}.ran").exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model.target", "os.system"),
        ("model.pooling", "os.path.Pool"),
        ("data.train", "os.system:list.csv"),
        ("data.test", "os.system:list.csv"),
        ("evaluate.metrics", ["os.system"]),
        ("model.target", "videopool.targets.import_target"),
    ],
)
def test_keys_that_name_functions(key: str, value: Any) -> None:
    section, _, name = key.partition(".")
    values = {section: {name: value}}
    with pytest.raises(InputError, match=re.escape(f"model.pt names a function that would be called: {key}")):
        stored_config(values, Path("model.pt"))
    config = stored_config(values, Path("model.pt"), trust=True)
    assert getattr(getattr(config, section), name) == (tuple(value) if isinstance(value, list) else value)


def test_functions_of_the_command_line_and_of_shipped_configurations_are_called() -> None:
    shipped = stored_config({"model": {"target": "videopool.models.vgg.vgg"}}, Path("model.pt"))
    assert shipped.model.target == "videopool.models.vgg.vgg"
    given = stored_config({}, Path("model.pt"), ["evaluate.metrics=[mine.accuracy]"])
    assert given.evaluate.metrics == ("mine.accuracy",)


def test_a_teacher_names_only_functions_of_its_student(checkpoint: Path, foreign: str, tmp_path: Path) -> None:
    classes = torch.load(checkpoint, weights_only=True)["classes"]
    student = load("demo", [f"train.distill={checkpoint}"])
    with pytest.raises(InputError, match="names a function that would be called"):
        teacher_of(student, classes, False, torch.device("cpu"))
    assert not (tmp_path / f"{foreign}.ran").exists()


class Runs:
    """A pickle of it leaves the file ``path`` when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("write", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_a_pickle_in_a_checkpoint_is_not_run(write: Callable, tool: Callable, tmp_path: Path) -> None:
    mark, path = tmp_path / "ran", tmp_path / "bad.pt"
    write({"model": Runs(mark)}, path)
    ended = tool("evaluate", path)
    assert ended.code == 2
    assert not mark.exists()
    torch.load(path, weights_only=False) if write is torch.save else pickle.loads(path.read_bytes())
    assert mark.exists()  # it would have run


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_no_file_is_read_with_pickle() -> None:
    forbidden = {"pickle.load", "pickle.loads", "pickle.Unpickler", "yaml.load", "yaml.unsafe_load", "joblib.load"}
    forbidden |= {"marshal.loads", "eval", "exec"}
    for path in SOURCES:
        for name, call in calls(path):
            assert name not in forbidden, path
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            assert name != "torch.load" or given.get("weights_only") == "True", path
            assert name != "np.load" or given.get("allow_pickle", "False") == "False", path


def test_only_listed_modules_use_the_network() -> None:
    names = re.compile(
        r"^\s*(?:import|from) (socket|ssl|http[.\w]*|urllib[.\w]*|requests|ftplib|smtplib)\b", re.MULTILINE
    )
    found = {str(path.relative_to(ROOT / "videopool")): set(names.findall(path.read_text())) for path in SOURCES}
    used = {path: modules for path, modules in found.items() if modules and path not in NAMES_OF_HOSTS}
    assert used == NETWORK
    for path in NAMES_OF_HOSTS:
        assert set(re.findall(r"socket\.(\w+)", (ROOT / "videopool" / path).read_text())) == {"gethostname"}
    remote = ("torch.hub", "load_state_dict_from_url", "huggingface_hub", "from_pretrained")
    assert not [path for path in SOURCES for name in remote if name in path.read_text(encoding="utf-8")]


def test_a_prediction_opens_no_connection(
    trained: Path, tool: Callable, motion_videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: socket.socket, address: object) -> None:
        raise AssertionError(f"connection to {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    video = next((motion_videos / "test").rglob("*.mp4"))
    ended = tool("predict", trained / "checkpoints/last.pt", video, "evaluate.clips=1")
    assert ended.code == 0, ended.err
