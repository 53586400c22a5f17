"""The rows that a report is about: drawn from a table of any length, answered once, and what is counted of all rows.

A file is read by parts, and each row gets a random number; those with the smallest ones are the sample. So memory holds
the sample and one part, and the same seed draws the same rows however the file is parted.
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from polymodal import objectives
from polymodal.batch import Masked
from polymodal.data.preprocess import Rows, target_cells
from polymodal.data.schema import Schema
from polymodal.data.table import Table, chunks
from polymodal.evaluate.intervals import Interval
from polymodal.explain.shown import displays
from polymodal.model import Model
from polymodal.output import Output
from polymodal.scoring import Evaluation
from polymodal.tasks.base import Task
from polymodal.tasks.labels import missing
from polymodal.view.blocks import Block, Cell
from polymodal.view.text import short

NAME, VALUE = 80, 120  # characters of a name, of a value
MODALITIES = 8  # of a row that are shown
COVERAGE = 0.9  # asked of the sets and intervals whose coverage is checked
ENDLESS = 32  # texts that are written to be looked at, of a model whose rows have no label
TEXTS = 200  # rows of a model that writes: each text is searched for word by word
PART = 8192  # rows that are read at a time
LABELS = 10_000  # that are counted one by one
NUMBERS = 1_000_000  # numbers of which a distribution is made
Floats = NDArray[np.float64]


class Sample(NamedTuple):
    """table: the sample, in the order of the file. Of all rows: rows: how many there are. filled: cells that hold
    something, by column. target: whether the table has it. unlabelled: rows without a label. labels: how many rows have
    each label, of a task with labels. numbers: (N, K) values of each of K targets, NaN where missing, of a regression;
    of texts (N, 1) references a row.
    """

    table: Table
    rows: int
    filled: Counter[str]
    target: bool
    unlabelled: int
    labels: Counter[str]
    numbers: Floats

    @property
    def whole(self) -> bool:
        """Whether nothing was left out."""
        return self.table.rows == self.rows


class Study(NamedTuple):
    """name: of the table, for a reader. rows: of the sample, encoded. output: what the
    model answers. truth: labels; scores: against them; both None where no row has one."""

    model: Model
    name: str
    drawn: Sample
    rows: Rows
    output: Output
    truth: Masked | None
    scores: Evaluation | None
    cache: Path | None
    seed: int

    @property
    def table(self) -> Table:
        """The sample."""
        return self.drawn.table

    @property
    def writes(self) -> bool:
        """Whether the model writes texts."""
        return "decode" in self.model.task.capabilities

    @property
    def labelled(self) -> NDArray[np.int64]:
        """Positions of the rows that have a label."""
        return np.flatnonzero(self.rows.labelled())

    @property
    def target(self) -> str:
        """The target columns, as one name."""
        return ", ".join(self.model.preprocessor.schema.target)

    @property
    def of(self) -> str:
        """Which rows were looked at, in words."""
        n, total = self.table.rows, self.drawn.rows
        if self.drawn.whole:
            return f"all {total:,} rows of {self.name}" if total != 1 else f"the one row of {self.name}"
        return f"{n:,} of the {total:,} rows of {self.name}, drawn by seed {self.seed}"

    @property
    def score(self) -> Interval | None:
        """The task's metric on the rows."""
        return None if self.scores is None else self.scores.metrics[self.scores.metric]

    def cells(self, row: int) -> list[Block]:
        """What there is to look at in the row at this position."""
        views = displays(self.model.preprocessor, self.table, row)
        names = self.model.preprocessor.modalities[:MODALITIES]
        return [views[m].block(m) if m in views else Cell(short(m, NAME), None, note="absent") for m in names]

    def known(self) -> tuple[Output, Masked]:
        """Answers and labels of the rows that have a label."""
        assert self.truth is not None
        where = torch.from_numpy(self.labelled)
        return self.output.take(where), self.truth.take(where)


def study(model: Model, source: Any, rows: int, cache: Path | None, seed: int) -> Study:
    """Draw the sample, answer it, and score it where it has labels.

    Raises InputError for a table that the model can't read, and for labels that it never saw.
    """
    prep, task = model.preprocessor, model.task
    writes = "decode" in task.capabilities
    sample = draw_sample(source, prep.schema, task, min(rows, TEXTS) if writes else rows, seed)
    encoded_rows = prep.encode(sample.table, task, cache=cache, quiet=True)
    has_labels = bool(encoded_rows.labelled().any())
    if writes and not has_labels:
        few = range(min(ENDLESS, len(encoded_rows)))
        encoded_rows, sample = encoded_rows.take(few), sample._replace(table=sample.table.take(few))
    output = model.outputs(encoded_rows)
    truth = scores = None
    if has_labels:
        group = prep.schema.group
        groups = sample.table.cells(group) if group in sample.table.columns else None
        coverage = COVERAGE if model.calibration is not None and not writes else None
        truth = encoded_rows.target(range(len(encoded_rows)))
        scores = model.score(encoded_rows, groups, output=output, coverage=coverage)
    return Study(model, short(sample.table.name, NAME), sample, encoded_rows, output, truth, scores, cache, seed)


# --- the sample ---------------------------------------------------------------------------------------


def draw_sample(source: Any, schema: Schema, task: Task, rows: int, seed: int) -> Sample:
    """Draw `rows` rows of a table and count all of it; texts with several references are one row each."""
    parts: Iterable[Table] = chunks(source, PART)
    if "decode" in task.capabilities:  # rows that differ in the text alone may stand far apart
        parts = [objectives.of(task).rows(Table.read(source), schema)]
    rng, sample, keys, total = np.random.default_rng(seed), None, np.zeros(0), 0
    count = _Counts(schema, task)
    for part in parts:
        count.add(part)
        total += part.rows
        sample, keys = _smallest(sample, keys, part, rng.random(part.rows), rows)
    assert sample is not None  # a table without rows is refused when it is read
    numbers = np.concatenate(count.numbers) if count.numbers else np.zeros((0, 1))
    has = set(schema.target) <= set(sample.columns)
    return Sample(sample, total, count.filled, has, total - count.known, count.labels, numbers)


def _smallest(sample: Table | None, keys: Floats, part: Table, new: Floats, rows: int) -> tuple[Table, Floats]:
    """Of the rows that are kept and those of a part the ones with the smallest keys, in the file's order."""
    every = np.concatenate([keys, new])
    at = np.sort(np.argsort(every, kind="stable")[:rows])
    old = 0 if sample is None else sample.rows
    first = part.take([]) if sample is None else sample.take(at[at < old].tolist())
    return _concatenate(first, part.take((at[at >= old] - old).tolist())), every[at]


def _concatenate(a: Table, b: Table) -> Table:
    cells = {c: [*a.cells(c), *b.cells(c)] for c in b.columns}
    numbers = [t.row_number(i) for t in (a, b) for i in range(t.rows)]
    return Table(b.name, b.folder, cells, numbers)


class _Counts:
    """What is counted of every row. known: rows with a label."""

    def __init__(self, schema: Schema, task: Task) -> None:
        self.schema, self.task = schema, task
        self.filled: Counter[str] = Counter()
        self.labels: Counter[str] = Counter()
        self.known, self.numbers = 0, list[Floats]()

    def add(self, part: Table) -> None:
        for c in part.columns:
            self.filled[c] += sum(x is not None for x in part.cells(c))
        if not set(self.schema.target) <= set(part.columns):
            return
        labels = [c for c in target_cells(part, self.schema) if not _empty(c)]
        self.known += len(labels)
        if self.task.labels_:
            for label in (x for c in labels for x in self.task.labels_of(c)):
                if label in self.labels or len(self.labels) < LABELS:
                    self.labels[label] += 1
        elif labels and sum(map(len, self.numbers)) < NUMBERS:
            self.numbers.append(np.array([self.task.numbers_of(c) for c in labels], dtype=np.float64))


def _empty(cell: Any) -> bool:
    return all(map(missing, cell.values())) if isinstance(cell, dict) else missing(cell)
