"""Cheapest paths through a matrix of costs, a diagonal at a time.

    total[i, j] = cost[i, j] + min(total[i - 1, j - 1], total[i - 1, j], total[i, j - 1])

The cells (i, j) with i + j = k need only those of the diagonals k - 1 and k - 2, so that all of them, in all pairs,
are one step; no loop runs over cells. On diagonal k the cell (i, k - i) lies at place i + 1, and place 0 is what lies
before the matrix. The steps are NumPy's: an operation of it on a thousand numbers costs a fifth of one of torch.

Axes: k diagonal, b pair, t cell on it (row i of the matrix), u column j.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
INFINITY = float("inf")


class Totals(NamedTuple):
    """costs: (B,) of the cheapest path of each pair. columns: (B,) where it ends. rows: for `trace`, the totals
    (B, T + 1) of the two diagonals before the first and of each after; what no path reaches has no meaning."""

    costs: Floats
    columns: NDArray[np.int64]
    rows: list[Floats]


def cheapest(
    cost_btu: Floats, m: Sequence[int], n: Sequence[int], *, keep: bool = False, anywhere: bool = False
) -> Totals:
    """The totals of B pairs, of which each uses the first m x n costs; infinite costs are closed cells.

    keep: every diagonal, else the last three. anywhere: a path begins and ends in any column, not in the corners.
    """
    (pairs, t, u), flat = cost_btu.shape, np.ascontiguousarray(cost_btu).reshape(len(cost_btu), -1)
    rows = [np.full((pairs, t + 1), INFINITY) for _ in range(2 if keep else 3)]
    rows[0][:, 0] = 0.0
    edge = rows[1][:, 0] = 0.0 if anywhere else INFINITY
    costs, columns = np.full(pairs, INFINITY), np.array(n, dtype=np.int64) - 1
    last, room = ends(m, n, anywhere), np.empty_like(rows[0])
    for k, (low, high) in enumerate(_open_spans(cost_btu)[: max(last, default=-1) + 1]):
        if high < low:
            break  # two closed diagonals: no path goes on
        if keep:
            rows.append(np.empty_like(rows[0]))
        two, one, row = rows[-3:] if keep else (rows[k % 3], rows[(k + 1) % 3], rows[(k + 2) % 3])
        best = np.minimum(one[:, low:high], one[:, low + 1 : high + 1], out=room[:, low:high])
        np.minimum(best, two[:, low:high], out=best)
        np.add(best, flat[:, across(k, low, high, u)], out=row[:, low + 1 : high + 1])
        row[:, low] = INFINITY if low else edge
        row[:, high + 1 : high + 2] = INFINITY
        for b, i in last.get(k, ()):
            if low <= i < high and row[b, i + 1] < costs[b]:
                costs[b], columns[b] = row[b, i + 1], k - i
    return Totals(costs, columns, rows)


def trace(rows: Sequence[Floats], b: int, i: int, j: int) -> NDArray[np.int64]:
    """(K, 2): the cheapest path of pair b that ends in cell (i, j), in its order; of equals a diagonal step."""
    cells, lines = [], [row[b] for row in rows]
    while i >= 0 and j >= 0:
        cells.append((i, j))
        two, one = lines[i + j], lines[i + j + 1]
        both, up, back = two[i], one[i], one[i + 1]
        if both <= up and both <= back:
            i, j = i - 1, j - 1
        elif up <= back:
            i -= 1
        else:
            j -= 1
    return np.array(cells[::-1], dtype=np.int64).reshape(-1, 2)


def spans(t: int, u: int) -> NDArray[np.int64]:
    """(T + U - 1, 2): of each diagonal of a T x U matrix the row of its first cell, and the one after its last."""
    k = np.arange(t + u - 1)
    return np.stack([np.maximum(0, k - u + 1), np.minimum(t, k + 1)], axis=1)


def across(k: int, low: int, high: int, u: int) -> slice:
    """Where the cells of diagonal k in these rows lie in a matrix of u columns that is laid flat."""
    at, step = k + low * (u - 1), max(1, u - 1)
    return slice(at, at + (high - low) * step, step)


def ends(m: Sequence[int], n: Sequence[int], anywhere: bool = False) -> dict[int, list[tuple[int, int]]]:
    """By diagonal: the pairs of which a path may end there, and in which row."""
    out: dict[int, list[tuple[int, int]]] = {}
    for b, (rows, columns) in enumerate(zip(m, n, strict=True)):
        for j in range(0 if anywhere else columns - 1, columns if rows else 0):
            out.setdefault(rows - 1 + j, []).append((b, rows - 1))
    out.pop(-1, None)
    return out


def _open_spans(cost_btu: Floats) -> list[tuple[int, int]]:
    """`spans` without the closed cells at either side, as far as the diagonals to come allow.

    What a diagonal reads of the one before must be at most one place outside of its span, where infinity is written: so
    no span begins before an earlier one, or ends more than a row later than the one before.
    """
    t, u = cost_btu.shape[1:]
    out = spans(t, u)
    if np.isinf(cost_btu).any():
        (i, j), k = np.nonzero((cost_btu < INFINITY).any(0)), np.arange(len(out))
        first, last = np.full(len(k), t), np.full(len(k), -1)
        np.minimum.at(first, i + j, i)
        np.maximum.at(last, i + j, i)
        out[:, 0] = np.maximum(out[:, 0], np.minimum.accumulate(first[::-1])[::-1])
        out[:, 1] = np.minimum(out[:, 1], np.maximum.accumulate((last + 1 - k)[::-1])[::-1] + k)
    return [(int(low), int(high)) for low, high in out]
