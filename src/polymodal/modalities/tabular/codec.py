"""Numbers, categories, booleans and dates of one row, read together.

    {"price": "3.5", "city": "Oslo", "sold": None} --Cells--> [0.41, 7, nan]

Axes: b batch, f field (an encoded number or category; a date takes several).
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from polymodal.batch import Masked
from polymodal.errors import InputError, Unreadable
from polymodal.levels import order_of
from polymodal.modalities.base import Codec, Guess, missing, stack
from polymodal.modalities.extractor import Vectorizer
from polymodal.modalities.tabular import lists
from polymodal.modalities.tabular.columns import (
    FALSE,
    FIT,
    READ,
    TRUE,
    category,
    cell_text,
    code,
    moment,
    number,
    read,
    way_of,
)
from polymodal.modalities.tabular.columns import fields as count_fields
from polymodal.modalities.tabular.features import Fields
from polymodal.nn import Size
from polymodal.ops import zeroed

# what every date has: two numbers, six digits in a row, or a month and a year
PARTS = re.compile(r"\d\D+\d|\d{6}|[A-Za-z]{3}\D*\d{4}")


class Cells(Codec):
    """A mapping {column: raw value} -> one float32 a field (F,), NaN where missing.

    columns: the kind of each column, one of "number", "category", "boolean", "date". What fit learns of each
    is in `columns_`, by name:
    - number: asinh((x - median) / (IQR / 1.349)); the deviation stands in for an IQR of 0. x of an ordered category
      is its place, from 0; texts are read in the way that `ways` finds.
    - category: its place in the vocabulary, from 1; 0 for one that training never held. Of lists, then a field an
      item: 1 where it is in the list, else 0.
    - boolean: 1 or -1.
    - date: years since the median date, as a number; then sine and cosine of its place in the year, in the
      week, and, where a training cell holds a time of day, in the day.
    """

    kind: ClassVar[str] = "tabular"
    for_estimators: ClassVar[bool] = True
    columns_: dict[str, dict[str, Any]]

    def __init__(self, columns: dict[str, str]) -> None:
        if wrong := {c: k for c, k in columns.items() if k not in READ}:
            raise InputError(f"Cells was given columns of kinds it does not know, {wrong}; it knows: {', '.join(READ)}")
        self.columns = columns

    @classmethod
    def accepts(cls, cells: Sequence[Any]) -> Guess:
        """Numbers, categories, booleans or dates; `column_kind` says which."""
        return column_kind(cells)[1]

    def fit(self, cells: Iterable[Any], size: Size) -> Self:
        """Learn each column's centre and scale, or its vocabulary."""
        raw: dict[str, list[Any]] = {c: [] for c in self.columns}
        for cell in cells:
            for c, values in raw.items():
                values.append(cell.get(c) if isinstance(cell, Mapping) else None)
        self.columns_ = {c: FIT[kind](raw[c]) for c, kind in self.columns.items()}
        return self

    def encode(self, cell: Any) -> Tensor | None:
        """(F,) float32; None where every column is missing, as is what can't be read: see `unreadable`."""
        if missing(cell):
            return None
        if not isinstance(cell, Mapping):
            raise Unreadable(f"{cell_text(cell)} is not a mapping of column to value")
        x = [y for c, kind in self.columns.items() for y in code(kind, cell.get(c), self.columns_[c])]
        return None if all(map(math.isnan, x)) else torch.tensor(x)

    def unreadable(self, cell: Any) -> dict[str, str]:
        """{column: reason} for the columns of this cell that hold something which can't be read."""
        out = {}
        for c, kind in self.columns.items():
            try:
                READ[kind](cell.get(c) if isinstance(cell, Mapping) else None, self.columns_[c])
            except Unreadable as e:
                out[c] = str(e)
        return out

    def empty(self, cell: Any) -> list[str]:
        """The columns of this cell that hold nothing, or a word for that: "NA", unless that may be a category."""
        out = []
        for c, kind in self.columns.items():
            try:
                if READ[kind](cell.get(c), self.columns_[c]) is None:
                    out.append(c)
            except Unreadable:
                continue
        return out

    def collate(self, cells: Sequence[Tensor | None]) -> Masked:
        """(B, F) and the mask (B, F)."""
        x, row = stack(cells, torch.full((len(self.fields),), math.nan))
        mask = row[:, None] & ~x.isnan()
        return Masked(zeroed(Masked(x, mask)), mask)

    def vectorizer(self) -> Vectorizer:
        """Its fields, a column a category."""
        return Fields(self.fields)

    @property
    def fields(self) -> list[int]:
        """For each field 0 where it is a number, else how many categories, the unknown one included."""
        out = []
        for c, kind in self.columns.items():
            state = self.columns_[c]
            first = len(state["places"]) + 1 if "places" in state else 0
            out += [first, *[0] * (count_fields(kind, state) - 1)]
        return out

    @property
    def field_columns(self) -> list[str]:
        """The column that each field comes from."""
        return [c for c, kind in self.columns.items() for _ in range(count_fields(kind, self.columns_[c]))]


def column_kind(cells: Sequence[Any]) -> tuple[str, Guess]:
    """ "number", "category", "boolean" or "date" for a sample of a column's cells; how surely, and why.

    >>> column_kind([1.5, "2", 3.25])
    ('number', Guess(confidence=0.9, reason='all 3 cells are numbers, 3 distinct'))
    """
    cells = [c for c in cells if not missing(c)]
    n = len(cells)
    if n == 0:
        return "category", Guess(0.0, "every cell is empty")
    if match := lists.find(cells):
        return "category", Guess(0.97, f"lists of {len(match.items)} items, such as {match.items[0]!r}")
    odd = sum(isinstance(c, Path | list | tuple | set | Mapping | np.ndarray | Tensor | bytes) for c in cells)
    if odd > 0.1 * n:
        return "category", Guess(0.0, f"{odd} of {n} cells hold more than one value")
    if order := order_of(cells):
        return "number", Guess(1.0, f"an ordered category: {' < '.join(map(str, order))[:100]}")
    if all(str(c)[:10].strip().lower() in TRUE | FALSE for c in cells):
        return "boolean", Guess(0.95, f"all {n} cells are words of yes or no")
    numbers = list(read(number, cells))
    if len(numbers) >= 0.9 * n:
        return numeric_kind(numbers, n)
    dates = [c for c in cells if not isinstance(c, str) or (len(c) <= 40 and PARTS.search(c))]
    if len(dates) >= 0.9 * n and (days := len(list(read(moment, dates)))) >= 0.9 * n:
        return "date", Guess(0.95 * days / n, f"{share(days, n)} cells are dates")
    if way := way_of(cells):
        return "number", Guess(0.97, f"the cells are numbers, written as {way}")
    names = list(read(category, cells))
    distinct = len(set(names))
    reason = f"{distinct} distinct values in {n} cells"
    words = sum(len(x[:1_000].split()) for x in names) / n
    if distinct > 0.5 * n and distinct > 2:
        # each value has about one row, so there is nothing to learn from: a name, an id or a text
        return "category", Guess(0.15, reason)
    # sentences, even repeated ones, share words, which a category can't see
    return "category", Guess((0.9 - 0.6 * distinct / n) * (0.5 if words >= 4 else 1.0), reason)


def numeric_kind(numbers: list[float], n: int) -> tuple[str, Guess]:
    """Number or category, for a column of n cells of which these are the numbers."""
    distinct = len(set(numbers))
    reason = f"{share(len(numbers), n)} cells are numbers, {distinct} distinct"
    whole = all(x.is_integer() for x in numbers)
    # Few whole numbers, each often repeated, may be codes (region 3 is not three times region 1); and if they
    # are not, a category loses little, since so many rows a value teach the order too. Rarer ones need it.
    if whole and 2 <= distinct <= 20 and len(numbers) >= 10 * distinct:
        return "category", Guess(0.7, f"only {distinct} distinct whole numbers in {n} cells")
    return "number", Guess(0.9 * len(numbers) / n, reason)


def share(k: int, n: int) -> str:
    """In words."""
    return f"all {n}" if k == n else f"{k} of {n}"
