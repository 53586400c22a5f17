"""Ensembles of learners: their answers averaged, by weights that greedy selection finds.

b batch, k member, c logit.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from polymodal.batch import Masked
from polymodal.learners.base import Learner, Part
from polymodal.nn import Named
from polymodal.ops import mixture
from polymodal.output import Output, Scores, logits_of
from polymodal.tasks.base import Task

Name = TypeVar("Name")
ROUNDS, PATIENCE = 25, 4
SAMPLE = 4000  # rows that a selection is scored on


class Ensemble(Learner):
    """f(y) = sum_k w_k f(l_k) over members, f being the task's link: the average of their answers.

    members: learners of one task, by name. weights: by name, non-negative, of sum 1.
    """

    def __init__(self, members: Mapping[str, Learner], weights: dict[str, float], task: Task) -> None:
        super().__init__()
        self.members, self.weights, self.task = Named(members), weights, task

    @property
    def reads(self) -> Sequence[str]:
        """All that any member reads."""
        return list(dict.fromkeys(v for m in self._each() for v in m.reads))

    def infer(self, inputs: Mapping[str, Masked]) -> Scores:
        """The average answer."""
        return self._average([m.infer({v: inputs[v] for v in m.reads}) for m in self._each()])

    def recombine(self, inputs: Mapping[str, Masked]) -> Callable[[Mapping[str, Tensor]], Scores]:
        """The average of the members' answers to the same rows."""
        each = [m.recombine({v: inputs[v] for v in m.reads}) for m in self._each()]
        return lambda at: self._average([answer(at) for answer in each])

    def parts(self) -> list[Part]:
        """Those of the members."""
        out = []
        for name, member in zip(self.members.names, self._each(), strict=True):
            out += [Part(p.name or name, self.weights[name] * p.weight, p.learner) for p in member.parts()]
        return sorted(out, key=lambda p: -p.weight)

    def describe(self) -> list[str]:
        """Each member with its weight."""
        out = [f"the average of {len(self.weights)}"]
        for name, member in zip(self.members.names, self._each(), strict=True):
            first, *rest = member.describe()
            out += [f"  {self.weights[name]:.2f} {name}: {first}", *("  " + line for line in rest)]
        return out

    def _each(self) -> list[Learner]:
        return [m for _, m in self.members.items() if isinstance(m, Learner)]

    def _average(self, answers: Sequence[Output]) -> Scores:
        l_bkc = torch.stack([logits_of(a).float() for a in answers], dim=1)
        w_k = l_bkc.new_tensor([self.weights[k] for k in self.members.names])
        return Scores(blend(l_bkc, w_k, None, self.task.link))


def blend(l_bkc: Tensor, w_k: Tensor, here_bk: Tensor | None, link: str) -> Tensor:
    """(B, C) logits of the weighted average answer, over the members that see something in the row.

    here_bk: (B, K), None for everywhere. Weights are renormalised; where no member sees anything, all of them answer.
    """
    w_bk = w_k.expand(l_bkc.shape[:2])
    if here_bk is not None:
        w_here = torch.where(here_bk, w_bk, 0)
        w_bk = torch.where(w_here.sum(1, keepdim=True) > 0, w_here, w_bk)
    return mixture(l_bkc, w_bk / w_bk.sum(1, keepdim=True), link)


def select(
    task: Task, answers: Sequence[Tensor], target: Masked, here_bk: Tensor | None = None, rounds: int = ROUNDS
) -> list[float]:
    """Weights of sum 1 for members with these (N, C) logits on rows that they did not see, by greedy selection.

    Beginning with the best member, the one whose addition (again, possibly) makes the average best is added, at most
    `rounds` times, until PATIENCE additions brought nothing; the best average on the way is kept. Caruana,
    Niculescu-Mizil, Crew & Ksikes 2004. Best is by the task's metric, and among equals by its loss.
    """
    rows = torch.from_numpy(np.random.default_rng(0).permutation(np.flatnonzero(target.present().numpy()))[:SAMPLE])
    l_bkc = torch.stack([a[rows] for a in answers], dim=1)
    here = here_bk[rows] if here_bk is not None else None
    target = target.take(rows)
    average = Average(l_bkc, here, task.link)
    best: tuple[tuple[float, float], Tensor] | None = None
    for _ in range(rounds if len(answers) > 1 else 1):
        scores = [quality(task, Scores(l_bc), target) for l_bc in average.tries()]
        at = max(range(len(answers)), key=lambda i: scores[i])
        average.add(at)
        if best is None or scores[at] > best[0]:
            best = scores[at], average.counts.clone()
        elif average.counts.sum() - best[1].sum() >= PATIENCE:
            break
    assert best is not None
    return (best[1] / best[1].sum()).tolist()


class Average:
    """What `blend` gives with `counts` as weights, for members that are added one at a time: a sum is kept.

    s side: of a sigmoid both are averaged, so that either may be near 0.
    """

    def __init__(self, l_bkc: Tensor, here_bk: Tensor | None, link: str) -> None:
        l_kbc = l_bkc.double().transpose(0, 1)
        sides = [l_kbc]
        if link == "softmax":
            sides = [l_kbc.log_softmax(-1)]
        elif link == "sigmoid":
            sides = [logsigmoid(l_kbc), logsigmoid(-l_kbc)]
        self.plain = link == "identity"
        self.all_skbc = torch.stack(sides)
        self.here_kb = torch.ones(l_kbc.shape[:2], dtype=torch.bool) if here_bk is None else here_bk.T
        nothing = torch.tensor(0.0 if self.plain else -torch.inf, dtype=torch.float64)
        self.seen_skbc = torch.where(self.here_kb[..., None], self.all_skbc, nothing)
        self.all_sbc = self.sum_sbc = nothing.expand(self.all_skbc[:, 0].shape)
        self.counts = torch.zeros(l_bkc.shape[1])

    def tries(self) -> Tensor:
        """(K, B, C) logits of the average with one more of each member."""
        plus = torch.add if self.plain else torch.logaddexp
        sum_skbc, all_skbc = plus(self.sum_sbc[:, None], self.seen_skbc), plus(self.all_sbc[:, None], self.all_skbc)
        n_kb = self.counts.double() @ self.here_kb.double() + self.here_kb
        some_kb1 = (n_kb > 0)[..., None]
        total_skbc = torch.where(some_kb1, sum_skbc, all_skbc)
        if not self.plain:
            return total_skbc[0] - total_skbc[1] if len(total_skbc) > 1 else total_skbc[0]
        return total_skbc[0] / torch.where(some_kb1, n_kb[..., None], self.counts.sum().double() + 1)

    def add(self, k: int) -> None:
        """Take one more of the member."""
        plus = torch.add if self.plain else torch.logaddexp
        self.sum_sbc = plus(self.sum_sbc, self.seen_skbc[:, k])
        self.all_sbc = plus(self.all_sbc, self.all_skbc[:, k])
        self.counts[k] += 1


def quality(task: Task, output: Output, target: Masked) -> tuple[float, float]:
    """The task's metric, greater being better and rounded to what is no noise, then minus the loss: to compare by.

    Rounded is to four decimals; of a metric that is small, such as an error in its own unit, to four digits.
    """
    value = float(task.score(output, target, np.ones((1, output.rows)))[0])
    value = value if task.metric.higher else -value
    value = -np.inf if np.isnan(value) else min(round(value, 4), float(f"{value:.4g}"), key=lambda x: abs(x - value))
    return value, -float(task.loss(logits_of(output), target))


def keep_largest(weights: Mapping[Name, float], least: float = 0.02) -> dict[Name, float]:
    """The weights that matter, of sum 1 again."""
    large = {k: w for k, w in weights.items() if w >= least}
    return {k: w / sum(large.values()) for k, w in large.items()}
