"""How the small-data path is trained: members answer out of fold, and recipes say how they are combined."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from polymodal.batch import Masked
from polymodal.learners import estimators
from polymodal.learners.ensemble import blend, keep_largest, quality, select
from polymodal.learners.estimators import KINDS, Fitted
from polymodal.learners.matrix import Block, Join, Matrix, Raw, Sight, beside, see
from polymodal.learners.stacked import Stacked, describe, key, meta
from polymodal.modalities.extractor import Record, Vectorizer
from polymodal.output import Scores
from polymodal.tasks.base import Task

MOST = 12  # members that a weighted average is chosen from
COLUMNS = 4  # of answers, for which estimators that take long are fitted one by one
DIFFERENT = 3  # kinds of estimators that come first, on whole modalities
MATRICES = 2**30  # bytes of matrices of all folds that are kept for the next kind
ROOM = 2**24  # numbers that an extractor may make of a view if they are to be kept: 64 MiB a fold


class Member(NamedTuple):
    """One kind of estimator on one set of modalities, or on one `view` of a modality alone; of layer 2 it sees the
    answers of members of layer 1 too."""

    modalities: tuple[str, ...]
    kind: str
    layer: int = 1
    view: str = ""


class Recipe(NamedTuple):
    """How members are combined: by the weights of their answers, or, `stacked`, by a linear estimator on them.

    family: "single", "concat" (early fusion), "late" or "hybrid" (both). outcome: (N, outputs) logits of all rows, each
    of members, weights and top that did not see the row's label.
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

    extractors: by view. views: the modality of each. rows: the records of each view. splits: (training, held-out)
    places among the rows, the same for all members; those that the first holds out are the validation rows. judge: the
    places by whose out-of-fold answers it is decided how members are combined. Rows without a label are left out of all
    fitting.

    With `judge_by_valid` the validation rows decide, cross-fitted in `parts`, (chosen by, held-out) places among them.
    """

    def __init__(
        self,
        task: Task,
        extractors: Mapping[str, Vectorizer],
        views: Mapping[str, str],
        rows: Mapping[str, Sequence[Record | None]],
        target: Masked,
        splits: Sequence[tuple[Sequence[int], Sequence[int]]],
        judge: Sequence[int],
        seed: int = 0,
    ) -> None:
        n = len(target.values)
        self.task, self.extractors, self.views, self.rows, self.target = task, extractors, dict(views), rows, target
        self.splits: list[tuple[Any, Any]] = [*splits, (np.arange(n), [])]  # the last sees every row
        self.train, self.valid = (np.asarray(x, dtype=int) for x in splits[0])
        self.whole, self.seed = len(splits), seed
        self.modalities = list(dict.fromkeys(views.values()))
        self.answers: dict[Member, Tensor] = {}
        self.behind: list[Member] = []  # too far behind after the first fold
        self.untried: list[Member] = []  # for lack of time
        self.among: Collection[Member] | None = None  # those that are tried; None for all
        self._seconds: dict[Member, float] = {}  # of the slowest fold
        self.judge = self.labelled(judge)
        inside = set(self.judge.tolist())
        self.cross: list[tuple[Any, Any]] = [([i for i in a if int(i) in inside], b) for a, b in splits]
        self._read: dict[tuple[str, int], tuple[Vectorizer, Any]] = {}
        self._blocks: dict[tuple[str, Sight, int], Block | Raw] = {}
        self._parts: dict[tuple[str, Sight, int], Matrix] = {}
        self._fitted: dict[tuple[Member, int], Fitted] = {}
        self._y = task.answers(target)
        self._labels = self._y.astype(np.float64)
        self._labels[~target.present().numpy()] = np.nan
        self._weight = task.row_weights(target)
        views_of = {m: [v for v, of in self.views.items() if of == m] for m in self.modalities}
        self._present = {
            m: np.any([[r is not None for r in rows[v]] for v in vs], axis=0) for m, vs in views_of.items()
        }

    def grow(
        self,
        kinds: Sequence[str],
        until: float | None,
        tick: Callable[[float, str], object] = lambda share, what: None,
        hopeless: Callable[[Tensor, Tensor, Tensor], bool] = lambda best, answers, rows: False,
        refit: bool = False,
    ) -> bool:
        """Fit members fold by fold and keep their answers; False where time ran out before all were. The first few
        kinds, which should differ most, come first, then single views, then the other kinds.

        until: the time.monotonic() after which nothing further is begun, nor before it what would take longer: it is
        one of the `untried`, and others go on. Members that are whole are kept, and the first is always made whole.
        hopeless(best, answers, rows): whether a member
        with these answers to judging rows of the first fold is so far behind the best one on its modalities that the
        other folds need not be tried; it is then one of the `behind`. refit: what is chosen has to be fitted on all
        rows before that time, too.
        """
        sets: list[tuple[str, ...]] = [(m,) for m in sorted(self.modalities, key=self._weight_of)]  # the light first
        several = [tuple(self.modalities)] if len(self.modalities) > 1 else []
        jobs = [Member(s, kind) for kind in kinds[:1] for s in [*sets, *several]]
        jobs += [Member(s, kind) for kind in kinds[1:DIFFERENT] for s in [*several, *sets]]
        jobs += [Member(s, kind, view=v) for kind in kinds for s in sets for v in self._apart(s, kind)]
        jobs += [Member(s, kind) for kind in kinds[DIFFERENT:] for s in [*sets, *several]]
        jobs += [Member(s, kind, 2) for kind in kinds if KINDS[kind].stacks for s in several]
        self.untried = []
        for i, job in enumerate(jobs):
            tick(i / len(jobs), describe(*job))
            if job in self.tried or (self.among is not None and job not in self.among):
                continue
            if until is not None and self.answers and time.monotonic() > until:
                self.untried.append(job)
                continue
            sight = KINDS[job.kind].sight
            if sum(x.data.nbytes for x in self._parts.values()) > MATRICES:
                self._parts = {at: x for at, x in self._parts.items() if at[1] == sight}
            if KINDS[job.kind].counts and not self._has_counts(job):
                continue
            out = torch.zeros(len(self._y), self.task.outputs)
            after = self.refit_seconds() if refit else 0.0
            for fold in range(self.whole):
                begun = time.monotonic()
                if until is not None and self.answers and begun + self._expected(job) + after > until:
                    self.untried.append(job)
                    break
                others = self.splits[fold][1]
                if len(others):
                    model = self._fit(job, fold)
                    out[others] = torch.from_numpy(estimators.logits(model, self._matrix(job, fold)[others]))
                self._seconds[job] = max(self._seconds.get(job, 0.0), time.monotonic() - begun)
                if fold == 0 and self._is_behind(job, out, hopeless):
                    self.behind.append(job)
                    break
            else:
                self.answers[job] = out
        return not self.untried

    @property
    def tried(self) -> list[Member]:
        """Members that are whole, and those that fell too far behind to be."""
        return [*self.answers, *self.behind]

    def _expected(self, member: Member) -> float:
        """Seconds of a fold: its slowest so far, or that of its kind on fewer modalities."""
        fewer = [s for m, s in self._seconds.items() if m[1:] == member[1:] and {*m[0]} < {*member[0]}]
        return self._seconds.get(member, max(fewer, default=0.0))

    def _has_counts(self, member: Member) -> bool:
        """Does it see counts? And answer with few columns, each of which is an estimator of its own."""
        few = self.task.link == "softmax" or self.task.outputs <= COLUMNS
        return few and any(sparse.issparse(self._vectors(v, 0)[1]) for v in self._views(member))

    def refit_seconds(self) -> float:
        """What it takes to fit the best three members on all rows, and what those of layer 2 see, about."""
        best = self._order(list(self.answers))[:3]
        members = {*best, *(self.below if any(m.layer == 2 for m in best) else [])}
        return sum(self._seconds.get(m, 0.0) for m in members) * self.whole / max(1, self.whole - 1)

    def _is_behind(self, job: Member, out: Tensor, hopeless: Callable[[Tensor, Tensor, Tensor], bool]) -> bool:
        rivals = [m for m in self.answers if m.modalities == job.modalities and m.layer == job.layer]
        rows = self.labelled(np.intersect1d(self.valid, self.judge.numpy()))  # others may be rows to test on
        return bool(rivals) and len(rows) > 1 and hopeless(self.answers[self._order(rivals)[0]][rows], out[rows], rows)

    def judge_by_valid(self, parts: Sequence[tuple[Sequence[int], Sequence[int]]]) -> None:
        """Let validation rows, and not out-of-fold answers, decide what is combined and how."""
        self.judge = self.labelled(self.valid)
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
        early = [m for m in self.answers if len(m.modalities) > 1]
        if first := [m for m in early if m.layer == 1]:
            out["concat"] = self._selected("concat", first)
        best = [self._order(members)[0] for members in alone.values() if members]
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
        fold = self.whole if refit else 0
        under = self.below if any(m.layer == 2 for m in recipe.weights) else []
        weights = {**dict.fromkeys(under, 0.0), **recipe.weights}
        form = [{**m._asdict(), "modalities": list(m.modalities), "weight": w} for m, w in weights.items()]
        out = Stacked(self.task, self.views, form, recipe.stacked, below=[list(weights).index(m) for m in under])
        for m in weights:
            sight = KINDS[m.kind].sight
            out.fitted.append(self._fit(m, fold))
            blocks = {v: self._blocks[v, sight, fold] for v in self._views(m)}
            out.joins[key(m.modalities, sight, m.view)] = Join(blocks, {v: self.views[v] for v in blocks})
        if recipe.stacked:
            out.top = self._top(self._meta(list(recipe.weights)), self.judge.numpy())
        return out.eval()

    def _selected(self, family: str, members: Sequence[Member]) -> Recipe:
        """The weighted average that the rows which judge like best, of the best members; its outcome is of weights that
        other rows chose."""
        members = self._order(members)[:MOST]
        weights = keep_largest(self._weights(members, self.judge))
        outcome = self._blended(weights)
        for by, others in self.cross if len(members) > 1 else ():
            if len(others) and len(rows := self.labelled(by)):
                outcome[others] = self._blended(self._weights(members, rows))[others]
        return Recipe(family, weights, False, outcome)

    @cached_property
    def below(self) -> list[Member]:
        """Whose answers members of layer 2 see: the best of layer 1 of each set of modalities."""
        first = self._order([m for m in self.answers if m.layer == 1])
        sets = sorted({m.modalities for m in first})
        return [next(m for m in first if m.modalities == s) for s in sets]

    def _order(self, members: Sequence[Member]) -> list[Member]:
        """The best first; among equals by name, so that it does not matter in which order they were fitted."""
        return sorted(members, key=lambda m: (*(-q for q in self.quality(m)), m))

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
        return meta([self.answers[m] for m in members], self._here(members), self.task.link)

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
        counts = {v: b.dropped_ for (v, _, fold), b in self._blocks.items() if fold == 0 and b.dropped_}
        return counts

    def size(self, recipe: Recipe) -> int:
        """How many numbers its members hold; see `estimators.count`."""
        return sum(estimators.count(e) for m in recipe.weights for e in self._fit(m, 0).estimators)

    def _fit(self, member: Member, fold: int) -> Fitted:
        if 0 < fold < self.whole:
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
        return [member.view] if member.view else [v for v, m in self.views.items() if m in member.modalities]

    def _apart(self, modalities: Sequence[str], kind: str) -> list[str]:
        """Views that an estimator of this kind is fitted on each by itself: among all of them a good one may drown."""
        views = [v for v, m in self.views.items() if m in modalities]
        return views if KINDS[kind].apart and len(views) > 1 else []

    def _matrix(self, member: Member, fold: int) -> Matrix:
        """(N, D) of all rows, by what was learned on the fold's training rows; blocks are shared among members."""
        sight = KINDS[member.kind].sight
        blocks = {}
        for v in self._views(member):
            at = v, sight, fold
            if at not in self._parts:
                train = self.splits[fold][0]
                extractor, vectors = self._vectors(v, fold)
                block = see(extractor, vectors, sight, self.task.link, self.seed)
                own = block.fit_matrix([self.rows[v][i] for i in train], vectors[train], self._labels[train])
                self._blocks[at], self._parts[at] = block, block.matrix(self.rows[v], vectors)
                if not sparse.issparse(own):
                    self._parts[at][train] = own
            blocks[v] = self._blocks[at]
        join = Join(blocks, {v: self.views[v] for v in blocks})
        x = join.joined([self._parts[v, sight, fold] for v in blocks], self.rows)
        return x if member.layer == 1 else beside([x, self._meta(self.below)])

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
