"""The contract of classical features, in prose.

An extractor turns the cells of one column into one row of named numbers each. It is a scikit-learn transformer, in two
steps, so that what is slow is done once a cell and kept, and what is learned sees training rows only:

    cell --read, cached--> record, or None where there is nothing      (never depends on other cells)
    records --learn--> vocabulary, code book, idf ...                  (training rows only)
    records --vectors--> (N, D)                                        NaN (0 where sparse) in the rows of absent cells
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.base import BaseEstimator, TransformerMixin

from polymodal.errors import Unreadable

Record = NDArray[Any]  # float32, float16, int64 or uint8, at most 4 axes, none of length 0


class Vectorizer(Protocol):
    """What makes rows of numbers of the records of a view, for estimators."""

    def learn(self, records: Sequence[Record | None]) -> Self:
        """Find what `vectors` needs in the records of training rows. Returns self."""

    def vectors(self, records: Sequence[Record | None]) -> "NDArray[np.float32] | csr_matrix":
        """(N, D) float32: dense, with NaN in rows whose record is None, or sparse, with 0 there."""

    def names(self) -> list[str]:
        """D names."""

    def fields(self, records: Sequence[Record | None]) -> "tuple[NDArray[np.float32], list[int]] | None":
        """What trees see in place of `vectors`: (N, F) quantities that each mean something alone, NaN where unknown,
        and the places of those that are codes of categories. None where no column means anything alone."""


class Extractor(TransformerMixin, BaseEstimator, ABC):
    """Cells of one column -> (N, D) numbers with names.

    Constructor arguments are settings and are kept under their own names. What `learn` finds is kept in attributes
    whose names end in "_": plain containers, arrays, or scikit-learn's own estimators.

    A cell is None where it is missing, a path or an object as the modality's codec takes it. `fit` and `transform` are
    scikit-learn's, over raw cells; a cell that can't be read counts as absent there, with one warning that counts them.
    """

    kind: ClassVar[str]  # the schema's word for the columns that it reads
    takes_files: ClassVar[bool] = False  # strings in such a column are paths
    costly: ClassVar[bool] = True  # reading is worth keeping on disk

    @abstractmethod
    def read(self, cell: Any) -> Record | None:
        """What is kept of one cell, decided by it and the settings alone; None where it holds nothing.

        Raises Unreadable, saying what was seen and what was expected, for a cell that can't be decoded.
        """

    @abstractmethod
    def learn(self, records: Sequence[Record | None]) -> Self:
        """Find what `vectors` needs in the records of training rows. Returns self."""

    @abstractmethod
    def vectors(self, records: Sequence[Record | None]) -> "NDArray[np.float32] | csr_matrix":
        """(N, D) float32: dense, with NaN in rows whose record is None, or sparse, with 0 there."""

    @abstractmethod
    def names(self) -> list[str]:
        """D names that a person understands, with units: "f0_mean_hz"."""

    def fields(self, records: Sequence[Record | None]) -> "tuple[NDArray[np.float32], list[int]] | None":
        """None: no number means anything alone. See `Vectorizer`."""
        return None

    def fit(self, X: Iterable[Any], y: Any = None) -> Self:
        """Learn from training cells."""
        return self.learn(self._records(X))

    def transform(self, X: Iterable[Any]) -> "NDArray[np.float32] | csr_matrix":
        """(N, D) of raw cells; see `vectors`."""
        return self.vectors(self._records(X))

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """`names`, as scikit-learn asks for them."""
        return np.asarray(self.names(), dtype=object)

    def _records(self, cells: Iterable[Any]) -> list[Record | None]:
        out: list[Record | None] = []
        reasons: list[str] = []
        for cell in cells:
            try:
                out.append(None if cell is None else self.read(cell))
            except Unreadable as e:
                out.append(None)
                reasons.append(str(e))
        if reasons:
            warnings.warn(
                f"{type(self).__name__}: {len(reasons)} of {len(out)} cells can't be read and count as absent; the "
                f"first: {reasons[0]}",
                stacklevel=3,
            )
        return out


def dense(records: Sequence[Record | None], width: int) -> NDArray[np.float32]:
    """Records that are vectors (D,) already -> (N, D), NaN where there is none."""
    out = np.full((len(records), width), np.nan, dtype=np.float32)
    for row, record in zip(out, records, strict=True):
        if record is not None:
            row[:] = record
    return out


class Tokens(BaseEstimator):
    """The mean over tokens of what a frozen network or a column of embeddings gives: (T, D) -> (D,)."""

    def learn(self, rows: Sequence[Record | None]) -> Self:
        """The width; 0 where no row has the view."""
        self.width_ = next((r.shape[-1] for r in rows if r is not None), 0)
        return self

    def vectors(self, rows: Sequence[Record | None]) -> NDArray[np.float32]:
        """(N, D), NaN for None."""
        out = np.full((len(rows), self.width_), np.nan, dtype=np.float32)
        for row, record in zip(out, rows, strict=True):
            if record is not None and self.width_:
                row[:] = record.astype(np.float32).mean(0)
        return out

    def names(self) -> list[str]:
        """Places in the vector."""
        return [str(i) for i in range(self.width_)]

    def fields(self, rows: Sequence[Record | None]) -> None:
        """None: no number means anything alone."""
