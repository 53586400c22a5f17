"""Racing: which candidates of a comparison are trained on which folds, so that time goes to those that may be best.

    fold by fold: a candidate far behind the best one, on the folds that it has, is dropped
                  a candidate is begun where there is time for it on all folds, beside those that were begun before

A race of paired comparisons, Moore & Lee 1994; the rule of the search holds here too: far is RACE standard errors of
the difference on the rows of those folds, by the bootstrap over rows or groups. The best single modality and the best
concat are never dropped, since fusion is measured against them.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from polymodal.evaluate.intervals import difference
from polymodal.experiment.budget import Budget
from polymodal.experiment.candidates import RACE
from polymodal.experiment.fit import FEATURES
from polymodal.experiment.parts import Fold, Part
from polymodal.experiment.problem import Problem
from polymodal.learners.ensemble import quality
from polymodal.output import Scores
from polymodal.view.text import many

KEPT = ("single", "concat")  # families whose best candidate stays
SHARE = 0.5  # of the time for estimators on features, a dozen of candidates, where networks are tried too
SPARE = 1.5  # times what a candidate took so far is kept for each further fold, since one may take longer


class Behind(NamedTuple):
    """By how many standard errors a candidate is worse than the best one, its rival, on so many folds."""

    rival: str
    folds: int
    errors: float

    def describe(self) -> str:
        """In words."""
        return f"dropped after {many(self.folds, 'fold')}, {self.errors:.1f} standard errors behind {self.rival}"


class Turn(NamedTuple):
    """A job on a fold, by its place, and the seconds that it may take; None for as many as it likes."""

    fold: int
    job: str
    seconds: float | None


class Race:
    """What has been run, and what is next.

    jobs: what is trained together, by name, with the modalities that it reads: a candidate, or all that read features.
    parts: of baselines. A job is on a fold wholly or not at all.
    """

    def __init__(
        self, problem: Problem, folds: Sequence[Fold], jobs: Mapping[str, Sequence[str]],
        parts: Mapping[str, Mapping[int, Part]], budget: Budget,
    ) -> None:  # fmt: skip
        task, table = problem.task, problem.table
        self.task, self.folds, self.jobs, self.budget = task, folds, jobs, budget
        self.parts = {name: dict(of) for name, of in parts.items()}
        self.target = task.collate([task.encode(c) for c in problem.cells(table)])
        # a row that several repeats test is one piece of evidence
        once = None if folds[-1].repeat == 0 else list(range(table.rows))
        self.groups = problem.groups(table) or once
        self.seconds: dict[str, dict[int, float]] = {job: {} for job in jobs}
        self.names: dict[str, set[str]] = {job: set() for job in jobs}
        self.too_long: dict[str, tuple[int, float]] = {}  # the fold and the seconds that were not enough
        self._compared: dict[tuple[str, str, tuple[int, ...]], float] = {}

    def add(self, fold: int, job: str, parts: Sequence[Part], seconds: float) -> None:
        """Take what a job gave on a fold, in so many seconds; no part where they were not enough."""
        if not parts:
            self.too_long[job] = fold, seconds
            return
        self.seconds[job][fold] = seconds
        self.too_long.pop(job, None)
        for part in parts:
            self.names[job].add(part.name)
            self.parts.setdefault(part.name, {})[fold] = part

    def next(self) -> Turn | None:
        """A job that there is time to begin on the first fold; else, fold by fold, one that has been begun, while there
        is time for all of them on a fold."""
        going = [job for job in self.jobs if self._is_alive(job)]
        # one of them is trained once more in the end, to see how much of its score needs interaction
        again = max(map(self._expected, going), default=0.0)
        free = self.budget.left - SPARE * (again + sum(self._missing(job) * self._expected(job) for job in going))
        for job in self.jobs:
            if not self.seconds[job] and (job not in self.too_long or not going):  # these are tried again last
                each = free / len(self.folds) * (SHARE if job == FEATURES and len(self.jobs) > 1 else 1.0)
                least = self._expected(job) * (SPARE if job in self.too_long else 1.0)
                if each > 0 and each >= least:
                    return Turn(0, job, _limit(each))
        for fold in range(len(self.folds)):
            if those := [job for job in going if fold not in self.seconds[job]]:
                enough = sum(map(self._expected, those)) <= self.budget.left
                return Turn(fold, those[0], _limit(self.budget.left)) if enough else None
        return None

    def behind(self, name: str) -> Behind | None:
        """By how much a candidate that lacks folds is behind, where that is far."""
        own = tuple(sorted(self.parts[name]))
        there = [n for n, parts in self.parts.items() if all(i in parts for i in own)]
        alike = [n for n in there if self._family(n) == self._family(name)]
        best, first = (max(x, key=lambda n: self._quality(n, own)) for x in (there, alike))
        if len(own) == len(self.folds) or name == best or (name == first and self._family(name) in KEPT):
            return None
        errors = self._errors(name, best, own)
        return Behind(best, len(own), errors) if errors > RACE else None

    def end(self) -> dict[str, str]:
        """Forget folds that few candidates have, and say what time was too short for, by name.

        Kept are as many folds, of several repeats whole ones, as make the most answers of candidates that have them
        all, dropped ones apart.
        """
        every = self.folds
        once = sum(f.repeat == 0 for f in every)
        ends = [k for k in range(1, len(every) + 1) if k <= once or k % once == 0]
        has = [len(at) for name, at in self.parts.items() if self._is_tried(name) and not self.behind(name)]
        self.folds = every[: max(ends, key=lambda k: (k * sum(n >= k for n in has), k))]
        self.parts = {n: {i: p for i, p in at.items() if i < len(self.folds)} for n, at in self.parts.items()}
        n = len(self.folds)
        out = {f"{len(every) - n} of {len(every)} folds": "no time was left"} if n < len(every) else {}
        for job, names in self.names.items():
            short = "no time was left"
            if job in self.too_long:
                fold, seconds = self.too_long[job]
                short = f"{seconds:.0f} s were not enough for {every[fold].name}"
            if not names:
                expected = self._expected(job)
                about = f" for {n} folds of more than {expected:.0f} s" if expected and job not in self.too_long else ""
                out[job] = short + about
            out |= {name: short for name in names if len(self.parts[name]) < n and not self.behind(name)}
        return out

    def _is_alive(self, job: str) -> bool:
        """Has it been begun, and is there a reason to go on with it?"""
        if not self.seconds[job] or not self._missing(job) or job in self.too_long:  # of a later fold
            return False
        return any(self.behind(name) is None for name in self.names[job])

    def _missing(self, job: str) -> int:
        return len(self.folds) - len(self.seconds[job])

    def _expected(self, job: str) -> float:
        """Seconds a fold, so far; of what was not begun, those of its modalities alone together, 0 for unknown ones."""
        if seconds := self.seconds[job]:
            return sum(seconds.values()) / len(seconds)
        if job in self.too_long or len(self.jobs[job]) == 1:
            return self.too_long.get(job, (0, 0.0))[1]
        alone = {each[0]: self._expected(j) for j, each in self.jobs.items() if len(each) == 1}
        return sum(alone.get(m, 0.0) for m in self.jobs[job])

    def _is_tried(self, name: str) -> bool:
        """Is it a candidate, and no baseline?"""
        return any(name in names for names in self.names.values())

    def _family(self, name: str) -> str:
        return next(iter(self.parts[name].values())).family

    def _output(self, name: str, folds: tuple[int, ...]) -> Scores:
        return Scores(torch.cat([self.parts[name][i].logits for i in folds]))

    def _quality(self, name: str, folds: tuple[int, ...]) -> tuple[float, float]:
        rows = torch.tensor([row for i in folds for row in self.folds[i].test])
        return quality(self.task, self._output(name, folds), self.target.take(rows))

    def _errors(self, name: str, best: str, folds: tuple[int, ...]) -> float:
        """By how many standard errors the best one is better; 0 where there is no telling."""
        at = name, best, folds
        if at not in self._compared:
            rows = [row for i in folds for row in self.folds[i].test]
            groups = None if self.groups is None else [self.groups[row] for row in rows]
            a, b, metric = self._output(best, folds), self._output(name, folds), self.task.metric
            gain = difference(self.task, a, b, self.target.take(torch.tensor(rows)), metric.name, groups)
            error = (gain.high - gain.low) / (2 * 1.96)
            self._compared[at] = (gain.value if metric.higher else -gain.value) / error if error > 0 else 0.0
        return self._compared[at]


def _limit(seconds: float) -> float | None:
    return None if math.isinf(seconds) else seconds
