"""The precision of forward and backward passes: automatic mixed precision, and the scale of the loss in float16."""

from __future__ import annotations

from typing import Literal

import torch

from videopool.errors import InputError

Precision = Literal["float32", "bfloat16", "float16"]
_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Return a context in which layers compute in ``precision`` where that is safe; weights stay float32."""
    return torch.autocast(device.type, _DTYPES.get(precision, torch.bfloat16), enabled=precision in _DTYPES)


def loss_scaler(device: torch.device, precision: Precision) -> torch.amp.GradScaler:
    """Return what keeps gradients in the range of float16; in other precisions it changes nothing.

    The loss is multiplied by a scale, 65,536 at first. A step whose gradient overflows is left out and halves the
    scale; 2,000 steps in a row without an overflow double it (Micikevicius et al., "Mixed Precision Training", ICLR
    2018, section 3.2).
    """
    return torch.amp.GradScaler(device.type, enabled=precision == "float16")


def check_scale(scaler: torch.amp.GradScaler) -> None:
    """Raise ``InputError`` if the gradient overflows float16 even without a scale. The host waits for the device."""
    if scaler.is_enabled() and scaler.get_scale() < 1:
        raise InputError(
            "The gradient overflows float16 at any scale of the loss. Use precision=bfloat16 or precision=float32.",
            setting="precision",
        )
