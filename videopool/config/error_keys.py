"""The configuration keys of the settings that errors of other packages name."""

from __future__ import annotations

from collections.abc import Mapping

from videopool.config.keys import keys_of
from videopool.config.schema import Config
from videopool.errors import InputError

# Packages below the configuration name their own arguments (``InputError.setting``), which these keys set. If several
# keys have the same last part, as ``clip.crop`` and ``evaluate.crop``, it is the first one.
KEYS = {
    **{key.name.rpartition(".")[2]: key.name for key in reversed([*keys_of(Config)]) if key.name.count(".") == 1},
    "timeout": "data.decode_timeout",
    "method": "clip.sampling",
    "target": "model.target",
    "arguments": "model.arguments",
    "batch": "train.batch",
    "augment_target": "augment.target",
    "optim_target": "optim.target",
    "optim_arguments": "optim.arguments",
    "augment_arguments": "augment.arguments",
}


def worded(error: InputError, settings: Mapping[str, str]) -> str:
    """Return the sentence of ``error``, with the key or option that sets what it is about.

    "root=/x is not a folder" becomes "data.root=/x is not a folder"; other sentences begin with "data.root: ".
    """
    message, name = str(error), settings.get(error.setting, "")
    if not name or name in message:
        return message
    if message.startswith(f"{error.setting}="):
        return name + message.removeprefix(error.setting)
    if f"Set {error.setting} " in message:
        return message.replace(f"Set {error.setting} ", f"Set {name} ")
    return f"{name}: {message}"
