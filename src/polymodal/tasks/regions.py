"""All answers that are no stranger than a limit, and how strange an answer is (its nonconformity).

b row, c class or label, k question of an ordinal task or target of a regression.

    one label a row  log((1 - p_c) / p_c): the least ambiguous sets (Sadinle, Lei & Wasserman 2019). They are the
                     smallest on average, and may be empty: no label is likely enough, so the row is a strange one
    ordered labels   max(-l_(c-1), l_c), l_k being the monotone logit of y > k: both tails of the answer, so that a set
                     is a run of neighbours
    label sets       -l_c, of a row the greatest over the labels that it has: a set holds ALL labels of the row
    numbers          |y - prediction| in units of each target's spread, of several targets the greatest, so that all of
                     them lie in their intervals at once (Lei et al. 2018)
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from polymodal.tasks.base import Array, Bools, Region


class LabelSets(Region):
    """inside: (B, C) which labels are in the set of each row."""

    unit = "labels a set"

    def __init__(self, labels: list[Any], inside: Bools) -> None:
        self.labels, self.inside = labels, inside
        self.sizes = np.asarray(inside.sum(1), dtype=np.float64)

    def columns(self) -> dict[str, list[Any]]:
        """ "set", a list of labels a row."""
        return {"set": [[self.labels[i] for i in np.flatnonzero(row)] for row in self.inside]}


class Intervals(Region):
    """low, high: (B, K) in the targets' units. sizes: widths, of several targets in units of their spreads.

    names: of several targets; None: there is one.
    """

    unit = "mean width"

    def __init__(self, names: Sequence[str] | None, low: Array, high: Array, sizes: Array) -> None:
        self.names, self.low, self.high, self.sizes = names, low, high, sizes

    def columns(self) -> dict[str, list[Any]]:
        """ "low" and "high", or "low[name]" of each of several numbers and then "high[name]"."""
        ends = ("low", self.low), ("high", self.high)
        if self.names is None:
            return {end: x[:, 0].tolist() for end, x in ends}
        return {f"{end}[{name}]": x[:, k].tolist() for end, x in ends for k, name in enumerate(self.names)}


def against_each(logits: Tensor) -> Tensor:
    """(B, C) log((1 - p_c) / p_c) of a softmax, exact where p is near 1."""
    l_bc = logits.double()
    top = l_bc.argmax(1, keepdim=True)
    every = l_bc.logsumexp(1, keepdim=True)
    # the others together: 1 - p loses its digits where p is near 1, so that of the likeliest is summed without it
    others = every + torch.log1p(-(l_bc - every).exp().clamp(max=0.5))
    others.scatter_(1, top, l_bc.scatter(1, top, -torch.inf).logsumexp(1, keepdim=True))
    return others - l_bc


def worse_tail(logits: Tensor) -> Tensor:
    """(B, K + 1) max(-l_(c-1), l_c) of ordered labels, of monotone logits (B, K)."""
    end = logits.new_full((len(logits), 1), -torch.inf)
    return torch.maximum(torch.cat([end, -logits], 1), torch.cat([logits, end], 1))


def take(x_bc: NDArray[Any], at_b: NDArray[Any]) -> NDArray[Any]:
    """(B,) the value of each row at its place."""
    out: NDArray[Any] = np.take_along_axis(x_bc, at_b[:, None], 1)[:, 0]
    return out
