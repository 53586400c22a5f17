"""The one path from a table to batches, in training, evaluation, prediction and serving alike.

Table --cells--> codec.encode (cached) --> Rows --collate--> Batch
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polymodal.batch import Batch, Masked, Weighted
from polymodal.data.encode import Bad, Encoded, encode
from polymodal.data.schema import Schema
from polymodal.data.table import Table
from polymodal.errors import InputError
from polymodal.learners.matrix import records
from polymodal.modalities.base import Codec
from polymodal.modalities.extractor import Record
from polymodal.progress import bar
from polymodal.tasks.base import Task
from polymodal.tasks.labels import label_text, missing, number

CHUNK = 1024  # rows that are in memory as tensors at a time
FEW = 10  # cells; that none of so many can be read is no accident


class Rows:
    """A table as a learner reads it: encoded modalities and labels, cut into batches on demand."""

    def __init__(
        self,
        inputs: Mapping[str, Encoded],
        codecs: Mapping[str, Codec],
        labels: Sequence[Tensor | None],
        task: Task | None,
        numbers: Sequence[int],
        bad: Sequence[Bad],
        weights: Tensor | None = None,
    ) -> None:
        self.inputs, self.codecs, self.labels, self.task = inputs, codecs, labels, task
        self.numbers, self.bad, self.weights = numbers, bad, weights

    def __len__(self) -> int:
        return len(self.numbers)

    def batch(self, rows: Sequence[int]) -> Batch:
        """The batch of these rows, in this order."""
        return Batch(
            {m: self.codecs[m].collate([x[r] for r in rows]) for m, x in self.inputs.items()},
            {} if self.task is None else {"target": self.target(rows)},
        )

    def target(self, rows: Sequence[int]) -> Masked:
        """The labels of these rows, and how much each counts."""
        assert self.task is not None
        labels = self.task.collate([self.labels[r] for r in rows])
        return labels if self.weights is None else Weighted(*labels, self.weights[list(rows)])

    def take(self, rows: Sequence[int]) -> "Rows":
        """These rows, in this order."""
        return Rows(
            {m: x.take(rows) for m, x in self.inputs.items()},
            self.codecs,
            [self.labels[r] for r in rows],
            self.task,
            [self.numbers[r] for r in rows],
            [b for b in self.bad if b.row in {self.numbers[r] for r in rows}],
            None if self.weights is None else self.weights[list(rows)],
        )

    def only(self, modalities: Sequence[str]) -> "Rows":
        """The same rows, with these modalities alone."""
        return self.replaced({m: self.inputs[m] for m in modalities})

    def hidden(self, away: Mapping[str, np.ndarray]) -> "Rows":
        """The same rows without the cells of view v in row i where ``away[v][i]``, (N,) bool, is True.

        What is hidden is as absent as an empty cell; names that are no view of these rows are passed over.
        """
        return self.replaced({v: x.hidden(away[v]) if v in away else x for v, x in self.inputs.items()})

    def replaced(self, inputs: Mapping[str, Encoded]) -> "Rows":
        """The same rows with these inputs in place of theirs."""
        return Rows(inputs, self.codecs, self.labels, self.task, self.numbers, self.bad, self.weights)

    def in_units(self, unit: float) -> "Rows":
        """The same rows, whose weights are so many times smaller."""
        out = self.replaced(self.inputs)
        out.weights = None if self.weights is None else self.weights / unit
        return out

    def sizes(self) -> np.ndarray:
        """(N,) how many values each row has, over all modalities, and in its label, where that is a text."""
        total: np.ndarray = np.sum([x.sizes() for x in self.inputs.values()], axis=0)
        return total + [0 if y is None or y.ndim < 2 else y.shape[1] for y in self.labels]

    def parts(self, rows: np.ndarray) -> list[list[int]]:
        """These rows, those together, `TOGETHER` at most, that share a cell of the modality which is most of a row.

        Parts are in the order of the first rows that have their cell. Of fewer than `MANY` such cells an epoch would
        have few steps, so there each row is a part.
        """
        totals = {m: float(x.sizes()[rows].sum()) for m, x in self.inputs.items()}
        heaviest = max(totals, key=lambda m: totals[m], default="")
        if len(rows) < 2 or totals[heaviest] < HEAVY * sum(totals.values()):
            return [[int(r)] for r in rows]
        _, first, inverse = np.unique(self.inputs[heaviest].identities()[rows], return_index=True, return_inverse=True)
        if not MANY <= len(first) < len(rows):
            return [[int(r)] for r in rows]
        place = np.argsort(first[inverse], kind="stable")
        ends = np.flatnonzero(np.diff(first[inverse][place])) + 1
        return [
            part[i : i + TOGETHER].tolist()
            for part in np.split(rows[place], ends)
            for i in range(0, len(part), TOGETHER)
        ]

    def encoded(self) -> int:
        """How many of the rows with a label there are, those `parts` that count as one."""
        return len(self.parts(np.flatnonzero(self.labelled())))

    def labelled(self) -> np.ndarray:
        """(N,) True where the row has a label."""
        return np.array([y is not None for y in self.labels], dtype=bool)


def records_of(rows: Rows, view: str) -> list[Record | None]:
    """The record of each row in one view, as estimators read it."""
    one = rows.only([view])
    starts = range(0, len(rows), CHUNK)
    return [r for s in starts for r in records(one.batch(range(s, min(s + CHUNK, len(rows)))).inputs[view])]


class Preprocessor:
    """A schema with fitted codecs: tables in, `Rows` out.

    codecs: by the name of a view. views: the modality that each is a view of, as `schema.modalities()` names them; a
    modality may be read in several ways at once (pixels, gradients, a frozen network). By default each is one view.
    """

    def __init__(self, schema: Schema, codecs: Mapping[str, Codec], views: Mapping[str, str] | None = None) -> None:
        self.schema, self.codecs = schema, dict(codecs)
        self.views = {v: v if views is None else views[v] for v in codecs}

    @property
    def modalities(self) -> list[str]:
        """Names of the modalities that are read, each once."""
        return list(dict.fromkeys(self.views.values()))

    def identities(self, rows: Rows) -> dict[str, np.ndarray]:
        """By modality (N,) a number for each row's cell, the same for equal ones; absent cells differ from all."""
        first = {m: v for v, m in reversed(self.views.items())}
        return {m: rows.inputs[first[m]].identities() for m in self.modalities}

    def only(self, views: Sequence[str]) -> "Preprocessor":
        """The same, of these views alone."""
        return Preprocessor(self.schema, {v: self.codecs[v] for v in views}, self.views)

    def fit(self, table: Table, size: Any, quiet: bool = False) -> "Preprocessor":
        """Fit each codec on the cells of a training table."""
        with bar("reading", len(self.codecs), quiet) as tick:
            for i, (view, codec) in enumerate(self.codecs.items()):
                tick(i, view)
                for column in self._columns(view):
                    if all(c is None for c in table.cells(column)):
                        raise InputError(
                            f"{table.name}: column {column!r} is empty in all {table.rows:,} training rows, so nothing "
                            f"can be learned from it; leave it out with --ignore={column}"
                        )
                codec.fit(self._cells(table, view), size)
        return self

    def check(self, table: Table, without: Sequence[str] = ()) -> None:
        """Raises InputError where the table lacks a column of a modality that is not hidden anyway."""
        for m in without:
            if m not in self.schema.modalities():  # one that is not read may be hidden all the same
                raise InputError(f"the model has no modality {m!r}; it has: {', '.join(self.schema.modalities())}")
        if set(self.modalities) <= set(without):
            raise InputError("every modality would be hidden; leave at least one")
        for m, (_, columns) in self.schema.modalities().items():
            lacking = [c for c in columns if c not in table.columns]
            if m in self.modalities and m not in without and lacking:
                raise InputError(
                    f"{table.name} has no column {lacking[0]!r}, which the model reads as {m!r}; it has: "
                    f"{', '.join(table.columns)}. Rename a column, add an empty one, or (to evaluate, predict, "
                    f"explain) leave the modality out with --without={m!r}"
                )

    def encode(
        self,
        table: Table,
        task: Task | None,
        *,
        cache: Path | None = None,
        without: Sequence[str] = (),
        need_target: bool = False,
        fitting: bool = False,
        quiet: bool = False,
    ) -> Rows:
        """Read a table. Unreadable cells are absent, and listed in `Rows.bad`; a modality in `without` is absent
        from every row; labels are read for a `task`, where the table has the target.

        Raises InputError for a missing column, or one in which no cell can be read.
        """
        self.check(table, without)
        bad: list[Bad] = []
        inputs: dict[str, Encoded] = {}
        with bar("decoding", table.rows * len(self.codecs), quiet) as tick:
            for i, (v, codec) in enumerate(self.codecs.items()):
                cells = [None] * table.rows if self.views[v] in without else self._cells(table, v)
                start = i * table.rows
                inputs[v], reasons = encode(cells, codec, cache, lambda n, v=v, d=start: tick(d + n, v))  # type: ignore[misc]
                unreadable = self._bad(table, v, cells, codec, reasons)
                self._refuse_all_bad(table, v, cells, unreadable, fitting)
                bad += unreadable
        return Rows(
            inputs,
            self.codecs,
            self.labels(table, task, need_target),
            task,
            [table.row_number(i) for i in range(table.rows)],
            list({(b.row, b.column): b for b in bad}.values()),  # once a cell, whatever the number of views
            None if task is None else weights_of(table, self.schema),
        )

    def labels(self, table: Table, task: Task | None, need: bool = False) -> list[Tensor | None]:
        """Each row's encoded label; None throughout for a table without the target, unless it is needed."""
        if task is None or (not need and any(t not in table.columns for t in self.schema.target)):
            return [None] * table.rows
        out = []
        for i, cell in enumerate(target_cells(table, self.schema)):
            try:
                out.append(task.encode(cell))
            except InputError as e:
                raise InputError(
                    f"{table.name}, row {table.row_number(i)}, column {', '.join(self.schema.target)!r}: {e}"
                ) from None
        return out

    def _columns(self, view: str) -> list[str]:
        return self.schema.modalities()[self.views[view]][1]

    def _cells(self, table: Table, view: str) -> list[Any]:
        """The cells of a view, one a row."""
        return self.schema.cells(table, self.views[view], self.codecs[view].takes_files)

    def _bad(
        self, table: Table, view: str, cells: Sequence[Any], codec: Codec, reasons: Mapping[int, str]
    ) -> list[Bad]:
        column = self._columns(view)[0]
        reasons_by_cell = [(i, column, cells[i], why) for i, why in reasons.items()]
        for i, cell in enumerate(cells):
            reasons_by_cell += (
                [(i, c, cell[c], why) for c, why in codec.unreadable(cell).items()] if cell is not None else []
            )
        return [Bad(table.row_number(i), c, str(cell)[:200], why) for i, c, cell, why in reasons_by_cell]

    def _refuse_all_bad(self, table: Table, view: str, cells: Sequence[Any], bad: Sequence[Bad], fitting: bool) -> None:
        """A column of which nothing can be read is of another kind, or its paths lead nowhere: no missing data.

        Later rows may come one at a time, so there a few bad cells are just that.
        """
        for column in self._columns(view):
            of_column = [b for b in bad if b.column == column]
            there = sum((c.get(column) if isinstance(c, dict) else c) is not None for c in cells)
            if there >= (1 if fitting else FEW) and len(of_column) == there:
                kind = self.schema.columns[column].kind
                way = (
                    f"say --modality={column}=KIND if it holds something else, or --ignore={column}"
                    if fitting
                    else f"or leave the modality out with --without={self.views[view]}"
                )
                raise InputError(
                    f"{table.name}: none of the {there} cells of column {column!r} can be read as {kind}; the first: "
                    f"{of_column[0]}. Mend the column, {way}"
                )


def target_cells(table: Table, schema: Schema) -> list[Any]:
    """The target's raw cells, one a row; mappings of column to cell where there are several targets."""
    if len(schema.target) == 1:
        return table.cells(schema.target[0])
    columns = [table.cells(t) for t in schema.target]
    return [dict(zip(schema.target, row, strict=True)) for row in zip(*columns, strict=True)]


def weights_of(table: Table, schema: Schema) -> Tensor | None:
    """(N,) float32 how much each row counts; None where no column says, or the table lacks it.

    Raises InputError for a cell that is no number from 0.
    """
    if schema.weight is None or schema.weight not in table.columns:
        return None
    out = [number(cell) for cell in table.cells(schema.weight)]
    for i, weight in enumerate(out):
        if weight is None or weight < 0:
            cell = table.cells(schema.weight)[i]
            raise InputError(
                f"{table.name}, row {table.row_number(i)}, column {schema.weight!r}: "
                f"{'the cell is empty' if missing(cell) else f'{label_text(cell)} is no weight'}; a weight is a number "
                "from 0, in every row: mend the cell, or give the row the weight 0"
            )
    return torch.tensor(out, dtype=torch.float32)


HEAVY = 0.8  # of a row's values
WINDOW = 16  # batches within which rows of like size are put together
MANY = 1_000  # heavy cells
TOGETHER = 16  # rows with one heavy cell that a batch has as one


def order(rows: Rows, usable: Sequence[int] | np.ndarray, size: int, seed: int, epoch: int) -> list[list[int]]:
    """The batches of an epoch, decided by (seed, epoch) alone, so that a resumed run sees the same ones.

    Rows are shuffled, those of like `sizes` put together within a window of batches, so that little of a batch is
    padding, and the batches are shuffled again. Rows that share a heavy cell count as one, since it is encoded once.
    """
    g = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    parts = rows.parts(np.asarray(usable, dtype=int)[torch.randperm(len(usable), generator=g).numpy()])
    sizes = rows.sizes()[[p[0] for p in parts]]
    batches: list[list[int]] = []
    for start in range(0, len(parts), WINDOW * size):
        window = start + np.argsort(sizes[start : start + WINDOW * size], kind="stable")
        batches += [[r for k in window[i : i + size] for r in parts[k]] for i in range(0, len(window), size)]
    return [batches[i] for i in torch.randperm(len(batches), generator=g).tolist()]
