"""What training has to tell of a model: a typed record, made before the model and kept in its folder."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from polymodal.data.encode import Bad
from polymodal.evaluate.compare import OUT_OF_FOLD, Comparison
from polymodal.uncertainty import Calibration

NOTHING: Mapping[str, Any] = MappingProxyType({})


class TestScores(NamedTuple):
    """Scores on rows that nothing was chosen by: the model's, as `Evaluation.to_json` has them, and beside others."""

    scores: Mapping[str, Any]
    comparison: Comparison

    def to_json(self) -> dict[str, Any]:
        """Plain containers."""
        return {**self.scores, "comparison": self.comparison.to_json()}


class Report(NamedTuple):
    """Every field has a value that says nothing, for models that were not made by `fit`.

    rows: how many to "train" and to validate on ("valid"), and those of the first that are "unlabelled". task, reason:
    the task's name, and why it is this one. settings: fusion, preset, size, and those of the trainer. processes: that
    trained together. valid_given: whether validation rows came as a table of their own. notes: a sentence a step, for a
    person. refit: whether the learner was fitted on the validation rows too, in the end. comparison: candidates on the
    validation rows, the model first. calibration: of its certainty. thresholds: by label, above
    which probability it is decided for, where that is not one half. history: one dict an epoch. writing: how it writes
    text. colearning: how modalities help each other, and what it began with. distillation: of a student. command: what
    was typed. bad: cells that could not be read. plan: what decides the run. valid: its scores on the validation rows,
    as `Evaluation.to_json` has them. seconds, peak_memory_mb: what it cost.
    """

    rows: Mapping[str, int] = NOTHING
    task: str = ""
    reason: str = ""
    settings: Mapping[str, Any] = NOTHING
    processes: int = 1
    valid_given: bool = False
    notes: Sequence[str] = ()
    refit: bool = False
    comparison: Comparison | None = None
    calibration: Calibration | None = None
    thresholds: Mapping[str, float] | None = None
    history: Sequence[Mapping[str, Any]] = ()
    writing: Mapping[str, Any] | None = None
    colearning: Mapping[str, Any] | None = None
    distillation: Mapping[str, Any] | None = None
    command: str = ""
    bad: Sequence[Bad] = ()
    plan: Mapping[str, Any] = NOTHING
    valid: Mapping[str, Any] | None = None
    test: TestScores | None = None
    seconds: float = 0.0
    peak_memory_mb: float = 0.0

    def __repr__(self) -> str:
        rows = f"{self.rows.get('train', 0):,} rows to train on, {self.rows.get('valid', 0):,} to validate on"
        best = self.comparison.chosen if self.comparison else "nothing was compared"
        return f"<Report of {self.task or 'no task'}: {rows}; {best}; {self.seconds:.0f} s>"

    @property
    def chosen_by(self) -> str:
        """What the model was chosen by, in words."""
        if self.comparison is not None and self.comparison.basis == OUT_OF_FOLD:
            whole = ", and fitted on all rows in the end" if self.refit else ""
            return f"answers out of fold to {self.comparison.rows:,} rows{whole}"
        return f"{self.rows['valid']:,} validation rows ({'given' if self.valid_given else 'held out'})"

    @property
    def learned(self) -> int:
        """How many rows the model was fitted on; networks are not fitted on validation rows."""
        whole = self.refit and self.comparison is not None and self.comparison.basis == OUT_OF_FOLD
        return self.rows.get("train", 0) + (self.rows.get("valid", 0) if whole else 0)

    def to_json(self) -> dict[str, Any]:
        """Plain containers."""
        plain = {k: dict(v) if isinstance(v, Mapping) else v for k, v in self._asdict().items()}
        return {
            **plain,
            "notes": list(self.notes),
            "comparison": self.comparison and self.comparison.to_json(),
            "calibration": self.calibration and self.calibration.to_json(),
            "history": [dict(line) for line in self.history],
            "bad": [b._asdict() for b in self.bad],
            "test": self.test and self.test.to_json(),
        }

    @classmethod
    def from_json(cls, form: Mapping[str, Any]) -> "Report":
        """What `to_json` gave."""
        test = form["test"] and dict(form["test"])
        return cls(
            **{
                **form,
                "comparison": form["comparison"] and Comparison.from_json(form["comparison"]),
                "calibration": form["calibration"] and Calibration.from_json(form["calibration"]),
                "bad": [Bad(**b) for b in form["bad"]],
                "test": test and TestScores(comparison=Comparison.from_json(test.pop("comparison")), scores=test),
            }
        )
