"""Clips whose frames are spread over a span, as PySlowFast and pytorchvideo take them."""

from __future__ import annotations

from videopool.migrate.draft import Draft


def set_spread(draft: Draft, frames: int, rate: int, fps: float) -> None:
    """Set the sampling of ``frames`` frames from the first to the last of ``frames * rate`` frames.

    The step between two of them is (frames * rate - 1) / (frames - 1): 9, not 8, for 8 frames of 64. It becomes
    ``clip.stride`` if a whole step is off by at most one frame at the end of the clip, else ``clip.window``.
    """
    step = (frames * rate - 1) / max(frames - 1, 1)
    source = f"DATA.SAMPLING_RATE: {frames} frames from the first to the last of {frames * rate}"
    if abs(round(step) - step) * (frames - 1) <= 1 + 1e-9:
        draft.set("clip.stride", max(round(step), 1), source)
        draft.set("clip.fps", float(fps), "DATA.TARGET_FPS")
    else:
        draft.set("clip.sampling", "dense", "frames a fixed part of a second apart")
        draft.set("clip.window", round(frames * step / fps, 6), source)
