"""What can be learned from a table; see `base` for the contract. The table at the foot names them all."""

from typing import NamedTuple

from polymodal import tasks
from polymodal.data.preprocess import target_cells
from polymodal.data.schema import Schema
from polymodal.data.table import Table
from polymodal.errors import InputError
from polymodal.objectives.base import Objective, Supervised
from polymodal.objectives.colearning import Colearning
from polymodal.objectives.predict import Predict
from polymodal.objectives.pretrain import Pretrain
from polymodal.objectives.target import Target
from polymodal.objectives.write import Write
from polymodal.objectives.writing import Writing
from polymodal.tasks.base import Task
from polymodal.tasks.generate import Generation

__all__ = ["OBJECTIVES", "Choice", "Objective", "Predict", "Pretrain", "Supervised", "Write", "of", "resolve"]

OBJECTIVES: dict[str, type[Predict] | type[Write]] = {"predict": Predict, "write": Write}


class Choice(NamedTuple):
    """An objective, the table and the schema as it reads them, and why it is this one, for a person."""

    objective: Supervised
    table: Table
    schema: Schema
    reason: str


def resolve(
    table: Table, schema: Schema, task: str | Task | None, writing: Writing | None, colearning: Colearning,
    target: Target,
) -> Choice:  # fmt: skip
    """What a table's target asks for. task: one, or its name, in place of what the target's cells ask for.

    Raises InputError for cells that can't be learned from, and for a config that means nothing to the objective.
    """
    asks = writing is not None and writing.decoder is not None and task is None
    guess, why = (Generation(), "a decoder is asked for") if asks else _task(task, table, schema)
    kind = OBJECTIVES[guess.objective]
    objective, rows, schema = kind.resolve(guess, isinstance(task, Task), table, schema, writing, colearning)
    objective.task = target.of(objective.task)
    if rows.rows < table.rows:
        why += f"; {table.rows:,} rows are {rows.rows:,} inputs with several references"
    return Choice(objective, rows, schema, why)


def of(task: Task) -> Supervised:
    """The objective of a model whose task this is."""
    return OBJECTIVES[task.objective](task)  # type: ignore[arg-type]


def _task(task: str | Task | None, table: Table, schema: Schema) -> tuple[Task, str]:
    if isinstance(task, Task):
        return task, "set by you"
    cells = target_cells(table, schema)
    if task is None:
        return tasks.guess(cells, schema.target)
    if task not in tasks.TASKS:
        raise InputError(f"unknown task {task!r}; it is one of {', '.join(tasks.TASKS)}")
    if len(schema.target) > 1 and task != Generation.name:
        guess, why = tasks.guess(cells, schema.target)
        if guess.name != task:
            raise InputError(
                f"--task={task} has one target column, and there are {len(schema.target)}: {', '.join(schema.target)}; "
                f"name one of them, or leave --task out: together they are {guess.name}"
            )
        return guess, f"set by you; {why}"
    return tasks.by_name(task, cells), "set by you"
