"""Bands: which cells of the matrix of costs a warping path may use.

Axes: b pair, t frame of the first stream (cell i of m), u frame of the second (cell j of n).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from polymodal.alignment.lattice import cheapest
from polymodal.errors import InputError


@dataclass(frozen=True)
class Band(ABC):
    """Cells that need at most `limit`, a number that is comparable with what `need` gives."""

    limit: float

    @abstractmethod
    def need(self, i: Tensor, j: Tensor, m: Tensor, n: Tensor) -> Tensor:
        """The smallest limit that lets a path of m x n cells use cell (i, j), counted from 0; all broadcast."""


class SakoeChiba(Band):
    """Cells with abs(i - j) <= limit. Sakoe & Chiba 1978."""

    def need(self, i: Tensor, j: Tensor, m: Tensor, n: Tensor) -> Tensor:
        """abs(i - j)."""
        return (i - j).abs() + 0 * (m + n)


class Itakura(Band):
    """A parallelogram: from both corners the path is nowhere steeper than `limit` times the diagonal, nor flatter than
    1 / limit times it. Itakura 1975, with its slope of 2 for any lengths."""

    def need(self, i: Tensor, j: Tensor, m: Tensor, n: Tensor) -> Tensor:
        """The steepest of the four sides, 1 on the diagonal."""
        x, y = i / (m - 1).clamp(min=1), j / (n - 1).clamp(min=1)
        slopes = [a / b for p, q in ((x, y), (1 - x, 1 - y)) for a, b in ((p, q), (q, p))]  # 0 / 0 in a corner
        sides = torch.stack([s.nan_to_num(nan=1.0, posinf=torch.inf) for s in torch.broadcast_tensors(*slopes)])
        return torch.where((m == 1) | (n == 1), 1.0, sides.amax(0))  # of one frame there is one path


def close(cost_btu: Tensor, band: Band | None, m_b: Tensor, n_b: Tensor) -> Tensor:
    """The costs, with infinity outside the band of each pair, whose lengths are m and n."""
    if band is None:
        return cost_btu
    return torch.where(_need(band, m_b, n_b, cost_btu) <= band.limit, cost_btu, torch.inf)


def refuse(band: Band | None, m: int, n: int) -> None:
    """Raise InputError for a pair of m and n frames without a path of finite cost: the band's fault, or the costs'."""
    if band is not None:
        need = _need(band, torch.tensor([m]), torch.tensor([n]), torch.empty(1, m, n, dtype=torch.float64))
        steps = need.unique()
        low, high = 0, len(steps) - 1
        while low < high:
            middle = (low + high) // 2
            passes = cheapest(torch.where(need <= steps[middle], 0.0, torch.inf).numpy(), [m], [n]).costs[0] == 0
            low, high = (low, middle) if passes else (middle + 1, high)
        if steps[low] > band.limit:
            least = float(steps[low])
            wider = replace(band, limit=int(least) if least.is_integer() else least)
            raise InputError(f"{band} leaves no path for {m:,} and {n:,} frames; give at least {wider}")
    raise InputError(f"no path through {m:,} x {n:,} costs is finite; leave a way open")


def _need(band: Band, m_b: Tensor, n_b: Tensor, like: Tensor) -> Tensor:
    t, u = like.shape[1:]
    i, j = (torch.arange(k, dtype=torch.float64, device=like.device) for k in (t, u))
    m, n = (x.to(like.device).double()[:, None, None] for x in (m_b, n_b))
    return band.need(i[None, :, None], j[None, None], m, n)
