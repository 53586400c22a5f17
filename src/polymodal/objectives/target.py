"""What is asked of a target, whatever learns it."""

from typing import NamedTuple

from polymodal.tasks.base import Task


class Target(NamedTuple):
    """How a target is judged.

    metric: by which epochs, estimators and the weights of averages are chosen, and which reports name first: one of the
    task's own (`Task.measures`), by default its usual one. weight: a column of numbers from 0, how much each row counts
    in losses and scores.
    """

    metric: str | None = None
    weight: str | None = None

    def of(self, task: Task) -> Task:
        """The task as it is asked for. Raises InputError for what it does not have."""
        return task if self.metric is None else task.by(self.metric)
