"""From records of several views to one matrix, with imputation that knows absence.

    records of a view --extractor--> (N, D), NaN where unknown --drop, standardise, gaps, reduce--> one block
    blocks of all views, and one presence bit a modality, side by side: (N, sum of D)

What is absent lies at the mean (0), and says so: a presence bit a modality, and a bit for each feature that is
unknown in some rows where its modality is present (the pitch of a silent clip, an empty field).

Trees see otherwise: numbers as they are, NaN where unknown, since a threshold needs no scale and a component of many
columns has lost theirs; a category as what the labels of its training rows say, and how many there are.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA, TruncatedSVD

from polymodal.batch import Masked
from polymodal.learners.categories import Categories
from polymodal.modalities.extractor import Record, Vectorizer

Matrix = Any  # (N, D) float32, dense or scipy.sparse.csr_matrix
BOUND = 8.0  # standard deviations
WIDE = 512  # numbers of a view that trees see as they are
GAPS = 0.005  # a feature that is unknown in a larger share of the rows gets a bit of its own


def records(x: Masked) -> list[Record | None]:
    """The record of each row, None where it has none; a hole in a row of numbers is NaN."""
    out: list[Record | None] = []
    for v, m in zip(x.values.cpu().numpy(), x.mask.cpu().numpy(), strict=True):
        if not m.any():
            out.append(None)
            continue
        box = tuple(slice(n) for n in np.argwhere(m).max(0) + 1)  # padding lies at the end of each axis
        record, holes = v[box].copy(), ~m[box]  # a view would keep all of it
        if holes.any():
            record[holes] = np.nan
        out.append(record)
    return out


def here(rows: Sequence[Record | None]) -> NDArray[np.bool_]:
    """(N,) which rows have a record."""
    return np.array([r is not None for r in rows], dtype=bool)


def unit(x: Matrix) -> Matrix:
    """Rows of length 1; what is 0 stays 0."""
    if sparse.issparse(x):
        length = np.sqrt(np.asarray(x.multiply(x).sum(1), dtype=np.float64)).reshape(-1)
        return sparse.diags(1 / np.maximum(length, 1e-12)) @ x
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def beside(parts: Sequence[Matrix]) -> Matrix:
    """The columns of all, dense or sparse."""
    if any(sparse.issparse(p) for p in parts):
        return sparse.hstack([sparse.csr_matrix(p) for p in parts], format="csr")
    return np.concatenate(parts, axis=1)


def below(parts: Sequence[Matrix]) -> Matrix:
    """The rows of all, one part after another."""
    return sparse.vstack(parts, format="csr") if sparse.issparse(parts[0]) else np.concatenate(parts)


class Sight(NamedTuple):
    """What a kind of estimator sees of a view. components: principal ones, at most. sparse: counts stay as they are.
    trees: so do numbers, of views of at most WIDE, and categories are read by the labels of their rows."""

    components: int
    sparse: bool = False
    trees: bool = False


class Block(BaseEstimator):
    """Records of one view -> (N, D), rows of unit length on average over the rows that have the view.

    Constant and doubled features are dropped (`dropped_` of them), the others standardised over the rows in which they
    are known and clipped to 8 standard deviations. With `components`, at most so many principal components are left,
    dense; with `sparse`, those of counts are not sought. Counts are not centred.
    """

    def __init__(
        self, extractor: Vectorizer, components: int | None = None, sparse: bool = False, seed: int = 0
    ) -> None:
        self.extractor, self.components, self.sparse, self.seed = extractor, components, sparse, seed

    def learn(self, rows: Sequence[Record | None], vectors: Any = None) -> Self:
        """Fit the extractor, and what follows it, on the records of training rows.

        vectors: what the extractor, fitted on these rows, makes of them, where that is known.
        """
        x: Any = (self.extractor.learn(rows).vectors(rows) if vectors is None else vectors)[here(rows)]
        self.projection_: Any = None
        self.length_ = 1.0
        if sparse.issparse(x):
            self.keep_ = np.flatnonzero(np.diff(x.tocsc().indptr))
            self.dropped_ = x.shape[1] - len(self.keep_)
        else:
            self._learn_dense(x)
        x = self._prepare(x)
        k = 0 if self._stays(x) else min(self.components or 0, x.shape[0] - 1)
        if x.shape[1] > k > 0:
            how = TruncatedSVD if sparse.issparse(x) else PCA
            self.projection_ = how(k, random_state=self.seed).fit(x)
            x = self.projection_.transform(x)
        square = x.multiply(x).sum() if sparse.issparse(x) else np.square(x, dtype=np.float64).sum()
        self.length_ = float(np.sqrt(square / max(1, x.shape[0]))) or 1.0
        return self

    def matrix(self, rows: Sequence[Record | None], vectors: Any = None) -> Matrix:
        """(N, D), 0 in rows without the view. vectors: what the extractor makes of the rows, where that is known."""
        there = here(rows)
        x = self._prepare((self.extractor.vectors(rows) if vectors is None else vectors)[there])
        if self.projection_ is not None:
            x = self.projection_.transform(x) if x.shape[0] else np.zeros((0, self.projection_.n_components))
        x = x / self.length_
        if sparse.issparse(x):
            place = sparse.csr_matrix(
                (np.ones(there.sum()), (np.flatnonzero(there), np.arange(there.sum()))), (len(rows), there.sum())
            )
            return (place @ x).astype(np.float32)
        out = np.zeros((len(rows), x.shape[1]), dtype=np.float32)
        out[there] = x
        return out

    def fit_matrix(self, rows: Sequence[Record | None], vectors: Any, y: Any) -> Matrix:
        """Learn from training rows; their matrix."""
        return self.learn(rows, vectors).matrix(rows, vectors)

    def _learn_dense(self, x: NDArray[np.float32]) -> None:
        x = np.where(np.isfinite(x), x, np.nan).astype(np.float64)
        finite = ~np.isnan(x)
        count = finite.sum(0)
        known = np.where(finite, x, 0)
        center = known.sum(0) / np.maximum(count, 1)
        scale = np.sqrt((np.where(finite, x - center, 0) ** 2).sum(0) / np.maximum(count, 1))
        varies = scale > 1e-6 * np.maximum(1e-6, np.abs(center))
        z = np.where(finite, (x - center) / np.where(varies, scale, 1), 0).astype(np.float32)
        keep = [i for i in _first_of_each(z) if varies[i]]
        self.keep_, self.dropped_ = np.array(keep, dtype=int), x.shape[1] - len(keep)
        self.center_, self.scale_ = center[keep], scale[keep]
        share = 1 - count / max(1, len(x))
        gaps = [i for i in np.flatnonzero((share > GAPS) & (share < 1 - GAPS))]
        self.gaps_ = np.array([gaps[i] for i in _first_of_each(finite[:, gaps])], dtype=int)

    def _prepare(self, x: Matrix) -> Matrix:
        if sparse.issparse(x):
            x = x[:, self.keep_]
            return x.toarray() if not self._stays(x) and x.shape[1] <= (self.components or 0) else x
        finite = np.isfinite(x)
        z = (np.where(finite, x, 0)[:, self.keep_] - self.center_) / self.scale_
        z = np.where(finite[:, self.keep_], z, 0).clip(-BOUND, BOUND)
        return np.concatenate([z, ~finite[:, self.gaps_]], axis=1).astype(np.float32)

    def _stays(self, x: Matrix) -> bool:
        return self.sparse and sparse.issparse(x)


class Raw(BaseEstimator):
    """Records of one view -> (N, D) for trees: the extractor's fields, where it has any, else its vectors, as they are;
    NaN where unknown, and `Categories` of the labels. link: of the task."""

    def __init__(self, extractor: Vectorizer, link: str, seed: int = 0) -> None:
        self.extractor, self.link, self.seed = extractor, link, seed
        self.dropped_ = 0

    def fit_matrix(self, rows: Sequence[Record | None], vectors: Any, y: Any) -> Matrix:
        """Learn from training rows; their matrix, of categories by the labels of other rows. vectors: what the
        extractor, fitted on these rows, makes of them. y: as `Task.answers` gives it, NaN where a row has no label."""
        x, self.codes_ = self._numbers(rows, vectors)
        self.categories_ = Categories(self.link, self.seed) if self.codes_ else None
        return self._beside(x, self.categories_ and self.categories_.fit_transform(x[:, self.codes_], y))

    def matrix(self, rows: Sequence[Record | None], vectors: Any = None) -> Matrix:
        """(N, D), NaN in rows without the view."""
        x, _ = self._numbers(rows, vectors)
        return self._beside(x, self.categories_ and self.categories_.transform(x[:, self.codes_]))

    def _numbers(self, rows: Sequence[Record | None], vectors: Any) -> tuple[NDArray[np.float32], list[int]]:
        fields = self.extractor.fields(rows)
        return ((self.extractor.vectors(rows) if vectors is None else vectors), []) if fields is None else fields

    def _beside(self, x: NDArray[np.float32], more: NDArray[np.float32] | None) -> NDArray[np.float32]:
        x = np.where(np.isfinite(x), x, np.nan)
        return x if more is None else np.concatenate([np.delete(x, self.codes_, axis=1), more], axis=1)


def see(extractor: Vectorizer, vectors: Matrix, sight: Sight, link: str, seed: int) -> Block | Raw:
    """How a kind of estimator reads a view of which the extractor makes these vectors; not yet learned."""
    narrow = not sparse.issparse(vectors) and vectors.shape[1] <= WIDE
    if sight.trees and (narrow or extractor.fields([]) is not None):
        return Raw(extractor, link, seed)
    return Block(extractor, sight.components, sight.sparse, seed)


class Join(BaseEstimator):
    """Blocks of several views side by side, and one presence bit for each of their modalities.

    blocks: by view. views: the modality of each.
    """

    def __init__(self, blocks: dict[str, Block | Raw], views: dict[str, str]) -> None:
        self.blocks, self.views = blocks, views

    def learn(self, rows: Mapping[str, Sequence[Record | None]]) -> Self:
        """Fit each block on training rows; views that say nothing (of constant features alone) are left out."""
        for view, block in self.blocks.items():
            block.learn(rows[view])
        return self

    def matrix(self, rows: Mapping[str, Sequence[Record | None]]) -> Matrix:
        """(N, D), sparse where a block is."""
        return self.joined([block.matrix(rows[view]) for view, block in self.blocks.items()], rows)

    def joined(self, parts: Sequence[Matrix], rows: Mapping[str, Sequence[Record | None]]) -> Matrix:
        """`matrix`, where the blocks' matrices are known."""
        parts = [*parts, self.present(rows).astype(np.float32)]
        if any(sparse.issparse(p) for p in parts):
            return sparse.hstack([sparse.csr_matrix(p) for p in parts], format="csr", dtype=np.float32)
        return np.concatenate(parts, axis=1)

    def present(self, rows: Mapping[str, Sequence[Record | None]]) -> NDArray[np.bool_]:
        """(N, M) True where a view of the modality is there, of modalities in the order of `views`."""
        out = {m: np.zeros(len(next(iter(rows.values()))), dtype=bool) for m in self.views.values()}
        for view in self.blocks:
            out[self.views[view]] |= here(rows[view])
        return np.stack(list(out.values()), axis=1)


def _first_of_each(x: NDArray[Any]) -> list[int]:
    """Places of distinct columns, each at its first."""
    first: dict[bytes, int] = {}
    for i, column in enumerate(np.ascontiguousarray(x.T)):
        first.setdefault(column.tobytes(), i)
    return sorted(first.values())
