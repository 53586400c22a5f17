"""How large each cell is, and which can't be read: every cell is opened once, files by several threads."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from polymodal.data.cache import key
from polymodal.data.encode import Bad
from polymodal.data.schema import Schema
from polymodal.data.table import Table, resolve
from polymodal.errors import Unreadable
from polymodal.hardware import cores
from polymodal.modalities import MODALITIES
from polymodal.modalities.record import Modality
from polymodal.modalities.sizes import Measure, Sizes
from polymodal.nn import SIZES
from polymodal.progress import Ticker, bar


class Measurements(NamedTuple):
    """What opening every cell told.

    sizes: by column, the summary that `inspect` documents. absent: by column, positions that hold nothing.
    bad: cells that can't be read. content: by column, one value a row, equal where the cells hold the same.
    """

    sizes: dict[str, dict[str, Any]]
    absent: dict[str, set[int]]
    bad: list[Bad]
    content: dict[str, list[Any]]


def measure(table: Table, schema: Schema, quiet: bool = False) -> Measurements:
    """Open every cell of every column."""
    result = Measurements({}, {c: _empty(table.cells(c)) for c in table.columns}, [], {})
    media = [
        (c.name, m, m.measure)
        for c in schema.columns.values()
        if (m := MODALITIES.get(c.kind)) is not None and m.measure is not None
    ]
    with bar("opening", len(media) * table.rows, quiet) as tick, warnings.catch_warnings():
        # threads can't each have filters of their own; what matters comes as an Unreadable
        warnings.simplefilter("ignore")
        for i, (column, modality, how) in enumerate(media):
            _media(table, column, modality, how, result, partial(_tick, tick, i * table.rows, column))
    for modality in MODALITIES.values():
        _cells(table, modality, {c.name: c.kind for c in schema.columns.values() if c.kind in modality.columns}, result)
    for c in table.columns:
        result.content.setdefault(c, [_content(x) for x in table.cells(c)])
    return result


def _tick(tick: Ticker, start: int, note: str, n: int) -> None:
    tick(start + n, note)


def _empty(cells: Sequence[Any]) -> set[int]:
    return {i for i, c in enumerate(cells) if c is None}


def _media(
    table: Table, column: str, modality: Modality, how: Measure, result: Measurements, tick: Callable[[int], object]
) -> None:
    raw = table.cells(column)
    cells = [resolve(c, table.folder) for c in raw] if modality.codec.takes_files else raw
    names = [c if isinstance(c, str | Path) else i for i, c in enumerate(cells)]  # a file is opened once
    first = {n: c for n, c in zip(names, cells, strict=True) if c is not None}
    sizes: dict[Any, Sizes | Unreadable] = {}
    contents: dict[Any, Any] = {}
    with ThreadPoolExecutor(cores()) as pool:
        answers = pool.map(lambda c: (_try(how, c), _content(c)), first.values())
        for n, (size, content) in zip(first, answers, strict=True):
            sizes[n], contents[n] = size, content
            tick(round(len(sizes) / len(first) * len(cells)))
    usual = how.usual([s for s in sizes.values() if not isinstance(s, Unreadable)])
    good: list[Sizes] = []
    for i, n in enumerate(names):
        if n not in sizes:
            continue
        size = sizes[n]
        if not isinstance(size, Unreadable) and (why := how.unlike(size, usual)):
            size = Unreadable(f"a {modality.kind} of {why}")
        if isinstance(size, Unreadable):
            result.bad.append(Bad(table.row_number(i), column, str(raw[i])[:200], str(size)))
        elif not size:
            result.absent[column].add(i)
        else:
            good.append(size)
    result.content[column] = [contents.get(n) for n in names]
    if good:
        result.sizes[column] = how.summary(good)


def _try(how: Measure, cell: Any) -> Sizes | Unreadable:
    try:
        return how.of(cell)
    except Unreadable as e:
        return e


def _cells(table: Table, modality: Modality, kinds: Mapping[str, str], result: Measurements) -> None:
    """Columns that are one modality together: what the codec can't read of them, and its words for nothing."""
    if not kinds:
        return
    columns = [table.cells(c) for c in kinds]
    rows = [dict(zip(kinds, row, strict=True)) for row in zip(*columns, strict=True)]
    codec = modality.codec(**modality.settings(kinds)).fit(rows, SIZES["small"])
    for i, row in enumerate(rows):
        for c, why in codec.unreadable(row).items():
            result.bad.append(Bad(table.row_number(i), c, str(row[c])[:200], why))
        for c in codec.empty(row):
            result.absent[c].add(i)


def _content(cell: Any) -> Any:
    """Something hashable that is equal for cells that hold the same: files with the same bytes, 1 and 1.0."""
    if cell is None or isinstance(cell, str | int | float):
        return cell
    try:
        digest = key(cell)
    except ValueError:  # a NUL in a path
        digest = None
    return str(cell) if digest is None else digest
