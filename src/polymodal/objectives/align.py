"""Modalities of a row <-> each other: no label is needed."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from polymodal.data.preprocess import Rows
from polymodal.objectives.base import Answers, Objective, Validation
from polymodal.output import points_of
from polymodal.retrieval import METRICS, mean_score, searches
from polymodal.tasks.base import Metric


class Align(Objective):
    """What belongs to one row lies together. Judged by how well modalities find each other among validation rows."""

    name: ClassVar[str] = "align"

    @property
    def metric(self) -> Metric:
        """Mean reciprocal rank over all directions: smooth where recall@1 of few queries is not."""
        return Metric("mrr", higher=True)

    def usable(self, rows: Rows) -> NDArray[np.bool_]:
        """Those that have two modalities or more."""
        return np.asarray(np.sum([x.present() for x in rows.inputs.values()], axis=0) > 1)

    def validate(self, answers: Answers, rows: Rows) -> Validation:
        """Means over directions of recall@k and of reciprocal ranks; the loss is one less the last."""
        output = points_of(answers.output())
        cells = {m: x.identities() for m, x in rows.inputs.items()}
        directions = searches(list(rows.inputs), output, cells)
        scores = {name: mean_score(directions, name) for name in METRICS}
        return Validation({**scores, "valid_loss": 1 - scores["mrr"]}, None)
