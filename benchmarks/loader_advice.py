"""Advice on faster loading, as sentences about measured times: pure functions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

_KEYFRAMES = 12  # the default of `videopool prepare transcode --keyframes`
_LEAST_GAIN = 1.25  # smaller factors are not worth a copy of the data


@dataclasses.dataclass(frozen=True)
class LoadingCosts:
    """The costs of loading a sample (clip) of a data set, and the properties of its files.

    Attributes:
        milliseconds: processor time by stage.
        span: frames of the video from the first to the last frame of a clip.
        decoded: packets that were decoded or skipped.
        keyframes: frames from one keyframe to the next, median over the files.
        short_side: shorter side of the files in pixels, median.
        scaled_side: largest shorter side in pixels after scaling.
        batch: clips per step and process.
        step_seconds: seconds of a training step; None if not known.
    """

    milliseconds: Mapping[str, float]
    span: float
    decoded: float
    keyframes: float
    short_side: float
    scaled_side: float
    batch: int
    step_seconds: float | None = None

    @property
    def total_ms(self) -> float:
        """The processor time of a sample."""
        return sum(self.milliseconds.values())


def advice(costs: LoadingCosts) -> list[str]:
    """Return the sentences, the most important first."""
    stage, most = max(costs.milliseconds.items(), key=lambda item: item[1])
    total = costs.total_ms
    sentences = [
        f"{_NAMES.get(stage, stage)} is {most / total:.0%} of the {total:.1f} ms of processor time per sample."
    ]
    decoding = costs.milliseconds.get("decode", 0.0)
    sentences += _more_keyframes(costs, decoding) + _smaller_frames(costs, decoding)
    if costs.milliseconds.get("list", 0.0) > 0.1 * total:
        sentences.append(
            f"Listing packets is {costs.milliseconds['list'] / total:.0%}: the files have a variable rate, hidden "
            "frames or no index. `videopool prepare transcode` writes files that need no listing."
        )
    return [*sentences, _workers(costs)]


_NAMES = {"decode": "Decoding", "open": "Opening files", "convert": "Converting pixels", "list": "Listing packets"}


def _more_keyframes(costs: LoadingCosts, decoding: float) -> list[str]:
    """Advise more keyframes: decoding starts at the keyframe before a clip, on average half a distance earlier."""
    if costs.keyframes <= _KEYFRAMES or not costs.decoded:
        return []
    after = costs.span + _KEYFRAMES / 2
    saved = decoding * max(0.0, 1 - after / costs.decoded)
    factor = costs.total_ms / (costs.total_ms - saved)
    if factor < _LEAST_GAIN:
        return []
    return [
        f"Keyframes are {costs.keyframes:.0f} frames apart, so {costs.decoded:.0f} frames are read for a clip that "
        f"spans {costs.span:.0f}. `videopool prepare transcode --keyframes {_KEYFRAMES}` would make loading about "
        f"{factor:.1f}x faster."
    ]


def _smaller_frames(costs: LoadingCosts, decoding: float) -> list[str]:
    """Advise smaller frames: decoding time is proportional to the number of pixels."""
    pixels = (costs.short_side / costs.scaled_side) ** 2
    if pixels <= 1:
        return []
    factor = costs.total_ms / (costs.total_ms - decoding * (1 - 1 / pixels))
    if factor < _LEAST_GAIN:
        return []
    return [
        f"Frames of {costs.short_side:.0f} pixels are scaled to {costs.scaled_side:.0f}. `videopool prepare transcode "
        f"--short-side {costs.scaled_side:.0f}` would make loading about {factor:.1f}x faster."
    ]


def _workers(costs: LoadingCosts) -> str:
    """Return how many workers a training step needs."""
    each = 1000 / costs.total_ms
    if costs.step_seconds is None:
        need = "a step of S seconds needs"
        count = f"{costs.batch} / ({each:.0f} S)"
    else:
        need = f"a step of {costs.step_seconds:g} s needs"
        count = f"{max(1, math.ceil(costs.batch / costs.step_seconds / each))}"
    return f"A worker loads at most {each:.0f} samples/s. With {costs.batch} clips, {need} {count} workers per device."
