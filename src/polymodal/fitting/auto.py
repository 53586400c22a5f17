"""`--fusion auto`: try both paths within a time limit, and choose by validation, the simpler where it is as good.

features: every kind of estimator, out of fold          }
networks: fusions by successive halving                 }-> an average of what helps -> the choice, and why
baselines: each modality alone, and concat              }
"""

import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from polymodal.batch import Masked
from polymodal.evaluate.board import TIERS
from polymodal.evaluate.compare import Result
from polymodal.evaluate.intervals import difference
from polymodal.fitting.candidates import FeaturePath, Networks, Trial, parts
from polymodal.learners.base import Learner
from polymodal.learners.ensemble import Ensemble, blend, kept, quality, select
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


class Search(NamedTuple):
    """What was tried and chosen. story: a sentence a step, for a person."""

    chosen: Trial
    trials: list[Trial]
    story: list[str]


class Judge(NamedTuple):
    """The validation rows: their labels, and their groups, if any."""

    task: Task
    target: Masked
    groups: Sequence[Any] | None

    def quality(self, trial: Trial) -> tuple[float, float]:
        """How good a trial is; see `ensemble.quality`."""
        return quality(self.task, trial.judged, self.target)

    def said(self, trial: Trial) -> str:
        """The trial with its score."""
        value = abs(self.quality(trial)[0])
        return f"{trial.result.name} {value:.3f}"


def search(
    preset: Preset,
    judge: Judge,
    features: FeaturePath | None,
    networks: Networks | None,
    seconds: float,
    *,
    given: bool,
    baselines: bool,
) -> Search:
    """Try both paths within `seconds`, and choose. given: whether validation rows came apart from training rows."""
    end = time.monotonic() + seconds
    trials: list[Trial] = []
    story = [f"{seconds:.0f} s to search in"]
    if features is not None:
        share = FEATURES if networks is not None else 1.0
        whole = features.grow(preset.kinds, time.monotonic() + share * seconds)
        if given:
            features.check(judge.groups)
        found = features.trials()
        trials += found
        story += _of_features(features, found, judge, whole)
    if networks is not None:
        trials += _of_networks(networks, preset.fusions, judge, end, baselines, bool(trials), story)
    average = _average(trials, judge)
    if average is not None:
        trials.append(average)
    chosen, why = _choose(trials, judge, preset.simple)
    return Search(chosen, [chosen, *(t for t in trials if t is not chosen)], [*story, why])


def _of_features(features: FeaturePath, found: Sequence[Trial], judge: Judge, whole: bool) -> list[str]:
    n = len(features.library.answers)
    story = [f"features: {n} estimators, cross-validated in {features.seconds:.0f} s"]
    if not whole:
        story[0] += "; time ran out before all were tried"
    if found:
        story[0] += ": " + ", ".join(judge.said(t) for t in found)
    if dropped := features.library.dropped():
        named = ", ".join(f"{n:,} of {view}" for view, n in dropped.items())
        story.append(f"constant or doubled features, left out: {named}")
    return story + ([features.warning] if features.warning else [])


def _of_networks(
    networks: Networks, fusions: Sequence[str], judge: Judge, end: float, baselines: bool, some: bool, story: list[str]
) -> list[Trial]:
    """Fusions by successive halving, then each modality alone and concat in as much time as the best fusion had."""
    every = list(networks.encoders)
    left = end - time.monotonic()
    if left < 1 and some:
        story.append("networks: no time was left for them")
        return []
    if len(every) == 1:
        return [networks.train(f"{every[0]} alone", "concat", limit=max(left, 1.0))]
    started = list(fusions)[: max(1, int(left / LEAST))]
    if len(started) < len(fusions):
        story.append(f"networks: no time for {', '.join(fusions[len(started) :])}")
    fusions = started
    share = halving_share(len(fusions), len(every) + 1) if baselines else 1.0
    finalists = halve(networks, fusions, judge, time.monotonic() + share * max(left, 1.0), story)
    if not baselines:
        return finalists
    best = max(finalists, key=judge.quality)
    rivals = [(f"{m} alone", [m]) for m in every] + [("concat", every)]
    out = []
    for i, (name, modalities) in enumerate(rivals):
        if time.monotonic() > end and some:
            story.append(f"baselines: no time for {', '.join(n for n, _ in rivals[i:])}")
            break
        share = max(1.0, (end - time.monotonic()) / (len(rivals) - i))
        out.append(networks.train(name, "concat", modalities, limit=min(share, max(1.0, best.result.seconds))))
    if out:
        story.append("baselines: " + ", ".join(judge.said(t) for t in out))
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


def halve(networks: Networks, fusions: Sequence[str], judge: Judge, end: float, story: list[str]) -> list[Trial]:
    """Successive halving: all train for a while, the better half goes on, until one is left or all are trained out.

    Every step has the same time, so that it doubles for each survivor. Jamieson & Talwalkar 2016.
    """
    alive, steps = list(fusions), _steps(len(fusions))
    best: dict[str, Trial] = {}
    spent = dict.fromkeys(fusions, 0.0)
    for step in range(steps):
        going = [f for f in alive if step == 0 or not best[f].finished]
        each = (end - time.monotonic()) / (steps - step) / max(1, len(going))
        if each < 1 and step:
            break
        for f in going:
            trial = networks.train(f, f, limit=max(1.0, each), step=step)
            spent[f] += trial.result.seconds
            if f not in best or judge.quality(trial) > judge.quality(best[f]):
                best[f] = trial._replace(result=trial.result._replace(seconds=spent[f]))
            else:
                cost = best[f].result._replace(seconds=spent[f])
                best[f] = best[f]._replace(finished=trial.finished, result=cost)
        if going:
            story.append(f"networks, step {step + 1}: " + ", ".join(judge.said(best[f]) for f in alive))
        alive = sorted(alive, key=lambda f: judge.quality(best[f]), reverse=True)[: math.ceil(len(alive) / 2)]
    return list(best.values())


def _average(trials: Sequence[Trial], judge: Judge) -> Trial | None:
    """The average of the trials that help each other; its logits are of weights that other validation rows chose."""
    if len(trials) < 2:
        return None
    answers = [t.judged for t in trials]
    weights = kept(dict(enumerate(select(judge.task, answers, judge.target))))
    if len(weights) < 2:
        return None
    made = {trials[i].result.name: trials[i] for i in weights}
    shares = {trials[i].result.name: w for i, w in weights.items()}

    def learner(refit: bool) -> Learner:
        return Ensemble({name: t.learner(refit) for name, t in made.items()}, shares, judge.task).eval()

    seconds = sum(t.result.seconds for t in made.values())
    parameters = sum(t.result.parameters for t in made.values())
    modalities = list(dict.fromkeys(m for t in made.values() for m in t.modalities))
    judged = _outcome(answers, judge)
    result = Result("ensemble", "ensemble", judged, parameters, 0, seconds)
    return Trial(result, judged, modalities, learner, [])


def _outcome(answers: Sequence[Tensor], judge: Judge) -> Tensor:
    """(N, outputs) logits of averages, each part's by weights that the other parts chose."""
    n = len(answers[0])
    stacked = torch.stack(list(answers), dim=1)
    out = torch.zeros_like(answers[0])
    for by, held in parts(n, 5, judge.groups):
        rows = torch.tensor(by)
        if not judge.target.present()[rows].any():
            rows = torch.arange(n)
        weights = select(judge.task, [a[rows] for a in answers], judge.target.take(rows))
        out[held] = blend(stacked[held], torch.tensor(weights), None, judge.task.link)
    return out


def _choose(trials: Sequence[Trial], judge: Judge, simple: bool) -> tuple[Trial, str]:
    """The simplest trial within one standard error of the best (Breiman et al. 1984); or, not `simple`, the average
    within it, where there is one, else the best.

    Among equals features come before networks: their figures are borne out by the training rows, out of fold.
    """
    best = max(trials, key=lambda t: (judge.quality(t)[0], not t.history, judge.quality(t)[1]))
    if not simple:
        average = next((t for t in trials if t.result.family == "ensemble"), best)
        if average is best or not _within(best, average, judge):
            return best, f"chosen: {judge.said(best)}, the best on validation rows"
        return average, (
            f"chosen: {judge.said(average)}, within one standard error of {judge.said(best)}, the best of "
            f"{len(trials)} on validation rows: an average leans less on that choice"
        )
    by_rank = sorted({TIERS[t.result.family] for t in trials})
    for rank in by_rank:
        trial = max((t for t in trials if TIERS[t.result.family] == rank), key=judge.quality)
        if trial is best:
            break
        if _within(best, trial, judge):
            return trial, (
                f"chosen: {judge.said(trial)}, within one standard error of {judge.said(best)}, and "
                f"{trial.result.name} is simpler"
            )
    if TIERS[best.result.family] == by_rank[0]:
        return best, f"chosen: {judge.said(best)}, the best, and nothing is simpler"
    return best, f"chosen: {judge.said(best)}, better than anything simpler by more than one standard error"


def _within(best: Trial, trial: Trial, judge: Judge) -> bool:
    """Is the trial's score within one standard error of the best one's?"""
    name = judge.task.metric.name
    gain = difference(judge.task, best.judged, trial.judged, judge.target, name, judge.groups)
    return abs(gain.value) <= (gain.high - gain.low) / (2 * 1.96)
