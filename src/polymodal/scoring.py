"""Scores of answers to a table's rows: metrics with intervals, what is absent, and how sure the answers are."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from polymodal.batch import Masked
from polymodal.data.encode import Bad
from polymodal.data.preprocess import Preprocessor, Rows
from polymodal.errors import InputError
from polymodal.evaluate.intervals import Interval, intervals
from polymodal.output import Output, Scores, logits_of
from polymodal.tasks.base import Task
from polymodal.uncertainty import Calibration, check, presence
from polymodal.uncertainty.conformal import Coverage, coverage_of
from polymodal.uncertainty.temperature import quality_of_probabilities
from polymodal.view.text import interval, many, some

METEOR = (
    "meteor_exact_stem is METEOR 1.5 with two of its four stages, equal words and equal stems; figures of the full "
    "METEOR, which also matches WordNet's synonyms and paraphrases, are higher and can't be compared with it"
)


class Selective(NamedTuple):
    """Scores on the rows whose confidence is at least what `abstain` asks; share: of the labelled ones. No row, no
    metrics."""

    abstain: float
    rows: int
    share: float
    metrics: dict[str, Interval]


class Evaluation(NamedTuple):
    """Scores of a model on a table.

    metrics: each with its 95% bootstrap interval, over groups where there are any, of rows that count by the column
    `weight`, where there is one; all else counts rows alike. confusion: labels, and counts by
    (true, predicted); None for tasks without classes. absent: rows that lack each modality. bad: unreadable cells.
    probabilities: the temperature, and log loss, Brier score and calibration error under it; None for numbers and
    texts. coverage, selective: where they were asked for.
    """

    task: str
    rows: int
    unlabelled: int
    metrics: dict[str, Interval]
    metric: str
    group: str | None
    without: list[str]
    absent: dict[str, int]
    confusion: tuple[list[Any], list[list[int]]] | None
    bad: list[Bad]
    probabilities: dict[str, float] | None = None
    coverage: Coverage | None = None
    selective: Selective | None = None
    weight: str | None = None

    def __repr__(self) -> str:
        first = dict.fromkeys([self.metric, *self.metrics])
        scores = some((f"{name} {interval(self.metrics[name])}" for name in first), 4)
        return f"<Evaluation of {self.task} on {many(self.rows, 'row')}: {scores}>"

    @property
    def notes(self) -> list[str]:
        """What a reader must know before comparing a score with one that was computed elsewhere."""
        return [METEOR] if "meteor_exact_stem" in self.metrics else []

    def to_json(self) -> dict[str, Any]:
        """Plain containers: ``{"task", "rows", "metrics": {name: {"value", "low", "high"}}, "notes", ...}``."""
        labels_matrix = dict(zip(("labels", "matrix"), self.confusion, strict=True)) if self.confusion else None
        sets = self.coverage
        return {
            **self._asdict(),
            "metrics": _spans(self.metrics),
            "coverage": None if sets is None else [c._asdict() for c in sets.patterns],
            "coverage_overall": None if sets is None else _without_present(sets),
            "selective": self.selective and {**self.selective._asdict(), "metrics": _spans(self.selective.metrics)},
            "confusion": labels_matrix,
            "bad": [b._asdict() for b in self.bad],
            "notes": self.notes,
        }


class Scorer(NamedTuple):
    """Whatever scores a model's answers: how the table is read, what the target means, how sure the model is."""

    preprocessor: Preprocessor
    task: Task
    calibration: Calibration | None

    @property
    def temperature(self) -> float:
        """What logits are divided by so that probabilities mean what they say; 1 of a model that writes."""
        return 1.0 if self.calibration is None else self.calibration.temperature

    def calibrated(self, output: Output) -> Output:
        """What a learner gives, over the temperature."""
        return output if self.temperature == 1 else Scores(logits_of(output) / self.temperature)

    def present(self, rows: Rows) -> np.ndarray:
        """(N, M) whether the row has each modality."""
        return np.stack([*presence(rows, self.preprocessor.views).values()], axis=1)

    def limits(self, present: np.ndarray, coverage: float) -> np.ndarray:
        """(N,) up to which score an answer is in the set, by what is present."""
        calibration = self.calibration
        assert calibration is not None  # `check` has seen to it
        at = [self.preprocessor.modalities.index(m) for m in calibration.modalities]
        return calibration.limits(present[:, at], coverage)

    def score(
        self, rows: Rows, output: Output, groups: Sequence[Any] | None = None, without: Sequence[str] = (),
        *, coverage: float | None = None, abstain: float | None = None,
    ) -> Evaluation:  # fmt: skip
        """Score the calibrated answers to rows; see `Model.evaluate`. Raises InputError where no row has a label."""
        check(self.task, self.calibration, coverage, abstain)
        schema, unlabelled = self.preprocessor.schema, int((~rows.labelled()).sum())
        if unlabelled == len(rows):
            raise InputError(
                f"none of the {len(rows)} rows has a label in {', '.join(schema.target)!r}, so there is nothing to "
                "score; use predict"
            )
        target = rows.target(range(len(rows)))
        return Evaluation(
            task=self.task.name,
            rows=len(rows),
            unlabelled=unlabelled,
            metrics=intervals(self.task, output, target, groups),
            metric=self.task.metric.name,
            group=schema.group if groups is not None else None,
            without=list(without),
            absent={m: int((~x).sum()) for m, x in presence(rows, self.preprocessor.views).items()},
            confusion=self.task.confusion(output, target),
            bad=list(rows.bad),
            probabilities=self._probabilities(output, target),
            coverage=None if coverage is None else self._coverage(rows, logits_of(output), target, coverage),
            selective=None if abstain is None else self._selective(logits_of(output), target, groups, abstain),
            weight=schema.weight if rows.weights is not None else None,
        )

    def _probabilities(self, output: Output, target: Masked) -> dict[str, float] | None:
        if "calibrate" not in self.task.capabilities:
            return None
        keep = target.present()
        good = quality_of_probabilities(self.task, logits_of(output.take(keep)), target.take(keep))
        return {"temperature": self.temperature, **good}

    def _coverage(self, rows: Rows, logits: Tensor, target: Masked, coverage: float) -> Coverage:
        present, names = self.present(rows), self.preprocessor.modalities
        return coverage_of(self.task, logits, target, present, self.limits(present, coverage), names, coverage)

    def _selective(self, logits: Tensor, target: Masked, groups: Sequence[Any] | None, abstain: float) -> Selective:
        labelled = target.present().numpy()
        sure = np.flatnonzero(labelled & (self.task.confidence(logits) >= abstain))
        at = torch.from_numpy(sure)
        of = None if groups is None else [groups[i] for i in sure.tolist()]
        metrics = intervals(self.task, Scores(logits[at]), target.take(at), of) if len(sure) else {}
        return Selective(abstain, len(sure), len(sure) / int(labelled.sum()), metrics)


def _spans(scores: Mapping[str, Interval]) -> dict[str, dict[str, float]]:
    return {name: score._asdict() for name, score in scores.items()}


def _without_present(sets: Coverage) -> dict[str, float]:
    overall = sets.overall._asdict()
    del overall["present"]  # all rows are meant, whatever they have
    return {"asked": sets.asked, **overall}
