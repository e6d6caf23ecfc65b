"""Find fonts that have the characters of class names, in any script."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from videopool.errors import InputError
from videopool.files import escape_surrogates

_SUFFIXES = (".ttf", ".otf", ".ttc")
_PREFERRED = ("DejaVuSans.ttf", "NotoSans-Regular", "NotoSansCJK-Regular", "NotoSans", "LiberationSans-Regular")
_FOLDERS = {
    "linux": ("/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts"),
    "darwin": ("/System/Library/Fonts", "/Library/Fonts", "~/Library/Fonts"),
    "win32": ("C:/Windows/Fonts",),
}
_BOXES = "LastResort"  # a font with a box for each script
_NO_CHARACTER = "\U0010ffff"  # is never assigned, so a font draws its sign for missing characters
_TEST_PIXELS = 24


class Fonts:
    """The fonts of some texts.

    Args:
        texts: what will be drawn, such as the names of classes.
        given: a font to use for all of them; None looks for installed ones.

    Attributes:
        missing: the texts for which no font has all characters.

    Raises:
        InputError: if Pillow is missing, or cannot read the given font.
    """

    def __init__(self, texts: Sequence[str], given: Path | None = None) -> None:
        self._paths: dict[str, Path | None] = {}
        missing = []
        for text in texts:
            candidates = iter([given]) if given else itertools.chain(_installed(), [None])
            found = next((path for path in candidates if _has_all(path, text)), ...)
            self._paths[text] = given if found is ... else found
            if found is ...:
                missing.append(text)
        self.missing = tuple(missing)

    def path(self, text: str) -> Path | None:
        """Return the font file of ``text``; None is the font that Pillow contains."""
        return self._paths.get(text)

    def font(self, text: str, pixels: int) -> Any:
        """Return the ``PIL.ImageFont`` of ``text`` of a height of ``pixels``."""
        return _load(self.path(text), pixels)

    def note(self) -> str:
        """Return a sentence about the texts without a font, "" if there are none."""
        if not self.missing:
            return ""
        others = f" and {len(self.missing) - 1} more" if len(self.missing) > 1 else ""
        return (
            f"No font has all characters of the class {escape_surrogates(self.missing[0])!r}{others}; they are drawn "
            "as boxes. Install a font such as Noto Sans, or name one with --font FILE."
        )


@functools.cache
def _installed() -> tuple[Path, ...]:
    """Return the font files of this machine, with general ones first."""
    folders = [Path(folder).expanduser() for folder in _FOLDERS.get(sys.platform, ())]
    matplotlib = importlib.util.find_spec("matplotlib")
    if matplotlib is not None and matplotlib.origin:
        folders.append(Path(matplotlib.origin).parent / "mpl-data/fonts/ttf")
    found = [path for folder in folders for path in _fonts_in(folder)]

    def rank(path: Path) -> tuple[int, str]:
        ranks = (number for number, name in enumerate(_PREFERRED) if path.name.startswith(name))
        return next(ranks, len(_PREFERRED)), path.name

    return tuple(sorted(found, key=rank))


def _fonts_in(folder: Path) -> Iterator[Path]:
    found = (path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    return (path for path in found if not path.name.startswith(_BOXES))


@functools.lru_cache(maxsize=512)
def _load(path: Path | None, pixels: int) -> Any:
    from PIL import ImageFont

    if path is None:
        return ImageFont.load_default(pixels)
    try:
        return ImageFont.truetype(str(path), pixels)
    except OSError as error:
        raise InputError(f"{path} cannot be read as a font ({error}). Give a .ttf, .otf or .ttc file.") from None


def _has_all(path: Path | None, text: str) -> bool:
    try:
        return all(_has(path, character) for character in dict.fromkeys(text) if _is_drawn(character))
    except InputError:
        if path in _installed():
            return False  # a damaged or bitmap font of the system
        raise


@functools.cache
def _has(path: Path | None, character: str) -> bool:
    """Return whether a font draws ``character`` other than a missing one."""
    return _drawn(path, character) != _drawn(path, _NO_CHARACTER)


def _drawn(path: Path | None, character: str) -> tuple[tuple[int, int], bytes]:
    mask = _load(path, _TEST_PIXELS).getmask(character)
    return mask.size, bytes(mask)


def _is_drawn(character: str) -> bool:
    """Return whether a character has a sign of its own: not spaces, marks on other characters, or controls."""
    category = unicodedata.category(character)
    return category[0] not in "ZM" and category not in ("Cc", "Cf", "Cs")
