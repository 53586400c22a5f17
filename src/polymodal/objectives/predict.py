"""Many modalities -> a label, a set of labels, a rank or numbers."""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from polymodal.data.preprocess import Rows
from polymodal.data.schema import Schema
from polymodal.data.suspects import QUICK, leaks
from polymodal.data.table import Table
from polymodal.errors import InputError
from polymodal.learners.base import Learner, TrainableLearner
from polymodal.modalities.base import Encoder
from polymodal.nn import Size
from polymodal.objectives.base import Answers, Candidate, Supervised, Validation
from polymodal.objectives.colearning import CYCLIC, Colearning
from polymodal.objectives.writing import Writing
from polymodal.output import Scores, logits_of
from polymodal.tasks.base import Task

PLAIN = "concat"  # joins what is compared with


class Predict(Supervised):
    """A task with a fixed number of outputs a row. colearning: how modalities help each other."""

    name: ClassVar[str] = "predict"

    def __init__(self, task: Task, colearning: Colearning | None = None) -> None:
        self.task, self.colearning = task, colearning or Colearning()

    @classmethod
    def resolve(
        cls, task: Task, final: bool, table: Table, schema: Schema, writing: Writing | None, colearning: Colearning
    ) -> tuple[Self, Table, Schema]:
        """The table as it is."""
        if writing is not None:
            changed = [f for f in writing._fields if getattr(writing, f) != writing._field_defaults[f]]
            names = ", ".join(f.replace("_", "-") for f in changed)
            raise InputError(
                f"the task is {task.name}, which writes no text, and options of models that do were given: {names}; "
                "leave them out, or ask for text with --task=generate"
            )
        return cls(task, colearning), table, schema

    @property
    def capabilities(self) -> frozenset[str]:
        """Those of the task; fusions and features are searched and compared, a teacher's logits can be learned from,
        rows may have weights."""
        alone = self.colearning.cyclic is not None
        return self.task.capabilities | {"compare", "distill", "weigh"} | (set() if alone else {"search"})

    def fitted(self, cells: Sequence[Any]) -> Self:
        """With a copy of the task that has learned from the cells."""
        return type(self)(copy.deepcopy(self.task).fit(cells), self.colearning)

    def validate(self, answers: Answers, rows: Rows) -> Validation:
        """The task's metrics and loss; of heads that answer from one modality, over the rows that have it."""
        output, target = answers.output(), rows.target(range(len(rows)))
        logits, task = logits_of(output), self.task
        scores = {k: float(v[0]) for k, v in task.scores(output, target, np.ones((1, len(rows)))).items()}
        scores["valid_loss"] = float(task.loss(logits, target))
        unimodal: dict[str, dict[str, float]] = {}
        for m, (alone, present) in answers.unimodal().items():
            at = present.nonzero()[:, 0]
            some = target.take(at)
            if some.mask.any():
                score = task.scores(Scores(alone[at]), some, np.ones((1, len(at))))[task.metric.name]
                unimodal[m] = {task.metric.name: float(score[0]), "valid_loss": float(task.loss(alone[at], some))}
        return Validation(scores, output, unimodal)

    def candidates(self, fusion: str, modalities: Mapping[str, str], baselines: bool) -> list[Candidate]:
        """The fusion; then each modality alone, and concat."""
        every = list(modalities)
        several = len(every) > 1
        first = Candidate(fusion if several else f"{every[0]} alone", fusion, every)
        if self.colearning.cyclic is not None:
            first = Candidate(f"cyclic from {self.colearning.cyclic}", CYCLIC, every)
        others = [Candidate(f"{m} alone", PLAIN, [m]) for m in every]
        others += [] if fusion == PLAIN else [Candidate(PLAIN, PLAIN, every)]
        return [first, *(others if baselines and several else [])]

    def notes(self, table: Table, schema: Schema, learner: Learner, rows: Rows) -> list[str]:
        """Columns that give a target away."""
        return [s.message for t in schema.target for s in leaks(table, schema, self.task, t, QUICK)]

    def build(
        self, join: str, modalities: Mapping[str, str], encoders: Callable[[], Mapping[str, Encoder]], size: Size
    ) -> TrainableLearner:
        """A learner with this fusion, helped as `colearning` says."""
        return self.colearning.build(join, encoders(), self.task, size)
