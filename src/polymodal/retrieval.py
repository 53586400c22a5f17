"""How well the cells of one modality find those of another: recall@k, ranks, average precision.

points, and which cells are equal --searches--> each query's ranks --scores--> means over queries

Equal cells are one query and one item of the gallery, and all cells that share a row with it belong to a query: of
pictures with five captions each, a picture has five answers, and a caption one (the protocol of Karpathy & Fei-Fei
2015 for COCO and Flickr).

Axes: n row, q query, g item of the gallery, d width.
"""

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from polymodal.output import Points

KS = (1, 5, 10)
METRICS = (*(f"recall@{k}" for k in KS), "mrr", "map", "median_rank")
BLOCK = 2**25  # similarities at a time


class Direction(NamedTuple):
    """One modality finds another. ranks: (Q,) of the best of each query's items, from 1; precision: (Q,) its average
    precision. groups: (Q,) queries of one item stand and fall together. gallery: how many items there are."""

    source: str
    target: str
    ranks: NDArray[np.int64]
    precision: NDArray[np.float64]
    groups: NDArray[np.int64]
    gallery: int

    def scores(self) -> dict[str, float]:
        """Means over queries, and the median rank."""
        one = np.ones((1, len(self.ranks)))
        return {k: float(v[0]) for k, v in self.scores_by(one).items()}

    def chance(self) -> dict[str, float]:
        """Recall of a random order of the gallery, about, were there one item a query."""
        return {f"recall@{k}": min(1.0, k / self.gallery) for k in KS}

    def scores_by(self, weight_rq: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
        """Each metric under each row of weights (R, Q), such as counts of bootstrap samples."""
        total = weight_rq.sum(1)
        each = {f"recall@{k}": self.ranks <= k for k in KS} | {"mrr": 1 / self.ranks, "map": self.precision}
        out = {name: (weight_rq @ x.astype(np.float64)) / total for name, x in each.items()}
        order = np.argsort(self.ranks, kind="stable")
        middle = (weight_rq[:, order].cumsum(1) >= total[:, None] / 2).argmax(1)
        return {**out, "median_rank": self.ranks[order][middle].astype(np.float64)}


def searches(names: Sequence[str], points: Points, cells: Mapping[str, NDArray[np.int64]]) -> list[Direction]:
    """Every modality for every other, over the whole gallery. cells: by modality (N,) a number a row, the same for
    equal cells. Pairs of modalities that no row has both of are left out."""
    z_nmd, here_nm = (np.asarray(x) for x in points)
    out = []
    for i, j in permutations(range(len(names)), 2):
        both = here_nm[:, i] & here_nm[:, j]
        if not both.any():
            continue
        query, q_of = np.unique(cells[names[i]][both], return_inverse=True)
        item, first = np.unique(cells[names[j]][here_nm[:, j]], return_index=True)
        x_qd = z_nmd[both, i][np.unique(q_of, return_index=True)[1]]
        y_gd = z_nmd[here_nm[:, j], j][first]
        g_of = np.searchsorted(item, cells[names[j]][both])
        belongs = sparse.csr_array((np.ones(len(q_of), bool), (q_of, g_of)), shape=(len(query), len(item)))
        belongs.sum_duplicates()
        ranks, precision = rank(x_qd, y_gd, belongs)
        group = belongs.indices[belongs.indptr[:-1]] if len(query) > len(item) else np.arange(len(query))
        out.append(Direction(names[i], names[j], ranks, precision, group, len(item)))
    return out


def rank(
    x_qd: NDArray[np.floating], y_gd: NDArray[np.floating], belongs: Any
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(Q,) rank of each query's best item, and its average precision over all of its items, by dot products.

    belongs: sparse (Q, G) bool, at least one a query. Of equal products the items that do not belong come first, so
    that a space in which all points fall together scores as it should.
    """
    q, g = belongs.shape
    best, precision = np.zeros(q, np.int64), np.zeros(q)
    for start in range(0, q, step := max(1, BLOCK // max(1, g))):
        score = x_qd[start : start + step] @ y_gd.T
        mine = belongs[start : start + step].toarray()
        order = np.lexsort((mine, -score), axis=1)
        hit = np.take_along_axis(mine, order, axis=1)
        place = np.arange(1, g + 1)
        best[start : start + step] = hit.argmax(1) + 1
        precision[start : start + step] = (hit * hit.cumsum(1) / place).sum(1) / hit.sum(1)
    return best, precision


def mean_score(directions: Sequence[Direction], metric: str) -> float:
    """The mean over directions; NaN where there are none."""
    return float(np.mean([d.scores()[metric] for d in directions])) if directions else float("nan")
