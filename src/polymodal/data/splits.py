"""Parts of a table's rows: a held-out part, and folds. Groups never part; classes keep their shares.

scikit-learn's splitters, made safe for what tables hold: classes of one row, missing labels, groups that are not there.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

from polymodal.errors import InputError


def holdout(
    n: int,
    fraction: float = 0.2,
    stratify: Sequence[Any] | None = None,
    groups: Sequence[Any] | None = None,
    seed: int = 0,
) -> tuple[list[int], list[int]]:
    """(training rows, held-out rows), each in ascending order: about `fraction` of n is held out.

    stratify: a class a row, kept in proportion; a class of one row stays in training. groups: a group a row; None is
    a group of its own. Raises InputError where there are too few groups to hold one out.
    """
    if not 0 < fraction < 1:
        raise InputError(f"the held-out fraction must lie between 0 and 1, but it is {fraction}")
    k = max(2, round(1 / min(fraction, 1 - fraction)))
    if groups is not None:
        k = min(k, len(set(own(groups))))
    parts = folds(n, min(k, n), stratify, groups, seed)
    # groups differ in size: take the part that is nearest to what was asked for
    train, test = min(parts, key=lambda part: abs(len(part[1]) - min(fraction, 1 - fraction) * n))
    return (train, test) if fraction <= 0.5 else (test, train)


def folds(
    n: int, k: int, stratify: Sequence[Any] | None = None, groups: Sequence[Any] | None = None, seed: int = 0
) -> list[tuple[list[int], list[int]]]:
    """k pairs of (training rows, test rows); each row is in one test part, but for rows of classes too small to part,
    which are always in training.

    Raises InputError for fewer rows or groups than k.
    """
    if groups is not None and len(set(own(groups))) < max(2, k):
        raise InputError(
            f"the group column has {len(set(own(groups)))} distinct values, and at least {max(2, k)} are needed to "
            "hold some out; leave --group out, or give rows to validate on with --valid"
        )
    if n < max(2, k):
        raise InputError(f"{n} rows can't be parted into {k}")
    classes = None if stratify is None else ["" if s is None else str(s) for s in stratify]
    # a class that can't be in each part stays in training when it is a single row, and is otherwise left to chance
    counts = Counter(classes or ())
    single = {i for i, c in enumerate(classes or ()) if counts[c] == 1} if groups is None else set()
    rows = np.array([i for i in range(n) if i not in single])
    if len(rows) < k:
        single, rows = set(), np.arange(n)
    labels = None if classes is None else np.array([classes[i] if counts[classes[i]] >= k else "" for i in rows])
    strata = labels is not None and min(Counter(labels.tolist()).values()) >= k and len(set(labels.tolist())) > 1
    if groups is not None:
        of = np.array(own(groups))[rows]
        how: Any = StratifiedGroupKFold if strata else GroupKFold
    else:
        of, how = None, StratifiedKFold if strata else KFold
    pairs = how(k, shuffle=True, random_state=seed).split(rows, labels if strata else None, of)
    return [(sorted([*rows[a].tolist(), *single]), sorted(rows[b].tolist())) for a, b in pairs]


def own(groups: Sequence[Any]) -> list[str]:
    """Group names; a row without one is a group of its own."""
    return [f"\0{i}" if g is None else str(g) for i, g in enumerate(groups)]
