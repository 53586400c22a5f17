"""Tasks: what the target means; see `base` for the contract. The table at the foot names them all."""

from collections.abc import Sequence
from typing import Any

from polymodal.levels import order_of
from polymodal.tasks.base import Metric, Task
from polymodal.tasks.classify import Binary, MultiClass
from polymodal.tasks.generate import Generation
from polymodal.tasks.infer import guess
from polymodal.tasks.labels import missing
from polymodal.tasks.multilabel import MultiLabel
from polymodal.tasks.ordinal import Ordinal
from polymodal.tasks.regress import Regression

__all__ = [
    "TASKS",
    "Binary",
    "Generation",
    "Metric",
    "MultiClass",
    "MultiLabel",
    "Ordinal",
    "Regression",
    "Task",
    "by_name",
    "guess",
]

TASKS: dict[str, type[Task]] = {
    "binary": Binary,
    "multiclass": MultiClass,
    "multilabel": MultiLabel,
    "ordinal": Ordinal,
    "regression": Regression,
    "generate": Generation,
}


def by_name(name: str, cells: Sequence[Any]) -> Task:
    """The task of this name, not yet fitted; an ordinal one has the order of its target cells, where they have one."""
    order = order_of(c for c in cells if not missing(c))
    return Ordinal(order) if order and name == Ordinal.name else TASKS[name]()
