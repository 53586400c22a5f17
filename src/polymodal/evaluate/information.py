"""What two modalities tell about the target: both the same, each its own, or something only together.

s weighting, n row, a and b symbol of the first and second prediction, c class of the target. I(X1, X2; Y) is the sum
of redundancy R, unique information U1 and U2, and synergy S (Williams & Beer 2010), in bits. After Bertschinger et
al. 2014 the first three depend on p(x1, y) and p(x2, y) alone: with Q the distributions that share those two,

    R = I(X1; Y) + I(X2; Y) - min over Q of I(X1, X2; Y),   U1 = I(X1; Y) - R,   U2 = I(X2; Y) - R,
    S = I(X1, X2; Y) - U1 - U2 - R.

So held-out predictions are enough (the aim of Liang et al. 2023, by clustering features): a good prediction from X1
keeps all that X1 says of Y, hence R, U1 and U2; and a good fused prediction keeps I(X1, X2; Y), which predictions
from each alone can't show (neither side of an exclusive or predicts anything). Whatever the models miss is missing
here too: these are figures of what was learned.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from polymodal.batch import Masked
from polymodal.evaluate.intervals import Interval
from polymodal.output import Scores
from polymodal.tasks.base import Task

Array = NDArray[np.float64]
Codes = NDArray[np.intp]
BLOCKS = 20  # of the jackknife
BINS = 4  # of a target that is a number: quarters
LEVELS = 8  # at most, of one prediction
CLASSES = 12  # at most, and fewer of few rows: rarer ones are taken together
LABELS = 6  # at most, of a multilabel target: the most even ones
STEPS = 5000
OTHERS = "the others"


class Shares(NamedTuple):
    """Bits that two modalities hold about the target, each with a 95% interval.

    total = redundancy + unique_first + unique_second + synergy. `entropy` is what there is to know. `fused` says
    whether a fused prediction could show synergy; else it is a lower bound.
    """

    first: str
    second: str
    total: Interval
    redundancy: Interval
    unique_first: Interval
    unique_second: Interval
    synergy: Interval
    entropy: float
    rows: int
    fused: bool


class Problem(NamedTuple):
    """One discrete target: its classes (N,), and per prediction its symbols (N,); `mask` (N,) has the labelled rows."""

    mask: NDArray[np.bool_]
    y: Codes
    x: dict[str, Codes]


def information(
    task: Task,
    target: Masked,
    alone: Mapping[str, Tensor],
    fused: Tensor | None = None,
    groups: Sequence[Any] | None = None,
    seed: int = 0,
) -> list[Shares]:
    """Decompose what held-out predictions say of the target. alone: modality -> (N, outputs) logits.

    Two modalities are set against each other, with `fused` (logits from both) for the total. Of more, each is set
    against all the others, whose prediction is the mean of their log-probabilities, with `fused`; and each pair on
    its own, without.

    A prediction becomes a symbol: its class by how sure it is, or the quantile of its number; as many as leave 10 rows
    for each symbol and class. A number as target becomes its quarter; a multilabel one the mean over
    its most even labels. Plug-in information is too high by O(1 / N), so all figures are corrected, and given
    intervals, by a jackknife over 20 blocks of rows or groups: unlike Miller & Madow's correction it holds for R too,
    and unlike shuffled labels it does not suppose that nothing is known. Below 0 they are set to 0.
    """
    read = {m: readings(task, x, target) for m, x in alone.items()}
    joint = None if fused is None else readings(task, fused, target)
    names = list(alone)
    pairs = [(a, b, joint if len(names) == 2 else None) for a, b in combinations(names, 2)]
    sides: list[tuple[str, str, Array | None]] = []
    if len(names) > 2:
        for m in names:
            key = f"{m}\0{OTHERS}"
            read[key] = _together([read[x] for x in names if x != m], target)
            sides.append((m, key, joint))
    out = []
    for a, b, whole in sides + pairs:
        sources = {a: read[a], b: read[b]} | ({} if whole is None else {"\0fused": whole})
        second = OTHERS if b.endswith(f"\0{OTHERS}") else b
        out.append(decompose(a, second, list(problems(task, target, sources)), groups, seed))
    return out


def decompose(first: str, second: str, parts: Sequence[Problem], groups: Sequence[Any] | None, seed: int) -> Shares:
    """Shares of the first and second prediction of each problem (the third, if any, is a fused one), the mean over
    problems.
    """
    rows = len(parts[0].mask) if parts else 0
    block = blocks(rows, groups, seed)
    count = int(block.max(initial=-1)) + 1
    size = np.bincount(block, minlength=count).astype(np.float64)
    w_sn = np.concatenate([np.ones((1, rows)), (block[None] != np.arange(count)[:, None]).astype(float)])
    figures = [_figures(p, w_sn) for p in parts]
    i1, i2, i12, r = np.nanmean(figures, axis=0).T if figures else np.full((4, count + 1), math.nan)
    every = np.stack([i12, r, i1 - r, i2 - r, i12 - i1 - i2 + r], axis=1)
    value, half = jackknife(every, size)
    parts_of = zip(_possible(*value.tolist()), half.tolist(), strict=True)
    total, r, u1, u2, more = (Interval(v, max(0.0, v - h), v + h) for v, h in parts_of)
    entropy = float(np.mean([_entropy(np.bincount(p.y[p.mask])) for p in parts])) if parts else math.nan
    used = int(np.any([p.mask for p in parts], axis=0).sum()) if parts else 0
    return Shares(first, second, total, r, u1, u2, more, entropy, used, bool(parts) and len(parts[0].x) > 2)


def _possible(total: float, r: float, one: float, two: float, more: float) -> list[float]:
    """The nearest figures that information can have: none below 0, and their sum the total."""
    i1, i2 = max(0.0, r + one), max(0.0, r + two)
    r = max(0.0, min(r, i1, i2))
    one, two, more = i1 - r, i2 - r, max(0.0, more)
    return [math.nan] * 5 if math.isnan(total) else [r + one + two + more, r, one, two, more]


def _figures(p: Problem, w_sn: Array) -> Array:
    """(S, 4) I(X1; Y), I(X2; Y), I(X1, X2; Y) and R under each weighting of the rows."""
    x1, x2, *fused = (x[p.mask] for x in p.x.values())
    y, w_sn = p.y[p.mask], w_sn[:, p.mask]
    pair = x1 * (int(x2.max(initial=0)) + 1) + x2
    one = np.ones((1, len(y)))
    # both are lower bounds of what the two modalities say, so the larger one is nearer to it
    sparse = len(y) < 5 * (int(pair.max(initial=0)) + 1) * (int(y.max(initial=0)) + 1)  # no correction mends that
    whole = max(fused if fused and sparse else [pair, *fused], key=lambda x: _less_bias(joint([x, y], one)[0], len(y)))
    least = least_information(joint([x1, y], w_sn), joint([x2, y], w_sn))
    i1, i2, i12 = (mutual(joint([x, y], w_sn)) for x in (x1, x2, whole))
    return np.stack([i1, i2, np.maximum(i12, least), i1 + i2 - least], axis=1)


def _less_bias(p_xc: Array, n: int) -> float:
    """Mutual information less its bias, (cells - rows - columns + 1) / 2n nats. Miller 1955."""
    cells, rows, columns = (int((x > 0).sum()) for x in (p_xc, p_xc.sum(1), p_xc.sum(0)))
    return float(mutual(p_xc[None])[0]) - (cells - rows - columns + 1) / (2 * max(1, n) * math.log(2))


def atoms(p_abc: Array, tolerance: float = 1e-6) -> tuple[float, float, float, float]:
    """Redundancy, both unique parts and synergy, in bits, of a joint distribution (A, B, C) of x1, x2 and y.

    >>> xor = np.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]]]) / 4
    >>> [round(x, 3) for x in atoms(xor)]
    [0.0, 0.0, 0.0, 1.0]
    """
    p1, p2 = p_abc.sum(1)[None], p_abc.sum(0)[None]
    least = float(least_information(p1, p2, tolerance)[0])
    i1, i2 = float(mutual(p1)[0]), float(mutual(p2)[0])
    i12 = float(mutual(p_abc.reshape(1, -1, p_abc.shape[-1]))[0])
    r = i1 + i2 - least
    return r, i1 - r, i2 - r, i12 - least


def least_information(p1_sac: Array, p2_sbc: Array, tolerance: float = 1e-3) -> Array:
    """(S,) the least I(X1, X2; Y), in bits, of any distribution with these p(x1, y) and p(x2, y).

    Alternates two projections (Banerjee, Rauh & Montufar 2018): r(x1, x2) is the margin of q; q(., ., y) is the nearest
    to r, in relative entropy, that has the two margins, found by scaling rows and columns in turn. The information
    falls in every round, and is at most max log(q(x1, x2) / r) - D(q(x1, x2) | r) above the least; it stops where that
    is below the tolerance, or after STEPS rounds.
    """
    r_sab = np.einsum("sac,sbc->sab", p1_sac, ratio(p2_sbc, p2_sbc.sum(1, keepdims=True)))
    v_sbc = np.ones_like(p2_sbc)
    q_sabc = np.zeros((*r_sab.shape, p2_sbc.shape[-1]))
    for _ in range(STEPS):
        for _ in range(2):
            u_sac = ratio(p1_sac, np.einsum("sab,sbc->sac", r_sab, v_sbc))
            v_sbc = ratio(p2_sbc, np.einsum("sab,sac->sbc", r_sab, u_sac))
        q_sabc = r_sab[..., None] * u_sac[:, :, None] * v_sbc[:, None]
        margin = q_sabc.sum(3)
        rise = _log2(ratio(margin, r_sab))
        gap = rise.max((1, 2), initial=-math.inf) - (margin * rise).sum((1, 2))
        r_sab = margin
        if (gap < tolerance).all():
            break
    return mutual(q_sabc.reshape(len(q_sabc), -1, q_sabc.shape[-1]))


def mutual(p_sxc: Array) -> Array:
    """(S,) mutual information, in bits, of distributions (S, X, C)."""
    apart = p_sxc.sum(2, keepdims=True) * p_sxc.sum(1, keepdims=True)
    return np.asarray((p_sxc * _log2(ratio(p_sxc, apart))).sum((1, 2)))


def ratio(a: Array, b: Array) -> Array:
    """a / b, and 0 where b is 0, or so small that a / b is no number."""
    return np.divide(a, b, out=np.zeros(np.broadcast_shapes(a.shape, b.shape)), where=b > 1e-290)


def _log2(x: Array) -> Array:
    return np.log2(x, out=np.zeros_like(x), where=x > 0)


def _entropy(counts: NDArray[Any]) -> float:
    p = counts / max(1, counts.sum())
    return float(-(p * _log2(p)).sum())


def joint(codes: Sequence[Codes], w_sn: Array) -> Array:
    """(S, X, C) shares of the rows of each pair of symbols, under each weighting."""
    sizes = [int(c.max(initial=0)) + 1 for c in codes]
    flat = codes[0] * sizes[1] + codes[1]
    table = np.array([np.bincount(flat, w, sizes[0] * sizes[1]) for w in w_sn]).reshape(-1, *sizes)
    return ratio(table, table.sum((1, 2), keepdims=True))


def blocks(rows: int, groups: Sequence[Any] | None, seed: int, count: int = BLOCKS) -> Codes:
    """(N,) the block that each row is left out with: at random, in equal parts; whole groups together."""
    labels = range(rows) if groups is None else [("missing", i) if g is None else repr(g) for i, g in enumerate(groups)]
    place = {g: i for i, g in enumerate(dict.fromkeys(labels))}
    code = np.array([place[g] for g in labels], dtype=np.intp)
    order = np.random.default_rng(seed).permutation(len(place))
    return np.asarray(order[code] % max(1, min(count, len(place))), dtype=np.intp)


def jackknife(every: Array, size: Array) -> tuple[Array, Array]:
    """Figures less their O(1 / n) bias, and half the width of a 95% interval; NaN of fewer than two blocks.

    every: (1 + M, K), of all rows, then without each of M blocks; size: (M,) rows of each block. With h = n / size,
    the pseudo-values are h every[0] - (h - 1) every[j]; blocks may differ in size: Busing, Meijer & van der Leeden
    1999.
    """
    whole, without = every[0], every[1:]
    m, n = len(size), size.sum()
    if m < 2:
        return whole, np.full_like(whole, math.nan)
    from scipy.stats import t

    h = (n / size)[:, None]
    value = m * whole - ((1 - 1 / h) * without).sum(0)
    variance = ((h * whole - (h - 1) * without - value) ** 2 / (h - 1)).mean(0)
    return value, float(t.ppf(0.975, m - 1)) * np.sqrt(variance)


def readings(task: Task, logits: Tensor, target: Masked) -> Array:
    """What is made a symbol of: (N, C) probabilities of classes, or (N, K) log-odds or numbers."""
    if target.values.is_floating_point():
        return np.asarray(logits.detach().cpu().double())
    columns = [v for k, v in task.decode(Scores(logits.detach().cpu())).items() if k.startswith("probability[")]
    return np.array(columns, dtype=np.float64).reshape(len(columns), len(logits)).T


def _together(read: Sequence[Array], target: Masked) -> Array:
    """One prediction of several: the mean, of log-probabilities where they are classes."""
    if target.values.is_floating_point():
        return np.asarray(np.mean(read, axis=0))
    log = np.mean([np.log(p.clip(1e-12)) for p in read], axis=0)
    p = np.exp(log - log.max(1, keepdims=True))
    return np.asarray(p / p.sum(1, keepdims=True))


def problems(task: Task, target: Masked, texts: Mapping[str, Array]) -> Iterator[Problem]:
    """The discrete problems that a target makes: one, or one for each number or label."""
    values, mask = np.asarray(target.values.cpu()), np.asarray(target.mask.cpu())
    if not target.values.is_floating_point():
        most = max(2, min(CLASSES, int((mask.sum() / 10) ** 0.5)))  # 10 rows for each pair of them
        keep, y = np.argsort(-np.bincount(values[mask], minlength=1), kind="stable")[: most - 1], values
        if len(np.unique(values[mask])) > most:
            y = np.full(len(values), most - 1)
            for i, c in enumerate(keep):
                y[values == c] = i
            texts = {k: np.c_[p[:, keep], np.delete(p, keep, axis=1).sum(1)] for k, p in texts.items()}
        y = np.where(mask, y, 0).astype(np.intp)
        yield Problem(mask, y, {k: classes(p, mask) for k, p in texts.items()})
        return
    mask = np.broadcast_to(mask.reshape(len(values), -1), values.shape)
    columns = list(range(values.shape[1]))
    if task.link == "sigmoid":
        columns = sorted(columns, key=lambda k: abs(values[mask[:, k], k].mean() - 0.5) if mask[:, k].any() else 1)
        columns = columns[:LABELS]
    for k in columns:
        m, v = mask[:, k], np.where(mask[:, k], values[:, k], 0)
        if not m.any():
            continue
        if task.link == "sigmoid":
            y = (v > 0.5).astype(np.intp)
            yield Problem(m, y, {name: classes(np.c_[-x[:, k], x[:, k]], m) for name, x in texts.items()})
        else:
            y, count = quantiles(v, m, BINS), _levels(int(m.sum()), BINS)
            yield Problem(m, y, {name: quantiles(x[:, k], m, count) for name, x in texts.items()})


def classes(p_nc: Array, mask: NDArray[np.bool_]) -> Codes:
    """(N,) symbols of predicted probabilities: the likeliest class, split by the quantile of how likely it is, so that
    no symbol straddles two predictions.
    """
    count = p_nc.shape[1]
    if not len(p_nc):
        return np.zeros(0, dtype=np.intp)
    best = p_nc.argmax(1)
    split = max(1, _levels(int(mask.sum()), count) // count)
    code = best * split
    for c in range(count):
        code += np.where(best == c, quantiles(p_nc.max(1), mask & (best == c), split), 0)
    return np.unique(code, return_inverse=True)[1].reshape(-1)


def quantiles(x: Array, mask: NDArray[np.bool_], count: int) -> Codes:
    """(N,) in which of `count` parts of equal size, of the masked rows, each value lies; equal values stay together."""
    if count < 2 or not mask.any():
        return np.zeros(len(x), dtype=np.intp)
    edges = np.unique(np.quantile(x[mask], np.arange(1, count) / count))
    return np.searchsorted(edges, x, side="left").astype(np.intp)


def _levels(rows: int, count: int) -> int:
    return min(LEVELS, max(2, rows // (10 * count)))
