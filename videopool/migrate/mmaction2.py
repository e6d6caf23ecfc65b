"""Configurations of mmaction2 1.x as configurations of videopool."""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import Any

from videopool.errors import InputError
from videopool.migrate.draft import Draft
from videopool.migrate.keys import Keys, flatten
from videopool.migrate.mmaction2_clips import set_clips, set_evaluation, unwrap
from videopool.migrate.mmaction2_network import set_network
from videopool.migrate.mmaction2_training import set_training
from videopool.migrate.python_file import PythonFile, Unevaluated, read_python

# Variables that mmaction2 reads. Others, such as data_root, only help to write them.
_READ = (
    "model",
    "train_dataloader",
    "val_dataloader",
    "test_dataloader",
    "train_cfg",
    "optim_wrapper",
    "param_scheduler",
    "auto_scale_lr",
    "default_hooks",
    "custom_hooks",
    "load_from",
    "resume",
    "randomness",
    "work_dir",
    "val_cfg",
    "test_cfg",
    "val_evaluator",
    "test_evaluator",
    "env_cfg",
    "log_processor",
    "log_level",
    "visualizer",
    "vis_backends",
    "default_scope",
    "launcher",
    "find_unused_parameters",
)
# Patterns of keys that describe what videopool finds out itself, or what does not change results.
NO_MEANING = (
    "*_dataloader.dataset.filename_tmpl",
    "*_dataloader.dataset.test_mode",
    "*_dataloader.dataset.type",
    "*_dataloader.dataset.delimiter",
    "*_dataloader.persistent_workers",
    "*_dataloader.pin_memory",
    "*_dataloader.sampler.*",
    "*_dataloader.drop_last",
    "*_evaluator*",
    "default_hooks.*",
    "default_scope",
    "env_cfg.*",
    "find_unused_parameters",
    "launcher",
    "log_level",
    "log_processor.*",
    "model.cls_head.fc1_bias",
    "model.cls_head.in_channels",
    "model.cls_head.init_std",
    "model.cls_head.loss_cls.type",
    "model.cls_head.num_classes",
    "model.cls_head.num_segments",
    "model.cls_head.topk",
    "model.cls_head.type",
    "model.data_preprocessor.format_shape",
    "model.data_preprocessor.type",
    "model.test_cfg*",
    "model.train_cfg*",
    "model.type",
    "optim_wrapper.loss_scale",
    "resume",
    "test_cfg*",
    "test_dataloader.num_workers",
    "train_cfg.type",
    "train_cfg.val_begin",
    "val_cfg*",
    "val_dataloader.*",
    "vis_backends*",
    "visualizer.*",
)
_OLD = ("lr_config", "total_epochs", "optimizer_config")


def read_mmaction2(path: Path) -> Draft:
    """Return the configuration of a Python file of mmaction2, of which nothing is run.

    Raises:
        InputError: if the file is not a configuration of mmaction2 1.x, or if videopool has no such network.
    """
    file = read_python(path)
    draft = Draft("mmaction2", path)
    for name in file.missing:
        draft.lose("_base_", f"{name} does not exist next to {path.name}; its keys are missing")
    _check(file, path)
    values = {name: _plain(file.values[name], name, draft) for name in _READ if name in file.values}
    unwrap(values, draft)
    keys = Keys(flatten(values), where={})
    set_network(keys, draft)
    set_clips(keys, draft)
    set_training(keys, draft)
    set_evaluation(keys, draft)
    for key, _ in keys.unread():
        if any(fnmatch.fnmatch(key, pattern) for pattern in NO_MEANING):
            draft.ignored.append(key)
        else:
            draft.lose(key, "unknown key")
    return draft


def _check(file: PythonFile, path: Path) -> None:
    old = [name for name in _OLD if name in file.values]
    if old and "optim_wrapper" not in file.values:
        raise InputError(
            f"{path} is a configuration of mmaction2 0.x ({old[0]}); only 1.x can be read. Convert it by its migration "
            "guide first"
        )
    model = file.values.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("type"), str):
        missing = f" Its bases are missing: {', '.join(file.missing)}." if file.missing else ""
        raise InputError(
            f"{path} has no model = dict(type=...).{missing} Give a configuration of mmaction2, and leave it in its "
            "folder if it has _base_ files"
        )


def _plain(value: Any, name: str, draft: Draft) -> Any:
    """Return ``value`` without parts that were not evaluated, which are recorded."""
    if isinstance(value, Unevaluated):
        draft.lose(name, f"cannot be evaluated: {value.text} ({value.where})")
        return None
    if isinstance(value, dict):
        return {key: _plain(each, f"{name}.{key}", draft) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each, f"{name}[{number}]", draft) for number, each in enumerate(value)]
    return value
