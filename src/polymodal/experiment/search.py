"""`--fusion auto`: try both paths within a time limit, and choose by validation, the simpler where it is as good.

features: every kind of estimator, out of fold          }
networks: fusions by successive halving                 }-> an average of what helps -> the choice, and why
baselines: each modality alone, and concat              }
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from polymodal.batch import Masked
from polymodal.evaluate.compare import Result
from polymodal.evaluate.intervals import difference
from polymodal.evaluate.leaderboard import TIERS
from polymodal.experiment.budget import Budget
from polymodal.experiment.candidates import FeaturePath, Networks, Trial, folds_of
from polymodal.learners.base import Learner
from polymodal.learners.ensemble import Ensemble, blend, keep_largest, quality, select
from polymodal.objectives.base import Candidate
from polymodal.output import Scores, logits_of
from polymodal.tasks.base import Task


class Preset(NamedTuple):
    """How hard to try. seconds: a constant, and so many for each cell of a modality, and at most.

    longer: how many times the usual epochs a network may train, the time limit allowing.
    """

    fusions: list[str]
    kinds: list[str]
    folds: int
    seconds: tuple[float, float, float]
    simple: bool  # prefer the simpler where the difference is noise, else the average of several
    refit: bool  # fit what is chosen of the features path on the validation rows too
    longer: int = 1

    def limit(self, cells: int) -> float:
        """The time limit in seconds for a table of so many cells (rows times modalities), unless one is given."""
        base, each, most = self.seconds
        return min(most, base + each * cells)


LINEAR = ["linear", "linear-weak", "linear-strong"]
PRESETS = {
    "fast": Preset(["late-mean"], ["linear", "linear-weak", "boosted"], 3, (30, 0.01, 600), True, False),
    "balanced": Preset(
        ["film", "late-mean", "gated", "product"],
        [*LINEAR, "kernel", "boosted", "forest"],
        5,
        (120, 0.02, 1200),
        True,
        False,
    ),
    "best": Preset(
        ["film", "late-mean", "gated", "product", "hybrid", "attention", "mbt", "low-rank"],
        [*LINEAR, "kernel", "boosted", "forest", "knn"],
        5,
        (300, 0.04, 3600),
        False,
        True,
        3,
    ),
}
LEAST = 40.0  # seconds a fusion that is tried: a step with less tells which learns fast, not which learns well
FEATURES = 0.35  # of the time, where networks are tried too


class Outcome(NamedTuple):
    """What was tried and chosen. trials: the chosen one first. notes: a sentence a step, for a person. searched: by
    these rows, so that a trial's score is that of its `judged` answers.
    """

    trials: list[Trial]
    notes: list[str]
    searched: bool = False

    @property
    def chosen(self) -> Trial:
        """What becomes the model."""
        return self.trials[0]

    def results(self) -> list[Result]:
        """All trials with the answers that they are scored by: of one fusion all candidates had the same choice of
        epochs."""
        return [t.result._replace(output=t.judged) if self.searched else t.result for t in self.trials]


class ValidationSet(NamedTuple):
    """The labels of the validation rows, and their groups, if any."""

    task: Task
    target: Masked
    groups: Sequence[Any] | None

    def quality(self, trial: Trial) -> tuple[float, float]:
        """How good a trial is; see `ensemble.quality`."""
        return quality(self.task, trial.judged, self.target)

    def describe(self, trial: Trial) -> str:
        """The trial with its score."""
        value = abs(self.quality(trial)[0])
        return f"{trial.result.name} {value:.3f}"


def search(
    preset: Preset, valid: ValidationSet, features: FeaturePath | None, networks: Networks | None, budget: Budget,
    *, valid_given: bool, baselines: bool,
) -> Outcome:  # fmt: skip
    """Try both paths within the budget, and choose. valid_given: validation rows came apart from training rows."""
    trials: list[Trial] = []
    notes = [f"{budget.left:.0f} s to search in"]
    if features is not None:
        whole = features.grow(preset.kinds, budget.part(FEATURES if networks is not None else 1.0))
        if valid_given:
            features.check(valid.groups)
        candidates = features.trials()
        trials += candidates
        notes += _of_features(features, candidates, valid, whole)
    if networks is not None:
        trials += _of_networks(networks, preset.fusions, valid, budget, baselines, bool(trials), notes)
    average = _average(trials, valid)
    if average is not None:
        trials.append(average)
    best, why = _choose(trials, valid, preset.simple)
    return Outcome([best, *(t for t in trials if t is not best)], [*notes, why], searched=True)


def _of_features(features: FeaturePath, trials: Sequence[Trial], valid: ValidationSet, whole: bool) -> list[str]:
    n = len(features.library.answers)
    notes = [f"features: {n} estimators, cross-validated in {features.seconds:.0f} s"]
    if not whole:
        notes[0] += "; time ran out before all were tried"
    if trials:
        notes[0] += ": " + ", ".join(valid.describe(t) for t in trials)
    if left_out := features.library.dropped():
        examples = ", ".join(f"{n:,} of {view}" for view, n in left_out.items())
        notes.append(f"constant or doubled features, left out: {examples}")
    return notes + ([features.warning] if features.warning else [])


def _of_networks(
    networks: Networks, fusions: Sequence[str], valid: ValidationSet, budget: Budget, baselines: bool, some: bool,
    notes: list[str],
) -> list[Trial]:  # fmt: skip
    """Fusions by successive halving, then each modality alone and concat in as much time as the best fusion had."""
    every = list(networks.encoders)
    if some and not budget.allows(1):
        notes.append("networks: no time was left for them")
        return []
    if len(every) == 1:
        return [networks.train(Candidate(f"{every[0]} alone", "concat", every), budget.seconds())]
    affordable = list(fusions)[: max(1, int(min(budget.left, LEAST * len(fusions)) / LEAST))]
    if len(affordable) < len(fusions):
        notes.append(f"networks: no time for {', '.join(fusions[len(affordable) :])}")
    fusions = affordable
    fraction = halving_share(len(fusions), len(every) + 1) if baselines else 1.0
    finalists = halve(networks, fusions, valid, budget.part(fraction), notes)
    if not baselines:
        return finalists
    best = max(finalists, key=valid.quality)
    rivals = [Candidate(f"{m} alone", "concat", [m]) for m in every] + [Candidate("concat", "concat", every)]
    out = []
    for i, rival in enumerate(rivals):
        if some and not budget.allows(0):
            notes.append(f"baselines: no time for {', '.join(r.name for r in rivals[i:])}")
            break
        limit = budget.seconds(1 / (len(rivals) - i))
        least = max(1.0, best.result.seconds)
        out.append(networks.train(rival, least if limit is None else min(limit, least)))
    if out:
        notes.append("baselines: " + ", ".join(valid.describe(t) for t in out))
    return finalists + out


def halving_share(fusions: int, baselines: int) -> float:
    """The share of the time for halving that leaves each baseline as long as the fusion that comes out first has."""
    steps, alive, winner = _steps(fusions), fusions, 0.0
    for _ in range(steps):
        winner += 1 / (steps * alive)
        alive = math.ceil(alive / 2)
    return 1 / (1 + baselines * winner)


def _steps(fusions: int) -> int:
    return max(1, math.ceil(math.log2(max(2, fusions))))


def halve(
    networks: Networks, fusions: Sequence[str], valid: ValidationSet, budget: Budget, notes: list[str]
) -> list[Trial]:
    """Successive halving: all train for a while, the better half goes on, until one is left or all are trained out.

    Every step has the same time, so that it doubles for each survivor. Jamieson & Talwalkar 2016.
    """
    alive, steps = list(fusions), _steps(len(fusions))
    every = list(networks.encoders)
    best: dict[str, Trial] = {}
    seconds = dict.fromkeys(fusions, 0.0)
    for step in range(steps):
        going = [f for f in alive if step == 0 or not best[f].finished]
        fraction = 1 / (steps - step) / max(1, len(going))
        if step and not budget.allows(1 / fraction):
            break
        each = budget.seconds(fraction)
        for f in going:
            trial = networks.train(Candidate(f, f, every), each, step)
            seconds[f] += trial.result.seconds
            if f not in best or valid.quality(trial) > valid.quality(best[f]):
                best[f] = trial._replace(result=trial.result._replace(seconds=seconds[f]))
            else:
                cost = best[f].result._replace(seconds=seconds[f])
                best[f] = best[f]._replace(finished=trial.finished, result=cost)
        if going:
            notes.append(f"networks, step {step + 1}: " + ", ".join(valid.describe(best[f]) for f in alive))
        alive = sorted(alive, key=lambda f: valid.quality(best[f]), reverse=True)[: math.ceil(len(alive) / 2)]
    return list(best.values())


def _average(trials: Sequence[Trial], valid: ValidationSet) -> Trial | None:
    """The average of the trials that help each other; its logits are of weights that other validation rows chose."""
    if len(trials) < 2:
        return None
    answers = [logits_of(t.judged) for t in trials]
    weights = keep_largest(dict(enumerate(select(valid.task, answers, valid.target))))
    if len(weights) < 2:
        return None
    members = {trials[i].result.name: trials[i] for i in weights}
    shares = {trials[i].result.name: w for i, w in weights.items()}

    def learner(refit: bool) -> Learner:
        return Ensemble({name: t.learner(refit) for name, t in members.items()}, shares, valid.task).eval()

    seconds = sum(t.result.seconds for t in members.values())
    parameters = sum(t.result.parameters for t in members.values())
    modalities = list(dict.fromkeys(m for t in members.values() for m in t.modalities))
    output = Scores(_outcome(answers, valid))
    result = Result("ensemble", "ensemble", output, parameters, 0, seconds)
    return Trial(result, output, modalities, learner, [])


def _outcome(answers: Sequence[Tensor], valid: ValidationSet) -> Tensor:
    """(N, outputs) logits of averages, each part's by weights that the other parts chose."""
    n = len(answers[0])
    logits = torch.stack(list(answers), dim=1)
    out = torch.zeros_like(answers[0])
    for by, others in folds_of(n, 5, valid.groups):
        rows = torch.tensor(by)
        if not valid.target.present()[rows].any():
            rows = torch.arange(n)
        weights = select(valid.task, [a[rows] for a in answers], valid.target.take(rows))
        out[others] = blend(logits[others], torch.tensor(weights), None, valid.task.link)
    return out


def _choose(trials: Sequence[Trial], valid: ValidationSet, simple: bool) -> tuple[Trial, str]:
    """The simplest trial within one standard error of the best (Breiman et al. 1984); or, not `simple`, the average
    within it, where there is one, else the best.

    Among equals features come before networks: their figures are borne out by the training rows, out of fold.
    """
    best = max(trials, key=lambda t: (valid.quality(t)[0], not t.history, valid.quality(t)[1]))
    if not simple:
        average = next((t for t in trials if t.result.family == "ensemble"), best)
        if average is best or not _within(best, average, valid):
            return best, f"chosen: {valid.describe(best)}, the best on validation rows"
        return average, (
            f"chosen: {valid.describe(average)}, within one standard error of {valid.describe(best)}, the best of "
            f"{len(trials)} on validation rows: an average leans less on that choice"
        )
    by_rank = sorted({TIERS[t.result.family] for t in trials})
    for rank in by_rank:
        trial = max((t for t in trials if TIERS[t.result.family] == rank), key=valid.quality)
        if trial is best:
            break
        if _within(best, trial, valid):
            return trial, (
                f"chosen: {valid.describe(trial)}, within one standard error of {valid.describe(best)}, and "
                f"{trial.result.name} is simpler"
            )
    if TIERS[best.result.family] == by_rank[0]:
        return best, f"chosen: {valid.describe(best)}, the best, and nothing is simpler"
    return best, f"chosen: {valid.describe(best)}, better than anything simpler by more than one standard error"


def _within(best: Trial, trial: Trial, valid: ValidationSet) -> bool:
    """Is the trial's score within one standard error of the best one's?"""
    name = valid.task.metric.name
    gain = difference(valid.task, best.judged, trial.judged, valid.target, name, valid.groups)
    return abs(gain.value) <= (gain.high - gain.low) / (2 * 1.96)
