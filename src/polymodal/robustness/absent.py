"""Which cells are taken away: every subset of modalities, and shares of all cells, by chance or not.

The terms are Rubin's (1976). Completely at random (MCAR): each cell is as likely to go as any other. At random (MAR):
by something that is still there to be seen, such as a column that the model does not read or the size of another
modality. Not at random (MNAR): by what one would like to know, the target.

Axes: n row, m modality.
"""

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

EXACT = 6  # modalities of which every subset is tried
SAMPLED = 64  # subsets of more modalities
STRENGTH = 9.0  # how many times as likely a cell at the top of the ranks goes next as one at the bottom
SHARES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


def subsets(count: int, seed: int = 0) -> list[tuple[bool, ...]]:
    """Which of `count` modalities are there: every non-empty subset, the largest first.

    Of more than `EXACT` a sample of `SAMPLED`, drawn by `seed`: all, each left out, each alone, and others.
    """
    if count <= EXACT:
        sizes = range(count, 0, -1)
        return [tuple(i in chosen for i in range(count)) for k in sizes for chosen in combinations(range(count), k)]
    each = np.eye(count, dtype=bool)
    found = dict.fromkeys(tuple(row.tolist()) for row in [np.ones(count, dtype=bool), *~each, *each])
    rng = np.random.default_rng(seed)
    while len(found) < max(SAMPLED, 2 * count + 1):
        drawn = rng.random(count) < rng.random()
        if drawn.any():
            found[tuple(drawn.tolist())] = None
    return sorted(found, key=lambda s: (-sum(s), [not here for here in s]))


def removed(here_nm: Bools, share: float, rank_nm: Floats, seed: int, stays_m: Bools | None = None) -> Bools:
    """(N, M) True for the cells that go: `share` of those that may go, in expectation exactly.

    here_nm: the cells that are there. stays_m: modalities of which none may go. rank_nm: 0 to 1; a cell of rank r is
    `STRENGTH` ** r times as likely to be drawn next as one of rank 0 (drawing without replacement, Efraimidis &
    Spirakis 2006). Equal ranks are MCAR.

    The last cell of a row is passed over as long as another row has more than one left; only a share that can't be had
    otherwise empties rows. Of one seed, what goes at a small share goes at a larger one too.
    """
    rng = np.random.default_rng(seed)
    # the exponential clock of each cell: the sooner it rings, the sooner the cell goes
    clock_nm = rng.exponential(size=here_nm.shape) / STRENGTH**rank_nm
    may_nm = here_nm if stays_m is None else here_nm & ~stays_m
    wanted = share * may_nm.sum()
    wanted = int(wanted) + int(rng.random() < wanted - int(wanted))
    left_n = here_nm.sum(1)
    out, last = np.zeros_like(here_nm), []
    order = [divmod(int(i), here_nm.shape[1]) for i in np.argsort(clock_nm, axis=None, kind="stable")]
    for n, m in order:
        if may_nm[n, m] and wanted:
            if left_n[n] > 1:
                out[n, m], left_n[n], wanted = True, left_n[n] - 1, wanted - 1
            else:
                last.append((n, m))
    for n, m in last[:wanted]:
        out[n, m] = True
    return out


def ranks(values: Floats) -> Floats:
    """(N,) values -> their ranks from 0 to 1, ties in the middle of their places; NaN is the lowest of all.

    >>> ranks(np.array([10.0, 30.0, 30.0, np.nan])).round(2).tolist()
    [0.33, 0.83, 0.83, 0.0]
    """
    from scipy.stats import rankdata

    if len(values) < 2:
        return np.full(len(values), 0.5)
    known = np.where(np.isnan(values), -np.inf, values)
    out: Floats = (rankdata(known) - 1) / (len(values) - 1)
    return out
