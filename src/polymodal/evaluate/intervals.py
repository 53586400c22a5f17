"""How sure a score is: percentile bootstrap intervals, over rows or over whole groups of rows.

A bootstrap sample is a vector of counts, one a row, so a score under many samples is a score under many
weightings. Efron 1979; for groups (speakers, patients) Cameron, Gelbach & Miller 2008: rows of one group are
drawn together, since they are no independent evidence.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from polymodal.batch import Masked
from polymodal.output import Output
from polymodal.tasks.base import Task

CHUNK = 2**25  # bytes of counts at a time


class Interval(NamedTuple):
    """A score on all rows, and the ends of its 95% interval."""

    value: float
    low: float
    high: float


def weights(
    n: int, replicates: int = 1000, groups: Sequence[Any] | None = None, seed: int = 0
) -> Iterator[NDArray[np.float32]]:
    """Counts of each of n rows in `replicates` bootstrap samples, in chunks (r, n); the chunks add up to
    (replicates, n).

    groups: one label a row, None for a row that is a group of its own; as many groups as there are
    drawn with replacement, and all rows of each go together. A single group can't be drawn otherwise than it is, so its
    rows are drawn, and the interval is of that group alone. The same seed gives the same samples, however
    they are chunked.
    """
    if groups is None:
        code, size = None, n
    else:
        code = np.unique(
            np.array([f"missing {i}" if g is None else repr(g) for i, g in enumerate(groups)]), return_inverse=True
        )[1].reshape(-1)
        size = int(code.max(initial=-1)) + 1
        if size == 1:
            code, size = None, n
    rng = np.random.default_rng(seed)
    replicates = replicates if size else 0  # nothing to draw from
    step = max(1, CHUNK // (4 * max(1, n)))
    for start in range(0, replicates, step):
        chunk = np.empty((min(step, replicates - start), n), dtype=np.float32)
        for row in chunk:
            counts = np.bincount(rng.integers(0, size, size, dtype=np.int32), minlength=size)
            row[:] = counts if code is None else counts[code]
        yield chunk


def intervals(
    task: Task,
    output: Output,
    target: Masked,
    groups: Sequence[Any] | None = None,
    replicates: int = 1000,
    seed: int = 0,
) -> dict[str, Interval]:
    """Each of the task's metrics on the labelled rows, with its 95% percentile interval.

    The interval of one row is the value itself: there is nothing to resample. A sample in which a metric is undefined
    is left out; where it is undefined on all, or is one of `task.whole`, both ends are NaN.
    """
    (output,), target, groups = _labelled([output], target, groups)
    n = output.rows
    value = task.scores(output, target, np.ones((1, n)))
    parts = [task.scores(output, target, w) for w in weights(n, replicates, groups, seed)]
    return {k: _interval(float(v[0]), [] if k in task.whole else [p[k] for p in parts]) for k, v in value.items()}


def score_interval(task: Task, output: Output, target: Masked, groups: Sequence[Any] | None = None) -> Interval:
    """That of the task's own metric, as `intervals` has it, without the time that the others take."""
    (output,), target, groups = _labelled([output], target, groups)
    n = output.rows
    value = float(task.score(output, target, np.ones((1, n)))[0])
    whole = task.metric.name in task.whole
    return _interval(value, [] if whole else [task.score(output, target, w) for w in weights(n, groups=groups)])


def difference(
    task: Task,
    a: Output,
    b: Output,
    target: Masked,
    metric: str,
    groups: Sequence[Any] | None = None,
    replicates: int = 1000,
    seed: int = 0,
) -> Interval:
    """Score of a minus score of b with its 95% interval, both on the same samples: what the rows have in
    common cancels.
    """
    (a, b), target, groups = _labelled([a, b], target, groups)
    n = a.rows
    one = np.ones((1, n))
    score = partial(task.score_by, metric)
    value = score(a, target, one) - score(b, target, one)
    parts = [score(a, target, w) - score(b, target, w) for w in weights(n, replicates, groups, seed)]
    return _interval(float(value[0]), parts)


def _labelled(
    outputs: Sequence[Output], target: Masked, groups: Sequence[Any] | None
) -> tuple[list[Output], Masked, list[Any] | None]:
    """The rows that have a label: the others are no part of the sample."""
    keep = target.present()
    own_groups = None if groups is None else [g for g, k in zip(groups, keep.tolist(), strict=True) if k]
    return [x.take(keep) for x in outputs], target.take(keep), own_groups


def _interval(value: float, parts: Sequence[NDArray[np.floating]]) -> Interval:
    samples = np.concatenate([np.zeros(0), *parts])
    finite = samples[~np.isnan(samples)]
    if not len(finite):
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(finite, [0.025, 0.975])
    return Interval(value, float(low), float(high))
