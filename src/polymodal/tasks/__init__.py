"""Tasks: what the target means; see `base` for the contract. The table at the foot names them all."""

from polymodal.tasks.base import Metric, Task
from polymodal.tasks.classify import Binary, MultiClass
from polymodal.tasks.generate import Generation
from polymodal.tasks.infer import guess
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
