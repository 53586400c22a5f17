"""How much of a score needs interaction between modalities: a model beside its best additive approximation.

EMAP, the empirical multimodally-additive projection of Hessel & Lee 2020: every modality of every row is combined
with the other modalities of every other row, and what the logits do on the average of these is the part that a sum
of functions of one modality each can do. A model that scores no better than its own projection does not use how its
modalities go together, whatever its fusion could express.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from polymodal.batch import Masked
from polymodal.evaluate.intervals import Interval, difference, score_interval
from polymodal.output import Scores
from polymodal.tasks.base import Task

CHUNK = 4096  # combinations at a time

Recombine = Callable[[Mapping[str, Sequence[int]]], Tensor]  # modality -> row of each combination; (N, outputs) logits


class Projection(NamedTuple):
    """Logits of some rows: the model's own, and those of its additive projection."""

    rows: list[int]
    own: Tensor  # (S, outputs)
    additive: Tensor  # (S, outputs)


class Cost(NamedTuple):
    """A model's score on some rows, that of its additive projection, and what interaction adds: positive is better."""

    name: str
    own: Interval
    additive: Interval
    gain: Interval
    rows: int


def emap(logits_of: Recombine, n: int, modalities: Sequence[str], sample: int = 128, seed: int = 0) -> Projection:
    """Project a model on the sums of functions of one modality each, over a sample of its n held-out rows.

    g_m(i) is the mean of the logits over S combinations that have modality m of row i, and of every other modality
    each row once; the projection is sum over m of g_m(i), less (M - 1) times the mean of all. Of two modalities that
    is mean_j f(x1_i, x2_j) + mean_j f(x1_j, x2_i) - mean f, from S ** 2 combinations; of M > 2 each modality takes
    S ** 2, the others being shuffled against each other. A sum of functions is its own projection, exactly.

    Raises ValueError for fewer than two modalities or no row.
    """
    if len(modalities) < 2 or n < 1:
        raise ValueError(f"interaction takes two modalities and a row, but there are {len(modalities)} and {n}")
    rng = np.random.default_rng(seed)
    rows = sorted(rng.permutation(n)[:sample].tolist())
    s = len(rows)
    own = logits_of(dict.fromkeys(modalities, rows)).double()
    order = {m: [rows[i] for i in rng.permutation(s)] for m in modalities}
    if len(modalities) == 2:
        first, second = modalities
        grid = _grid(logits_of, rows, first, {second: rows})
        means = [grid.mean(1), grid.mean(0)]
    else:
        means = [_grid(logits_of, rows, m, {k: x for k, x in order.items() if k != m}).mean(1) for m in modalities]
    # the level is that of all combinations: shuffles of three modalities or more differ a little
    level = torch.stack([g.mean(0) for g in means]).mean(0)
    additive = torch.stack([g - g.mean(0) for g in means]).sum(0) + level
    return Projection(rows, own.to(torch.float32), additive.to(torch.float32))


def _grid(logits_of: Recombine, rows: Sequence[int], modality: str, others: Mapping[str, Sequence[int]]) -> Tensor:
    """(S, S, outputs) of row i in `modality` and the j-th of each of the others, in double precision."""
    s = len(rows)
    out = []
    for start in range(0, s * s, CHUNK):
        cells = range(start, min(start + CHUNK, s * s))
        grid = {modality: [rows[c // s] for c in cells]} | {m: [x[c % s] for c in cells] for m, x in others.items()}
        out.append(logits_of(grid).double())
    return torch.cat(out).reshape(s, s, -1)


def cost(name: str, task: Task, projection: Projection, target: Masked, groups: Sequence[object] | None = None) -> Cost:
    """Score a projection. target, groups: of the rows of the projection, in its order."""
    metric = task.metric
    both = Scores(projection.own), Scores(projection.additive)
    own, additive = (score_interval(task, x, target, groups) for x in both)
    gain = difference(task, *both, target, metric.name, groups)
    if not metric.higher:
        gain = Interval(-gain.value, -gain.high, -gain.low)
    return Cost(name, own, additive, gain, int(target.present().sum()))
