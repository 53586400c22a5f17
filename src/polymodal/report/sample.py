"""The rows that a report is made of: a few of a table of any length, drawn by a seed, and what is counted of all.

A file is read by parts, and each row gets a random number; those with the smallest ones are the sample. So memory holds
the sample and one part, and the same seed draws the same rows however the file is parted.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from polymodal.data.preprocess import target_cells
from polymodal.data.references import gathered
from polymodal.data.schema import Schema
from polymodal.data.table import Table, chunks
from polymodal.tasks.base import Task
from polymodal.tasks.classify import Labelled, MultiLabel
from polymodal.tasks.generate import Generation, references
from polymodal.tasks.labels import key, missing, number, plain, several
from polymodal.tasks.regress import Regression

PART = 8192  # rows that are read at a time
LABELS = 10_000  # that are counted one by one
NUMBERS = 1_000_000  # numbers of which a distribution is made
Floats = NDArray[np.float64]


class Sampled(NamedTuple):
    """table: the sample, in the order of the file. rows: how many the file has. empty: of all rows, cells that hold
    nothing, by column. target: whether the table has it. unlabelled: rows without a label. labels: how many rows have
    each label, of a task with labels. numbers: (N, K) values of each of K targets, NaN where missing, of a regression;
    of texts (N, 1) references a row. whole: whether the sample is the table.
    """

    table: Table
    rows: int
    empty: dict[str, int]
    target: bool
    unlabelled: int
    labels: Counter[str]
    numbers: Floats

    @property
    def whole(self) -> bool:
        """Whether nothing was left out."""
        return self.table.rows == self.rows


def sampled(source: Any, schema: Schema, task: Task, rows: int, seed: int) -> Sampled:
    """Draw `rows` rows of a table and count all of it; texts with several references are one row each."""
    parts: Iterable[Table] = chunks(source, PART)
    if isinstance(task, Generation):  # rows that differ in the text alone may stand far apart
        parts = [gathered(Table.read(source), schema)]
    rng, kept, keys, total = np.random.default_rng(seed), None, np.zeros(0), 0
    count = _Counted(schema, task)
    for part in parts:
        count.add(part)
        total += part.rows
        kept, keys = _smallest(kept, keys, part, rng.random(part.rows), rows)
    assert kept is not None  # a table without rows is refused when it is read
    return Sampled(kept, total, dict(count.empty), count.target, count.unlabelled, count.labels, count.found())


def _smallest(kept: Table | None, keys: Floats, part: Table, new: Floats, rows: int) -> tuple[Table, Floats]:
    """Of the rows that are kept and those of a part the ones with the smallest keys, in the file's order."""
    every = np.concatenate([keys, new])
    at = np.sort(np.argsort(every, kind="stable")[:rows])
    old = 0 if kept is None else kept.rows
    first = part.take([]) if kept is None else kept.take(at[at < old].tolist())
    return _joined(first, part.take((at[at >= old] - old).tolist())), every[at]


def _joined(a: Table, b: Table) -> Table:
    columns = dict.fromkeys([*a.columns, *b.columns])  # parts of a JSONL file may differ
    cells = {c: [x for t in (a, b) for x in (t.cells(c) if c in t.columns else [None] * t.rows)] for c in columns}
    numbers = [t.row_number(i) for t in (a, b) for i in range(t.rows)]
    return Table(b.name, b.folder, cells, numbers)


class _Counted:
    """What is counted of every row."""

    def __init__(self, schema: Schema, task: Task) -> None:
        self.schema, self.task = schema, task
        self.empty: Counter[str] = Counter()
        self.labels: Counter[str] = Counter()
        self.target, self.unlabelled, self.numbers = True, 0, [np.zeros((0, 1))]

    def add(self, part: Table) -> None:
        for c in part.columns:
            self.empty[c] += sum(x is None for x in part.cells(c))
        self.target = self.target and all(t in part.columns for t in self.schema.target)
        if not self.target:
            return
        cells = target_cells(part, self.schema)
        known = [c for c in cells if not _lacks(c)]
        self.unlabelled += len(cells) - len(known)
        if isinstance(self.task, Labelled | MultiLabel):
            self._label(known)
        elif sum(map(len, self.numbers)) < NUMBERS:
            self.numbers.append(np.array([self._number(c) for c in known], dtype=np.float64).reshape(len(known), -1))

    def _label(self, cells: list[Any]) -> None:
        for c in cells:
            found = several(c, self.task.separator_) if isinstance(self.task, MultiLabel) else [plain(c)]
            for label in map(key, found):
                if label in self.labels or len(self.labels) < LABELS:
                    self.labels[label] += 1

    def _number(self, cell: Any) -> list[float]:
        if isinstance(self.task, Generation):
            return [float(len(references(cell)))]
        if isinstance(self.task, Regression) and self.task.columns is not None:
            return [_or_nan(cell.get(c)) for c in self.task.columns]
        return [_or_nan(cell)]

    def found(self) -> Floats:
        full = [x for x in self.numbers if len(x)]
        return np.concatenate(full) if full else np.zeros((0, 1))


def _or_nan(cell: Any) -> float:
    x = None if missing(cell) else number(cell)
    return np.nan if x is None else float(x)


def _lacks(cell: Any) -> bool:
    return all(map(missing, cell.values())) if isinstance(cell, dict) else missing(cell)
