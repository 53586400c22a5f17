"""What there is to look at in a cell of each kind; see `view.cell`."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image

from polymodal.modalities.arrays import Array, array
from polymodal.modalities.audio.codec import log_mel
from polymodal.modalities.audio.files import read
from polymodal.modalities.base import missing
from polymodal.modalities.image.files import picture
from polymodal.modalities.series.codec import numbers
from polymodal.view.cell import RATE, SIDE, Fields, Photo, Preview, Recording, Series, Text
from polymodal.view.text import many, number, short

SECONDS, MELS = 60.0, 48  # of a recording, at most; bands of its spectrogram
NAME, VALUE = 80, 120  # characters of a column's name, of a value
COLUMNS = 12  # of a table's row


def photo(cell: Any) -> Photo:
    """The picture, upright."""
    image = picture(cell, (SIDE, SIDE))
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return Photo(image)


def recording(cell: Any) -> Recording:
    """The first minute, as one channel."""
    x_n = read(cell, RATE, SECONDS)
    bands_ft = log_mel(torch.from_numpy(x_n), RATE, MELS).double().numpy().T
    bands_ft = (bands_ft - bands_ft.min()) / max(float(np.ptp(bands_ft)), 1e-9)
    return Recording(x_n, bands_ft, len(x_n) / RATE)


def series(cell: Any) -> Series | None:
    """Every channel."""
    raw = numbers(cell)
    if raw is None or not raw.size:
        return None
    x_tc = np.asarray(raw, dtype=np.float64).reshape(len(raw), -1)
    words = f"{many(len(x_tc), 'reading')} of {many(x_tc.shape[1], 'channel')}"
    return Series(x_tc, words + _range(x_tc))


def vector(cell: Any) -> Series | None:
    """The numbers one after another; of several vectors the mean of each."""
    raw = array(cell)
    if raw is None or not raw.size:
        return None
    x = np.asarray(raw, dtype=np.float64)
    x_t = x.reshape(-1) if x.ndim == 1 or len(x) == 1 else x.reshape(len(x), -1).mean(1)
    words = many(x.size, "number") if x.ndim == 1 else f"{many(len(x), 'vector')} of {many(x[0].size, 'number')}"
    return Series(x_t[:, None], words + _range(x))


def text(cell: Any) -> Text:
    """All of it."""
    return Text(str(cell))


def tabular(cell: Any) -> Fields:
    """The first columns of a mapping from column to value."""
    columns = list(cell.items())[:COLUMNS]
    return Fields([(short(c, NAME), "" if missing(x) else short(x, VALUE)) for c, x in columns])


def _range(x: Array) -> str:
    known = x[np.isfinite(x)]
    return f", from {number(known.min())} to {number(known.max())}" if len(known) else ", none of which is known"


PREVIEWS: dict[str, Callable[[Any], Preview | None]] = {
    "image": photo,
    "audio": recording,
    "series": series,
    "vector": vector,
    "text": text,
    "tabular": tabular,
}
