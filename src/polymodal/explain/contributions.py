"""Which modality an answer comes from: exact Shapley values, interactions and main effects, from real absence.

A game is played for each row: players are the modalities that the row has, and v(S) is the explained output of the
row with the modalities of S alone, every other cell being as absent as an empty one.

Shapley values and pairwise interactions of that game are exact up to `EXACT` players (`games`), means over random
orders above. Modalities that a row lacks are no players: their values are exactly 0, and the others' are those of
the smaller game. Encoders look at each row once, and at one row of which everything is absent; coalitions are put
together of these two by the learner's `recombine`.

Axes: n row, m modality, u coalition, c combination of a row and a coalition.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from polymodal.data.preprocess import Rows
from polymodal.evaluate.emap import emap
from polymodal.experiment.ranking import recombine
from polymodal.explain import answers, games
from polymodal.explain.answers import Floats, Ints
from polymodal.explain.games import Bools
from polymodal.learners.base import evaluating
from polymodal.model import BATCH, Model

EXACT = 10  # players: 1,024 coalitions
ROWS, FEW = 1024, 16  # rows that are looked at together by learners without weights; fewest for the additive part
SPLIT = 64  # rows, and so 64 ** 2 combinations of two modalities, that the additive part is made of


class Contributions(NamedTuple):
    """What each modality adds to the explained output of each row: base + sum of shapley = answer.

    modalities: (M,), the players. numbers: (N,) rows as the table counts them. output: (N,) what is explained, and
    predicted: (N,) what it would be where nothing is asked for. answer, base: (N,) with everything that is there, and
    with nothing. present: (N, M). shapley: (N, M). error: (N, M) standard errors, 0 where the values are exact.
    alone: (N, M) main effects v({m}) - v({}). interaction: (N, M, M), symmetric, 0 on the diagonal;
    interaction_error likewise. additive: (N,) the part of the answer that a sum of functions of one modality each can
    have (`additive_part`), NaN for rows outside its sample; cross-modal is answer - additive. orders: how many random
    orders were drawn; 0: exact.
    """

    modalities: list[str]
    numbers: list[int]
    output: list[str]
    predicted: list[str]
    answer: Floats
    base: Floats
    present: Bools
    shapley: Floats
    error: Floats
    alone: Floats
    interaction: Floats
    interaction_error: Floats
    additive: Floats
    orders: int

    @property
    def crossmodal(self) -> Floats:
        """(N,) what the answer has beyond its additive part."""
        return self.answer - self.additive

    def take(self, at: Sequence[int]) -> "Contributions":
        """The rows at these places, in this order."""
        rows = {k: x for k, x in self._asdict().items() if k not in ("modalities", "orders")}
        some: dict[str, Any] = {
            k: x[[*at]] if isinstance(x, np.ndarray) else [x[i] for i in at] for k, x in rows.items()
        }
        return self._replace(**some)


def contributions(
    model: Model,
    rows: Rows,
    *,
    output: str | None = None,
    sample: int = SPLIT,
    seed: int = 0,
) -> Contributions:
    """Shapley values, interactions and main effects of the modalities of every row, and the additive part of a sample.

    rows: encoded by the model's preprocessor. output: the label (or target) to explain [each row's predicted one].
    Above
    `EXACT` modalities 8 random orders a modality are drawn, at least 64, and their reverses.
    sample: rows that the additive part is computed of, the first one always among them; 0 leaves it out. Memory holds
    a few hundred rows at a time. Raises InputError for an output that the task does not have.
    """
    if output is not None:
        answers.position(model.task, output)
    players, present = presence(model, rows)
    at = np.flatnonzero(present.any(0))  # those that play in some row
    orders = None if len(at) <= EXACT else games.orders(len(at), max(64, 8 * len(at)), seed)
    # a network's rows are looked at by the batch; estimators cost by the call, so many rows are answered at once
    size = BATCH if next(model.learner.parameters(), None) is not None else ROWS
    parts = []
    with evaluating(model.learner):
        for s in range(0, len(rows), size):
            part = rows.take(range(s, min(s + size, len(rows))))
            game = _Game(model, part, players, present[s : s + size], size)
            parts.append(_play(game, at, orders, output))
    games_n = _Values(*(np.concatenate(x) for x in zip(*parts, strict=True)))
    names = model.task.quantities.names
    additive = np.full(len(rows), np.nan)
    if sample and len(players) > 1 and len(rows) >= FEW:
        rest = 1 + np.random.default_rng(seed).permutation(len(rows) - 1)[: sample - 1]
        those = sorted([0, *rest.tolist()])
        additive[those] = additive_part(model, rows.take(those), games_n.which[those])
    shapley, error, alone, *pairs = (_among(x, at, len(players)) for x in games_n[4:])
    output_n, predicted = ([names[i] for i in x] for x in games_n[:2])
    n_orders = 0 if orders is None else len(orders.orders)
    return Contributions(
        players, list(rows.numbers), output_n, predicted, games_n.answer, games_n.base, present, shapley, error, alone,
        pairs[0], pairs[1], additive, n_orders,
    )  # fmt: skip


def presence(model: Model, rows: Rows) -> tuple[list[str], Bools]:
    """The model's modalities, and (N, M) which of them each row has in a view that the learner reads."""
    views, reads = model.preprocessor.views, set(model.learner.reads)
    here = [
        np.any([np.zeros(len(rows), bool)] + [rows.inputs[v].present() for v in reads if views[v] == m], axis=0)
        for m in model.modalities
    ]
    return model.modalities, np.stack(here, axis=1)


def additive_part(model: Model, rows: Rows, which: Ints) -> Floats:
    """(N,) the best approximation of each row's output by a sum of functions of one modality each, over these rows.

    It is `evaluate.emap` of the explained output itself: the mean answer over all rows' other modalities, summed over
    modalities, less the mean of all. Hessel & Lee 2020; as an explanation of a row Lyu et al. 2022.
    """
    task, views, learner = model.task, model.preprocessor.views, model.learner
    players = list(dict.fromkeys(views[v] for v in learner.reads))
    if len(players) < 2:
        return _value(model, model.logits(rows), which)
    size = BATCH if next(learner.parameters(), None) is not None else 4 * ROWS
    with evaluating(learner):
        logits_of = recombine(learner, rows, views)

        def outputs(at: Mapping[str, Sequence[int]]) -> Tensor:
            n = len(next(iter(at.values())))
            parts = [logits_of({m: i[s : s + size] for m, i in at.items()}) for s in range(0, n, size)]
            return torch.from_numpy(np.concatenate([task.values(x / model.scorer.temperature) for x in parts]))

        projection = emap(outputs, len(rows), players, len(rows))
    out: Floats = projection.additive.double().numpy()[np.arange(len(rows)), which]
    return out


def _value(model: Model, logits: Tensor, which: Ints) -> Floats:
    """(N,) the explained output of each row."""
    out: Floats = model.task.values(logits)[np.arange(len(which)), which]
    return out


def _among(x: Floats, at: Ints, players: int) -> Floats:
    """(N, P) or (N, P, P) of the modalities at `at` -> (N, M) or (N, M, M), 0 for the others."""
    out = np.zeros((len(x), *[players] * (x.ndim - 1)))
    out[np.ix_(np.arange(len(x)), *[at] * (x.ndim - 1))] = x
    return out


# --- the games of some rows ---------------------------------------------------------------------------


class _Values(NamedTuple):
    """What is known of some rows, over the modalities that play in any: see `Contributions`; which and predicted are
    places among the names of outputs."""

    which: Ints
    predicted: Ints
    answer: Floats
    base: Floats
    shapley: Floats
    error: Floats
    alone: Floats
    interaction: Floats
    interaction_error: Floats


class _Game:
    """The rows as games: v of any coalition of the players. Encoders look once at each row and at an empty one."""

    def __init__(self, model: Model, rows: Rows, players: list[str], present: Bools, size: int) -> None:
        self.model, self.players, self.present, self.size = model, players, present, size
        empty = np.arange(len(rows) + 1) == len(rows)
        both = rows.take([*range(len(rows)), 0]).hidden(dict.fromkeys(model.learner.reads, empty))
        self.logits_of = recombine(model.learner, both, model.preprocessor.views)

    def logits(self, rows_c: Ints, inside_cm: Bools) -> Iterator[tuple[Ints, Tensor]]:
        """Answers to rows of which only some modalities are there, a batch at a time, with their places."""
        for s in range(0, len(rows_c), self.size):
            c = np.arange(s, min(s + self.size, len(rows_c)))
            at = np.where(inside_cm[c], rows_c[c, None], len(self.present))
            logits = self.logits_of({m: at[:, i].tolist() for i, m in enumerate(self.players)})
            yield c, logits / self.model.scorer.temperature

    def everything(self) -> Tensor:
        """(N, outputs) answers to the rows as they are."""
        n = len(self.present)
        return torch.cat([x for _, x in self.logits(np.arange(n), np.ones((n, len(self.players)), bool))])

    def values(self, inside_um: Bools, which: Ints) -> Floats:
        """(N, U) what each coalition gets in each row; who is absent from the row changes nothing, so each
        coalition of those that are there is answered once."""
        rows, masks, back = [], [], np.zeros((len(self.present), len(inside_um)), dtype=np.int64)
        count = 0
        for pattern in np.unique(self.present, axis=0):
            those = np.flatnonzero((self.present == pattern).all(1))
            distinct, at = np.unique(inside_um & pattern, axis=0, return_inverse=True)
            rows.append(np.repeat(those, len(distinct)))
            masks.append(np.tile(distinct, (len(those), 1)))
            back[those] = count + np.arange(len(those))[:, None] * len(distinct) + at.reshape(-1)
            count += len(those) * len(distinct)
        rows_c, masks_cm = np.concatenate(rows), np.concatenate(masks)
        out = np.zeros(count)
        for c, logits in self.logits(rows_c, masks_cm):
            out[c] = _value(self.model, logits, which[rows_c[c]])
        return out[back]


def _play(game: _Game, at: Ints, orders: games.Orders | None, output: str | None) -> _Values:
    """Play the games of some rows; `at` are the players that are there in any row of the table."""
    everything, task, p = game.everything(), game.model.task, len(at)
    which, predicted = answers.outputs(task, everything, output), answers.outputs(task, everything)
    coalitions = games.coalitions(p) if orders is None else orders.coalitions
    few = np.concatenate([np.ones((1, p), bool), np.zeros((1, p), bool), np.eye(p, dtype=bool)])
    inside = np.zeros((len(coalitions) + len(few), len(game.players)), bool)
    inside[:, at] = np.concatenate([coalitions, few])
    v = game.values(inside, which)
    v_nu, answer, base, alone = (
        v[:, : len(coalitions)],
        v[:, len(coalitions)],
        v[:, len(coalitions) + 1],
        v[:, len(coalitions) + 2 :],
    )
    shares = games.exact(v_nu, p) if orders is None else games.estimate(v_nu, orders)
    return _Values(which, predicted, answer, base, shares.shapley, shares.error, alone - base[:, None], *shares[2:])
