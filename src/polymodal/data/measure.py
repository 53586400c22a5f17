"""How large each cell is, and which can't be read: every cell is opened once, files by several threads."""

import os
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from polymodal.data.cache import key
from polymodal.data.encode import Bad
from polymodal.data.schema import Schema
from polymodal.data.table import Table, resolve
from polymodal.errors import Unreadable
from polymodal.modalities import MODALITIES
from polymodal.modalities.arrays import array
from polymodal.modalities.audio import files as recordings
from polymodal.modalities.image import files as images
from polymodal.modalities.series.codec import TABLES
from polymodal.modalities.series.codec import table as numbers_of
from polymodal.modalities.tabular.codec import Cells
from polymodal.modalities.tabular.columns import NOTHING, READ
from polymodal.nn import SIZES
from polymodal.progress import Ticker, progress

SECONDS = 30.0  # of a recording that are decoded: as many as the codec reads
Sizes = tuple[float, ...]


class Measured(NamedTuple):
    """What opening every cell told.

    sizes: by column, the summary that `inspect` documents. absent: by column, positions that hold nothing.
    bad: cells that can't be read. content: by column, one value a row, equal where the cells hold the same.
    """

    sizes: dict[str, dict[str, Any]]
    absent: dict[str, set[int]]
    bad: list[Bad]
    content: dict[str, list[Any]]


def measure(table: Table, schema: Schema, quiet: bool = False) -> Measured:
    """Open every cell of every column."""
    found = Measured({}, {c: _empty(table.cells(c)) for c in table.columns}, [], {})
    media = [c for c in schema.columns.values() if c.kind in SIZE]
    with progress("opening", len(media) * table.rows, quiet) as tick, warnings.catch_warnings():
        # threads can't each have filters of their own; what matters comes as an Unreadable
        warnings.simplefilter("ignore")
        for done, column in enumerate(media):
            start = done * table.rows
            _media(table, column.name, column.kind, found, partial(_tick, tick, start, column.name))
    _cells(table, {c.name: c.kind for c in schema.columns.values() if c.kind in READ}, found)
    for c in table.columns:
        found.content.setdefault(c, [_content(x) for x in table.cells(c)])
    return found


def _tick(tick: Ticker, start: int, note: str, done: int) -> None:
    tick(start + done, note)


def _empty(cells: Sequence[Any]) -> set[int]:
    return {i for i, c in enumerate(cells) if c is None}


def _media(table: Table, column: str, kind: str, found: Measured, tick: Callable[[int], object]) -> None:
    raw = table.cells(column)
    codec = next(iter(MODALITIES[kind].codecs.values()))
    cells = [resolve(c, table.folder) for c in raw] if codec.takes_files else raw
    names = [c if isinstance(c, str | Path) else i for i, c in enumerate(cells)]  # a file is opened once
    first = {n: c for n, c in zip(names, cells, strict=True) if c is not None}
    sizes: dict[Any, Sizes | Unreadable] = {}
    contents: dict[Any, Any] = {}
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        answers = pool.map(lambda c: (_try(kind, c), _content(c)), first.values())
        for n, (size, content) in zip(first, answers, strict=True):
            sizes[n], contents[n] = size, content
            tick(round(len(sizes) / len(first) * len(cells)))
    usual = _usual_width(kind, [s for s in sizes.values() if not isinstance(s, Unreadable)])
    good: list[Sizes] = []
    for i, n in enumerate(names):
        if n not in sizes:
            continue
        size = sizes[n]
        if not isinstance(size, Unreadable) and size and usual is not None and size[1] != usual:
            noun = "channels" if kind == "series" else "numbers"
            size = Unreadable(f"a {kind} of {size[1]:.0f} {noun}, but most have {usual:.0f}")
        if isinstance(size, Unreadable):
            found.bad.append(Bad(table.row_number(i), column, str(raw[i])[:200], str(size)))
        elif not size:
            found.absent[column].add(i)
        else:
            good.append(size)
    found.content[column] = [contents.get(n) for n in names]
    if good:
        found.sizes[column] = summary(kind, good)


def _usual_width(kind: str, sizes: Sequence[Sizes]) -> float | None:
    if kind not in ("series", "vector"):
        return None
    counts = Counter(s[1] for s in sizes if s)
    return counts.most_common(1)[0][0] if counts else None


def _try(kind: str, cell: Any) -> Sizes | Unreadable:
    try:
        return SIZE[kind](cell)
    except Unreadable as e:
        return e


def image(cell: Any) -> Sizes:
    """(width, height); decoded to the end, JPEGs at an eighth of their size."""
    images.picture(cell, (8, 8))
    h, w = images.shape(cell) or (0, 0)
    return w, h


def audio(cell: Any) -> Sizes:
    """(seconds, rate, channels)."""
    rate = recordings.rate_of(cell) or 16_000
    x_n = recordings.read(cell, rate, SECONDS)
    if isinstance(cell, tuple):
        samples, rate = recordings.from_pair(*cell)
        return len(samples) / rate, rate, samples.shape[1]
    import soundfile

    about = soundfile.info(recordings.playable(cell))
    known = about.frames < 2**62  # a stream may not say how long it is
    return (about.duration if known else len(x_n) / rate), rate, about.channels


def series(cell: Any) -> Sizes:
    """(readings, channels); nothing where all are NaN."""
    x = numbers_of(cell) if isinstance(cell, Path) and cell.suffix.lower() in TABLES else array(cell)
    return () if x is None or not np.isfinite(x).any() else (len(x), x[0].size)


def vector(cell: Any) -> Sizes:
    """(vectors, numbers in each)."""
    x = array(cell)
    if x is None or not np.isfinite(x).any():
        return ()
    if x.ndim > 2:
        raise Unreadable(f"numbers of shape {x.shape}; expected a vector (D,) or a sequence of them (T, D)")
    return (1 if x.ndim == 1 else len(x)), x.shape[-1]


def text(cell: Any) -> Sizes:
    """(words,)."""
    return (len(str(cell).split()),)


SIZE: dict[str, Callable[[Any], Sizes]] = {
    "image": image,
    "audio": audio,
    "series": series,
    "vector": vector,
    "text": text,
}
NAMES = {
    "image": ("width", "height"),
    "audio": ("seconds", "rates", "channels"),
    "series": ("length", "channels"),
    "vector": ("length", "width"),
    "text": ("words",),
}


def summary(kind: str, sizes: Sequence[Sizes]) -> dict[str, Any]:
    """Each size's smallest, median and largest; of rates, how many cells have each.

    >>> summary("text", [(3,), (5,), (13,)])
    {'words': {'min': 3, 'median': 5, 'max': 13}}
    """
    out: dict[str, Any] = {}
    for name, values in zip(NAMES[kind], zip(*sizes, strict=True), strict=True):
        if name == "rates":
            out[name] = {str(r): n for r, n in Counter(values).most_common()}
        else:
            three = {"min": min(values), "median": float(np.median(values)), "max": max(values)}
            out[name] = {k: int(v) if v == int(v) else round(v, 3) for k, v in three.items()}
    return out


def _cells(table: Table, kinds: Mapping[str, str], found: Measured) -> None:
    """The numbers, categories, booleans and dates: what the codec can't read, and its words for nothing."""
    if not kinds:
        return
    columns = [table.cells(c) for c in kinds]
    rows = [dict(zip(kinds, row, strict=True)) for row in zip(*columns, strict=True)]
    codec = Cells(dict(kinds)).fit(rows, SIZES["small"])
    for i, row in enumerate(rows):
        for c, why in codec.unreadable(row).items():
            found.bad.append(Bad(table.row_number(i), c, str(row[c])[:200], why))
    for c, kind in kinds.items():
        if kind != "category":
            found.absent[c] |= {
                i for i, x in enumerate(table.cells(c)) if isinstance(x, str) and x.strip().lower() in NOTHING
            }


def _content(cell: Any) -> Any:
    """Something hashable that is equal for cells that hold the same: files with the same bytes, 1 and 1.0."""
    if cell is None or isinstance(cell, str | int | float):
        return cell
    try:
        found = key(cell)
    except ValueError:  # a NUL in a path
        found = None
    return str(cell) if found is None else found
