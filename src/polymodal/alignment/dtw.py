"""Dynamic time warping: the cheapest way to walk through two streams together.

A path goes from (0, 0) to (T - 1, U - 1) by steps of one frame in the first stream, in the second, or in both; its cost
is the sum of the costs of its cells. Sakoe & Chiba 1978.

Axes: b pair or stream, t frame of the first, u frame of the second, c channel, k cell of a path.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from polymodal.alignment.arrays import Cost, floats, local_costs, pack, pair, pairs, squared_euclidean, stream
from polymodal.alignment.bands import Band, close, refuse
from polymodal.alignment.lattice import Totals, cheapest, trace
from polymodal.batch import Masked
from polymodal.errors import InputError, is_whole

CELLS = 2**22  # of matrices of costs that are held at a time
CANDIDATES = 10  # streams of which a barycentre may begin as one


class Alignment(NamedTuple):
    """path: (K, 2) int64, the frames of both streams that are together. cost: the sum of its cells. costs: (T, U)."""

    path: Tensor
    cost: float
    costs: Tensor


def dtw(a: Any, b: Any, *, cost: Cost = "euclidean", band: Band | None = None, subsequence: bool = False) -> Alignment:
    """The warping path of least cost between (T, C) and (U, C), arrays or tensors; (T,) is one channel.

    cost: "euclidean", "squared", or a function of both that gives (T, U). band: `SakoeChiba` or `Itakura`, without
    which all cells are open. subsequence: all of a in a stretch of b, which begins and ends where that is cheapest
    (Müller 2007). Raises InputError for streams that are empty, not finite or of unlike channels, and for a band that
    leaves no path.

    >>> dtw([0.0, 1.0, 2.0], [0.0, 1.0, 1.0, 2.0]).path.tolist()
    [[0, 0], [1, 1], [1, 2], [2, 3]]
    """
    return warp(local_costs(*pair(a, b), cost), band=band, subsequence=subsequence)


def warp(costs: Any, *, band: Band | None = None, subsequence: bool = False) -> Alignment:
    """`dtw` with the local costs (T, U) given; a cell of infinite cost is closed.

    Raises InputError for an empty matrix or one with NaN, where no path is finite, and as `dtw`.
    """
    costs_tu = floats(costs)
    if costs_tu.ndim != 2 or not costs_tu.numel():
        raise InputError(f"the costs have the shape {tuple(costs_tu.shape)}; give (T, U), with a cell at least")
    if costs_tu.isnan().any():
        raise InputError(f"{int(costs_tu.isnan().sum()):,} costs are NaN; give infinity to close a cell")
    if subsequence and band is not None:
        raise InputError(
            f"{band} is counted from the first frames, and a subsequence may begin anywhere; leave one out"
        )
    m, n = costs_tu.shape
    lengths = torch.tensor([[m], [n]], device=costs_tu.device)
    totals = cheapest(numpy(close(costs_tu[None], band, *lengths)), [m], [n], keep=True, anywhere=subsequence)
    if np.isinf(totals.costs[0]):
        refuse(band, m, n)
    path = trace(totals.rows, 0, m - 1, int(totals.columns[0]))
    return Alignment(torch.from_numpy(path), float(totals.costs[0]), costs_tu)


def distances(a: Masked, b: Masked, *, cost: Cost = "euclidean", band: Band | None = None) -> Tensor:
    """The cost of the warping path of each of B pairs, (B,), without a gradient; NaN where a side has no real frame.

    a, b: values (B, T, C) and (B, U, C), masks (B, T) and (B, U); frames count in their order (`pad` makes one of
    streams). cost, band: as in `dtw`. Raises InputError as `dtw`, and for unlike numbers of rows.
    """
    x_btc, y_buc, m, n = pairs(a, b)
    out = x_btc.new_full((len(x_btc),), torch.nan)
    for rows, totals in _totals(x_btc, y_buc, m, n, cost, band):
        out[rows] = torch.from_numpy(totals.costs).to(out)
    return torch.where((m > 0) & (n > 0), out, torch.nan)


class Barycentre(NamedTuple):
    """values: (T, C). cost: the sum of its squared-cost DTW to all streams. rounds: how often it was moved. converged:
    whether the last round moved nothing."""

    values: Tensor
    cost: float
    rounds: int
    converged: bool


def barycentre(streams: Masked, *, start: Any = None, rounds: int = 30, band: Band | None = None) -> Barycentre:
    """The average of streams under DTW (DTW barycentre averaging; Petitjean, Ketterlin & Gançarski 2011).

    It locally minimises the sum over streams of the squared Euclidean cost of the path to it: in turn all paths are
    sought, and each frame becomes the mean of the frames that the paths put beside it, by which the sum never grows.

    streams: values (B, T, C), mask (B, T); rows without a real frame count as nothing. start: (L, C), what it begins
    as, and how long it is; without it the stream, of at most 10 spread over the rows, that is nearest to all. Raises
    InputError as `dtw`, and where no row has a frame.
    """
    if not is_whole(rounds, 0):
        raise InputError(f"rounds={rounds!r} must be a whole number from 0")
    values, lengths = pack(streams, "streams")
    values, lengths = values[lengths > 0], lengths[lengths > 0]
    if not len(values):
        raise InputError("no stream has a real frame; give at least one")
    centre = _medoid(values, lengths, band) if start is None else stream(start, "start").to(values)
    if centre.shape[1] != values.shape[2]:
        raise InputError(f"start has {centre.shape[1]} channels and the streams have {values.shape[2]}; give the same")
    cost, best = np.inf, centre
    for number in range(rounds + 1):
        total, mean = _beside(centre, values, lengths, band)
        if not total < cost:
            return Barycentre(best, cost, number - 1, True)
        cost, best, centre = total, centre, mean
    return Barycentre(best, cost, rounds, False)


def _medoid(values: Tensor, lengths: Tensor, band: Band | None) -> Tensor:
    """The real frames of the candidate of which the costs to all streams have the smallest sum."""
    many = len(values)
    order = np.linspace(0, many - 1, min(many, CANDIDATES)).round().astype(int).tolist()
    sums = []
    for one in order:
        x_btc, m = values[one].expand_as(values), lengths[one].expand_as(lengths)
        sums.append(sum(float(t.costs.sum()) for _, t in _totals(x_btc, values, m, lengths, squared_euclidean, band)))
    one = order[int(np.argmin(sums))]
    return values[one, : int(lengths[one])]


def _beside(centre: Tensor, values: Tensor, lengths: Tensor, band: Band | None) -> tuple[float, Tensor]:
    """The sum of the costs of the paths from a centre to all streams, and the means of the frames beside its frames."""
    x_btc, m = centre.expand(len(values), -1, -1), torch.full_like(lengths, len(centre))
    total, sums, counts = 0.0, torch.zeros_like(centre), centre.new_zeros(len(centre), 1)
    for rows, totals in _totals(x_btc, values, m, lengths, squared_euclidean, band, keep=True):
        total += float(totals.costs.sum())
        for b, row in enumerate(range(len(values))[rows]):
            path = torch.from_numpy(trace(totals.rows, b, len(centre) - 1, int(lengths[row]) - 1)).to(centre.device)
            sums.index_add_(0, path[:, 0], values[row, path[:, 1]])
            counts.index_add_(0, path[:, 0], counts.new_ones(len(path), 1))
    return total, sums / counts


def _totals(
    x_btc: Tensor, y_buc: Tensor, m: Tensor, n: Tensor, cost: Cost, band: Band | None, keep: bool = False
) -> Iterator[tuple[slice, Totals]]:
    """Some pairs at a time: which rows, and their totals. Raises InputError where a pair has no path."""
    at_once = max(1, CELLS // (x_btc.shape[1] * y_buc.shape[1]))
    for first in range(0, len(x_btc), at_once):
        rows = slice(first, first + at_once)
        t, u = max(1, int(m[rows].max())), max(1, int(n[rows].max()))
        costs = close(local_costs(x_btc[rows, :t], y_buc[rows, :u], cost), band, m[rows], n[rows])
        totals = cheapest(numpy(costs), m[rows].tolist(), n[rows].tolist(), keep=keep)
        unreachable = np.isinf(totals.costs) & numpy((m[rows] > 0) & (n[rows] > 0))
        if unreachable.any():
            refuse(band, int(m[rows][unreachable.argmax()]), int(n[rows][unreachable.argmax()]))
        yield rows, totals


def numpy(x: Tensor) -> Any:
    """The array of a tensor, without its gradient."""
    return x.detach().cpu().numpy()
