"""What fusion brought: a model beside each modality alone, plain concatenation and baselines, on the same rows."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from polymodal.batch import Masked
from polymodal.evaluate.intervals import Interval, difference, score_interval
from polymodal.output import Output
from polymodal.tasks.base import Task
from polymodal.view.text import digits, interval, many, not_shown, some


class Candidate(NamedTuple):
    """A trained predictor, scored on the validation rows."""

    name: str  # "gated", "concat", "photo alone"
    score: Interval
    parameters: int
    epochs: int
    seconds: float
    memory_mb: float | None = None  # peak of the process while it was trained


VALIDATION, TEST, OUT_OF_FOLD = "validation rows", "test rows", "rows, out of fold"  # what rows are scored
CONSTANT, PERSISTENCE = BASELINES = ("constant", "persistence")  # families that read nothing: see `baselines`


class Comparison(NamedTuple):
    """Candidates on the same rows; the first is the model. `gains` are paired differences: positive is better. basis:
    what the rows are."""

    metric: str
    rows: int
    candidates: list[Candidate]
    gains: dict[str, Interval]
    verdict: str
    basis: str = VALIDATION

    def __repr__(self) -> str:
        scores = some((f"{c.name} {interval(c.score)}" for c in self.candidates), 4)
        return f"<Comparison by {self.metric} on {self.rows:,} {self.basis}: {scores}>"

    @property
    def chosen(self) -> str:
        """The model's score, in words."""
        best = self.candidates[0]
        return f"{best.name}, {self.metric} {interval(best.score)} on {self.rows:,} {self.basis}"

    def to_json(self) -> dict[str, Any]:
        """Plain containers."""
        return {
            "metric": self.metric,
            "rows": self.rows,
            "candidates": [{**c._asdict(), "score": c.score._asdict()} for c in self.candidates],
            "gains": {k: v._asdict() for k, v in self.gains.items()},
            "verdict": self.verdict,
            "basis": self.basis,
        }

    @classmethod
    def from_json(cls, form: Mapping[str, Any]) -> "Comparison":
        """What `to_json` wrote."""
        return cls(
            form["metric"],
            form["rows"],
            [Candidate(**{**c, "score": Interval(**c["score"])}) for c in form["candidates"]],
            {k: Interval(**v) for k, v in form["gains"].items()},
            form["verdict"],
            form["basis"],
        )


class Result(NamedTuple):
    """A candidate's answers to the rows that all candidates are scored on."""

    name: str
    family: str  # "single" (one modality), "concat", "late", "fusion", "hybrid", "ensemble", or one of BASELINES
    output: Output
    parameters: int
    epochs: int
    seconds: float
    memory_mb: float | None = None


def compare(
    task: Task, results: Sequence[Result], target: Masked, groups: Sequence[Any] | None = None, basis: str = VALIDATION
) -> Comparison:
    """Score each candidate, and test the first one's gain over the best single modality, concat and the baselines.

    Intervals are 95% bootstrap intervals over the rows, or over whole groups where `groups` is given; a gain is
    noise when its interval holds 0.
    """
    metric = task.metric
    sign = 1.0 if metric.higher else -1.0
    candidates = [
        Candidate(r.name, score, r.parameters, r.epochs, r.seconds, r.memory_mb)
        for r in results
        for score in (score_interval(task, r.output, target, groups),)
    ]
    rivals: dict[str, Result] = {}
    for family in ("single", "concat", *BASELINES):  # the best of each
        candidates_of = [
            (sign * c.score.value, i) for i, c in enumerate(candidates) if i and results[i].family == family
        ]
        if candidates_of:
            best = results[max(candidates_of)[1]]
            rivals[best.name] = best
    gains = {}
    for name, rival in rivals.items():
        gain = difference(task, results[0].output, rival.output, target, metric.name, groups)
        gains[name] = gain if metric.higher else Interval(-gain.value, -gain.high, -gain.low)
    rows = int(target.present().sum())
    few = f"{many(rows, 'row')} {'is' if rows == 1 else 'are'} too few to tell candidates apart."
    text = verdict(results[0].name, metric.name, gains, rows) if rows >= FEW or not gains else few
    return Comparison(metric.name, rows, candidates, gains, text, basis)


FEW = 10  # rows: of fewer no bootstrap can say how sure a difference is
UNITS = dict.fromkeys(
    "accuracy balanced_accuracy macro_f1 micro_f1 weighted_f1 f1 average_precision roc_auc r2 quadratic_kappa".split(),
    100,
)


def verdict(name: str, metric: str, gains: Mapping[str, Interval], rows: int) -> str:
    """One plain sentence a rival: is the model's gain more than noise, and what follows from it."""
    if not gains:
        return f"{name} was compared with nothing: no other candidate was trained."
    lines = []
    for rival, gain in gains.items():
        way_out = f": use {rival}" if gain.high < 0 else ""
        lines.append(f"{sentence(name, rival, gain, metric, rows)}{way_out}.")
    return " ".join(lines)


def sentence(
    name: str, rival: str, gain: Interval, metric: str, rows: int, chance: str = "", clear: bool = True
) -> str:
    """What a gain of one candidate over another shows on so many rows, without a full stop.

    chance: how likely it is by chance, in brackets. clear: whether an interval without 0 is taken for more than chance.

    >>> sentence("gated", "text alone", Interval(0.021, 0.008, 0.034), "accuracy", 214)
    'gated beats text alone by 2.1 points of accuracy [0.8, 3.4]'
    >>> sentence("gated", "concat", Interval(0.003, -0.006, 0.011), "accuracy", 214)
    'No difference between gated and concat was shown on 214 rows: 0.3 points of accuracy [-0.6, 1.1]'
    """
    if math.isnan(gain.value):
        return f"{metric} is undefined on these rows, so nothing can be said of {name} and {rival}: give more of them"
    if gain.low > 0 and clear:
        return f"{name} beats {rival} by {gain_text(gain, metric)}{chance}"
    if gain.high < 0 and clear:
        loss = Interval(-gain.value, -gain.high, -gain.low)
        return f"{name} is worse than {rival} by {gain_text(loss, metric)}{chance}"
    none = not_shown(f"difference between {name} and {rival}", rows, "No")
    return f"{none}: {gain_text(gain, metric)}{chance}"


def gain_text(x: Interval, metric: str) -> str:
    """A difference with its interval and unit.

    >>> gain_text(Interval(0.021, 0.008, 0.034), "accuracy"), gain_text(Interval(-0.5, -1, 0.25), "mae")
    ('2.1 points of accuracy [0.8, 3.4]', '-0.500 of mae [-1.000, 0.250]')
    """
    points = UNITS.get(metric, 1) == 100
    places, unit = (1, " points") if points else (3, "")
    value, low, high = (digits(100 * v if points else v, places) for v in x)
    span = "" if math.isnan(x.low) else f" [{low}, {high}]"
    return f"{value}{unit} of {metric}{span}"
