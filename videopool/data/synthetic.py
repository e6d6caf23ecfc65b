"""A small data set of real H.264 files whose eight classes differ in motion alone.

Two textured patches, one inside the other, are drawn on a textured background. Their state is a point on a torus:
position (the frame wraps around), angle, and phase of growth. The patch at phase u has the size ``smallest * ratio **
u`` and the opacity ``sin(pi * u) ** 2``; the other patch is half a turn of the phase ahead. A patch that has grown
becomes transparent and starts again small, so growth can continue forever, like a rising Shepard tone.

A video starts at a uniform random state and moves at constant speed along one axis; its class is the axis and
direction. A uniform state stays uniform under motion. So a single frame has the same distribution in all classes, and a
video played backwards is a video of the opposite class.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from videopool.data.video_file import write_video
from videopool.errors import InputError
from videopool.files import write_text
from videopool.ranges import AT_LEAST_ONE, AT_LEAST_ZERO

MOTIONS = ("left", "right", "up", "down", "clockwise", "counter-clockwise", "grow", "shrink")

_AXES = {  # axis of the state (x, y, angle, phase) and direction; y points down, so angles grow clockwise
    "left": (0, -1),
    "right": (0, 1),
    "up": (1, -1),
    "down": (1, 1),
    "clockwise": (2, 1),
    "counter-clockwise": (2, -1),
    "grow": (3, 1),
    "shrink": (3, -1),
}
_TURNS = ((0.45, 0.9), (0.45, 0.9), (0.4, 0.7), (0.5, 0.9))  # slowest and fastest motion of each axis in a video
_TEXTURE = 160  # texels per side: more than pixels, so the nearest one is good enough
_SMALLEST, _RATIO = 0.3, 3.0  # radius at phase 0 as a fraction of the shorter side; how much larger at phase 1
_SETTINGS = "motions.json"


@dataclasses.dataclass(frozen=True)
class Scene:
    """The content of a video.

    Attributes:
        background: float32 [H,W,3], 0..255.
        patches: two of uint32 [S,S], one byte each for red, green, blue and opacity.
        state: (x, y, angle, phase) in the first frame, each in turns of its circle (0..1).
    """

    background: np.ndarray
    patches: tuple[np.ndarray, np.ndarray]
    state: np.ndarray


def write_motion_videos(
    root: str | Path,
    *,
    train_per_class: int,
    test_per_class: int,
    size: tuple[int, int] = (112, 112),
    frames: int = 28,
    fps: int = 14,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write ``root/train/<class>/*.mp4`` and ``root/test/<class>/*.mp4``; existing files are kept.

    Each file is written under another name and renamed, so an existing file is complete. A video depends on ``seed``
    and its number only.

    Args:
        root: folder to write to; it is created if it does not exist.
        train_per_class, test_per_class: videos of each of the eight ``MOTIONS``.
        size: (width, height) in pixels, even numbers.
        frames, fps: of each video.
        seed: not negative.
        progress: called with (files done, files in total) after each file.

    Returns:
        The number of files written.

    Raises:
        InputError: if a size or number is out of range, or ``root`` contains videos with other settings.
    """
    if any(length < 32 or length % 2 for length in size):
        raise InputError(f"size={size[0]} x {size[1]} must be even numbers of 32 or more", setting="size")
    AT_LEAST_ONE.check("frames", frames)
    AT_LEAST_ONE.check("fps", fps)
    AT_LEAST_ZERO.check("train_per_class", train_per_class)
    AT_LEAST_ZERO.check("test_per_class", test_per_class)
    AT_LEAST_ZERO.check("seed", seed)
    _claim(Path(root), {"size": list(size), "frames": frames, "fps": fps, "seed": seed})
    counts = {"train": train_per_class, "test": test_per_class}
    plan = [(split, motion, n) for split, count in counts.items() for motion in MOTIONS for n in range(count)]
    written = 0
    for done, (split, motion, number) in enumerate(plan, start=1):
        path = Path(root) / split / motion / f"{motion}-{number:04d}.mp4"
        if not path.exists():
            key = (seed, list(counts).index(split), MOTIONS.index(motion), number)
            rng = np.random.default_rng(key)
            write_video(path, motion_frames(motion, size=size, frames=frames, rng=rng), fps)
            written += 1
        if progress is not None:
            progress(done, len(plan))
    return written


def motion_frames(motion: str, *, size: tuple[int, int], frames: int, rng: np.random.Generator) -> np.ndarray:
    """Return the frames of a video of class ``motion`` with a random scene and speed: uint8 [T,H,W,3]."""
    scene = random_scene(size=size, rng=rng)
    return draw(scene, motion_states(motion, start=scene.state, frames=frames, rng=rng))


def motion_states(motion: str, *, start: np.ndarray, frames: int, rng: np.random.Generator) -> np.ndarray:
    """Return the states of a video of class ``motion`` from ``start`` [4] on, with a random speed: float64 [T,4]."""
    axis, direction = _AXES[motion]
    slowest, fastest = _TURNS[axis]
    speed = rng.uniform(slowest, fastest) / max(frames - 1, 1)
    states = np.tile(start, (frames, 1))
    states[:, axis] += direction * speed * np.arange(frames)
    return states


def random_scene(*, size: tuple[int, int], rng: np.random.Generator) -> Scene:
    """Return a scene with random textures, colors, outline and state, independent of any class."""
    width, height = size
    background = _texture(rng, height, width, contrast=rng.uniform(8, 20))
    return Scene(background, (_patch(rng), _patch(rng)), rng.random(4))


def draw(scene: Scene, states: np.ndarray) -> np.ndarray:
    """Return the frames of a scene in the given states [T,4] (x, y, angle, phase, in turns): uint8 [T,H,W,3]."""
    frames = np.broadcast_to(scene.background, (len(states), *scene.background.shape)).copy()
    phases = (states[:, 3, None] + [0.0, 0.5]) % 1.0
    for time, state in enumerate(states):
        for layer in np.argsort(-phases[time]):  # the larger patch is drawn first
            _paste(frames[time], scene.patches[layer], state, float(phases[time, layer]))
    return np.clip(np.rint(frames), 0, 255).astype(np.uint8)


def _paste(frame: np.ndarray, patch: np.ndarray, state: np.ndarray, phase: float) -> None:
    """Draw a patch on ``frame`` [H,W,3], in place: each pixel takes the texel at its position."""
    height, width = frame.shape[:2]
    radius = _SMALLEST * _RATIO**phase * min(height, width)
    across = _wrapped(np.arange(width) - state[0] * width, width) / radius
    down = _wrapped(np.arange(height) - state[1] * height, height) / radius
    rows, columns = np.flatnonzero(np.abs(down) < 1), np.flatnonzero(np.abs(across) < 1)
    cosine, sine = math.cos(2 * math.pi * state[2]), math.sin(2 * math.pi * state[2])
    across, down = across[columns], down[rows, None]
    texels = patch[_texel(cosine * down - sine * across), _texel(cosine * across + sine * down)].view(np.uint8)
    texels = texels.reshape(len(rows), len(columns), 4).astype(np.float32)
    opacity = texels[..., 3:] * np.float32(math.sin(math.pi * phase) ** 2 / 255)
    place = np.ix_(rows, columns)
    below = frame[place]
    frame[place] = below + opacity * (texels[..., :3] - below)


def _texel(position: np.ndarray) -> np.ndarray:
    """Return the row or column of the texel at ``position`` (-1..1); outside, that of the transparent edge."""
    scaled = (position.astype(np.float32) + 1) * ((_TEXTURE - 1) / 2) + 0.5
    return np.clip(scaled, 0, _TEXTURE - 1, out=scaled).astype(np.int32)


def _wrapped(distance: np.ndarray, circle: float) -> np.ndarray:
    """Return the shortest signed distance on a circle of the given length."""
    return (distance + circle / 2) % circle - circle / 2


def _patch(rng: np.random.Generator) -> np.ndarray:
    """Return a texture with an outline, uint32 [S,S], so that one look-up gives the four bytes of a texel."""
    texture = _texture(rng, _TEXTURE, _TEXTURE, contrast=rng.uniform(25, 60))
    pixels = np.concatenate([texture, _outline(rng)[..., None]], axis=2)
    return np.ascontiguousarray(pixels, dtype=np.uint8).view(np.uint32)[..., 0]


def _texture(rng: np.random.Generator, height: int, width: int, *, contrast: float) -> np.ndarray:
    """Return smooth noise around a random color, float32 [height, width, 3], 0..255, periodic at its edges."""
    rows, columns = np.fft.fftfreq(height)[:, None] * height, np.fft.rfftfreq(width)[None] * width
    frequency = np.hypot(rows, columns)
    finest = rng.uniform(1.5, 4)  # waves per side
    spectrum = np.exp(-((frequency / finest) ** 2)) * (frequency > 0)
    noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((3, height, width))) * spectrum, s=(height, width))
    noise /= noise.std(axis=(1, 2), keepdims=True)
    color = rng.uniform(60, 195, (3, 1, 1))
    image = np.clip(color + contrast * noise, 0, 255).transpose(1, 2, 0)
    return np.ascontiguousarray(image, dtype=np.float32)


def _outline(rng: np.random.Generator) -> np.ndarray:
    """Return the opacity 0..255 of a patch with a wavy, slightly soft outline inside the unit circle: float32 [S,S]."""
    grid = np.linspace(-1, 1, _TEXTURE)
    angle, radius = np.arctan2(grid[:, None], grid[None]), np.hypot(grid[:, None], grid[None])
    waves = sum(rng.uniform(0, 0.08) * np.cos(k * angle + rng.uniform(0, 2 * math.pi)) for k in range(2, 5))
    return (255 * np.clip((0.75 + waves - radius) / 0.05, 0, 1)).astype(np.float32)


def _claim(root: Path, settings: dict[str, Any]) -> None:
    """Write the settings to ``root``, so that videos of different settings are never mixed."""
    path = root / _SETTINGS
    wanted = json.dumps(settings)
    if path.exists():
        if path.read_text() != wanted:
            raise InputError(
                f"{root} contains videos with other settings ({path.read_text()}). Delete it or use another folder."
            )
    else:
        write_text(path, wanted)
