"""Opening images, whatever holds them; a failure is an Unreadable.

Axes: h height, w width, c channel.
"""

import io
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from polymodal.errors import Unreadable
from polymodal.modalities.files import name_of, readable, reason, silence

PICTURES = frozenset(".jpg .jpeg .jpe .jfif .png .gif .bmp .webp .tif .tiff .ppm .pgm .pbm .avif .jp2 .ico".split())
FORMATS = "JPEG PNG GIF BMP DIB WEBP TIFF PPM AVIF JPEG2000 ICO TGA PCX".split()  # none that runs a program
SHORTEST, LONGEST = 8, 8  # side of a picture with its channels first, and how many times the other may be as long
ORIENTATION, SIDEWAYS = 0x0112, (5, 6, 7, 8)  # the EXIF tag, and its values that swap height and width


# --- images -------------------------------------------------------------------------------------------


def picture(cell: Any, at_least: tuple[int, int] | None = None) -> Image.Image:
    """The cell as an upright RGB image; everything that goes wrong is an Unreadable.

    `at_least` (height, width) lets a JPEG be decoded at a fraction of its size that is still at least this
    large.
    """
    with silence, header(cell) as image:
        try:
            if at_least is not None:
                h, w = at_least
                image.draft("RGB", (h, w) if sideways(image) else (w, h))
            image.load()
            return rgb(upright(image))
        except Exception as e:  # Pillow raises OSError, SyntaxError, ValueError, struct.error ... by format
            raise Unreadable(f"{name_of(cell)} is damaged: {reason(e)}") from e


def header(cell: Any) -> Image.Image:
    """The cell as a PIL image whose pixels have not been read."""
    if isinstance(cell, Image.Image):
        try:
            return cell.copy()  # the caller's image stays open, and as it was
        except Exception as e:  # its file was opened lazily, and is damaged
            raise Unreadable(f"{name_of(cell)} is damaged: {reason(e)}") from e
    if isinstance(cell, str | Path):
        return _open(readable(Path(cell)), cell)
    if isinstance(cell, bytes | bytearray | memoryview):
        if not len(cell):
            raise Unreadable("0 bytes: expected the bytes of an image file")
        return _open(io.BytesIO(cell), cell)
    if hasattr(cell, "__array__"):
        return from_array(np.asarray(cell))
    raise Unreadable(f"a {type(cell).__name__} is not an image: expected a path, PIL image, bytes or array")


def _open(source: Path | io.BytesIO, cell: Any) -> Image.Image:
    try:
        return Image.open(source, formats=formats())
    except Image.DecompressionBombError as e:
        raise Unreadable(f"{name_of(cell)} is too large to decode safely: {reason(e)}") from e
    except UnidentifiedImageError as e:
        raise Unreadable(f"{name_of(cell)} is not an image") from e
    except Exception as e:
        raise Unreadable(f"{name_of(cell)} can't be opened as an image: {reason(e)}") from e


@lru_cache(maxsize=1)
def formats() -> tuple[str, ...]:
    """Those of FORMATS that this Pillow was built with."""
    Image.init()
    return tuple(f for f in FORMATS if f in Image.OPEN)


def from_array(x: NDArray) -> Image.Image:
    """(H, W), (H, W, C) or (C, H, W) with C of 1 to 4: grey, grey + alpha, RGB, RGBA."""
    x = np.moveaxis(x, 0, 2) if channels_first(x.shape) else x
    if x.ndim == 3 and x.shape[2] == 1:
        x = x[..., 0]
    if (
        not x.size
        or x.ndim not in (2, 3)
        or (x.ndim == 3 and x.shape[2] not in (2, 3, 4))
        or x.dtype.kind not in "biuf"
    ):
        raise Unreadable(f"an array {x.shape} of {x.dtype} is not an image: expected (H, W), (H, W, C) or (C, H, W)")
    return Image.fromarray(eight_bit(x))


def channels_first(shape: tuple[int, ...]) -> bool:
    """(C, H, W), as torch keeps pictures: only where no channels are last, and both sides are those of a picture.

    >>> channels_first((3, 20, 24)), channels_first((20, 24, 3)), channels_first((3, 6, 500))
    (True, False, False)
    """
    if len(shape) != 3 or shape[0] not in (1, 2, 3, 4) or shape[2] in (1, 2, 3, 4):
        return False
    low, high = sorted(shape[1:])
    return SHORTEST <= low and high <= LONGEST * low


def eight_bit(x: NDArray) -> NDArray[np.uint8]:
    """Any numbers as 0 to 255: by the range of their type, or the first of 1, 255, 65535 that holds all.

    bool and uint8 as they are, uint16 / 257; other integers and floats are divided by the first of (1 for
    floats) 255, 65535 that is not exceeded, else by their maximum; negative and NaN become 0.
    """
    if x.dtype == np.uint8:
        return x
    if x.dtype == bool:
        return x.astype(np.uint8) * np.uint8(255)
    y = np.nan_to_num(x.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0).clip(min=0.0)
    top = float(y.max(initial=0.0))
    steps = (65535.0,) if x.dtype == np.uint16 else (1.0, 255.0, 65535.0) if x.dtype.kind == "f" else (255.0, 65535.0)
    full = next((s for s in steps if top <= s), top)
    return (y * (255.0 / full)).round().astype(np.uint8)


def rgb(image: Image.Image) -> Image.Image:
    """Any mode -> RGB; what is transparent shows white."""
    if image.mode.startswith("I") or image.mode == "F":
        image = Image.fromarray(eight_bit(np.asarray(image)))
    if image.mode in ("LA", "PA", "La", "RGBA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image)
    return image if image.mode == "RGB" else image.convert("RGB")


def sideways(image: Image.Image) -> bool:
    """Whether the camera's rotation swaps height and width."""
    try:
        return image.getexif().get(ORIENTATION) in SIDEWAYS
    except Exception:  # damaged EXIF: the picture is good all the same
        return False


def upright(image: Image.Image) -> Image.Image:
    """The image with the camera's rotation undone."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF
        return image


def shape(cell: Any) -> tuple[int, int] | None:
    """(height, width) of the upright image, from its header; None if it does not open."""
    try:
        with silence, header(cell) as image:
            return image.size if sideways(image) else image.size[::-1]
    except Unreadable:
        return None


def opens(cell: Any) -> bool:
    """Whether the cell opens as an image; a bare array only if it can't be a series: uint8, or channels."""
    if hasattr(cell, "__array__") and not isinstance(cell, Image.Image):
        x = np.asarray(cell)
        if x.ndim < 2 or (x.ndim == 2 and x.dtype != np.uint8):
            return False
    return not isinstance(cell, str) and shape(cell) is not None
