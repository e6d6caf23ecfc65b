"""What the measured stages of a loader mean, in words: pure functions from figures to sentences."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

_KEYFRAMES = 12  # of `tools/prepare.py transcode --gop`
_WORTH = 1.25  # gains below this factor are not worth a copy of the data


@dataclasses.dataclass(frozen=True)
class Measured:
    """A loader on a data set, per sample (clip).

    Attributes:
        milliseconds: processor time by stage.
        span: frames of the video from the first to the last of a clip.
        decoded: packets that were decoded or passed over.
        keyframes: frames from one keyframe to the next, median over the files.
        short_side: of the files in pixels, median.
        wanted_side: to which it is scaled, pixels, the largest.
        batch: clips of a step, per process.
        step_seconds: that a training step takes; None if not known.
    """

    milliseconds: Mapping[str, float]
    span: float
    decoded: float
    keyframes: float
    short_side: float
    wanted_side: float
    batch: int
    step_seconds: float | None = None

    @property
    def total_ms(self) -> float:
        """Processor time of a sample."""
        return sum(self.milliseconds.values())


def advice(found: Measured) -> list[str]:
    """Sentences, the most important first."""
    stage, most = max(found.milliseconds.items(), key=lambda item: item[1])
    total = found.total_ms
    said = [f"{_NAMES.get(stage, stage)} is {most / total:.0%} of the {total:.1f} ms of processor time of a sample."]
    decoding = found.milliseconds.get("decode", 0.0)
    said += _shorter_groups(found, decoding) + _smaller_frames(found, decoding)
    if found.milliseconds.get("list", 0.0) > 0.1 * total:
        said.append(
            f"Listing packets is {found.milliseconds['list'] / total:.0%}: the files have a variable rate, hidden "
            "frames or no index; `tools/prepare.py transcode` writes files that need none of it."
        )
    return [*said, _workers(found)]


_NAMES = {"decode": "Decoding", "open": "Opening files", "convert": "Converting pixels", "list": "Listing packets"}


def _shorter_groups(found: Measured, decoding: float) -> list[str]:
    """Frames before the clip are decoded from the keyframe on: half the distance of keyframes on average."""
    if found.keyframes <= _KEYFRAMES or not found.decoded:
        return []
    after = found.span + _KEYFRAMES / 2
    saved = decoding * max(0.0, 1 - after / found.decoded)
    factor = found.total_ms / (found.total_ms - saved)
    if factor < _WORTH:
        return []
    return [
        f"Keyframes are {found.keyframes:.0f} frames apart, so that {found.decoded:.0f} frames are gone through for a "
        f"clip that spans {found.span:.0f}: `tools/prepare.py transcode --gop {_KEYFRAMES}` would save about "
        f"{factor:.1f}x."
    ]


def _smaller_frames(found: Measured, decoding: float) -> list[str]:
    """Decoding takes as long as there are pixels."""
    pixels = (found.short_side / found.wanted_side) ** 2
    if pixels <= 1:
        return []
    factor = found.total_ms / (found.total_ms - decoding * (1 - 1 / pixels))
    if factor < _WORTH:
        return []
    return [
        f"Frames of {found.short_side:.0f} pixels are scaled to {found.wanted_side:.0f}: `tools/prepare.py transcode "
        f"--short-side {found.wanted_side:.0f}` would save about {factor:.1f}x."
    ]


def _workers(found: Measured) -> str:
    each = 1000 / found.total_ms
    if found.step_seconds is None:
        need = "a step of S seconds needs"
        count = f"{found.batch} / ({each:.0f} S)"
    else:
        need = f"a step of {found.step_seconds:g} s needs"
        count = f"{max(1, math.ceil(found.batch / found.step_seconds / each))}"
    return f"A worker gives {each:.0f} samples/s at most; with {found.batch} clips {need} {count} workers per device."
