"""Where decisions are made: thresholds of probabilities other than one half, chosen by the task's metric.

k threshold: one of two labels, or one a label of a set. In log odds, so 0 is one half.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from polymodal.batch import Masked
from polymodal.data.splits import folds, own
from polymodal.output import Output, Scores, logits_of
from polymodal.tasks.base import Array, Bools, Task

CUTS, FEWEST = 48, 8  # thresholds that are tried: at so many scores of rows of either kind, fewer of many labels
FOLDS = 5
ROWS = 20_000  # by which thresholds are chosen, at most


class Tuned(NamedTuple):
    """log_odds: (K,) the thresholds, 0 for all where they do not help. before: the metric at one half. after: where
    thresholds that other rows chose decide. output: the answers, moved so that these thresholds are one half."""

    log_odds: Array
    before: float
    after: float
    output: Output


def tune(task: Task, output: Output, target: Masked, groups: Sequence[Any] | None = None) -> Tuned:
    """Choose thresholds by answers to rows that were not learned from; for a task that takes `check_thresholds`.

    They help if the metric is better where each fifth of the rows (of whole groups) is decided by thresholds of the
    others than at one half.
    """
    logits, at = logits_of(output), target.present().nonzero()[:, 0]
    at = at[torch.from_numpy(np.sort(np.random.default_rng(0).permutation(len(at))[:ROWS]))]
    some, n = target.take(at), len(at)
    chosen = search(task, logits[at], some)
    of = None if groups is None else [groups[i] for i in at.tolist()]
    several = of is not None and len(set(own(of))) > 1
    strata = [str(row) for row in task.answers(some).tolist()]
    k = min(FOLDS, len(set(own(of))) if of is not None and several else n)
    moved = task.moved(logits, chosen)
    for by, others in folds(n, k, None if several else strata, of if several else None) if k > 1 else ():
        rows = torch.tensor(by)
        moved[at[others]] = task.moved(logits[at[others]], search(task, logits[at[rows]], some.take(rows)))
    before, after = (_value(task, x[at], some) for x in (logits, moved))
    if not (after > before and k > 1):
        chosen, moved, after = np.zeros_like(chosen), logits, before
    sign = 1 if task.metric.higher else -1
    return Tuned(chosen, sign * before, sign * after, Scores(moved))


def search(task: Task, logits: Tensor, target: Masked) -> Array:
    """(K,) the thresholds that the metric likes best, one after another; of equals the nearest to one half."""
    margins, truth = task.margins(logits), task.answers(target).reshape(len(logits), -1) > 0.5
    out: Array = np.zeros(margins.shape[1])
    best = _value(task, logits, target)
    for k in range(len(out)):
        for x in sorted(cuts(margins[:, k], truth[:, k], max(FEWEST, CUTS // len(out))), key=abs):
            trial = np.where(np.arange(len(out)) == k, x, out)
            value = _value(task, task.moved(logits, trial), target)
            if value > best or np.isnan(best):
                out, best = trial, value
    return out


def cuts(margin: Array, truth: Bools, most: int) -> list[float]:
    """Halfway between neighbouring scores: below `most` scores of rows that have the label, and of those that do not.

    >>> cuts(np.array([-2.0, 0.0, 1.0]), np.array([False, True, False]), 8)
    [-1.0, 0.5]
    """
    scores = np.unique(margin)
    quantiles = [np.quantile(x, np.linspace(0, 1, most)) for x in (margin[truth], margin[~truth]) if len(x)]
    at = np.unique(np.searchsorted(scores, np.concatenate([np.zeros(0), *quantiles])))
    at = at[(at > 0) & (at < len(scores))]
    return [float(x) for x in (scores[at - 1] + scores[at]) / 2]


def _value(task: Task, logits: Tensor, target: Masked) -> float:
    value = float(task.score(Scores(logits), target, np.ones((1, len(logits))))[0])
    return value if task.metric.higher else -value
