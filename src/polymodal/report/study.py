"""A model and the rows that a report is about, answered once: what the sections of the page are made of."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from polymodal.batch import Masked
from polymodal.data.preprocess import Rows
from polymodal.data.table import Table
from polymodal.evaluate.intervals import Interval
from polymodal.learners.base import Generator
from polymodal.model import Evaluation, Model
from polymodal.report.sample import Sampled, sampled

COVERAGE = 0.9  # asked of the sets and intervals whose coverage is checked
ENDLESS = 32  # texts that are written to be looked at, of a model whose rows have no label
WRITTEN = 200  # rows of a model that writes: each text is searched for word by word


class Study(NamedTuple):
    """rows: of the sample. logits: calibrated; ids of texts of a model that writes. truth: labels; scores: against
    them; both None where no row has one. groups: one a row, or None."""

    model: Model
    name: str
    drawn: Sampled
    rows: Rows
    logits: Tensor
    truth: Masked | None
    scores: Evaluation | None
    groups: Sequence[Any] | None
    cache: Path | None
    seed: int
    quiet: bool

    @property
    def table(self) -> Table:
        """The sample."""
        return self.drawn.table

    @property
    def writes(self) -> bool:
        """Whether the model writes texts."""
        return isinstance(self.model.learner, Generator)

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

    def at(self, rows: NDArray[np.int64]) -> tuple[Tensor, Masked]:
        """Logits and labels of the rows at these positions."""
        assert self.truth is not None
        where = torch.from_numpy(rows)
        return self.logits[where], self.truth.take(where)


def study(model: Model, source: Any, rows: int, cache: Path | None, seed: int, quiet: bool) -> Study:
    """Draw the sample, answer it, and score it where it has labels.

    Raises InputError for a table that the model can't read, and for labels that it never saw.
    """
    prep, task = model.preprocessor, model.task
    writes = isinstance(model.learner, Generator)
    drawn = sampled(source, prep.schema, task, min(rows, WRITTEN) if writes else rows, seed)
    table = drawn.table
    encoded = prep.encode(table, task, cache=cache, quiet=quiet)
    group = prep.schema.group
    groups = table.cells(group) if group in table.columns else None
    known = bool(encoded.labelled().any())
    if writes and not known:
        encoded, drawn = encoded.take(range(min(ENDLESS, len(encoded)))), drawn._replace(
            table=table.take(range(min(ENDLESS, table.rows)))
        )  # fmt: skip
    logits = model.logits(encoded)
    truth = encoded.target(range(len(encoded))) if known else None
    coverage = COVERAGE if model.calibration is not None and not writes else None
    scores = model.score(encoded, groups, logits=logits, coverage=coverage) if known else None
    return Study(model, table.name, drawn, encoded, logits, truth, scores, groups, cache, seed, quiet)
