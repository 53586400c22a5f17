"""Candidates: what may become the model, trained on the same rows and scored on the same rows.

There are two paths. `Networks` trains encoders and a fusion by gradients; `FeaturePath` fits ordinary estimators on
features. Both give `Trial`s, which are compared, combined and chosen among without a thought of the path.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from polymodal.batch import Masked, Weighted
from polymodal.colearn.transfer import Start
from polymodal.data.preprocess import Rows, records_of
from polymodal.data.splits import folds, own
from polymodal.data.table import Table
from polymodal.errors import InputError
from polymodal.evaluate.compare import Result
from polymodal.evaluate.intervals import difference, score_interval
from polymodal.experiment.budget import Budget
from polymodal.experiment.peak import memory
from polymodal.experiment.problem import Problem, Reading
from polymodal.learners.base import Learner, TrainableLearner
from polymodal.learners.ensemble import quality
from polymodal.learners.library import Library, Member, Recipe
from polymodal.modalities.base import Encoder
from polymodal.model import BATCH
from polymodal.objectives.base import Candidate
from polymodal.output import Output, Scores, logits_of
from polymodal.progress import bar
from polymodal.saving import put_tensors
from polymodal.tasks.base import Metric, Task
from polymodal.training.inference import predict
from polymodal.training.loop import train
from polymodal.training.settings import Settings
from polymodal.view.text import digits, many

RACE = 3.0  # standard errors by which a member may be behind on one fold and still be tried on the others


class ValidationSet(NamedTuple):
    """The labels of rows by which trials are compared, their groups, if any, and the answers of baselines."""

    task: Task
    target: Masked
    groups: Sequence[Any] | None
    baselines: Sequence[Result] = ()

    def quality(self, trial: "Trial") -> tuple[float, float]:
        """How good a trial is; see `ensemble.quality`."""
        return quality(self.task, trial.judged, self.target)

    def describe(self, trial: "Trial") -> str:
        """The trial with its score."""
        return Judgement(trial.judged, self).describe(trial)


class Judgement(NamedTuple):
    """Answers by which a trial can be judged, and the rows that they are to."""

    output: Output
    rows: ValidationSet

    def quality(self) -> tuple[float, float]:
        """How good the answers are; see `ensemble.quality`."""
        return quality(self.rows.task, self.output, self.rows.target)

    @property
    def score(self) -> float:
        """The task's metric."""
        return float(self.rows.task.score(self.output, self.rows.target, np.ones((1, self.output.rows)))[0])

    def describe(self, trial: "Trial") -> str:
        """The trial's name with their score."""
        return f"{trial.result.name} {digits(self.score)}"


class Trial(NamedTuple):
    """A candidate that was trained. result: its answers to the validation rows, and what it cost.

    judged: answers to them by which it can be compared with others: of parts that did not see the row, nor were chosen
    by it. everywhere: such answers to more rows, where there are any.
    learner: makes the learner; with True as its argument, one that is fitted on the validation rows too, where that can
    be. history: of networks, one dict an epoch.
    """

    result: Result
    judged: Output
    modalities: list[str]
    learner: Callable[[bool], Learner]
    history: list[dict[str, Any]]
    finished: bool = True  # False where a time limit ended the training
    everywhere: Judgement | None = None


class Networks:
    """Encoders and what joins them, trained on training rows, with the best epoch by validation rows.

    groups: of the validation rows. start: what fresh learners begin with; by default nothing. wrap: what is trained in
    place of a fresh learner, such as a student with its teacher's loss. `warm_started` says of each candidate what it
    began with, beside its encoders.
    """

    def __init__(
        self, problem: Problem, encoders: Mapping[str, type[Encoder]], settings: Settings, rows: Rows, valid: Rows,
        *, groups: Sequence[Any] | None, folder: Path | None, quiet: bool, start: Start | None = None,
        wrap: Callable[[TrainableLearner], TrainableLearner] = lambda learner: learner,
    ) -> None:  # fmt: skip
        self.halves = folds_of(len(valid), 2, groups)
        self.problem, self.encoders, self.settings, self.wrap = problem, encoders, settings, wrap
        self.rows, self.valid, self.folder, self.quiet = rows, valid, folder, quiet
        self.learners: dict[str, TrainableLearner] = {}
        self.start = start or Start({})
        self.warm_started: dict[str, list[str]] = {}

    def run(self, candidate: Candidate, budget: Budget) -> Trial:
        """Train a candidate through all stages of its objective; the best of them on validation rows is kept."""
        seconds = budget.seconds()
        trials: list[Trial] = []
        for step, stage in enumerate(self.problem.objective.stages(self.rows)):
            was = self.settings
            settings = was._replace(
                epochs=stage.epochs or was.epochs, lr=was.lr * stage.lr, warmup=was.warmup * stage.warmup
            )
            limit = None if seconds is None else seconds * stage.fraction
            trials.append(self.train(candidate, limit, step, settings, stage.during))
        return _best_stage(trials, self.problem.task.metric)

    def train(
        self, candidate: Candidate, limit: float | None = None, step: int = 0, settings: Settings | None = None,
        during: Callable[[TrainableLearner], AbstractContextManager[object]] = nullcontext,
    ) -> Trial:  # fmt: skip
        """Train a candidate for at most `limit` seconds; a later `step` goes on with the weights of the one before.

        A step is training to its end, learning rate included (warm restarts, Loshchilov & Hutter 2017).
        """
        name, modalities = candidate.name, candidate.modalities
        learner = self.learners[name] if step else self._fresh(candidate)
        self.learners[name] = learner
        rows, valid = self.rows.only(modalities), self.valid.only(modalities)
        checkpoint = self.folder / f"{step}-{plain(name)}.safetensors" if self.folder else None
        with memory() as peak, during(learner):
            training = train(
                learner, self.problem.objective, rows, valid, settings or self.settings, title=name,
                checkpoint=checkpoint, time_limit=limit, quiet=self.quiet,
            )  # fmt: skip
        count = sum(p.numel() for p in learner.parameters())
        weights = {k: v.detach().cpu().clone() for k, v in learner.state_dict().items()}

        def build(refit: bool) -> Learner:
            learner.load_state_dict(weights)
            return learner.eval()

        output = predict(learner, valid, BATCH)
        result = Result(name, _family(candidate), output, count, len(training.history), training.seconds, peak())
        searches = "search" in self.problem.objective.capabilities
        judged = self._judged(training.answers) if searches else output
        return Trial(result, judged, list(modalities), build, training.history, not training.out_of_time)

    def _judged(self, answers: Sequence[Output]) -> Output:
        """The answers to each half of the validation rows, of the epoch that the other half likes best."""
        target = self.valid.target(range(len(self.valid)))
        out = logits_of(answers[-1]).clone()
        for by, others in self.halves:
            rows = torch.tensor(by)
            best = max(answers, key=lambda a, r=rows: quality(self.problem.task, a.take(r), target.take(r)))  # type: ignore[misc]
            out[others] = logits_of(best)[others]
        return Scores(out)

    def _fresh(self, candidate: Candidate) -> TrainableLearner:
        """A fresh learner; its parameters are decided by the seed, and by what it begins with."""
        torch.manual_seed(self.settings.seed)
        kinds = {m: self.problem.kinds[m] for m in candidate.modalities}
        make = lambda: {m: self.encoder(m) for m in kinds}  # noqa: E731
        learner = self.wrap(self.problem.objective.build(candidate.join, kinds, make, self.problem.size))
        self.warm_started[candidate.name] = self.start.into(learner)
        return learner

    def encoder(self, modality: str) -> Encoder:
        """The modality's encoder as a learner begins with it."""
        initial = self.start.encoder(modality)
        kind = self.encoders[modality]
        return kind.for_codec(self.rows.codecs[modality], self.problem.size) if initial is None else initial


def _family(candidate: Candidate) -> str:
    return "single" if len(candidate.modalities) == 1 else "concat" if candidate.join == "concat" else "fusion"


def _best_stage(trials: Sequence[Trial], metric: Metric) -> Trial:
    """The best of the stages of one candidate, with the history and the seconds of all."""
    if len(trials) == 1:
        return trials[0]
    sign = 1 if metric.higher else -1
    best: Trial = max(reversed(trials), key=lambda t: max(float(sign * line[metric.name]) for line in t.history))
    history: list[dict[str, Any]] = []
    for t in trials:
        before = len(history)
        history += [{**line, "epoch": line["epoch"] + before} for line in t.history]
    seconds = sum(t.result.seconds for t in trials)
    return best._replace(result=best.result._replace(epochs=len(history), seconds=seconds), history=history)


class FeaturePath:
    """Estimators on features, fitted fold by fold, and judged out of fold.

    learn: the table of the training rows. given: whether the validation rows came apart from them; where they did not,
    they are one of the folds, and all rows judge. held_groups: of the validation rows. most: folds, at most. asked:
    folds, exactly; raises InputError where there can't be so many. baselines: their answers to the training and then
    the validation rows.
    """

    def __init__(
        self, problem: Problem, reading: Reading, learn: Table, rows: Rows, valid: Rows, *, seed: int,
        folder: Path | None, quiet: bool, given: bool, held_groups: Sequence[Any] | None = None, most: int = 5,
        asked: int | None = None, baselines: Sequence[Result] = (),
    ) -> None:  # fmt: skip
        task, extractors, views = problem.task, reading.extractors(), reading.preprocessor.views
        groups = problem.groups(learn)
        self.quiet, self.valid, self.baselines = quiet, len(valid), baselines
        self.groups = None if groups is None or held_groups is None else [*groups, *held_groups]
        target = _join(rows.target(range(len(rows))), valid.target(range(len(valid))))
        views = {v: views[v] for v in extractors}
        records = {v: records_of(rows, v) + records_of(valid, v) for v in extractors}
        labelled = np.flatnonzero(rows.labelled())
        at = labelled.tolist()
        of = None if groups is None else [groups[i] for i in at]
        if of is not None and len(set(own(of))) < 2:
            of = None  # a single group can't be parted from itself
        by_group = of is not None and problem.chronology is None
        there = len(set(own(of))) if of is not None and by_group else len(at)
        enough = 5 if len(at) < 5_000 else 3 if len(at) < 20_000 else 2  # many rows need few folds to be judged by
        k = max(2, min(most, enough, there) - (not given)) if asked is None else asked - (not given)
        splits = [] if asked is not None and k > there else problem.folds(learn.take(at), of, k, seed)
        if asked is not None and len(splits) < k:
            what = many(there, "group" if by_group else "row")
            raise InputError(f"{asked} folds are too many for {what} to train on; give fewer with --folds")
        held = len(rows) + np.arange(len(valid))
        more = [] if given else held.tolist()
        places = [(np.arange(len(rows)).tolist(), held.tolist())]
        places += [(labelled[a].tolist() + more, labelled[b].tolist()) for a, b in splits]
        self.library = Library(task, extractors, views, records, target, places, at + more, seed)
        self.folds, self.seconds = len(splits) + (not given), 0.0
        self.path = folder / "features.safetensors" if folder else None
        self.warning: str | None = None
        self.memory_mb: float | None = None

    def grow(self, kinds: Sequence[str], budget: Budget, refit: bool = False) -> bool:
        """Fit every kind of estimator; False where time ran out. What was fitted before an interruption is kept. refit:
        the budget is also for fitting what is chosen on all rows."""
        began = time.monotonic()
        before = self.seconds or self._remember()
        try:
            with bar("features", 1.0, self.quiet) as tick, memory() as peak:
                whole = self.library.grow(kinds, budget.deadline, tick, self._is_hopeless, refit)
                self.memory_mb = peak()
        finally:
            self.seconds = before + time.monotonic() - began
            self._keep()
        return whole

    def _is_hopeless(self, best: Tensor, answers: Tensor, rows: Tensor) -> bool:
        """Worse by more than RACE standard errors."""
        task = self.library.task
        name, target = task.metric.name, self.library.target.take(rows)
        groups = None if self.groups is None else [self.groups[i] for i in rows.tolist()]
        gain = difference(task, Scores(best), Scores(answers), target, name, groups)
        error = (gain.high - gain.low) / (2 * 1.96)
        return (gain.value if task.metric.higher else -gain.value) > RACE * error > 0

    def check(self, groups: Sequence[Any] | None) -> None:
        """Where validation rows that came apart contradict the out-of-fold answers, let them decide, and warn.

        groups: of the validation rows.
        """
        if self.warning:
            return  # they decide already
        self.warning = overfits(self.library, groups)
        if self.warning and self.valid > 1:
            self.library.judge_by_valid(folds_of(self.valid, 5, groups))

    def trials(self) -> list[Trial]:
        """A trial a recipe; the cost of each is that of all members together."""
        return [self._trial(name, recipe) for name, recipe in self.library.recipes().items()]

    def _trial(self, name: str, recipe: Recipe) -> Trial:
        output = Scores(recipe.outcome[self.library.valid])
        at = self.library.judge
        groups = None if self.groups is None else [self.groups[i] for i in at.tolist()]
        baselines = [b._replace(output=b.output.take(at)) for b in self.baselines]
        rows = ValidationSet(self.library.task, self.library.target.take(at), groups, baselines)
        size = self.library.size(recipe)
        result = Result(f"{name} (features)", recipe.family, output, size, 0, self.seconds, self.memory_mb)

        def build(refit: bool) -> Learner:
            return self.library.learner(recipe, refit)

        everywhere = Judgement(Scores(recipe.outcome[at]), rows)
        return Trial(result, output, recipe.modalities, build, [], everywhere=everywhere)

    def _keep(self) -> None:
        if self.path is None or not self.library.answers:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        answers = {"\t".join([str(m.layer), m.kind, m.view, *m.modalities]): a for m, a in self.library.answers.items()}
        put_tensors(self.path, answers, {"seconds": str(self.seconds)})

    def _remember(self) -> float:
        """Read what was kept; the seconds that it took."""
        if self.path is None or not self.path.exists():
            return 0.0
        with safe_open(self.path, "pt") as f:
            before = float(f.metadata()["seconds"])
            for k in f.keys():  # not a dict
                layer, kind, view, *modalities = k.split("\t")
                self.library.answers[Member(tuple(modalities), kind, int(layer), view)] = f.get_tensor(k)
        return before


def overfits(library: Library, groups: Sequence[Any] | None) -> str | None:
    """Why out-of-fold answers can't be trusted, if they can't: the best member is far worse on validation rows.

    Far is three standard errors of the difference, by the bootstrap, over groups where there are any.
    """
    rows = library.labelled(library.valid)
    if not len(rows) or not library.answers:
        return None
    task = library.task
    name, sign = task.metric.name, 1 if task.metric.higher else -1
    best = max(library.answers, key=library.quality)
    of = None if groups is None else [groups[i - len(library.train)] for i in rows.tolist()]
    judge, answers = library.judge, library.answers[best]
    old = score_interval(task, Scores(answers[judge]), library.target.take(judge))
    new = score_interval(task, Scores(answers[rows]), library.target.take(rows), of)
    error = float(np.hypot(old.high - old.low, new.high - new.low)) / (2 * 1.96)
    if not sign * (old.value - new.value) > 3 * error:
        return None
    return (
        f"{best.kind} on {' + '.join(best.modalities)} has a cross-validated {name} of {old.value:.3f} on training "
        f"rows, but {new.value:.3f} on validation rows. A feature may have seen the training labels, or the rows "
        "differ; so estimators were chosen by the validation rows"
    )


def folds_of(n: int, k: int, groups: Sequence[Any] | None) -> list[tuple[list[int], list[int]]]:
    """(others, held-out) places of n rows in at most k parts, by group where there are several."""
    of = groups if groups is not None and len(set(own(groups))) > 1 else None
    k = min(k, n, *([len(set(own(of)))] if of is not None else []))
    return folds(n, k, None, of) if k > 1 else [(list(range(n)), list(range(n)))]


def _join(a: Masked, b: Masked) -> Masked:
    both = torch.cat([a.values, b.values]), torch.cat([a.mask, b.mask])
    return Masked(*both) if a.weight is None or b.weight is None else Weighted(*both, torch.cat([a.weight, b.weight]))


def plain(name: str) -> str:
    """A name that any file system takes."""
    return "".join(c if c.isalnum() or c in "-_ " else f"%{ord(c):x}" for c in name)


def outputs_of(learner: Learner, rows: Rows) -> Output:
    """The answers to encoded rows."""
    return predict(learner, rows.only(learner.reads), BATCH)
