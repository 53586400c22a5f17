"""Sets and intervals that hold the truth as often as asked: split conformal prediction. Vovk, Gammerman & Shafer 2005.

b row, c class or label, k question of an ordinal task or target of a regression.

A **score** says how strange an answer would be, on a scale without ends, so that sure models have no ties. A set is all
answers whose score is at most the limit: the ceil((n + 1) * coverage)-th smallest score of the truth in n other rows.

    one label a row  log((1 - p_c) / p_c): the least ambiguous sets (Sadinle, Lei & Wasserman 2019). They are the
                     smallest on average, and may be empty: no label is likely enough, so the row is a strange one
    ordered labels   max(-l_(c-1), l_c), l_k being the monotone logit of y > k: both tails of the answer, so that a set
                     is a run of neighbours
    label sets       -l_c, of a row the greatest over the labels that it has: a set holds ALL labels of the row
    numbers          |y - prediction| in units of each target's spread, of several targets the greatest, so that all of
                     them lie in their intervals at once (Lei et al. 2018)
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from polymodal.batch import Masked
from polymodal.tasks.base import Task
from polymodal.tasks.classify import MultiLabel, numpy
from polymodal.tasks.ordinal import Ordinal
from polymodal.tasks.regress import Regression

Array = NDArray[np.float64]
KEPT = 512  # scores of a pattern


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


def named(modalities: Sequence[str], here_m: Sequence[Any] | NDArray[np.bool_]) -> list[str]:
    """Those that are there."""
    return [m for m, there in zip(modalities, here_m, strict=True) if there]


def ranks(n: int) -> NDArray[np.int64]:
    """Which of n sorted scores are kept, counted from 1: all of up to KEPT, else every (n / KEPT)-th, and the last."""
    kept = min(n, KEPT)
    return np.array([-(-i * n // kept) for i in range(1, kept + 1)], dtype=np.int64)


def pattern(present: Sequence[str], scores: Array) -> Pattern:
    """Keep scores (N,), rounded up to single precision; NaN is as strange as can be."""
    kept = np.sort(np.where(np.isnan(scores), np.inf, scores))[ranks(len(scores)) - 1]
    single = kept.astype(np.float32)
    up = np.where(single < kept, np.nextafter(single, np.float32(np.inf)), single)
    return Pattern(list(present), len(scores), " ".join(str(x) for x in up))


def label_scores(task: Task, logits: Tensor) -> Array:
    """(B, C) how strange each class or label would be; see the head of this file."""
    l_bc = logits.double()
    if isinstance(task, MultiLabel):
        return numpy(-l_bc)
    if isinstance(task, Ordinal):
        l_bc = l_bc.cummin(1).values
        end = l_bc.new_full((len(l_bc), 1), -torch.inf)
        return numpy(torch.maximum(torch.cat([end, -l_bc], 1), torch.cat([l_bc, end], 1)))
    top = l_bc.argmax(1, keepdim=True)
    every = l_bc.logsumexp(1, keepdim=True)
    # the others together: 1 - p loses its digits where p is near 1, so that of the likeliest is summed without it
    others = every + torch.log1p(-(l_bc - every).exp().clamp(max=0.5))
    others.scatter_(1, top, l_bc.scatter(1, top, -torch.inf).logsumexp(1, keepdim=True))
    return numpy(others - l_bc)


def true_scores(task: Task, logits: Tensor, target: Masked) -> Array:
    """(B,) the score of the truth of rows that have a label; -inf for a row whose set of labels is empty."""
    if isinstance(task, Regression):
        error_bk = (logits.double() - target.values.double()).abs()
        mask = target.mask[:, None] if target.mask.ndim == 1 else target.mask
        return numpy(torch.where(mask, error_bk, -torch.inf).amax(1))
    s_bc, truth = label_scores(task, logits), numpy(target.values)
    if isinstance(task, MultiLabel):
        out: Array = np.where(truth > 0.5, s_bc, -np.inf).max(1)
        return out
    own: Array = np.take_along_axis(s_bc, truth[:, None], 1)[:, 0]
    return own


def answered(task: Task, logits: Tensor, limits: Array) -> dict[str, list[Any]]:
    """Columns of the prediction table: "set", a list of labels a row; or "low" and "high", "low[name]" of several
    numbers."""
    if not isinstance(task, Regression):
        inside = label_scores(task, logits) <= limits[:, None]
        labels = task.labels_  # type: ignore[attr-defined]
        return {"set": [[labels[i] for i in np.flatnonzero(row)] for row in inside]}
    middle, half = numpy(logits.double()), limits[:, None] * np.ones((1, task.outputs))
    out: dict[str, list[Any]] = {}
    for end, units in (("low", middle - half), ("high", middle + half)):
        for k, (center, scale) in enumerate(zip(task.center_, task.scale_, strict=True)):
            name = end if task.columns is None else f"{end}[{task.columns[k]}]"
            out[name] = (units[:, k] * scale + center).tolist()
    return out


def sizes(task: Task, logits: Tensor, limits: Array) -> Array:
    """(B,) labels in each set; widths in the target's unit, of several targets in units of their spreads."""
    if isinstance(task, Regression):
        return 2 * limits * (task.scale_[0] if task.columns is None else 1.0)
    return np.asarray((label_scores(task, logits) <= limits[:, None]).sum(1), dtype=np.float64)


class Covered(NamedTuple):
    """How often the truth was in the set, with a 95% binomial interval; size: mean labels a set, or width."""

    present: list[str]
    rows: int
    coverage: float
    low: float
    high: float
    size: float


class Coverage(NamedTuple):
    """What was asked and what was found: over all rows, and by pattern of presence, the commonest first."""

    asked: float
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
    hit, size = true_scores(task, logits, target) <= limits, sizes(task, logits, limits)
    met, place, counts = np.unique(here_bm, axis=0, return_inverse=True, return_counts=True)
    each = []
    for i in np.argsort(-counts, kind="stable"):
        rows = place.reshape(-1) == i
        each.append(_covered(named(modalities, met[i]), hit[rows], size[rows]))
    return Coverage(asked, _covered(list(modalities), hit, size), each)


def _covered(present: list[str], hit: NDArray[np.bool_], size: Array) -> Covered:
    low, high = binomial(int(hit.sum()), len(hit))
    return Covered(present, len(hit), float(hit.mean()), low, high, float(size.mean()))


def binomial(k: int, n: int) -> tuple[float, float]:
    """The 95% interval of a share of k in n rows (Clopper & Pearson 1934)."""
    from scipy.stats import beta

    low = 0.0 if k == 0 else float(beta.ppf(0.025, k, n - k + 1))
    return low, 1.0 if k == n else float(beta.ppf(0.975, k + 1, n - k))
