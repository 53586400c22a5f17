"""Cells as files: opening images and reading recordings, whatever holds them; a failure is an Unreadable.

Axes: h height, w width, c channel, n sample.
"""

import io
import math
import warnings
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from polymodal.errors import Unreadable
from polymodal.modalities.base import Guess

PICTURES = frozenset(".jpg .jpeg .jpe .jfif .png .gif .bmp .webp .tif .tiff .ppm .pgm .pbm .avif .jp2 .ico".split())
FORMATS = "JPEG PNG GIF BMP DIB WEBP TIFF PPM AVIF JPEG2000 ICO TGA PCX".split()  # none that runs a program
ORIENTATION, SIDEWAYS = 0x0112, (5, 6, 7, 8)  # the EXIF tag, and its values that swap height and width
RECORDINGS = frozenset(".wav .flac .ogg .oga .opus .mp3 .aif .aiff .aifc .au .caf .w64 .rf64".split())
RATES = (100, 1_000_000)  # samples a second that a header may say

# --- any file -----------------------------------------------------------------------------------------


def readable(path: Path) -> Path:
    """The path, if it is a file that holds something; else Unreadable says what it is."""
    try:
        if not path.exists():
            raise Unreadable(f"{path} does not exist")
        if path.is_dir():
            raise Unreadable(f"{path} is a folder, expected a file")
        if path.stat().st_size == 0:
            raise Unreadable(f"{path} is empty (0 bytes)")
    except OSError as e:  # a name too long, a loop of links, no permission
        raise Unreadable(f"{path} can't be read: {reason(e)}") from e
    except ValueError as e:  # a NUL in the name
        raise Unreadable(f"{str(path)!r} is not a path: {e}") from e
    return path


def named(cell: Any) -> str:
    """The cell in an error's text."""
    if isinstance(cell, str | Path):
        return str(cell)
    return f"{len(cell)} bytes" if isinstance(cell, bytes | bytearray | memoryview) else f"a {type(cell).__name__}"


def reason(e: BaseException) -> str:
    """An exception as one short line, without the path that the message names already."""
    text = e.strerror if isinstance(e, OSError) and e.strerror else str(e)
    return " ".join(text.split())[:200] or type(e).__name__


def spread(cells: list[Any], count: int) -> list[Any]:
    """At most `count` of the cells, evenly spread."""
    return cells if len(cells) <= count else [cells[i * len(cells) // count] for i in range(count)]


def count_opening(cells: Sequence[Any], test: Any, suffixes: frozenset[str], noun: str) -> Guess:
    """A Guess from how many cells pass `test`; a file named like one that does not open counts half."""
    if not cells:
        return Guess(0.0, "no cells")
    good = [test(c) for c in cells]
    named_so = sum(
        not g and isinstance(c, Path) and c.suffix.lower() in suffixes for c, g in zip(cells, good, strict=True)
    )
    what = "paths" if all(isinstance(c, Path) for c, g in zip(cells, good, strict=True) if g) else "cells"
    reason = f"{sum(good)} of {len(cells)} cells are {what} that open as {noun}"
    if named_so:
        reason += f"; {named_so} are named like {noun} but don't open"
    return Guess((sum(good) + named_so / 2) / len(cells), reason)


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
            raise Unreadable(f"{named(cell)} is damaged: {reason(e)}") from e


class Silence:
    """While any thread is inside, no Python warning is shown in any.

    Pillow warns of large images, odd EXIF and odd palettes; what matters of it is raised here. By itself
    `catch_warnings` would mix up the filters of threads that decode side by side.
    """

    def __init__(self) -> None:
        self.lock, self.inside, self.filters = Lock(), 0, warnings.catch_warnings()

    def __enter__(self) -> None:
        with self.lock:
            if not self.inside:
                self.filters = warnings.catch_warnings()
                self.filters.__enter__()
                warnings.simplefilter("ignore")
            self.inside += 1

    def __exit__(self, *error: object) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                self.filters.__exit__(None, None, None)


silence = Silence()


def header(cell: Any) -> Image.Image:
    """The cell as a PIL image whose pixels have not been read."""
    if isinstance(cell, Image.Image):
        try:
            return cell.copy()  # the caller's image stays open, and as it was
        except Exception as e:  # its file was opened lazily, and is damaged
            raise Unreadable(f"{named(cell)} is damaged: {reason(e)}") from e
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
        raise Unreadable(f"{named(cell)} is too large to decode safely: {reason(e)}") from e
    except UnidentifiedImageError as e:
        raise Unreadable(f"{named(cell)} is not an image") from e
    except Exception as e:
        raise Unreadable(f"{named(cell)} can't be opened as an image: {reason(e)}") from e


@lru_cache(maxsize=1)
def formats() -> tuple[str, ...]:
    """Those of FORMATS that this Pillow was built with."""
    Image.init()
    return tuple(f for f in FORMATS if f in Image.OPEN)


def from_array(x: NDArray) -> Image.Image:
    """(H, W), or (H, W, C) with C of 1 to 4: grey, grey + alpha, RGB, RGBA."""
    if x.ndim == 3 and x.shape[2] == 1:
        x = x[..., 0]
    if (
        not x.size
        or x.ndim not in (2, 3)
        or (x.ndim == 3 and x.shape[2] not in (2, 3, 4))
        or x.dtype.kind not in "biuf"
    ):
        raise Unreadable(f"an array {x.shape} of {x.dtype} is not an image: expected (H, W) or (H, W, 1 to 4) numbers")
    return Image.fromarray(eight_bit(x))


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
    """Whether the cell opens as an image; a bare array only if it can't be a series: uint8, or three axes."""
    if hasattr(cell, "__array__") and not isinstance(cell, Image.Image):
        x = np.asarray(cell)
        if x.ndim < 2 or (x.ndim == 2 and x.dtype != np.uint8):
            return False
    return not isinstance(cell, str) and shape(cell) is not None


# --- recordings ---------------------------------------------------------------------------------------


def read(cell: Any, rate: int, seconds: float) -> NDArray[np.float32]:
    """The cell as mono samples (N,) at `rate`, N >= 1, at most `seconds`; Unreadable says what is wrong."""
    x_nc, came = samples(cell, seconds)
    if not RATES[0] <= came <= RATES[1]:
        raise Unreadable(f"{named(cell)} says {came} samples a second: expected {RATES[0]} to {RATES[1]}")
    if not len(x_nc):
        raise Unreadable(f"{named(cell)} is a recording of 0 samples")
    x = x_nc[: math.ceil(seconds * came)].mean(1, dtype=np.float32)
    if not np.isfinite(x).all():
        raise Unreadable(f"{named(cell)} holds samples that are NaN or infinite")
    return resampled(x, came, rate)[: max(1, math.ceil(seconds * rate))]


def resampled(x: NDArray[np.float32], came: int, rate: int) -> NDArray[np.float32]:
    """Polyphase resampling with an antialiasing filter; N samples -> ceil(N * rate / came)."""
    if came == rate:
        return x
    from scipy.signal import resample_poly

    # odd rates are met to within 1e-3, so that the filter's length is bounded
    ratio = Fraction(rate, came).limit_denominator(1000)
    y: NDArray = resample_poly(x, ratio.numerator, ratio.denominator)
    return y.astype(np.float32)


def samples(cell: Any, seconds: float) -> tuple[NDArray, int]:
    """The cell's samples (N, C), scaled to -1 to 1 if they are integers, and their rate."""
    if isinstance(cell, tuple) and len(cell) == 2:
        return from_pair(*cell)
    import soundfile

    try:
        with soundfile.SoundFile(playable(cell)) as f:
            x = f.read(math.ceil(seconds * f.samplerate), dtype="float32", always_2d=True)
            if len(x) < min(f.frames, math.ceil(seconds * f.samplerate)) and f.frames < 2**62:
                raise Unreadable(f"{named(cell)} is cut off: {len(x)} of {f.frames} samples")
            return x, int(f.samplerate)
    except Unreadable:
        raise
    except Exception as e:  # soundfile raises LibsndfileError, RuntimeError, TypeError by format
        raise Unreadable(f"{named(cell)} can't be read as audio: {reason(e)}") from e


def from_pair(x: Any, rate: Any) -> tuple[NDArray, int]:
    """(samples, rate) -> samples (N, C) as floats and the rate."""
    try:
        x, rate = np.asarray(x), int(rate)
    except (TypeError, ValueError, OverflowError) as e:
        raise Unreadable(f"a pair that is not (samples, rate): {reason(e)}") from e
    if x.ndim not in (1, 2) or x.dtype.kind not in "iuf":
        raise Unreadable(f"samples of shape {x.shape} and type {x.dtype}: expected numbers (N,) or (N, channels)")
    x = x[:, None] if x.ndim == 1 else x
    if x.dtype == np.uint8:
        return (x.astype(np.float32) - 128) / 128, rate
    if x.dtype.kind in "iu":
        return x.astype(np.float32) / np.float32(np.iinfo(x.dtype).max), rate
    with np.errstate(over="ignore"):
        return x.astype(np.float32), rate


def playable(cell: Any) -> str | io.BytesIO:
    """What soundfile opens: the path of a file that holds something, or bytes."""
    if isinstance(cell, str | Path):
        return str(readable(Path(cell)))
    if isinstance(cell, bytes | bytearray | memoryview):
        if not len(cell):
            raise Unreadable("0 bytes: expected the bytes of a recording")
        return io.BytesIO(cell)
    raise Unreadable(f"a {type(cell).__name__} is not a recording: expected a path, bytes or (samples, rate)")


def rate_of(cell: Any) -> int | None:
    """The rate, from the header; None if the cell does not open as a recording."""
    if isinstance(cell, tuple) and len(cell) == 2:
        try:
            return from_pair(*cell)[1]
        except Unreadable:
            return None
    import soundfile

    try:
        if isinstance(cell, str):
            return None
        return int(soundfile.info(playable(cell)).samplerate)
    except Exception:
        return None
