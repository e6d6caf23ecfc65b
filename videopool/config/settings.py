"""The configuration keys of the settings that errors of other rooms name."""

from __future__ import annotations

from collections.abc import Mapping

from videopool.errors import InputError

# Rooms below the configuration name their own arguments (``InputError.setting``); these keys set them.
KEYS = {
    **{name: f"data.{name}" for name in ("root", "train", "test", "decoder", "workers", "folder_fps", "deinterlace")},
    **{name: f"data.{name}" for name in ("square_pixels", "max_bad_fraction")},
    "timeout": "data.decode_timeout",
    **{name: f"clip.{name}" for name in ("frames", "stride", "fps", "window", "short", "scale", "crop", "sampling")},
    **{name: f"clip.{name}" for name in ("area", "ratio", "mean", "std")},
    "method": "clip.sampling",
    **{name: f"augment.{name}" for name in ("no_flip", "erase", "mixup", "cutmix", "mix_switch")},
    **{name: f"model.{name}" for name in ("name", "target", "takes", "pooling", "pooling_sites", "pooling_arguments")},
    **{name: f"model.{name}" for name in ("arguments", "dropout", "pretrained")},
    **{name: f"optim.{name}" for name in ("warmup_epochs", "milestones", "label_smoothing")},
    **{name: f"train.{name}" for name in ("seed", "clips_per_video", "sampler", "weights")},
    "batch": "train.batch_per_device",
    **{name: f"evaluate.{name}" for name in ("clips", "crops", "hop")},
    "allow_missing": "evaluate.allow_missing",
    "metrics": "evaluate.metrics",
    "augment_target": "augment.target",
    "augment_arguments": "augment.arguments",
}


def worded(error: InputError, settings: Mapping[str, str]) -> str:
    """Return the sentence of ``error``, with the key or option that sets what it is about.

    "root=/x is not a folder" becomes "data.root=/x is not a folder".
    """
    message, name = str(error), settings.get(error.setting, "")
    if not name or name in message:
        return message
    if message.startswith(f"{error.setting}="):
        return name + message.removeprefix(error.setting)
    return f"{message} It is set with {name}." if message.endswith(".") else f"{message} ({name})"
