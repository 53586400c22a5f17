"""How the small-data path is trained: members answer out of fold, and recipes say how they are combined."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from polymodal.batch import Masked
from polymodal.learners import estimators
from polymodal.learners.ensemble import blend, quality, select
from polymodal.learners.estimators import KINDS, Fitted
from polymodal.learners.matrix import Block, Join, Matrix
from polymodal.learners.stacked import Stacked, key, meta
from polymodal.modalities.extractor import Record, Vectorizer
from polymodal.output import Scores
from polymodal.tasks.base import Task

ROOM = 2**24  # numbers that an extractor may make of a view if they are to be kept: 64 MiB a fold


class Member(NamedTuple):
    """One kind of estimator on one set of modalities."""

    modalities: tuple[str, ...]
    kind: str


class Recipe(NamedTuple):
    """How members are combined: by the weights of their answers, or, `stacked`, by a linear estimator on them.

    family: "single", "concat" (early fusion), "late" or "hybrid" (both). outcome: (N, outputs) logits of all rows, each
    of members, weights and top that did not see the row.
    """

    family: str
    weights: dict[Member, float]
    stacked: bool
    outcome: Tensor

    @property
    def modalities(self) -> list[str]:
        """What it reads."""
        return list(dict.fromkeys(m for member in self.weights for m in member.modalities))


class Library:
    """Members with their answers on rows that they did not see, from which learners are made.

    extractors: by view. views: the modality of each. rows: the records of each view, the training rows first, then
    `valid` more. splits: (training, held-out) places among the training rows, the same for all members.
    Rows without a label are left out of all fitting.

    Recipes are judged by the training rows' out-of-fold answers; with `judge_by_valid`, by the validation rows, then
    cross-fitted in `parts`, (chosen by, held-out) places among them.
    """

    def __init__(
        self,
        task: Task,
        extractors: Mapping[str, Vectorizer],
        views: Mapping[str, str],
        rows: Mapping[str, Sequence[Record | None]],
        target: Masked,
        splits: Sequence[tuple[Sequence[int], Sequence[int]]],
        valid: int,
        seed: int = 0,
    ) -> None:
        n = len(target.values)
        self.task, self.extractors, self.views, self.rows, self.target = task, extractors, dict(views), rows, target
        self.train, self.valid = np.arange(n - valid), np.arange(n - valid, n)
        # after the folds: the learner that validation rows judge, and the one that has seen every row
        whole: list[tuple[Any, Any]] = [(self.train, self.valid), (np.arange(n), [])]
        self.splits: list[tuple[Any, Any]] = [*splits, *whole]
        self.folds, self.seed = len(splits), seed
        self.modalities = list(dict.fromkeys(views.values()))
        self.answers: dict[Member, Tensor] = {}
        self.judge = self.labelled(np.concatenate([np.asarray(h, dtype=int) for _, h in splits]))
        self.cross = self.splits[: self.folds + 1]
        self.by_valid = False
        self._read: dict[tuple[str, int], tuple[Vectorizer, Any]] = {}
        self._blocks: dict[tuple[str, int | None, int], Block] = {}
        self._parts: dict[tuple[str, int | None, int], Matrix] = {}
        self._fitted: dict[tuple[Member, int], Fitted] = {}
        self._y = task.answers(target)
        self._weight = task.row_weights(target)
        views_of = {m: [v for v, of in self.views.items() if of == m] for m in self.modalities}
        self._present = {
            m: np.any([[r is not None for r in rows[v]] for v in vs], axis=0) for m, vs in views_of.items()
        }

    def grow(
        self, kinds: Sequence[str], until: float | None, tick: Callable[[float, str], object] = lambda share, what: None
    ) -> bool:
        """Fit members fold by fold, kind by kind, and keep their answers; False where time ran out.

        until: the time.monotonic() after which nothing further is begun; members that are whole are kept, and the first
        is always made whole.
        """
        sets: list[tuple[str, ...]] = [(m,) for m in sorted(self.modalities, key=self._weight_of)]  # the light first
        sets += [tuple(self.modalities)] if len(self.modalities) > 1 else []
        jobs = [Member(s, kind) for kind in kinds for s in sets]
        for i, job in enumerate(jobs):
            tick(i / len(jobs), f"{job.kind} on {' + '.join(job.modalities)}")
            if job in self.answers:
                continue
            reduce = KINDS[job.kind].reduce
            self._parts = {at: x for at, x in self._parts.items() if at[1] == reduce}  # of 50,000 rows they are large
            out = torch.zeros(len(self._y), self.task.outputs)
            for fold in range(self.folds + 1):
                if until is not None and self.answers and time.monotonic() > until:
                    return False
                others = self.splits[fold][1]
                if len(others):
                    model = self._fit(job, fold)
                    out[others] = torch.from_numpy(estimators.logits(model, self._matrix(job, fold)[others]))
            self.answers[job] = out
        return True

    def judge_by_valid(self, parts: Sequence[tuple[Sequence[int], Sequence[int]]]) -> None:
        """Let validation rows, and not out-of-fold answers, decide what is combined and how."""
        self.judge, self.by_valid = self.labelled(self.valid), True
        self.cross = [(self.valid[np.asarray(a)], self.valid[np.asarray(b)]) for a, b in parts]

    def recipes(self) -> dict[str, Recipe]:
        """By name: each modality alone, early fusion (concat), late fusions, and both (hybrid)."""
        out: dict[str, Recipe] = {}
        alone = {x: [m for m in self.answers if m.modalities == (x,)] for x in self.modalities}
        for x, members in alone.items():
            if members:
                out[f"{x} alone"] = self._selected("single", members)
        if len(self.modalities) == 1:
            return out
        if early := [m for m in self.answers if len(m.modalities) > 1]:
            out["concat"] = self._selected("concat", early)
        best = [max(members, key=self.quality) for members in alone.values() if members]
        if len(best) > 1:
            equal = {m: 1 / len(best) for m in best}
            out["late-mean"] = Recipe("late", equal, False, self._blended(equal))
            out["late-weighted"] = self._selected("late", best)
            out["late-stacking"] = Recipe("late", dict.fromkeys(best, 1.0), True, self._topped(best))
        if early and len(best) > 1:
            out["hybrid"] = self._selected("hybrid", list(self.answers))
        return out

    def quality(self, member: Member) -> tuple[float, float]:
        """How good a member is on the rows that judge; see `ensemble.quality`."""
        return quality(self.task, Scores(self.answers[member][self.judge]), self.target.take(self.judge))

    def learner(self, recipe: Recipe, refit: bool = False) -> Stacked:
        """The recipe with its members fitted on all training rows, or, refit, on the validation rows too."""
        fold = self.folds + refit
        weights = recipe.weights
        form = [{"modalities": list(m.modalities), "kind": m.kind, "weight": w} for m, w in weights.items()]
        out = Stacked(self.task, self.views, form, recipe.stacked)
        for m in weights:
            reduce = KINDS[m.kind].reduce
            out.fitted.append(self._fit(m, fold))
            blocks = {v: self._blocks[v, reduce, fold] for v in self._views(m)}
            out.joins[key(m.modalities, reduce)] = Join(blocks, {v: self.views[v] for v in blocks})
        if recipe.stacked:
            out.top = self._top(self._meta(list(weights)), self.judge.numpy())
        return out.eval()

    def _selected(self, family: str, members: Sequence[Member]) -> Recipe:
        """The weighted average that the rows which judge like best."""
        weights = self._weights(members, self.judge)
        outcome = self._blended(weights)
        for by, others in self.cross if self.by_valid else ():
            outcome[others] = self._blended(self._weights(members, self.labelled(by)))[others]
        return Recipe(family, weights, False, outcome)

    def _weights(self, members: Sequence[Member], by: Tensor) -> dict[Member, float]:
        here = self._here(members)[by]
        weights = select(self.task, [self.answers[m][by] for m in members], self.target.take(by), here)
        return {m: w for m, w in zip(members, weights, strict=True) if w > 0}

    def _blended(self, weights: Mapping[Member, float]) -> Tensor:
        answers = torch.stack([self.answers[m] for m in weights], dim=1)
        return blend(answers, torch.tensor([*weights.values()]), self._here(list(weights)), self.task.link)

    def _topped(self, members: Sequence[Member]) -> Tensor:
        """(N, outputs) logits of a linear estimator on the members' answers, by a top of each part."""
        x = self._meta(members)
        out = self.answers[members[0]].clone()
        for by, others in self.cross:
            if len(others):
                out[others] = torch.from_numpy(estimators.logits(self._top(x, by), x[others]))
        return out

    def _meta(self, members: Sequence[Member]) -> Matrix:
        return meta([self.answers[m] for m in members], self._here(members))

    def labelled(self, places: Any) -> Tensor:
        """Those of the places that have a label, in order."""
        at = torch.as_tensor(np.asarray(places, dtype=np.int64))
        rows: Tensor = at[self.target.present()[at]].sort().values
        return rows

    def _here(self, members: Sequence[Member]) -> Tensor:
        """(N, K) whether a member sees anything in a row."""
        each = [np.any([self._present[x] for x in m.modalities], axis=0) for m in members]
        return torch.from_numpy(np.stack(each, axis=1))

    def dropped(self) -> dict[str, int]:
        """By view, how many features are left out, being constant or doubled in the training rows."""
        counts = {v: b.dropped_ for (v, _, fold), b in self._blocks.items() if fold == self.folds}
        return {v: n for v, n in counts.items() if n}

    def size(self, recipe: Recipe) -> int:
        """How many numbers its members hold; see `estimators.count`."""
        return sum(estimators.count(e) for m in recipe.weights for e in self._fit(m, self.folds).estimators)

    def _fit(self, member: Member, fold: int) -> Fitted:
        if fold < self.folds:
            return self._fresh(member, fold)
        if (member, fold) not in self._fitted:
            self._fitted[member, fold] = self._fresh(member, fold)
        return self._fitted[member, fold]

    def _fresh(self, member: Member, fold: int) -> Fitted:
        train = np.asarray(self.splits[fold][0])
        train = train[self.target.present().numpy()[train]]
        weight = None if self._weight is None else self._weight[train]
        x = self._matrix(member, fold)[train]
        return estimators.fit(member.kind, self.task.link, self.task.outputs, x, self._y[train], weight, self.seed)

    def _top(self, x: Matrix, train: Any) -> Fitted:
        rows = np.asarray(train)[self.target.present().numpy()[np.asarray(train)]]
        weight = None if self._weight is None else self._weight[rows]
        return estimators.fit(
            "linear-weak", self.task.link, self.task.outputs, x[rows], self._y[rows], weight, self.seed
        )

    def _weight_of(self, modality: str) -> int:
        """Bytes of some records: a sign of how long it takes to learn from them."""
        views = [v for v, of in self.views.items() if of == modality]
        return sum(r.nbytes for v in views for r in self.rows[v][:100] if r is not None)

    def _views(self, member: Member) -> list[str]:
        return [v for v, m in self.views.items() if m in member.modalities]

    def _matrix(self, member: Member, fold: int) -> Matrix:
        """(N, D) of all rows, by what was learned on the fold's training rows; blocks are shared among members."""
        reduce = KINDS[member.kind].reduce
        blocks = {}
        for v in self._views(member):
            at = v, reduce, fold
            if at not in self._parts:
                train = self.splits[fold][0]
                extractor, vectors = self._vectors(v, fold)
                if at not in self._blocks:
                    records = [self.rows[v][i] for i in train]
                    self._blocks[at] = Block(extractor, reduce, self.seed).learn(records, vectors[train])
                self._parts[at] = self._blocks[at].matrix(self.rows[v], vectors)
            blocks[v] = self._blocks[at]
        join = Join(blocks, {v: self.views[v] for v in blocks})
        return join.joined([self._parts[v, reduce, fold] for v in blocks], self.rows)

    def _vectors(self, view: str, fold: int) -> tuple[Vectorizer, Any]:
        """The view's extractor, fitted on the fold's training rows, and what it makes of all rows."""
        from sklearn.base import clone

        if (view, fold) in self._read:
            return self._read[view, fold]
        extractor = clone(self.extractors[view]).learn([self.rows[view][i] for i in self.splits[fold][0]])
        out = extractor, extractor.vectors(self.rows[view])
        if out[1].shape[0] * out[1].shape[1] < ROOM or sparse.issparse(out[1]):
            self._read[view, fold] = out
        return out
