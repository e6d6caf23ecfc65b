"""Read image files with Pillow. An image is a video of one frame, which is on display at every time.

Every image is converted to upright RGB: EXIF orientation is applied, transparent pixels are blended with white, 16 bits
are reduced to the upper 8, CMYK and palettes are converted. An animation is read as its first picture.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch

from videopool.data.decoding.reader import DecodeError, Grids, Outputs, Timing, VideoInfo
from videopool.data.decoding.source import Source
from videopool.ops.frames import RGB, Grid

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")  # in lower case; files may use any case

_PNG = b"\x89PNG\r\n"
_FIRST_BYTES = (b"\xff\xd8\xff", _PNG, b"BM")  # of JPEG, PNG and BMP
_HEADER_BYTES = 512  # an animated PNG has its chunk "acTL" in these, before the first "IDAT"

_ORIENTATION = 0x0112  # the EXIF tag
_UPRIGHT = {  # the PIL.Image.Transpose that makes a picture of each EXIF orientation upright
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
_SIDEWAYS = (5, 6, 7, 8)  # orientations that exchange rows and columns
_REDUCING_GAP = 2  # a JPEG is decoded at a fraction of its size if that is at least this many times the wanted size


def is_image(path: str | Path) -> bool:
    """Return whether the file name is that of an image; all other files are read as videos."""
    return str(path).lower().endswith(IMAGE_SUFFIXES)


def holds_image(source: Source) -> bool:
    """Return whether a source is an image, by its suffix.

    Parts of files and bytes in memory have no suffix; their first bytes decide, and an animated PNG is a video.
    """
    if source.path is not None and source.part is None:
        return is_image(source.path)
    begin = source.read(_HEADER_BYTES)
    if begin.startswith(_PNG) and b"acTL" in begin.partition(b"IDAT")[0]:
        return False
    return begin.startswith(_FIRST_BYTES) or (begin[:4] == b"RIFF" and begin[8:12] == b"WEBP")


@dataclasses.dataclass(frozen=True)
class Header:
    """An open image file that is not decoded yet: the ``info`` of the upright picture and Pillow's ``image``."""

    info: VideoInfo
    image: Any
    orientation: int


def read_header(source: Source) -> Header:
    """Open an image. The caller closes the ``image`` of the header.

    The frame lasts one second, but it is on display at every time.
    """
    from PIL import Image, UnidentifiedImageError

    path = source.name
    try:
        image = Image.open(source.for_python())
        orientation = image.getexif().get(_ORIENTATION, 1)
    except UnidentifiedImageError:
        raise DecodeError(path, "is not an image that Pillow can open") from None
    except Exception as error:  # damaged headers raise errors of many kinds
        raise DecodeError(path, f"is truncated or damaged ({_reason(error)})") from None
    width, height = image.size[::-1] if orientation in _SIDEWAYS else image.size
    return Header(VideoInfo.of(Timing(1.0, 1.0, 1), width=width, height=height), image, orientation)


class ImageReader:
    """An image open in Pillow; see ``VideoReader``."""

    pixel_aspect = Fraction(1)

    def __init__(self, source: Source, header: Header) -> None:
        self._source = source
        self._header = header
        self.info: VideoInfo = header.info
        self.timing: Timing = header.info.timing

    def clips(self, times: Sequence[float] | np.ndarray, grids: Grids) -> list[torch.Tensor]:
        wanted = grids(self.info.height, self.info.width)
        finest = min(min(grid.row_step, grid.column_step) for grid in wanted)
        try:
            picture = torch.from_numpy(decoded(self._header, reduction=finest / _REDUCING_GAP))
        except Exception as error:  # Pillow has no error class for damage
            raise DecodeError(self._source.name, f"is truncated or damaged ({_reason(error)})") from None
        down, right = self.info.height / picture.shape[0], self.info.width / picture.shape[1]
        outputs = Outputs(np.zeros(1), times, lambda height, width: [_reduced(grid, down, right) for grid in wanted])
        outputs.put(0, picture.unbind(2), RGB)
        return outputs.clips()

    def close(self) -> None:
        """Close the file."""
        self._header.image.close()


def _reduced(grid: Grid, down: float, right: float) -> Grid:
    """Return ``grid`` for a picture in which ``down`` rows and ``right`` columns were merged into one."""
    return dataclasses.replace(
        grid,
        top=grid.top / down,
        left=grid.left / right,
        row_step=grid.row_step / down,
        column_step=grid.column_step / right,
    )


def decoded(header: Header, reduction: float = 1.0) -> np.ndarray:
    """Return the upright picture, uint8 [H,W,3]; a JPEG may be reduced by a factor of up to ``reduction``."""
    from PIL import Image

    image = header.image
    if reduction > 1:
        image.draft(None, (round(image.width / reduction), round(image.height / reduction)))
    picture = as_rgb(image)
    turn = _UPRIGHT.get(header.orientation)
    return np.array(picture.transpose(Image.Transpose[turn]) if turn else picture)


def as_rgb(image: Any) -> Any:
    """Convert a Pillow image of any mode to RGB with 8 bits."""
    from PIL import Image

    if image.mode.startswith("I"):  # 16 bits of gray, which Pillow would clip to 255
        image = Image.fromarray(np.clip(np.asarray(image).astype(np.int64) >> 8, 0, 255).astype(np.uint8))
    if image.has_transparency_data:  # the color of transparent pixels is arbitrary, often black
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image)
        image = white
    return image if image.mode == "RGB" else image.convert("RGB")  # convert would copy it


def _reason(error: Exception) -> str:
    """Return the message of an error without the path, which DecodeError contains."""
    return getattr(error, "strerror", None) or str(error).partition("\n")[0] or type(error).__name__
