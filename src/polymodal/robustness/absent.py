"""Which modalities are absent: every subset of them, and shares of cells that are removed, by chance or not.

The terms are Rubin's (1976). Completely at random (MCAR): each cell is as likely to go as any other. At random (MAR):
by something that is still there to be seen, such as a column that the model does not read or the size of another
modality. Not at random (MNAR): by what one would like to know, the target.

Axes: n row, m modality.
"""

from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from polymodal.data.table import unknown
from polymodal.errors import InputError, Unreadable
from polymodal.modalities.base import missing
from polymodal.modalities.tabular.columns import NUMBER, category, number
from polymodal.robustness.measure import EXACT, Bools, Reader

SUBSETS = 64  # subsets of more than EXACT modalities
STRENGTH = 9.0  # how many times as likely a cell at the top of the ranks goes next as one at the bottom
SHARES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)

Floats = NDArray[np.float64]


def subsets(count: int, seed: int = 0) -> list[tuple[bool, ...]]:
    """Which of `count` modalities are there: every non-empty subset, the largest first.

    Of more than `EXACT` a sample of `SUBSETS`, drawn by `seed`: all, each left out, each alone, and others.
    """
    if count <= EXACT:
        sizes = range(count, 0, -1)
        return [tuple(i in places for i in range(count)) for k in sizes for places in combinations(range(count), k)]
    each = np.eye(count, dtype=bool)
    out = dict.fromkeys(tuple(row.tolist()) for row in [np.ones(count, dtype=bool), *~each, *each])
    rng = np.random.default_rng(seed)
    while len(out) < max(SUBSETS, 2 * count + 1):
        sample = rng.random(count) < rng.random()
        if sample.any():
            out[tuple(sample.tolist())] = None
    return sorted(out, key=lambda s: (-sum(s), [not here for here in s]))


def remove(here_nm: Bools, share: float, rank_nm: Floats, seed: int, stays_m: Bools | None = None) -> Bools:
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
    cells = share * may_nm.sum()
    cells = int(cells) + int(rng.random() < cells - int(cells))
    left_n = here_nm.sum(1)
    out, last = np.zeros_like(here_nm), []
    order = [divmod(int(i), here_nm.shape[1]) for i in np.argsort(clock_nm, axis=None, kind="stable")]
    for n, m in order:
        if may_nm[n, m] and cells:
            if left_n[n] > 1:
                out[n, m], left_n[n], cells = True, left_n[n] - 1, cells - 1
            else:
                last.append((n, m))
    for n, m in last[:cells]:
        out[n, m] = True
    return out


class Guide(NamedTuple):
    """rank_n: 0 to 1, by which cells are removed. stays: the modality that is seen, and so never removed."""

    by: str
    rank_n: Floats
    stays: str | None = None

    def stays_m(self, modalities: list[str]) -> Bools:
        """(M,) which modalities stay."""
        return np.array([m == self.stays for m in modalities])


def at_random(reader: Reader, column: str | None) -> Guide | None:
    """What cells are removed by at random (MAR): `column`; else the group; else the first column of numbers
    among those that the model reads; else how large another modality is, or whether it is there at all.

    Rubin's term asks that this is seen where cells are gone, so a modality that it belongs to stays in every row. None
    where there is nothing of the kind. Raises InputError for a column that is not there, or is the target.
    """
    schema, table = reader.model.preprocessor.schema, reader.table
    if column is not None:
        if column not in table.columns:
            raise InputError(f"--given: {table.name} {unknown('column', column, table.columns)}")
        if column in schema.target:
            raise InputError(
                f"--given {column}: that is the target, and removal by the target is measured anyway (mnar)"
            )
        return _column(reader, column)
    if schema.group is not None and schema.group in table.columns and (out := _column(reader, schema.group)):
        return out
    numbers = [c.name for c in schema.columns.values() if c.kind == NUMBER and c.name in table.columns]
    if len(reader.modalities) > 1:
        return next((g for g in [*(_column(reader, c) for c in numbers), _size(reader)] if g is not None), None)
    return None


def by_target(reader: Reader) -> Guide:
    """Removal by the target itself (MNAR): a number's or a class's rank, how many labels, how long a text."""
    values = []
    for y in reader.rows.labels:
        long = y is not None and y.ndim > 1
        values.append(np.nan if y is None else float(np.prod(y.shape)) if long else float(y.double().nansum()))
    return Guide(", ".join(reader.model.preprocessor.schema.target), ranks(np.array(values)))


def _column(reader: Reader, name: str) -> Guide | None:
    """The ranks of a column's numbers, or of its categories in the order of their names; None where all are equal."""
    cells = reader.table.cells(name)
    try:
        values = [np.nan if missing(c) or (x := number(c)) is None else x for c in cells]
    except Unreadable:
        names = [None if missing(c) else category(c) for c in cells]
        place = {w: i for i, w in enumerate(sorted({w for w in names if w is not None}))}
        values = [np.nan if w is None else place[w] for w in names]
    modalities = reader.model.preprocessor.schema.modalities()
    stays = next((m for m in reader.modalities if name in modalities[m][1]), None)
    rank_n = ranks(np.array(values, dtype=np.float64))
    return Guide(name, rank_n, stays) if rank_n.min() < rank_n.max() else None


def _size(reader: Reader) -> Guide | None:
    """The ranks of the sizes of the first modality of which they differ."""
    for m in reader.modalities:
        rank_n = ranks(reader.rows.inputs[reader.views(m)[0]].sizes().astype(np.float64))
        if rank_n.min() < rank_n.max():
            return Guide(f"the size of {m}", rank_n, m)
    return None


def ranks(values: Floats) -> Floats:
    """(N,) values -> their ranks from 0 to 1, ties in the middle of their places; NaN is the lowest of all.

    >>> ranks(np.array([10.0, 30.0, 30.0, np.nan])).round(2).tolist()
    [0.33, 0.83, 0.83, 0.0]
    """
    from scipy.stats import rankdata

    if len(values) < 2:
        return np.full(len(values), 0.5)
    finite = np.where(np.isnan(values), -np.inf, values)
    out: Floats = (rankdata(finite) - 1) / (len(values) - 1)
    return out
