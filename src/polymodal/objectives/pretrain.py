"""Modalities of one row -> each other: rows without labels are learned from."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from polymodal.data.preprocess import Rows
from polymodal.objectives.base import Answers, Objective, Validation
from polymodal.tasks.base import Metric


class Pretrain(Objective):
    """The loss of a pretraining itself is the objective, over rows that have at least two modalities."""

    name: ClassVar[str] = "pretrain"

    @property
    def metric(self) -> Metric:
        """The mean loss over the rows that are asked something."""
        return Metric("objective", higher=False)

    def usable(self, rows: Rows) -> NDArray[np.bool_]:
        """Those that have two modalities or more, with a label or without."""
        return np.asarray(np.sum([x.present() for x in rows.inputs.values()], axis=0) > 1)

    def validate(self, answers: Answers, rows: Rows) -> Validation:
        """Means over rows that are asked something of their loss and of the questions that are answered rightly."""
        parts = [{k: float(v) for k, v in losses.parts.items()} for losses, _ in answers.losses()]
        count = max(1.0, sum(p["asked"] for p in parts))
        objective, right = (sum(p[k] * p["asked"] for p in parts) / count for k in ("objective", "right"))
        return Validation({"objective": objective, "right": right, "valid_loss": objective}, None)
