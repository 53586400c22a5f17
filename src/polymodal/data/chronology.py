"""Rows in the order of time: what orders them, whether neighbours hold the same readings, and parts that respect both.

A random part of such rows is no test: a row that is held out resembles the training rows before and after it, as no row
of the future will.
"""

import math
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from polymodal.data.schema import Schema
from polymodal.data.table import Table, resolve
from polymodal.errors import InputError, Unreadable, is_whole
from polymodal.modalities import MODALITIES
from polymodal.modalities.tabular.columns import NUMBER, fit_moment, moment, number, number_or_nan
from polymodal.view.text import many

PAIRS = 24  # pairs of neighbours that are looked at
MOST = 0.9  # of them, and more, must overlap
WIDE = 256  # columns of numbers that are compared with each other
BLOCKS = 30  # parts that intervals are made from, at most
START = datetime(1970, 1, 1)
RANDOM, TIME = SPLITS = ("random", "time")


class Chronology(NamedTuple):
    """How rows are put in order. column: whose values do; None for the order of the table, which is `down` or up. gap:
    how many rows after one hold readings of it. reason: for a person. formats: of the column's dates. apart: rows that
    are left out between those to train on and those held out, since a person asks for it.
    """

    column: str | None
    gap: int
    reason: str
    down: bool = True
    formats: tuple[str, ...] = ()
    apart: int = 0

    def describe(self) -> str:
        """A sentence for a person."""
        latest = "the latest validate, where no others are given"
        latest += f", with a gap of {many(self.apart, 'row')} before them" * (self.apart > 0)
        return f"rows are parted by time, {self.reason}; {latest} (--split random parts them at random)"

    def times(self, table: Table) -> list[float]:
        """A number a row, ascending with time. Raises InputError for a cell that is no time."""
        if self.column is None:
            sign = 1 if self.down else -1
            return [float(sign * table.row_number(i)) for i in range(table.rows)]
        return _times(table, self.column, self.formats)

    def blocks(self, table: Table) -> list[str]:
        """A name a row, the same for those of one stretch of time: errors of neighbours are no independent evidence."""
        when = self.times(table)
        order = np.argsort(when, kind="stable")
        count = min(BLOCKS, max(5, len(order) // max(1, self.gap)))
        out = [""] * len(order)
        for k, part in enumerate(np.array_split(order, min(count, len(order)))):
            for i in part.tolist():
                out[i] = f"{k}: {when[part[0]]} to {when[part[-1]]}"
        return out

    def holdout(self, when: Sequence[float], fraction: float) -> tuple[list[int], list[int]]:
        """The places of rows to train on, and of the latest: about that fraction, and all of one time or none.

        Raises InputError where the rows to leave out between leave none to train on.
        """
        order = np.argsort(when, kind="stable")
        (start,) = _cuts(np.asarray(when)[order], [(1 - fraction) * len(order)])
        return self._around(order, start, len(order), 0)

    def folds(self, when: Sequence[float], k: int) -> list[tuple[list[int], list[int]]]:
        """k pairs of (training, held-out) places, or fewer of fewer times: stretches of time, and all other rows, but
        for the `gap` ones after each, half a stretch at most, and those that are to be left out on either side.

        Each row is held out once. Lopez de Prado 2018, chapter 7 (purged cross-validation).
        """
        order = np.argsort(when, kind="stable")
        n, gap = len(order), min(self.gap, len(order) // (2 * k))
        cuts = _cuts(np.asarray(when)[order], [n * i / k for i in range(1, k)])
        return [self._around(order, first, end, gap) for first, end in pairwise([0, *cuts, n])]

    def _around(self, order: np.ndarray[Any, Any], start: int, end: int, gap: int) -> tuple[list[int], list[int]]:
        before, after = order[: max(0, start - self.apart)], order[end + max(gap, self.apart) :]
        if not len(before) + len(after):
            raise InputError(
                f"a gap of {self.apart} rows leaves none of {len(order)} to train on; give a smaller --gap"
            )
        return sorted([*before.tolist(), *after.tolist()]), sorted(order[start:end].tolist())


def find(
    table: Table, schema: Schema, split: str | None, order: str | None, gap: int | None = None
) -> Chronology | None:
    """How the rows are to be parted: by time where that is asked for, or where neighbours overlap; else None.

    split: "random", "time" or None to look. order: a column of times, which asks for "time". gap: rows to leave out
    between those to train on and those held out. Raises InputError for what does not go together.
    """
    found = _find(table, schema, split, order)
    if gap is None:
        return found
    if found is None:
        raise InputError("--gap is between stretches of time; add --split=time or --order, or leave it out")
    if not is_whole(gap, 0):
        raise InputError(f"--gap can't be {gap!r}; it must be a number of rows from 0")
    return found._replace(apart=gap)


def _find(table: Table, schema: Schema, split: str | None, order: str | None) -> Chronology | None:
    if split not in (None, *SPLITS):
        raise InputError(f"can't split by {split!r}; it is one of {', '.join(SPLITS)}")
    if order is not None and split == RANDOM:
        raise InputError("--order parts rows by time, and --split=random at random; leave one out")
    asked = split == TIME or order is not None
    if asked and schema.group is not None:
        raise InputError("rows are parted by --group or by time; leave one out")
    if order is not None and order in schema.target:
        raise InputError(f"{order!r} is the target; rows can't be ordered by it")
    if split == RANDOM or (schema.group is not None and not asked):
        return None
    if order is not None:
        formats = tuple(fit_moment(table.cells(order))["formats"])
        when = np.array(_times(table, order, formats))
        if len(np.unique(when)) < 2:
            raise InputError(f"rows can't be ordered by {order!r}: it is the same in all of them")
        found = overlap(table.take(np.argsort(when, kind="stable").tolist()), schema)
        return Chronology(order, 0 if found is None else found.gap, f"in the order of {order!r}", formats=formats)
    found = overlap(table, schema)
    return found if found is not None or not asked else Chronology(None, 0, "in the order of the table")


def _cuts(ascending: np.ndarray[Any, Any], wanted: Sequence[float]) -> list[int]:
    """The places next to those that are wanted at which the time changes, each once."""
    changes = 1 + np.flatnonzero(np.diff(ascending))
    if not len(changes):
        raise InputError("rows can't be parted by time: all that have a label are of one time")
    return sorted({int(changes[np.abs(changes - w).argmin()]) for w in wanted})


def _times(table: Table, column: str, formats: Sequence[str]) -> list[float]:
    """Numbers as they are, or seconds of dates, whichever most are. Raises InputError that names the first row which
    holds neither, or nothing."""
    cells = table.cells(column)
    there = [c for c in cells if c is not None]
    dates = 2 * sum(math.isnan(number_or_nan(c)) for c in there) > len(there)
    values = []
    for i, cell in enumerate(cells):
        where = f"rows can't be ordered by {column!r}: row {table.row_number(i)} of {table.name}"
        try:
            value = moment(cell, {"formats": formats}) if dates else number(cell)
        except Unreadable as e:
            ways = "dates such as 2024-05-31 14:00" if dates else "numbers"
            raise InputError(f"{where}: {e}; the others are {ways}") from None
        if value is None:
            raise InputError(f"{where} has no time; fill it in, or leave such rows out")
        values.append(value if isinstance(value, float) else (value - START).total_seconds())
    return values


def overlap(table: Table, schema: Schema) -> Chronology | None:
    """The order of the table, where each row begins a little later (or earlier) than the one above; None elsewhere."""
    if table.rows < 2 * PAIRS:
        return None
    first = np.linspace(0, table.rows - 2, PAIRS).astype(int).tolist()
    for c in schema.columns.values():
        modality = MODALITIES.get(c.kind)
        if modality is not None and modality.shift is not None:
            cells = [[_cell(table, c.name, i + more) for i in first] for more in (0, 1)]
            for down, (a, b) in ((True, cells), (False, reversed(cells))):
                shifts = [s for s in map(modality.shift, a, b) if s is not None]
                if len(shifts) >= MOST * PAIRS:
                    gap = max(s.length for s in shifts) // max(1, min(s.by for s in shifts))
                    return _found(f"{c.name!r} holds readings of the row", down, gap)
    return _lags(table, schema, first)


def _cell(table: Table, column: str, row: int) -> Any:
    return resolve(table.cells(column)[row], table.folder)


def _lags(table: Table, schema: Schema, first: Sequence[int]) -> Chronology | None:
    """Columns of numbers, or the target, whose values stand in another column of the next row."""
    names = [c.name for c in schema.columns.values() if c.kind in (NUMBER, "target")]
    read = {name: [number_or_nan(table.cells(name)[i + more]) for more in (0, 1) for i in first] for name in names}
    x_cn = np.array([read[n] for n in names], dtype=np.float64).reshape(len(names), 2, len(first))
    varied = np.array([len(np.unique(x[0])) > PAIRS / 2 and not _monotone(x[0]) for x in x_cn], dtype=bool)
    at = np.flatnonzero(varied)[:WIDE]
    for down, (now, after) in ((True, (0, 1)), (False, (1, 0))):
        same = (x_cn[at][:, None, now] == x_cn[at][None, :, after]).mean(-1) >= MOST
        np.fill_diagonal(same, False)
        if same.any():
            a, b = (names[at[i]] for i in np.argwhere(same)[0])
            chain, gap = same, 1
            while (chain := chain @ same).any() and gap < len(at):
                gap += 1
            return _found(f"{b!r} is {a!r} of the row", down, gap)
    return None


def _found(what: str, down: bool, gap: int) -> Chronology:
    return Chronology(None, gap, f"in the order of the table, since {what} {'above' if down else 'below'}", down)


def _monotone(x: np.ndarray[Any, Any]) -> bool:
    steps = np.diff(x)
    return bool((steps >= 0).all() or (steps <= 0).all())
