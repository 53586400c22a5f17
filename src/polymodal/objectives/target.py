"""What is asked of a target, whatever learns it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from polymodal.tasks.base import Task


class Target(NamedTuple):
    """How a target is learned and judged.

    metric: by which epochs, estimators and the weights of averages are chosen, and which reports name first: one of the
    task's own (`Task.measures`), by default its usual one. weight: a column of numbers from 0, how much each row counts
    in losses, estimators (but for neighbours, which take no weights) and scores, of other tables too where they have
    the column; folds, calibration and confusion matrices count rows alike. class_weight: how much labels count in
    losses, "balanced" (each as much as any other, in all), "none" (rows alike), or a mapping of labels to numbers from
    0; by default between the two, see `tasks.classify`.
    optimize_threshold: of two labels, or sets of labels, decide above thresholds which the metric chose, by answers to
    rows that were not learned from, in place of one half.
    """

    metric: str | None = None
    weight: str | None = None
    class_weight: str | Mapping[Any, float] | None = None
    optimize_threshold: bool = False

    def of(self, task: Task) -> Task:
        """The task as it is asked for. Raises InputError for what it does not have."""
        task = task if self.metric is None else task.by(self.metric)
        task = task if self.class_weight is None else task.weighing(self.class_weight)
        if self.optimize_threshold:
            task.check_thresholds()
        return task
