"""Whether an explanation is true of the model: what happens to the answer as the parts it names are taken away.

    scores --order--> parts hidden one after another --model--> deletion and insertion curves, against random orders
    scores --again, with random weights--> rank correlation: an explanation that survives explains no weights

Axes: k step of a curve, s part, p set of hidden parts.
"""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import nn

Floats = NDArray[np.float64]
Net = TypeVar("Net", bound=nn.Module)
Hide = Callable[[NDArray[np.bool_]], Floats]  # (P, S) True where a part is hidden -> (P,) the explained output
STEPS = 10  # of a curve
ORDERS = 8  # random ones
FEWEST = 3  # parts below which a rank correlation says nothing


class Faithfulness(NamedTuple):
    """How the explained output of one row moves as its parts are hidden in the order that an explanation gives.

    share: (K,) from 0 to 1. deletion: (K,) the output when that share of the parts is hidden, those that speak most for
    it first; insertion: (K,) when that share alone is there, the same ones first. random_deletion, random_insertion:
    (K,) means over random orders, each read forwards for the one and backwards for the other. Petsiuk, Das & Saenko
    2018.
    gain: (area of random_deletion - of deletion + of insertion - of random_insertion) / 2, in units of the range of all
    these outputs: 0 for an order that knows nothing, negative for one that is the wrong way round.
    randomised: Spearman correlation of |scores| with those of the same model with random weights, which should be near
    0 (Adebayo et al. 2018); None where the model has no weights to draw anew, or the row has fewer than 3 parts.
    """

    share: Floats
    deletion: Floats
    insertion: Floats
    random_deletion: Floats
    random_insertion: Floats
    gain: float
    randomised: float | None

    def to_json(self) -> dict[str, Any]:
        """Plain containers."""
        out = {k: v.round(6).tolist() for k, v in self._asdict().items() if isinstance(v, np.ndarray)}
        near = self.randomised
        return {**out, "gain": round(self.gain, 6), "randomised": None if near is None else round(near, 6)}


def faithfulness(
    scores: Floats, hide: Hide, *, randomised: float | None = None, orders: int = ORDERS, seed: int = 0
) -> Faithfulness:
    """The curves of an explanation with these (S,) scores, and their gain; see `Faithfulness`.

    hide: from (P, S), True where a part is hidden, to the (P,) outputs. It is called once, with distinct sets. Parts
    with equal scores are taken in a random order.
    """
    g = np.random.default_rng(seed)
    parts = len(scores)
    count_k = counts(parts)
    order = g.permutation(parts)
    best_first = order[np.argsort(-scores[order], kind="stable")]
    sets = [first(best_first, count_k), ~first(best_first, count_k)]
    sets += [first(g.permutation(parts), count_k) for _ in range(orders)]
    distinct, back = np.unique(np.concatenate(sets), axis=0, return_inverse=True)
    output_p = np.asarray(hide(distinct), dtype=np.float64)
    deletion, insertion, *random = output_p[back.reshape(-1)].reshape(len(sets), -1)
    random_deletion = np.mean(random, axis=0)
    share = count_k / max(1, parts)
    gain_area = (area(share, random_deletion) - area(share, deletion)) / 2
    gain_area += (area(share, insertion) - area(share, random_deletion[::-1])) / 2
    spread = float(np.ptp(output_p))
    gain = gain_area / spread if spread > 1e-9 else 0.0
    return Faithfulness(share, deletion, insertion, random_deletion, random_deletion[::-1].copy(), gain, randomised)


def counts(parts: int, steps: int = STEPS) -> NDArray[np.int64]:
    """How many parts are hidden at each step, from 0 to all of them; the same read backwards.

    >>> counts(4).tolist(), counts(25).tolist()
    ([0, 1, 2, 3, 4], [0, 2, 5, 8, 10, 12, 13, 15, 17, 20, 23, 25])
    """
    up = np.linspace(0, parts, steps + 1).round().astype(np.int64)
    half = up[2 * up <= parts]
    return np.unique(np.concatenate([half, parts - half]))


def first(order: NDArray[np.int64], count_k: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(K, S): True at the first `count_k` parts of the order."""
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return np.asarray(place < count_k[:, None])


def area(share: Floats, output: Floats) -> float:
    """Below a curve, by trapezoids."""
    return float((np.diff(share) * (output[1:] + output[:-1]) / 2).sum())


def correlation(a: Floats, b: Floats) -> float:
    """Spearman's: of the ranks, equal values sharing theirs; 0 where either is constant."""
    a, b = (r - r.mean() for r in (rankdata(a), rankdata(b)))
    size = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / size if size > 0 else 0.0


def randomised(module: Net, seed: int = 0) -> Net:
    """A copy in which every parameter is drawn anew, from a normal with the mean and deviation of its own values.

    So a norm's scales stay near 1 and no layer grows loud or silent, while nothing that was learned is left.
    """
    g = torch.Generator().manual_seed(seed)
    out = copy.deepcopy(module)
    with torch.no_grad():
        for p in out.parameters():
            if p.is_floating_point() and p.numel() > 1:
                noise = torch.randn(p.shape, generator=g).to(p)
                p.copy_(p.mean() + p.std(unbiased=False) * noise)
    return out
