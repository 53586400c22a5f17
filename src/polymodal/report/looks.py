"""A cell as a page shows it: a thumbnail, a recording with its spectrogram, an excerpt, a line through a series.

Everything is small and inside the page (data URIs), and each picture has words for those who can't see it. How much is
kept is a question of `Detail`, so that a page of many rows still fits.
"""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from polymodal.data.preprocess import Preprocessor
from polymodal.data.table import Table, resolve
from polymodal.errors import Unreadable
from polymodal.explain.draw import spectrogram, thumbnail
from polymodal.explain.page import encoded, sound, uri
from polymodal.modalities.arrays import array
from polymodal.modalities.audio.files import samples
from polymodal.modalities.base import missing
from polymodal.modalities.places import Seconds
from polymodal.modalities.series.codec import numbers as readings
from polymodal.view.text import plain, short, tail

NAME, VALUE = 80, 120  # characters of a cell's name, of a value
COLUMNS, MODALITIES = 12, 8  # columns of a table, modalities of a row that are shown
POINTS = 160  # of the line through a series
WIDE, HIGH = 320, 80  # its units
DASHES = ("", "6 3", "2 3", "8 3 2 3")  # a channel each: lines are told apart by more than colour
CHANNELS = len(DASHES)
SECONDS = 20.0  # of a recording


class Detail(NamedTuple):
    """How much of a cell is kept: pixels of a picture's longer side, bytes of a recording, characters of a text."""

    side: int
    sound: int
    text: int


DETAILS = (Detail(256, 100_000, 400), Detail(160, 40_000, 300), Detail(96, 0, 200), Detail(0, 0, 120))


class Look(NamedTuple):
    """One modality of a row. image, audio: data URIs or ""; alt: the image in words. lines: SVG or "". text: an
    excerpt. cells: columns and values. gone: why there is nothing to see, or ""."""

    modality: str
    kind: str
    name: str = ""
    image: str = ""
    alt: str = ""
    audio: str = ""
    lines: str = ""
    text: str = ""
    cells: Sequence[tuple[str, str]] = ()
    gone: str = ""


def looks(preprocessor: Preprocessor, table: Table, row: int, detail: Detail) -> list[Look]:
    """The modalities of the row at this position, at most `MODALITIES`."""
    return [_look(preprocessor, table, row, m, detail) for m in preprocessor.modalities[:MODALITIES]]


def _look(preprocessor: Preprocessor, table: Table, row: int, modality: str, detail: Detail) -> Look:
    kind, columns = preprocessor.schema.modalities()[modality]
    if kind == "tabular":
        cells = [(c, table.cells(c)[row]) for c in columns[:COLUMNS]]
        shown = [(short(c, NAME), "" if missing(x) else short(x, VALUE)) for c, x in cells]
        return Look(short(modality, NAME), kind, cells=shown)
    raw = table.cells(columns[0])[row]
    name = tail(raw) if isinstance(raw, str | Path) and kind != "text" else ""
    out = Look(short(modality, NAME), kind, name)
    if not isinstance(raw, np.ndarray) and missing(raw):
        return out._replace(gone="absent")
    takes = any(c.takes_files for v, c in preprocessor.codecs.items() if preprocessor.views[v] == modality)
    try:
        return LOOKS[kind](out, resolve(raw, table.folder) if takes else raw, detail)
    except Unreadable as e:
        return out._replace(gone=f"can't be read: {short(e, VALUE)}")


def _image(look: Look, cell: Any, detail: Detail) -> Look:
    if not detail.side:
        return look._replace(text="a picture, left out to keep the page small")
    image = thumbnail(cell, detail.side)
    alt = f"the picture in {look.modality}, {image.width} by {image.height} pixels here"
    return look._replace(image=uri("image/jpeg", encoded(image, "JPEG", quality=78)), alt=alt)


def _audio(look: Look, cell: Any, detail: Detail) -> Look:
    x_nc, rate = samples(cell, SECONDS)
    duration = len(x_nc) / rate
    if not duration:
        raise Unreadable("a recording without samples")
    said = f"{duration:.1f} seconds" if duration < SECONDS else f"the first {duration:.0f} seconds"
    if not detail.side:
        return look._replace(text=f"a recording of {said}, left out to keep the page small")
    x_ft = spectrogram(Seconds(cell, "", [0.0, duration], duration))
    grey = Image.fromarray(255 - (x_ft[::-1] * 255).astype(np.uint8))
    image = grey.resize((min(max(grey.width, 160), 400), 64), Image.Resampling.BILINEAR)
    alt = f"spectrogram of the recording in {look.modality}, {said}, low notes at the bottom"
    heard = sound(cell, duration, detail.sound)
    return look._replace(image=uri("image/png", encoded(image, "PNG")), alt=alt, audio=heard, text=said)


def _text(look: Look, cell: Any, detail: Detail) -> Look:
    return look._replace(text=short(cell, detail.text))


def _series(look: Look, cell: Any, detail: Detail) -> Look:
    raw = readings(cell)
    if raw is None or not raw.size:
        return look._replace(gone="absent")
    x_tc = np.asarray(raw, dtype=np.float64).reshape(len(raw), -1)
    n, channels = x_tc.shape
    more = f", of which {CHANNELS} are drawn" if channels > CHANNELS else ""
    words = f"{n:,} readings of {channels} channel{'s' * (channels > 1)}{more}{_range(x_tc)}"
    return look._replace(lines=lines(x_tc[:, :CHANNELS], f"{look.modality}: {words}"), text=words)


def _vector(look: Look, cell: Any, detail: Detail) -> Look:
    raw = array(cell)
    if raw is None or not raw.size:
        return look._replace(gone="absent")
    x = np.asarray(raw, dtype=np.float64)
    x_t = x.reshape(-1) if x.ndim == 1 or len(x) == 1 else x.mean(1)
    words = (f"{x.size:,} numbers" if x.ndim == 1 else f"{len(x):,} vectors of {x[0].size:,} numbers") + _range(x)
    return look._replace(lines=lines(x_t[:, None], f"{look.modality}: {words}"), text=words)


LOOKS = {"image": _image, "audio": _audio, "text": _text, "series": _series, "vector": _vector}


def _range(x: NDArray[np.float64]) -> str:
    known = x[np.isfinite(x)]
    return f", from {known.min():.4g} to {known.max():.4g}" if len(known) else ", none of which is known"


def lines(x_tc: NDArray[np.float64], words: str) -> str:
    """A line a channel, all on one scale, as SVG; gaps where readings are not known.

    >>> lines(np.array([[0.0], [1.0]]), "up").count("<path")
    1
    """
    step = -(-len(x_tc) // POINTS)
    x_tc = x_tc[::step]
    known = x_tc[np.isfinite(x_tc)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    scale = (HIGH - 8) / (high - low) if high > low else 0.0
    at = np.linspace(2, WIDE - 2, max(2, len(x_tc)))
    paths = []
    for x_t, dashes in zip(x_tc.T, DASHES, strict=False):
        pen, points = "M", []
        for x, y in zip(at, x_t, strict=False):
            if np.isfinite(y):
                points.append(f"{pen}{x:.1f} {HIGH - 4 - (y - low) * scale:.1f}")
            pen = "L" if np.isfinite(y) else "M"
        dash = f' stroke-dasharray="{dashes}"' if dashes else ""
        paths.append(f'<path d="{"".join(points)}"{dash}/>')
    label = f'role="img" aria-label="{escape(plain(words))}"'
    return f'<svg class="line" viewBox="0 0 {WIDE} {HIGH}" {label}>{"".join(paths)}</svg>'
