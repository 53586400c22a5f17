"""`--fusion auto`: try both paths within a time limit, and choose by answers to rows that were not learned from.

features: every kind of estimator, out of fold          }
networks: fusions, one by one, while they help          }-> an average of what helps -> the choice, and why
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from polymodal.evaluate.compare import OUT_OF_FOLD, VALIDATION, Comparison, Result, compare
from polymodal.evaluate.intervals import difference
from polymodal.experiment.budget import Budget
from polymodal.experiment.candidates import RACE, FeaturePath, Judgement, Networks, Trial, ValidationSet, folds_of
from polymodal.experiment.config import FAST, SIMPLE
from polymodal.experiment.decide import Decider
from polymodal.learners.base import Learner
from polymodal.learners.ensemble import Ensemble, blend, keep_largest, select
from polymodal.learners.stacked import describe
from polymodal.objectives.base import Candidate
from polymodal.output import Output, Scores, logits_of
from polymodal.view.text import many


class Preset(NamedTuple):
    """How hard to try. seconds: a constant, and so many for each cell of a modality, and at most.

    longer: how many times the usual epochs a network may train, the time limit allowing.
    """

    fusions: list[str]
    kinds: list[str]
    folds: int
    seconds: tuple[float, float, float]
    refit: bool  # fit what is chosen of the features path on validation rows that came apart, too
    longer: int = 1

    def limit(self, cells: int) -> float:
        """The time limit in seconds for a table of so many cells (rows times modalities), unless one is given."""
        base, each, most = self.seconds
        return min(most, base + each * cells)


QUICK = ["linear", "boosted"]
MORE = ["linear-weak", "linear-strong", "kernel", "forest"]
PRESETS = {
    "fast": Preset(["late-mean"], [*QUICK, "linear-weak"], 3, (30, 0.01, 600), False),
    "balanced": Preset(
        ["film", "late-mean", "gated", "product"],
        [*QUICK, "perceptron", *MORE],
        5,
        (120, 0.02, 1200),
        False,
    ),
    "best": Preset(
        ["film", "late-mean", "gated", "product", "hybrid", "attention", "mbt", "low-rank"],
        [*QUICK, "perceptron", *MORE, "knn"],
        5,
        (300, 0.04, 3600),
        True,
        3,
    ),
}
FIRST = 0.6  # of the time that is left to networks, for the next one of several
PROBE, LEAST = 0.08, 4.0  # of it, after which the first one may be hopeless; seconds of that, or it tells nothing
PAYS = 0.5  # of the seconds that the first one had, for another to be begun
FEW = 10_000  # training rows
NAMED = 8  # estimators in a note
FEATURES = 0.65, 0.35  # of the time, where networks are tried too, on FEW rows and on more: networks want many


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
        """All trials with the answers to the validation rows that they are scored by: of one fusion all candidates had
        the same choice of epochs."""
        return [t.result._replace(output=t.judged) if self.searched else t.result for t in self.trials]

    def compare(self, valid: ValidationSet, decide: Callable[[Output, ValidationSet], Output]) -> Comparison:
        """All trials on the validation rows; or, where what is chosen was judged by more, those that were as well.

        decide: what answers to some rows are scored as.
        """
        if self.chosen.everywhere is None:
            results, rows, basis = self.results(), valid, VALIDATION
        else:
            more = [(t, t.everywhere) for t in self.trials if t.everywhere is not None]
            results = [t.result._replace(output=x.output) for t, x in more]
            rows, basis = self.chosen.everywhere.rows, OUT_OF_FOLD
        results = [r._replace(output=decide(r.output, rows)) for r in results]
        return compare(valid.task, [*results, *rows.baselines], rows.target, rows.groups, basis)


def search(
    preset: Preset, valid: ValidationSet, features: FeaturePath | None, networks: Networks | None, budget: Budget,
    *, valid_given: bool, prefer: str, seconds_a_row: Callable[[Learner], float], decider: Decider,
) -> Outcome:  # fmt: skip
    """Try both paths within the budget, and choose. valid_given: validation rows came apart from training rows. prefer:
    one of PREFERENCES. seconds_a_row: how long a learner takes to predict one. decider: at which thresholds trials are
    judged in the end."""
    notes = [f"{budget.left:.0f} s to search in"]
    refit, whole = preset.refit or not valid_given, True
    estimators: list[Trial] = []
    fusions: list[Trial] = []
    if features is not None:
        share = budget if networks is None else budget.part(FEATURES[len(networks.rows) >= FEW])
        whole, estimators = _grow(features, preset, share, valid, valid_given, refit and networks is None)
    if networks is not None:
        if features is not None:
            budget = budget.less(features.library.refit_seconds() if refit else 0.0)
        other = max(estimators, key=valid.quality, default=None)
        fusions = _of_networks(networks, preset.fusions, valid, budget, other, notes)
        if features is not None and not whole and budget.allows(1):  # what networks have left
            whole, estimators = _grow(features, preset, budget, valid, valid_given, False)
    if features is not None:
        notes[1:1] = _of_features(features, estimators, whole)
    trials = estimators + fusions
    average = _average(_apart(trials, valid), valid)
    if average is not None:
        trials.append(average)
    seen = [decider.judged(t) for t in trials]
    choice, why = _choose(seen, valid, prefer)
    if prefer == FAST:
        choice, why = _fastest(seen, choice, valid, seconds_a_row)
    best = next(t for t in trials if t.result is choice.result)
    return Outcome([best, *(t for t in trials if t is not best)], [*notes, why], searched=True)


def _grow(
    features: FeaturePath, preset: Preset, budget: Budget, valid: ValidationSet, valid_given: bool, refit: bool
) -> tuple[bool, list[Trial]]:
    """Whether all estimators could be fitted, and the trials that they make."""
    whole = features.grow(preset.kinds, budget, refit)
    if valid_given:
        features.check(valid.groups)
    return whole, features.trials()


def _of_features(features: FeaturePath, trials: Sequence[Trial], whole: bool) -> list[str]:
    n = len(features.library.answers)
    notes = [
        f"features: {many(n, 'estimator')}, cross-validated in {features.folds} folds and {features.seconds:.0f} s"
    ]
    if not whole:
        untried = features.library.untried
        names = "; ".join(describe(*m) for m in untried[:NAMED]) + "; ..." * (len(untried) > NAMED)
        notes[0] += f"; no time was left for {many(len(untried), 'other')}: {names}"
    if trials:
        rows = trials[0].everywhere.rows.target.present().sum() if trials[0].everywhere else 0
        scores = ", ".join(t.everywhere.describe(t) for t in trials if t.everywhere)
        notes[0] += f"; on {int(rows):,} rows that they did not see: {scores}"
    if behind := features.library.behind:
        names = "; ".join(describe(*m) for m in behind)
        notes.append(f"tried on the first fold alone, more than {RACE:.0f} standard errors behind there: {names}")
    if left_out := features.library.dropped():
        examples = ", ".join(f"{n:,} of {view}" for view, n in left_out.items())
        notes.append(f"constant or doubled features, left out: {examples}")
    return notes + ([features.warning] if features.warning else [])


def _of_networks(
    networks: Networks, fusions: Sequence[str], valid: ValidationSet, budget: Budget, other: Trial | None,
    notes: list[str],
) -> list[Trial]:  # fmt: skip
    """Fusions one after the other, each in most of the time that is left, for as long as the last one helped the
    average with the best of the estimators, `other`. Of few rows the first is tried for a short while before: where it
    is far behind, none is trained further.
    """
    every = list(networks.encoders)
    if other is not None and not budget.allows(1):
        notes.append("networks: no time was left for them")
        return []
    jobs = [Candidate(f, f, every) for f in fusions] if len(every) > 1 else []
    jobs = jobs or [Candidate(f"{every[0]} alone", "concat", every)]
    probe = None
    if other is not None and len(networks.rows) < FEW and budget.allows(LEAST / PROBE):  # many come from behind
        probe = networks.train(jobs[0], budget.seconds(PROBE))
        if _is_far_behind(probe, other, valid):
            seen = f"networks, {probe.result.seconds:.0f} s: {valid.describe(probe)}"
            notes.append(f"{seen}, too far behind estimators to be trained further")
            return [probe]
    done: list[Trial] = []
    why = ""
    for i, job in enumerate(jobs):
        if done and not budget.allows(PAYS * done[0].result.seconds):
            why = "no time was left for"
            break
        limit = budget.seconds(1.0 if job is jobs[-1] else FIRST)
        done.append(_go_on(networks, job, limit, None if i else probe, valid))
        if other is not None and not _helps(done[-1], [other, *done[:-1]], valid):
            why = f"{job.name} helps no average, so not tried were"
            break
    notes.append("networks: " + ", ".join(valid.describe(t) + ", cut short" * (not t.finished) for t in done))
    if rest := jobs[len(done) :]:
        notes[-1] += f"; {why} {', '.join(j.name for j in rest)}"
    return done


def _go_on(networks: Networks, job: Candidate, limit: float | None, probe: Trial | None, valid: ValidationSet) -> Trial:
    """The job in so many seconds, from where the probe of it ended; the better of both, with the seconds of both."""
    if probe is None:
        return networks.train(job, limit)
    if probe.finished:
        return probe
    last = networks.train(job, limit, 1)
    best = max(last, probe, key=valid.quality)
    cost = best.result._replace(seconds=probe.result.seconds + last.result.seconds)
    return best._replace(result=cost, finished=last.finished)


def _helps(trial: Trial, others: Sequence[Trial], valid: ValidationSet) -> bool:
    """Has it a share in the best average with the others?"""
    return select(valid.task, [logits_of(t.judged) for t in (*others, trial)], valid.target)[-1] > 0


def _is_far_behind(trial: Trial, other: Trial, valid: ValidationSet) -> bool:
    """By so many standard errors that more training does not help."""
    gain, error = _gain(other.judged, trial.judged, valid)
    return gain > 2 * RACE * error > 0


def _apart(trials: Sequence[Trial], valid: ValidationSet) -> list[Trial]:
    """The networks, and the best of the estimators, whose own averages all rows have chosen already."""
    solid = [t for t in trials if t.everywhere is not None]
    best = max(solid, key=lambda t: (t.everywhere or Judgement(t.judged, valid)).quality(), default=None)
    return [t for t in trials if t is best or t.everywhere is None]


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


def _choose(trials: Sequence[Trial], valid: ValidationSet, prefer: str) -> tuple[Trial, str]:
    """The best trial, and why; or, where the simple is preferred, the simplest within one standard error of it.

    Estimators are compared by their out-of-fold answers to all rows. What has answers to the validation rows alone is
    chosen before them only where it is better there by more than one standard error: of few rows, or of one group, the
    best of many is often luck.
    """
    solid = [t for t in trials if t.everywhere is not None]
    others = [t for t in trials if t.everywhere is None]
    best, why = _best(solid, valid, prefer) if solid else _best(others, valid, prefer)
    if not (solid and others):
        return best, f"chosen: {why}"
    rival = max(others, key=valid.quality)
    gain, error = _gain(rival.judged, best.judged, valid)
    rows = many(int(valid.target.present().sum()), "validation row")
    if gain > error:
        beaten = f"better than {valid.describe(best)} on {rows} by more than one standard error"
        return rival, f"chosen: {valid.describe(rival)}, {beaten}"
    return best, f"chosen: {why}; on {rows} {valid.describe(rival)} is not better by more than one standard error"


def _best(trials: Sequence[Trial], valid: ValidationSet, prefer: str) -> tuple[Trial, str]:
    """The best of trials that the same rows judge, or the simplest within one standard error of it; and in words."""
    views = {id(t): t.everywhere or Judgement(t.judged, valid) for t in trials}
    best = max(trials, key=lambda t: (*views[id(t)].quality(), t.result.family == "ensemble"))
    seen = views[id(best)]
    basis = f"the best of {len(trials)} on {many(int(seen.rows.target.present().sum()), 'row')}"
    if prefer == SIMPLE:
        for trial in sorted(trials, key=_size):
            if trial is best:
                break
            gain, error = _gain(seen.output, views[id(trial)].output, seen.rows)
            if gain <= error:
                text = f"{views[id(trial)].describe(trial)}, the simplest within one standard error of "
                return trial, text + f"{seen.describe(best)}, {basis}"
    return best, f"{seen.describe(best)}, {basis}"


def _fastest(
    trials: Sequence[Trial], best: Trial, valid: ValidationSet, seconds_a_row: Callable[[Learner], float]
) -> tuple[Trial, str]:
    """The trial that predicts soonest of those within one standard error of the best; and in words."""
    near = [best]
    for trial in trials:
        a, b = best.everywhere, trial.everywhere
        if a is None or b is None:  # not both of them have answers to more rows
            a, b = Judgement(best.judged, valid), Judgement(trial.judged, valid)
        gain, error = _gain(a.output, b.output, a.rows)
        near += [trial] if trial is not best and gain <= error else []
    seconds = [seconds_a_row(t.learner(False)) for t in near]
    fastest = near[seconds.index(min(seconds))]
    names = f"{fastest.result.name}, the fastest of {len(near)} within one standard error of the best"
    score = (best.everywhere or Judgement(best.judged, valid)).describe(best)
    times = f"{1e3 * min(seconds):.1f} ms a row, and {1e3 * seconds[0]:.1f} of {score}"
    return fastest, f"chosen: {names}: {times}"


def _size(trial: Trial) -> tuple[int, int]:
    """What makes a trial simple: few modalities, then few numbers."""
    return len(trial.modalities), trial.result.parameters


def _gain(better: Output, worse: Output, rows: ValidationSet) -> tuple[float, float]:
    """By how much the first is better on these rows, by the task's metric, and the standard error of that."""
    metric = rows.task.metric
    gain = difference(rows.task, better, worse, rows.target, metric.name, rows.groups)
    return gain.value if metric.higher else -gain.value, (gain.high - gain.low) / (2 * 1.96)
