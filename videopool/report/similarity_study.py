"""The results of the similarity experiment on a set of images or clips."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence

import torch

from videopool.report.similarity_run import Similarity, Variant, check_size, similarities, windows_of

BASELINE = "avg"  # the other methods are compared with it on each item
RESIZE_NAMES = {"nearest": "nearest neighbor", "linear": "linear interpolation"}


@dataclasses.dataclass(frozen=True)
class Study:
    """The similarities of a set of images or clips, for all variants, windows and resizes.

    ``kind`` names the set in titles ("images"); ``shapes`` has the size of each item as text.
    """

    kind: str
    shapes: dict[str, str]
    variants: tuple[Variant, ...]
    windows: tuple[tuple[int, ...], ...]
    draws: int
    similarities: list[Similarity]

    def scores(self, variant: str, window: tuple[int, ...], resize: str) -> list[Similarity]:
        """Return the similarities of all items, in their order."""
        key = (variant, window, resize)
        return [one for one in self.similarities if (one.variant, one.window, one.resize) == key]

    def gains(self, variant: str, window: tuple[int, ...], resize: str) -> list[float]:
        """Return SSIM minus that of average pooling on the same item, for each item."""
        pairs = zip(self.scores(variant, window, resize), self.scores(BASELINE, window, resize), strict=True)
        return [one.ssim - other.ssim for one, other in pairs]

    @property
    def has_baseline(self) -> bool:
        """Return whether average pooling is among the variants."""
        return any(variant.name == BASELINE for variant in self.variants)

    @property
    def families(self) -> list[tuple[str, tuple[tuple[int, ...], ...]]]:
        """Return the windows of each form and its name: ``k x k``, ``1 x k x k``, ``k x k x k``."""
        forms: dict[str, list[tuple[int, ...]]] = {}
        for window in self.windows:
            deep = "" if len(window) == 2 else "1 x " if window[0] == 1 else "k x "
            forms.setdefault(f"{deep}k x k", []).append(window)
        return [(name, tuple(windows)) for name, windows in forms.items()]


def window_text(window: Sequence[int]) -> str:
    """Return a window as text, such as ``2x2x2``."""
    return "x".join(map(str, window))


def run_study(
    kind: str,
    items: Mapping[str, torch.Tensor],
    chosen: Sequence[Variant],
    sizes: Sequence[int],
    *,
    draws: int,
    on_step: Callable[..., None] = lambda completed, total: None,
) -> Study:
    """Pool all ``items`` and compare; check the sizes of all of them first.

    Args:
        kind: the name of the items in titles.
        items: uint8 pictures [3,H,W] or clips [3,T,H,W] by name.
        chosen: the variants.
        sizes: the k of the windows (``windows_of``).
        draws: see ``similarities``.
        on_step: called with ``completed`` and ``total`` after each variant of each item and window.

    Raises:
        InputError: for an item that is too small.
    """
    windows = windows_of(next(iter(items.values())).dim() - 1, sorted(set(sizes)))
    for name, x in items.items():
        check_size(name, x, windows)
    found: list[Similarity] = []
    steps = list(itertools.product(items, windows, chosen))
    for done, (name, window, variant) in enumerate(steps, start=1):
        found += similarities(name, to_floats(items[name]), variant, window, draws)
        on_step(completed=done, total=len(steps))
    shapes = {name: _shape(x) for name, x in items.items()}
    return Study(kind, shapes, tuple(chosen), windows, draws, found)


def to_floats(x: torch.Tensor) -> torch.Tensor:
    """Return uint8 as float32 in 0..1."""
    return x.to(torch.float32) / 255


def _shape(x: torch.Tensor) -> str:
    *frames, height, width = x.shape[1:]
    return "".join(f"{count} frames of " for count in frames) + f"{width} x {height}"
