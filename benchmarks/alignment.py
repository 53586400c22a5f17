"""Alignment on one thread against the same recurrences written as loops over cells, and dtaidistance where that is
installed: how many times as long as ours each takes, of processor time, medians of calls that took turns.

Distances must agree, or there is no ratio. Loops are run once, on plain numbers, and not on the largest sizes.
"""

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from polymodal.alignment import SakoeChiba, distances, dtw, pad, sinkhorn, soft_dtw
from polymodal.batch import Masked

TIMES = 5
Call = Callable[[], object]


def run() -> dict[str, float]:
    """Milliseconds of ours, and the ratios."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    g = np.random.default_rng(0)
    out: dict[str, float] = {}
    try:
        for length in (1000, 3000):
            a, b = (np.cumsum(g.normal(size=length)) for _ in range(2))
            calls: dict[str, Call] = {"ours": lambda a=a, b=b: dtw(a, b).cost}
            loop = (lambda a=a, b=b: looped(np.abs(np.subtract.outer(a, b)))) if length == 1000 else None
            out |= ratios(f"DTW {length:,} x {length:,}", calls | others(a, b), loop)
        out |= many(g)
        out |= soft(g)
        out |= transport(g)
    finally:
        torch.set_num_threads(threads)
    return out


def many(g: np.random.Generator) -> dict[str, float]:
    """Of 100 pairs of 150 to 250 frames; a loop of calls of `dtw` is what a batch saves."""
    pairs = [[g.normal(size=(int(g.integers(150, 250)), 3)) for _ in range(2)] for _ in range(100)]
    a, b = (pad([p[side] for p in pairs]) for side in range(2))
    each = [torch.cdist(*map(torch.from_numpy, p)).numpy() for p in pairs]
    calls: dict[str, Call] = {
        "ours": lambda: distances(a, b).sum().item(),
        "ours, a pair at a time": lambda: sum(dtw(*p).cost for p in pairs),
    }
    out = ratios("DTW of 100 pairs", calls, lambda: sum(looped(c) for c in each))
    banded: dict[str, Call] = {"ours": lambda: distances(a, b, band=SakoeChiba(100)).sum().item()}
    return out | ratios("DTW of 100 pairs in a band of 100", banded, None)


def soft(g: np.random.Generator) -> dict[str, float]:
    """With the gradient of 8 pairs of 100 frames; the loop leaves that to autograd."""
    x, y = (torch.from_numpy(g.normal(size=(8, 100, 3))).requires_grad_() for _ in range(2))
    mask = torch.ones(8, 100, dtype=torch.bool)

    def ours() -> float:
        return torch.autograd.grad(soft_dtw(Masked(x, mask), Masked(y, mask)).sum(), x)[0].square().sum().item()

    def loop() -> float:
        costs = torch.cdist(x, y).square()
        rows = {(i, j): torch.full((8,), torch.inf) for i in range(-1, 100) for j in range(-1, 100) if min(i, j) < 0}
        rows[-1, -1] = torch.zeros(8)
        for i in range(100):
            for j in range(100):
                three = torch.stack([rows[i - 1, j - 1], rows[i - 1, j], rows[i, j - 1]])
                rows[i, j] = costs[:, i, j] - (-three).logsumexp(0)
        return torch.autograd.grad(rows[99, 99].sum(), x)[0].square().sum().item()

    return ratios("soft-DTW and gradient, 8 x 100 x 100", {"ours": ours}, loop)


def transport(g: np.random.Generator) -> dict[str, float]:
    """Of 8 plans of 200 x 200 points: against as many iterations a row at a time, and on logarithms alone."""
    cost = torch.from_numpy(g.random((8, 200, 2)))
    cost = torch.cdist(cost, torch.from_numpy(g.random((8, 200, 2)))).square()
    epsilon, iterations = 0.02, sinkhorn(cost, epsilon=0.02).iterations.tolist()

    def logarithms(row: Tensor, count: int) -> float:
        f, weight = torch.zeros(200, dtype=row.dtype), -np.log(200)
        for _ in range(count):
            h = -(weight + f[:, None] - row / epsilon).logsumexp(0)
            f, before = -(weight + h - row / epsilon).logsumexp(1), f
        return ((2 * weight + before[:, None] + h - row / epsilon).exp() * row).sum().item()

    calls: dict[str, Call] = {
        "ours": lambda: sinkhorn(cost, epsilon=epsilon).cost.sum().item(),
        "logarithms, a row at a time": lambda: sum(map(logarithms, cost, iterations)),
    }
    return ratios("Sinkhorn 8 x 200 x 200", calls, None)


def looped(costs: np.ndarray) -> float:
    """DTW as textbooks have it, on lists."""
    before = [0.0] + [float("inf")] * costs.shape[1]
    for row in costs.tolist():
        now = [float("inf")]
        for j, c in enumerate(row):
            now.append(c + min(before[j], before[j + 1], now[j]))
        before = now
    return before[-1]


def others(a: np.ndarray, b: np.ndarray) -> dict[str, Call]:
    """The C code of dtaidistance; its cost is the root of a sum of squares, so that it gets no say in agreement."""
    try:
        from dtaidistance import dtw as c_code
    except ImportError:
        return {}
    return {"dtaidistance (distance without path)": lambda: c_code.distance_fast(a, b)}


def ratios(what: str, calls: dict[str, Call], loop: Call | None) -> dict[str, float]:
    """Milliseconds of ours, and how many times as long the others take."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    values: dict[str, object] = {}
    for turn in range(1 + TIMES):
        for name, call in calls.items():
            began = time.process_time()
            values[name] = call()
            if turn:
                times[name].append(1000 * (time.process_time() - began))
    ms = {name: statistics.median(t) for name, t in times.items()}
    if loop is not None:
        began = time.process_time()
        values["a loop"] = loop()
        ms["a loop"] = 1000 * (time.process_time() - began)
    for name, value in values.items():
        if not name.startswith("dtai") and not np.isclose(value, values["ours"], rtol=1e-5):
            raise AssertionError(f"{what}: {name} gives {value} and ours {values['ours']}")
    return {f"{what}: ours, ms": ms["ours"]} | {
        f"{what}: {n} / ours": t / ms["ours"] for n, t in ms.items() if n != "ours"
    }


if __name__ == "__main__":
    for line, value in run().items():
        print(f"{line:<66} {value:>10,.2f}")
