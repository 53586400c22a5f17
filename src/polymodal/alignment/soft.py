"""Soft-DTW: a smooth cost of warping, by which streams can be learned.

    soft[i, j] = cost[i, j] + softmin(soft[i - 1, j - 1], soft[i - 1, j], soft[i, j - 1])
    softmin(x) = -gamma log sum exp(-x / gamma)

so that it is -gamma log of the sum over all paths of exp(-cost of the path / gamma); as gamma falls to 0 it becomes
the DTW. Its gradient with respect to the local costs is the share of paths, so weighted, that use each cell. Cuturi &
Blondel 2017. Both recurrences go by diagonals, as in `lattice`, in torch: on the device of the streams.

Axes: b pair, t frame of the first, u frame of the second, k diagonal; x is -cost / gamma.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from polymodal.alignment.arrays import Cost, local_costs, pairs
from polymodal.alignment.bands import Band, close, refuse
from polymodal.alignment.lattice import across, ends, spans
from polymodal.batch import Masked
from polymodal.errors import InputError


def soft_dtw(a: Masked, b: Masked, gamma: float = 1.0, *, cost: Cost = "squared", band: Band | None = None) -> Tensor:
    """The soft-DTW of each of B pairs, (B,), with a gradient; 0 where a side of a pair has no real frame.

    It may be negative, and of equal streams it is. a, b, cost, band: as in `distances`. Raises InputError as that, and
    for a gamma that is not above 0.
    """
    if not gamma > 0:
        raise InputError(f"gamma={gamma:g} must be above 0; `distances` is the limit of gamma to 0")
    x_btc, y_buc, m, n = pairs(a, b)
    costs = close(local_costs(x_btc, y_buc, cost), band, m, n)
    there = (m > 0) & (n > 0)
    log_paths: Tensor = _LogPaths.apply(-costs / gamma, m, n)  # type: ignore[no-untyped-call]
    out = -gamma * log_paths
    unreachable = there & out.isinf()
    if unreachable.any():
        worst = int(unreachable.int().argmax())
        refuse(band, int(m[worst]), int(n[worst]))
    return torch.where(there, out, 0.0)


class _LogPaths(torch.autograd.Function):
    """(B, T, U) -> (B,): log of the sum over paths of exp(sum of x over cells), of the first m x n cells of each pair;
    0 for a pair without a cell."""

    @staticmethod
    def forward(ctx: Any, x_btu: Tensor, m: Tensor, n: Tensor) -> Tensor:
        """rows: log-sums over the paths to each cell, (i, k - i) at place i + 1 of row k + 2; before: without its x."""
        pairs, t, u = x_btu.shape
        flat = x_btu.reshape(pairs, -1)
        rows = x_btu.new_full((t + u + 1, pairs, t + 1), -torch.inf)
        rows[0, :, 0] = 0.0
        before = x_btu.new_full((t + u + 3, pairs, t + 2), -torch.inf)
        for k, (low, high) in enumerate(spans(t, u).tolist()):
            two, one, place = rows[k], rows[k + 1], slice(low + 1, high + 1)
            best = torch.logaddexp(one[:, low:high], one[:, place])
            torch.logaddexp(best, two[:, low:high], out=before[k + 2, :, place])
            torch.add(before[k + 2, :, place], flat[:, across(k, low, high, u)], out=rows[k + 2, :, place])
        before[before == -torch.inf] = torch.inf  # no path comes by a cell that none reaches
        ctx.save_for_backward(rows, before, m, n)
        ctx.shape = x_btu.shape
        return torch.where((m > 0) & (n > 0), rows[m + n, torch.arange(pairs, device=m.device), m], 0.0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_b: Tensor) -> tuple[Tensor, None, None]:
        """Shares of paths: a cell has those of the cells that may follow, as far as theirs come by this one."""
        rows, before, m, n = ctx.saved_tensors
        pairs, t, u = ctx.shape
        out = rows.new_zeros(pairs, t * u)
        one = two = rows.new_zeros(pairs, t + 2)
        lasts = ends(m.tolist(), n.tolist())
        for k, (low, high) in reversed(list(enumerate(spans(t, u).tolist()))):
            place, after = slice(low + 1, high + 1), slice(low + 2, high + 2)
            here, now = rows[k + 2, :, place], torch.zeros_like(one)
            steps = (one, k + 3, place), (one, k + 3, after), (two, k + 4, after)
            now[:, place] = sum(share[:, to] * (here - before[row, :, to]).exp() for share, row, to in steps)
            for b, i in lasts.get(k, ()):
                now[b, i + 1] = 1.0
            out[:, across(k, low, high, u)] = now[:, place]
            one, two = now, one
        return out.reshape(ctx.shape) * grad_b[:, None, None], None, None
