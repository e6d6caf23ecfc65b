"""One set of images or clips through all pooling methods: the experiment's results, held together."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence

import torch

from videopool.report.similarity_run import Measured, Variant, check_size, measure, windows_of

BASELINE = "avg"  # what the others are compared with, item by item
RESIZE_NAMES = {"nearest": "nearest neighbour", "linear": "linear interpolation"}


@dataclasses.dataclass(frozen=True)
class Study:
    """One set of items, images or clips, through all variants, windows and resizes.

    ``kind`` names the set in titles ("images"), ``shapes`` maps its items to their sizes in words.
    """

    kind: str
    shapes: dict[str, str]
    variants: tuple[Variant, ...]
    windows: tuple[tuple[int, ...], ...]
    draws: int
    measured: list[Measured]

    def scores(self, variant: str, window: tuple[int, ...], resize: str) -> list[Measured]:
        """One for each item, in their order."""
        return [m for m in self.measured if (m.variant, m.window, m.resize) == (variant, window, resize)]

    def gains(self, variant: str, window: tuple[int, ...], resize: str) -> list[float]:
        """SSIM less that of average pooling on the same item, for each item."""
        pairs = zip(self.scores(variant, window, resize), self.scores(BASELINE, window, resize), strict=True)
        return [one.ssim - other.ssim for one, other in pairs]

    @property
    def has_baseline(self) -> bool:
        """Whether average pooling is among the variants."""
        return any(variant.name == BASELINE for variant in self.variants)

    @property
    def families(self) -> list[tuple[str, tuple[tuple[int, ...], ...]]]:
        """Windows of one form with its name: ``k x k``, ``1 x k x k``, ``k x k x k``."""
        forms: dict[str, list[tuple[int, ...]]] = {}
        for window in self.windows:
            deep = "" if len(window) == 2 else "1 x " if window[0] == 1 else "k x "
            forms.setdefault(f"{deep}k x k", []).append(window)
        return [(name, tuple(windows)) for name, windows in forms.items()]


def times(window: Sequence[int]) -> str:
    """A window as it is said: 2x2x2."""
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
    """Pool all ``items`` and compare; refused before the first is pooled where one of them is too small.

    Args:
        kind: what the items are called in titles.
        items: by name, uint8 pictures [3,H,W] or clips [3,T,H,W].
        chosen: the variants.
        sizes: the k of the windows (``windows_of``).
        draws: see ``measure``.
        on_step: called with the keywords ``completed`` and ``total``, steps: one for each item, window and variant.

    Raises:
        InputError: naming the item that is too small.
    """
    windows = windows_of(next(iter(items.values())).dim() - 1, sorted(set(sizes)))
    for name, x in items.items():
        check_size(name, x, windows)
    floats = ((name, as_floats(x)) for name, x in items.items())
    done, total = itertools.count(1), len(items) * len(windows) * len(chosen)
    measured = measure(floats, chosen, windows, draws=draws, on_step=lambda: on_step(completed=next(done), total=total))
    shapes = {name: _shape(x) for name, x in items.items()}
    return Study(kind, shapes, tuple(chosen), windows, draws, measured)


def as_floats(x: torch.Tensor) -> torch.Tensor:
    """uint8 as float32 in 0..1."""
    return x.to(torch.float32) / 255


def _shape(x: torch.Tensor) -> str:
    *frames, height, width = x.shape[1:]
    return "".join(f"{count} frames of " for count in frames) + f"{width} x {height}"
