"""What of an answer is explained: a number a row, one of the task's quantities."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from polymodal.errors import InputError
from polymodal.tasks.base import Quantity, Task
from polymodal.tasks.labels import key, list_text

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def outputs(task: Task, logits: Tensor, output: str | None = None) -> Ints:
    """(N,) which of the task's K quantities is explained of each row: the asked one, or the row's own.

    Raises InputError for an output that there is not, naming those that there are.
    """
    return task.usual_quantity(logits) if output is None else np.full(len(logits), position(task, output))


def position(task: Task, output: str) -> int:
    """The place of an output among the quantities. Raises InputError for one that there is not."""
    there = task.quantities.names
    label = key(output.strip() if isinstance(output, str) else output)
    if label in there:
        return there.index(label)
    if not task.labels_ and task.columns is None:
        raise InputError(f"the model answers with one number, so there is no class {output!r} to explain; leave it out")
    raise InputError(f"the model has no class {output!r}; it has: {list_text(there)}")


def quantity(task: Task, output: str) -> Quantity:
    """The quantity of this name."""
    return task.quantities.every[position(task, output)]


def truth(task: Task, cell: Any) -> str | None:
    """A label as a reader writes it; None where it is missing."""
    if isinstance(cell, list | tuple | set):
        return ", ".join(map(str, cell))
    try:
        return None if task.encode(cell) is None else str(cell).strip()
    except InputError:
        return str(cell).strip()  # one that training never saw is shown all the same
