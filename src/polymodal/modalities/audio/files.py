"""Reading recordings, whatever holds them; a failure is an Unreadable.

Axes: n sample, c channel.
"""

import io
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polymodal.errors import Unreadable
from polymodal.modalities.files import name_of, readable, reason

RECORDINGS = frozenset(".wav .flac .ogg .oga .opus .mp3 .aif .aiff .aifc .au .caf .w64 .rf64".split())
RATES = (100, 1_000_000)  # samples a second that a header may say


# --- recordings ---------------------------------------------------------------------------------------


def read(cell: Any, rate: int, seconds: float) -> NDArray[np.float32]:
    """The cell as mono samples (N,) at `rate`, N >= 1, at most `seconds`; Unreadable says what is wrong."""
    x_nc, came = samples(cell, seconds)
    if not RATES[0] <= came <= RATES[1]:
        raise Unreadable(f"{name_of(cell)} says {came} samples a second: expected {RATES[0]} to {RATES[1]}")
    if not len(x_nc):
        raise Unreadable(f"{name_of(cell)} is a recording of 0 samples")
    x = x_nc[: math.ceil(seconds * came)].mean(1, dtype=np.float32)
    if not np.isfinite(x).all():
        raise Unreadable(f"{name_of(cell)} holds samples that are NaN or infinite")
    return resample(x, came, rate)[: max(1, math.ceil(seconds * rate))]


def resample(x: NDArray[np.float32], came: int, rate: int) -> NDArray[np.float32]:
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
                raise Unreadable(f"{name_of(cell)} is cut off: {len(x)} of {f.frames} samples")
            return x, int(f.samplerate)
    except Unreadable:
        raise
    except Exception as e:  # soundfile raises LibsndfileError, RuntimeError, TypeError by format
        raise Unreadable(f"{name_of(cell)} can't be read as audio: {reason(e)}") from e


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
