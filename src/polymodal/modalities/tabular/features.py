"""Fields of a row as rows of numbers, for estimators."""

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from polymodal.modalities.extractor import Record


class Fields(BaseEstimator):
    """Numbers and categories of a table's row: numbers as they are, one column a category that training rows hold.

    fields: for each field 0 where it is a number, else its number of categories, as `Cells` has it.
    """

    LARGEST = 64  # categories of a field: the commonest have columns

    def __init__(self, fields: list[int]) -> None:
        self.fields = fields

    def learn(self, rows: Sequence[Record | None]) -> Self:
        """Which categories have a column."""
        x = self._numbers(rows)
        self.categories_: list[list[int]] = []
        for i, n in enumerate(self.fields):
            counts = np.bincount(x[~np.isnan(x[:, i]), i].astype(int), minlength=1) if n else np.zeros(0)
            best = np.argsort(-counts, kind="stable")[: self.LARGEST]
            self.categories_.append([int(c) for c in best if counts[c]])
        return self

    def vectors(self, rows: Sequence[Record | None]) -> NDArray[np.float32]:
        """(N, D), NaN for what is missing."""
        x = self._numbers(rows)
        columns = []
        for i, (n, categories) in enumerate(zip(self.fields, self.categories_, strict=True)):
            if not n:
                columns.append(x[:, i])
            columns += [np.where(np.isnan(x[:, i]), np.nan, x[:, i] == c) for c in categories if n]
        return np.stack(columns, axis=1).astype(np.float32) if columns else np.zeros((len(rows), 0), np.float32)

    def names(self) -> list[str]:
        """Places of the fields, with the category where it is one."""
        out = []
        for i, (n, categories) in enumerate(zip(self.fields, self.categories_, strict=True)):
            out += [f"{i}={c}" for c in categories] if n else [str(i)]
        return out

    def _numbers(self, rows: Sequence[Record | None]) -> NDArray[np.float32]:
        out = np.full((len(rows), len(self.fields)), np.nan, dtype=np.float32)
        for row, record in zip(out, rows, strict=True):
            if record is not None:
                row[: len(record)] = record
        return out
