"""Is a difference between two candidates more than chance? Tests over folds, over rows, and over many candidates.

r repeat, k fold, c candidate. Folds of one table share most of their training rows, so their scores are no
independent sample: a plain t-test over them finds differences that are not there. `corrected_t` widens it by the
share of rows that are tested; `paired_bootstrap` resamples rows or groups of the out-of-fold predictions instead.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from polymodal.batch import Masked
from polymodal.evaluate.intervals import Interval, weights
from polymodal.output import Output
from polymodal.tasks.base import Task

LEVEL = 0.05
NOTHING = Interval(math.nan, math.nan, math.nan)


class PairedTest(NamedTuple):
    """A difference with its 95% interval, and how often chance alone would give one as large."""

    gain: Interval
    p: float


class Ranks(NamedTuple):
    """Mean rank of each candidate over the folds (1 is best), and by how much two must differ to be told apart."""

    names: list[str]
    means: list[float]
    critical: float
    p: float  # Friedman's test: all candidates alike
    folds: int  # that count as evidence


def corrected_t(differences_rk: Sequence[Sequence[float]], test_share: float) -> PairedTest:
    """Corrected resampled t-test of the mean difference over all folds of all repeats.

    n differences of mean m and sample variance v: t = m / sqrt((1/n + q) v) with n - 1 degrees of freedom, where
    q = test_share / (1 - test_share) rows are tested for each row trained on; the interval is m -+ t_0.975 times that
    root. Nadeau & Bengio 2003.

    A NaN is left out. Of one difference the interval and p are NaN; of none, the mean too. Where all are equal, t has
    no scale: no difference at all has p = 1, and any other the p of the sign test, 2 ** (1 - n), so that a handful of
    folds with the same score never passes for certainty. Raises ValueError for a share outside (0, 1).

    >>> gain, p = corrected_t([[0.02, 0.03, 0.01, 0.02, 0.04]], test_share=0.2)
    >>> [round(x, 4) for x in (*gain, p)]
    [0.024, 0.0028, 0.0452, 0.0349]
    """
    if not 0 < test_share < 1:
        raise ValueError(f"test_share is the share of rows in a test fold, between 0 and 1, but was {test_share}")
    every = np.array([x for row in differences_rk for x in row], dtype=np.float64)
    values = every[~np.isnan(every)]
    n = len(values)
    if n < 2:
        return PairedTest(NOTHING._replace(value=float(values[0]) if n else math.nan), math.nan)
    mean = float(values.mean())
    if np.ptp(values) <= 1e-12 * max(1.0, abs(mean)):
        return PairedTest(Interval(mean, mean, mean), 1.0 if abs(mean) <= 1e-12 else 2.0 ** (1 - n))
    from scipy.stats import t

    scale = math.sqrt((1 / n + test_share / (1 - test_share)) * float(values.var(ddof=1)))
    half = float(t.ppf(1 - LEVEL / 2, n - 1)) * scale
    return PairedTest(Interval(mean, mean - half, mean + half), float(2 * t.sf(abs(mean) / scale, n - 1)))


def paired_bootstrap(
    task: Task,
    each_a: Sequence[Output],
    each_b: Sequence[Output],
    target: Masked,
    metric: str,
    groups: Sequence[Any] | None = None,
    replicates: int = 1000,
    seed: int = 0,
) -> PairedTest:
    """Score of a minus score of b on out-of-fold answers, with its percentile interval and p, over rows or groups.

    each_a, each_b: of all rows, one a repeat; the score is the mean over repeats, under the same samples as
    `intervals.difference` draws, so that of one repeat it gives the same interval. p is twice the smaller share of
    samples on either side of 0, (count + 1) / (samples + 1), at most 1; NaN where the metric is undefined.
    """
    keep = target.present()
    rows = None if groups is None else [g for g, k in zip(groups, keep.tolist(), strict=True) if k]
    target, n = target.take(keep), int(keep.sum())
    pairs = [(a.take(keep), b.take(keep)) for a, b in zip(each_a, each_b, strict=True)]

    def gain(w: NDArray[np.floating]) -> NDArray[np.float64]:
        each = [task.score_by(metric, a, target, w) - task.score_by(metric, b, target, w) for a, b in pairs]
        return np.asarray(np.mean(each, axis=0), dtype=np.float64)

    value = float(gain(np.ones((1, n)))[0])
    samples = np.concatenate([np.zeros(0), *(gain(w) for w in weights(n, replicates, rows, seed))])
    values = samples[~np.isnan(samples)]
    if not len(values):
        return PairedTest(NOTHING._replace(value=value), math.nan)
    low, high = (float(q) for q in np.quantile(values, [LEVEL / 2, 1 - LEVEL / 2]))
    side = min(int((values <= 0).sum()), int((values >= 0).sum()))
    return PairedTest(Interval(value, low, high), min(1.0, 2 * (side + 1) / (len(values) + 1)))


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p-values: reject those at most alpha, and any false rejection has probability at most alpha.

    The i-th smallest of m (from 0) times m - i, no less than any smaller one's, at most 1. A NaN is no test: it stays
    NaN and does not count. Holm 1979.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = [i for i in sorted(range(len(p)), key=lambda i: p[i]) if not math.isnan(p[i])]
    out, least = [math.nan] * len(p), 0.0
    for place, i in enumerate(sorted(order, key=lambda i: p[i])):
        least = max(least, min(1.0, (len(order) - place) * p[i]))
        out[i] = least
    return out


def average_ranks(names: Sequence[str], scores_crk: Sequence[Sequence[Sequence[float]]], higher: bool) -> Ranks | None:
    """Rank the candidates in each fold, ties sharing their mean rank, and take the mean over folds.

    Two mean ranks differ by more than chance when they are further apart than Nemenyi's critical difference,
    q sqrt(C (C + 1) / 6 K) with q the studentised range's 0.95 quantile over sqrt(2); p is Friedman's. Demsar 2006.
    K is the folds of one repeat: repeats cut the same rows again, and folds of one table are not the independent
    data sets of that paper, so this is a picture of consistency, not the test to decide by.

    Folds in which a candidate has no score are left out. None where fewer than two candidates or folds remain.
    """
    table = np.array([[x for row in entry for x in row] for entry in scores_crk], dtype=np.float64)
    table = table.reshape(len(names), -1 if table.size else 0)
    repeats = max((len(entry) for entry in scores_crk), default=1)
    table = table[:, ~np.isnan(table).any(0)]
    count, blocks = table.shape
    folds = round(blocks / max(1, repeats))
    if count < 2 or folds < 2:
        return None
    from scipy.stats import chi2, rankdata, studentized_range

    ranks = rankdata(-table if higher else table, axis=0)
    means = ranks.mean(1)
    critical = float(studentized_range.ppf(1 - LEVEL, count, np.inf)) / math.sqrt(2)
    critical *= math.sqrt(count * (count + 1) / (6 * folds))
    spread = float((folds * (means - (count + 1) / 2) ** 2).sum())
    within = float(((ranks - (count + 1) / 2) ** 2).sum(0).mean()) / (count - 1)  # C (C + 1) / 12 without ties
    p = float(chi2.sf(spread / within, count - 1)) if within > 0 else 1.0
    return Ranks(list(names), means.tolist(), critical, p, folds)


def alike(ranks: Ranks) -> list[list[str]]:
    """The largest sets of candidates within one critical difference, best first: the bars of the diagram.

    >>> alike(Ranks(["a", "b", "c"], [1.0, 2.0, 2.9], 1.1, 0.0, 10))
    [['a', 'b'], ['b', 'c']]
    """
    order = sorted(zip(ranks.means, ranks.names, strict=True))
    out: list[list[str]] = []
    reach = 0
    for i, (start, _) in enumerate(order):
        end = i + sum(m - start <= ranks.critical for m, _ in order[i:])
        if end > reach and end - i > 1:
            out.append([name for _, name in order[i:end]])
        reach = max(reach, end)
    return out
