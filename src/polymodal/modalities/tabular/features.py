"""Fields of a row as rows of numbers, for estimators."""

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from polymodal.modalities.extractor import Record

FEW = 10  # categories of a field: of more, those of one row have no column


class Fields(BaseEstimator):
    """Numbers and categories of a table's row: numbers as they are, one column a category that training rows hold.

    sizes: for each field 0 where it is a number, else its number of categories, as `Cells` has it.
    """

    LARGEST = 256  # categories of a field: the commonest have columns
    LEAST = 2  # training rows of a category that has a column, where the field has many categories

    def __init__(self, sizes: list[int]) -> None:
        self.sizes = sizes

    def learn(self, rows: Sequence[Record | None]) -> Self:
        """Which categories have a column."""
        x = self._numbers(rows)
        self.categories_: list[list[int]] = []
        for i, n in enumerate(self.sizes):
            counts = np.bincount(x[~np.isnan(x[:, i]), i].astype(int), minlength=1) if n else np.zeros(0)
            best = np.argsort(-counts, kind="stable")[: self.LARGEST]
            least = self.LEAST if n > FEW else 1
            self.categories_.append([int(c) for c in best if counts[c] >= least])
        return self

    def vectors(self, rows: Sequence[Record | None]) -> NDArray[np.float32]:
        """(N, D), NaN for what is missing."""
        x = self._numbers(rows)
        columns = []
        for i, (n, categories) in enumerate(zip(self.sizes, self.categories_, strict=True)):
            if not n:
                columns.append(x[:, i])
            columns += [np.where(np.isnan(x[:, i]), np.nan, x[:, i] == c) for c in categories if n]
        return np.stack(columns, axis=1).astype(np.float32) if columns else np.zeros((len(rows), 0), np.float32)

    def names(self) -> list[str]:
        """Places of the fields, with the category where it is one."""
        out = []
        for i, (n, categories) in enumerate(zip(self.sizes, self.categories_, strict=True)):
            out += [f"{i}={c}" for c in categories] if n else [str(i)]
        return out

    def fields(self, rows: Sequence[Record | None]) -> tuple[NDArray[np.float32], list[int]]:
        """(N, F) the fields as they are, NaN for what is missing; the places of categories."""
        return self._numbers(rows), [i for i, n in enumerate(self.sizes) if n]

    def _numbers(self, rows: Sequence[Record | None]) -> NDArray[np.float32]:
        out = np.full((len(rows), len(self.sizes)), np.nan, dtype=np.float32)
        for row, record in zip(out, rows, strict=True):
            if record is not None:
                row[: len(record)] = record
        return out
