"""Sets and intervals that hold the truth as often as asked: split conformal prediction. Vovk, Gammerman & Shafer 2005.

b row, m modality.

A **score** says how strange an answer would be (`Task.nonconformity`). A set (`Task.region`) is all answers whose score
is at most the limit: the ceil((n + 1) * coverage)-th smallest score of the truth in n other rows.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from polymodal.batch import Masked
from polymodal.tasks.base import Array, Task
from polymodal.tasks.classify import numpy

SCORES = 512  # scores of a pattern


class Pattern(NamedTuple):
    """The scores of one pattern of presence. rows: how many there were; scores: at most KEPT of them, ascending, as one
    text of numbers, which a person can read past in model.json."""

    present: list[str]
    rows: int
    scores: str

    def limit(self, coverage: float) -> float:
        """The greatest score of an answer in the set; infinite where there are too few rows for this coverage.

        It is the ceil((n + 1) * coverage)-th smallest of n scores, or the next greater that is kept.
        """
        rank = int(np.ceil((self.rows + 1) * coverage - 1e-9))
        if rank > self.rows:
            return np.inf
        return float(self._scores[np.searchsorted(ranks(self.rows), rank)])

    @property
    def _scores(self) -> Array:
        # by way of single precision: the shortest text of a number may be a little less than the number
        return np.array(self.scores.split(), dtype=np.float32).astype(np.float64)


def pattern_names(modalities: Sequence[str], here_m: Sequence[Any] | NDArray[np.bool_]) -> list[str]:
    """Those that are there."""
    return [m for m, there in zip(modalities, here_m, strict=True) if there]


def ranks(n: int) -> NDArray[np.int64]:
    """Which of n sorted scores are kept, counted from 1: all of up to KEPT, else every (n / KEPT)-th, and the last."""
    count = min(n, SCORES)
    return np.array([-(-i * n // count) for i in range(1, count + 1)], dtype=np.int64)


def pattern(present: Sequence[str], scores: Array) -> Pattern:
    """Keep scores (N,), rounded up to single precision; NaN is as strange as can be."""
    largest = np.sort(np.where(np.isnan(scores), np.inf, scores))[ranks(len(scores)) - 1]
    single = largest.astype(np.float32)
    up = np.where(single < largest, np.nextafter(single, np.float32(np.inf)), single)
    return Pattern(list(present), len(scores), " ".join(str(x) for x in up))


class Covered(NamedTuple):
    """How often the truth was in the set, with a 95% binomial interval; size: mean labels a set, or width."""

    present: list[str]
    rows: int
    coverage: float
    low: float
    high: float
    size: float


class Coverage(NamedTuple):
    """What was asked and what was found: over all rows, and by pattern of presence, the commonest first. unit: what a
    size is."""

    asked: float
    unit: str
    overall: Covered
    patterns: list[Covered]


def coverage_of(
    task: Task, logits: Tensor, target: Masked, here_bm: NDArray[np.bool_], limits: Array, modalities: Sequence[str],
    asked: float,
) -> Coverage:  # fmt: skip
    """Coverage on rows that have a label; logits are calibrated."""
    keep = target.present()
    logits, target, at = logits[keep], target.take(keep), numpy(keep)
    here_bm, limits = here_bm[at], limits[at]
    hit, region = task.nonconformity(logits, target) <= limits, task.region(logits, limits)
    patterns, place, counts = np.unique(here_bm, axis=0, return_inverse=True, return_counts=True)
    each = []
    for i in np.argsort(-counts, kind="stable"):
        rows = place.reshape(-1) == i
        each.append(_cover(pattern_names(modalities, patterns[i]), hit[rows], region.sizes[rows]))
    return Coverage(asked, region.unit, _cover(list(modalities), hit, region.sizes), each)


def _cover(present: list[str], hit: NDArray[np.bool_], size: Array) -> Covered:
    low, high = binomial(int(hit.sum()), len(hit))
    return Covered(present, len(hit), float(hit.mean()), low, high, float(size.mean()))


def binomial(k: int, n: int) -> tuple[float, float]:
    """The 95% interval of a share of k in n rows (Clopper & Pearson 1934)."""
    from scipy.stats import beta

    low = 0.0 if k == 0 else float(beta.ppf(0.025, k, n - k + 1))
    return low, 1.0 if k == n else float(beta.ppf(0.975, k + 1, n - k))
