"""Reading image files with Pillow: an image is a video of one frame, held for as long as it is looked at.

Every kind of image becomes upright RGB: orientation (EXIF) is applied, transparent parts are laid over white, 16 bits
are cut to their upper 8, CMYK and palettes are converted. Of an animation the first picture is taken.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from videopool.data.reader import DecodeError, VideoInfo, as_frames, scaled_size

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")  # in lower case; files may use any case

_ORIENTATION = 0x0112  # the EXIF tag
_UPRIGHT = {  # what makes a picture of each EXIF orientation upright, in the words of PIL.Image.Transpose
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
_SIDEWAYS = (5, 6, 7, 8)  # orientations that exchange rows and columns
_REDUCING_GAP = 2  # a JPEG may be decoded at a fraction of its size while that leaves twice the wanted one


def is_image(path: str | Path) -> bool:
    """Whether the name of the file is that of an image; every other file is taken for a video."""
    return str(path).lower().endswith(IMAGE_SUFFIXES)


@dataclasses.dataclass(frozen=True)
class Header:
    """An image file that is open, but not decoded yet: ``info`` of the upright picture, Pillow's ``image``."""

    info: VideoInfo
    image: Any
    orientation: int


def read_header(path: str | Path) -> Header:
    """Open the image at ``path``; whoever takes the header closes its ``image``.

    One frame lasts one second, which no clip notices: every time gives this frame.

    Raises:
        DecodeError: if the file is no image, or its header is damaged.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(path)
        orientation = image.getexif().get(_ORIENTATION, 1)
    except UnidentifiedImageError:
        raise DecodeError(path, "is no image that Pillow can open") from None
    except Exception as error:  # damaged headers raise whatever their format's parser stumbles over
        raise DecodeError(path, f"is truncated or damaged ({_reason(error)})") from None
    width, height = image.size[::-1] if orientation in _SIDEWAYS else image.size
    return Header(VideoInfo(1.0, 1.0, width, height, 1), image, orientation)


class ImageReader:
    """An image open in Pillow; see ``VideoReader``. ``short_side`` in pixels, None for the image's own size."""

    def __init__(self, path: str | Path, header: Header, short_side: int | None = None) -> None:
        self._path = path
        self._image = header.image
        self._orientation = header.orientation
        self.info = header.info
        self._size = scaled_size(width=self.info.width, height=self.info.height, short_side=short_side)

    def frames_at(self, times: Sequence[float] | np.ndarray) -> torch.Tensor:
        """See ``VideoReader.frames_at``: the same picture at every time."""
        try:
            picture = np.array(self._decode())
        except Exception as error:  # Pillow has no class of its own for damage
            raise DecodeError(self._path, f"is truncated or damaged ({_reason(error)})") from None
        return as_frames(picture[None], np.zeros(len(times), dtype=np.int64))

    def close(self) -> None:
        """Close the file."""
        self._image.close()

    def _decode(self) -> Any:
        """The upright RGB picture, scaled (bilinear, over all pixels that a larger one has)."""
        from PIL import Image

        width, height = self._size[::-1] if self._orientation in _SIDEWAYS else self._size
        self._image.draft(None, (_REDUCING_GAP * width, _REDUCING_GAP * height))
        picture = as_rgb(self._image)
        if picture.size != (width, height):
            picture = picture.resize((width, height), Image.Resampling.BILINEAR)
        turn = _UPRIGHT.get(self._orientation)
        return picture.transpose(Image.Transpose[turn]) if turn else picture


def as_rgb(image: Any) -> Any:
    """A Pillow image of any mode as RGB of 8 bits."""
    from PIL import Image

    if image.mode.startswith("I"):  # 16 bits of grey, which Pillow would clip at 255
        image = Image.fromarray(np.clip(np.asarray(image).astype(np.int64) >> 8, 0, 255).astype(np.uint8))
    if image.has_transparency_data:  # the colour behind transparent pixels is arbitrary, often black
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image)
        image = white
    return image.convert("RGB")


def _reason(error: Exception) -> str:
    """The message of an error without the path, which DecodeError names already."""
    return getattr(error, "strerror", None) or str(error).partition("\n")[0] or type(error).__name__
