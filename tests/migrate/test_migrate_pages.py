"""The pages for users of other packages: their tables against the conversion and against the keys of videopool."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.migrate.mmaction2_recipes import RECIPES, as_python
from tests.migrate.pyslowfast_recipes import as_yaml
from videopool.config.keys import keys_of
from videopool.config.renamed import RENAMED
from videopool.config.schema import Config
from videopool.migrate import Draft, read
from videopool.migrate.pyslowfast_keys import DEFAULTS, NETWORKS, NO_MEANING, WITHOUT_COUNTERPART
from videopool.migrate.tables import with_table
from videopool.models.build import MODELS

PAGES = ("from_pyslowfast", "from_mmaction2", "from_pytorchvideo", "from_huggingface")
OWN = {key.name for key in keys_of(Config)} | {"model.arguments"}
SECTIONS = {name.partition(".")[0] for name in OWN if "." in name}
# Keys of PySlowFast that do not change results, so migrate leaves the defaults.
WITHOUT_EFFECT = {"DATA.DECODING_BACKEND", "TRAIN.CHECKPOINT_PERIOD"}
EVERYTHING: dict[str, Any] = {
    "MODEL.ARCH": "slowfast",
    "MODEL.MODEL_NAME": "SlowFast",
    "MODEL.DROPCONNECT_RATE": 0.1,
    "DATA.PATH_TO_DATA_DIR": "lists",
    "DATA.NUM_FRAMES": 32,
    "DATA.SAMPLING_RATE": 2,
    "DATA.TRAIN_JITTER_SCALES_RELATIVE": [0.1, 1.0],
    "DATA.TRAIN_JITTER_ASPECT_RELATIVE": [0.5, 2.0],
    "AUG.ENABLE": True,
    "MIXUP.ENABLE": True,
    "SOLVER.LAYER_DECAY": 0.9,
    "SOLVER.WARMUP_EPOCHS": 5.0,
    "TRAIN.CHECKPOINT_FILE_PATH": "weights.pyth",
    "TRAIN.MIXED_PRECISION": True,
    "TRAIN.AUTO_RESUME": False,
    "RESNET.NUM_BLOCK_TEMP_KERNEL": [[3], [4], [5], [3]],
}
# Changes to ``EVERYTHING`` for keys that exclude others of it.
ALTERNATIVES: list[dict[str, Any]] = [
    {"SOLVER.LR_POLICY": "steps_with_relative_lrs", "SOLVER.STEPS": [0, 9], "SOLVER.LRS": [1, 0.1]},
    {"SOLVER.COSINE_AFTER_WARMUP": True, "SOLVER.CLIP_GRAD_L2NORM": 1.0, "DATA.PATH_PREFIX": "videos"},
    {"SOLVER.OPTIMIZING_METHOD": "adamw", "SOLVER.CLIP_GRAD_VAL": 1.0},
    {"BN.NORM_TYPE": "sub_batchnorm", "BN.NUM_SPLITS": 2, "BN.USE_PRECISE_STATS": True},
    {"BN.NORM_TYPE": "sync_batchnorm", "BN.NUM_SYNC_DEVICES": 1},
    {
        "MULTIGRID.LONG_CYCLE": True,
        "SOLVER.LR_POLICY": "steps_with_relative_lrs",
        "SOLVER.STEPS": [0, 90],
        "SOLVER.LRS": [1, 0.1],
    },
    {"MODEL.ARCH": "x3d", "MODEL.MODEL_NAME": "X3D"},
]


@pytest.fixture(scope="module")
def drafts(tmp_path_factory: pytest.TempPathFactory) -> list[Draft]:
    """Return conversions that read every key of PySlowFast at least once."""
    path = tmp_path_factory.mktemp("keys") / "file.yaml"
    found = []
    for change in [{}, *ALTERNATIVES]:
        path.write_text(as_yaml(EVERYTHING | change))
        found.append(read(path))
    return found


def plain() -> list[tuple[str, str]]:
    """Return the keys of PySlowFast that correspond to one key."""
    return [(source, here) for source, here in RENAMED.items() if here in OWN and source not in WITHOUT_EFFECT]


@pytest.mark.parametrize(("source", "here"), plain())
def test_a_key_becomes_what_errors_and_pages_say(source: str, here: str, drafts: list[Draft]) -> None:
    comments = [draft.values[here][1] for draft in drafts if here in draft.values]
    section = source.partition(".")[0]
    assert any(source.rpartition(".")[2] in text or text == section for text in comments), comments


def test_arguments_of_networks_become_what_errors_and_pages_say(drafts: list[Draft]) -> None:
    named = {here.rpartition(".")[2] for here in RENAMED.values() if here.startswith("model.arguments.")}
    assert named == {name for draft in drafts for name in draft.get("model.arguments")}


def test_every_network_exists_here() -> None:
    assert {name for name, _ in NETWORKS.values()} | {"r2plus1d", "slowfast"} <= set(MODELS)


def test_every_key_of_pyslowfast_is_classified_once() -> None:
    assert not set(DEFAULTS) & set(WITHOUT_COUNTERPART)
    assert not set(DEFAULTS) & set(NO_MEANING)
    switches = {"DETECTION.ENABLE", "MASK.ENABLE"}  # of other tasks
    details = {"BN.GLOBAL_SYNC", "RESNET.TRANS_FUNC", "SOLVER.DAMPENING", "TRAIN.CHECKPOINT_TYPE", "TRAIN.ENABLE"}
    assert set(DEFAULTS) - set(RENAMED) == switches | details


def test_the_table_of_pyslowfast_is_generated() -> None:
    page = (ROOT / "docs/from_pyslowfast.md").read_text(encoding="utf-8")
    assert with_table(page) == page, "run python -m videopool.migrate.tables"


def test_the_table_of_mmaction2(tmp_path: Path) -> None:
    """Each row names a source and the key that it becomes, as the conversion says in its comments."""
    page = (ROOT / "docs/from_mmaction2.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \|$", page.partition("## Keys")[2].partition("## ")[0], re.MULTILINE)
    assert len(rows) > 50
    comments = {(key, text) for draft in mmaction2_drafts(tmp_path) for key, (_, text) in draft.values.items()}
    for source, here in rows:
        start = re.split(r" x GPUs| or SyncBN", source)[0]
        assert any(key == here and text.startswith(start) for key, text in comments), (source, here)


def mmaction2_drafts(folder: Path) -> list[Draft]:
    """Return conversions of all recipes, and of one that has what they lack."""
    texts = {f"{name}_kinetics.py": as_python(values) for name, values in RECIPES.items()}
    slow = texts["slowonly_r50_8xb16-8x8x1_kinetics.py"]
    texts["more_8xb16-8x8x1.py"] = (
        slow
        + """
model['backbone'] = dict(type='ResNet3dSlowOnly', with_cp=True, norm_eval=True)
model['cls_head'] = dict(type='I3DHead', label_smooth_eps=0.1)
model['data_preprocessor']['blending'] = dict(
    type='RandomBatchAugment', augments=[dict(type='MixupBlending'), dict(type='CutmixBlending')])
load_from = 'weights.pth'
work_dir = 'runs'
randomness = dict(seed=3)
auto_scale_lr = dict(enable=True, base_batch_size=128)
optim_wrapper['type'] = 'AmpOptimWrapper'
optim_wrapper['paramwise_cfg'] = dict(norm_decay_mult=0, bias_decay_mult=0)
param_scheduler = [dict(type='PolyLR', power=2)]
train_dataloader['dataset']['pipeline'] = [
    dict(type='UniformSample', clip_len=8), dict(type='RandomRescale', scale_range=(256, 320)),
    dict(type='RandomCrop', size=224), dict(type='ColorJitter'), dict(type='RandomErasing'),
    dict(type='PytorchVideoWrapper', op='RandAugment')]
"""
    )
    texts["sgd_8xb16-8x8x1.py"] = slow + "optim_wrapper['optimizer']['nesterov'] = True\n"
    texts["tsn_8xb16-8x8x1.py"] = (
        slow + "train_dataloader['dataset']['pipeline'][1] = dict(type='SampleFrames', clip_len=1, num_clips=8)\n"
    )
    for name, text in texts.items():
        (folder / name).write_text(text)
    return [read(folder / name) for name in texts]


@pytest.mark.parametrize("name", PAGES)
def test_keys_on_the_pages_exist(name: str) -> None:
    page = (ROOT / f"docs/{name}.md").read_text(encoding="utf-8")
    ours = "\n".join(line.rpartition(" | ")[2] for line in page.splitlines() if line.startswith("|"))
    named = {text for text in re.findall(r"`([a-z_]+(?:\.[a-z_]+)+)[:=`]", ours) if text.partition(".")[0] in SECTIONS}
    assert named
    assert {text for text in named if text not in OWN and not text.startswith("model.arguments.")} == set()
