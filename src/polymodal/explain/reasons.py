"""Why a model answers as it does for one row: which modality, what in it, and which training rows are like it."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from polymodal.data.encode import Bad
from polymodal.data.preprocess import Rows, target_cells
from polymodal.data.table import Table
from polymodal.errors import InputError
from polymodal.explain import answers
from polymodal.explain.attention import position
from polymodal.explain.contributions import Contributions, contributions
from polymodal.explain.nearest import Nearest, nearest
from polymodal.explain.parts import METHODS, Attribution, attribute_rows
from polymodal.explain.shown import Display, displays
from polymodal.model import Model
from polymodal.progress import silent
from polymodal.view.text import figure, short, some

OTHERS = 47  # rows of the table beside the one, for the additive part of its answer


class Reasons(NamedTuple):
    """The answer to a row and its reasons.

    prediction: column -> value, as `predict` gives it. chances: the probability of each label, and targets: the value
    of each of several numbers, where the task has such. truth: the label that the table has, or None. unit: what is
    explained, in words. contributions: of this row alone. attributions: of each modality that could be cut into parts.
    nearest: None without a training table. cells: by modality. absent: modalities of which the row has nothing, and
    hidden ones. bad: cells of the row that can't be read. notes: what is not there, and how to get it.
    """

    table: str
    row: int
    task: str
    prediction: dict[str, Any]
    chances: dict[str, float]
    targets: dict[str, float]
    truth: str | None
    unit: str
    contributions: Contributions
    attributions: list[Attribution]
    nearest: Nearest | None
    cells: dict[str, Display]
    absent: list[str]
    bad: list[Bad]
    notes: list[str]

    def __repr__(self) -> str:
        return f"<Reasons for row {self.row} of {self.table}: {short(self.text, 80)}, by {some(self.cells)}>"

    @property
    def text(self) -> str:
        """The prediction in words."""
        if self.targets:
            return ", ".join(f"{name}: {figure(x)}" for name, x in self.targets.items())
        prediction = self.prediction["prediction"]
        if isinstance(prediction, list):
            return ", ".join(map(str, prediction)) or "none of the labels"
        return figure(prediction) if self.task == "regression" else str(prediction)

    def to_json(self) -> dict[str, Any]:
        """Plain containers."""
        c = self.contributions
        finite = not np.isnan(c.additive[0])
        return {
            "table": self.table,
            "row": self.row,
            "task": self.task,
            "prediction": self.prediction,
            "truth": self.truth,
            "explained": self.unit,
            "output": c.output[0],
            "answer": float(c.answer[0]),
            "base": float(c.base[0]),
            "modalities": [
                {
                    "modality": m,
                    "present": bool(c.present[0, i]),
                    "shapley": float(c.shapley[0, i]),
                    "standard_error": float(c.error[0, i]),
                    "alone": float(c.alone[0, i]),
                }
                for i, m in enumerate(c.modalities)
            ],
            "interactions": [
                {"first": a, "second": b, "value": x, "standard_error": e} for a, b, x, e in self.interactions
            ],
            "additive": float(c.additive[0]) if finite else None,
            "crossmodal": float(c.crossmodal[0]) if finite else None,
            "random_orders": c.orders,
            "parts": [a.to_json() for a in self.attributions],
            "nearest": None if self.nearest is None else self.nearest.to_json(),
            "cells": {m: x.text for m, x in self.cells.items()},
            "absent": self.absent,
            "bad": [b._asdict() for b in self.bad],
            "notes": self.notes,
        }

    @property
    def interactions(self) -> list[tuple[str, str, float, float]]:
        """Pairs of modalities that the row has, the strongest first: names, interaction, its standard error."""
        c = self.contributions
        here = [(i, m) for i, m in enumerate(c.modalities) if c.present[0, i]]
        pairs = [(i, j, a, b) for (i, a), (j, b) in combinations(here, 2)]
        out = [(a, b, float(c.interaction[0, i, j]), float(c.interaction_error[0, i, j])) for i, j, a, b in pairs]
        return sorted(out, key=lambda p: -abs(p[2]) if p[2] == p[2] else 0.0)


def reasons(
    model: Model,
    table: Any,
    row: int,
    *,
    output: str | None = None,
    method: str = "auto",
    train: Any = None,
    parts: bool = True,
    without: Sequence[str] = (),
    cache: Path | str | None = None,
    progress: bool | None = None,
) -> Reasons:
    """Explain the answer to a row.

    row: as everywhere, 1 is the first below the header. output: the label or target to explain [the predicted one].
    method: how parts of a modality get their scores, see `parts.attribute`. train: the table that nearest rows are
    looked for in. parts: whether to look for what in each modality made the answer. without: modalities that are
    hidden. Raises InputError for a row, output, method or column that is not there, and for a model that writes text.
    """
    quiet = silent(progress)
    task = model.task
    names = task.quantities.names
    if output is not None:
        output = names[answers.position(task, output)]
    if method not in METHODS:
        raise InputError(f"there is no method {method!r}; it is one of: {', '.join(METHODS)}")
    whole = Table.read(table)
    at = position(whole, row)
    rest = [int(i) for i in np.random.default_rng(0).permutation(whole.rows) if i != at][:OTHERS]
    some = whole.take([at, *sorted(rest)])
    folder = None if cache is None else Path(cache)
    rows = model.preprocessor.encode(some, None, cache=folder, without=without, quiet=quiet)
    one = rows.take([0])
    c = contributions(model, rows, output=output, sample=len(rows)).take([0])
    prediction = {k: v[0] for k, v in task.decode(model.outputs(one)).items()}
    absent = [m for m, here in zip(c.modalities, c.present[0], strict=True) if not here]
    notes = _notes(model, c, whole.rows)
    attributions: list[Attribution] = []
    if parts:
        attributions, refusals = _parts(model, some, rows, c, method)
        notes += refusals
    near = None
    if train is None:
        notes.append("Name the training table to see the training rows that are most like this one: --train TABLE.")
    else:
        skip = row if _same(table, train) else None
        near = nearest(model, one, prediction.get("prediction"), train, skip=skip, cache=folder, quiet=quiet)
    schema = model.preprocessor.schema
    has = all(t in whole.columns for t in schema.target)
    truth = answers.truth(task, target_cells(some, schema)[0]) if has else None
    cells = {m: x for m, x in displays(model.preprocessor, some, 0).items() if m not in absent}
    chances = {str(x): prediction[f"probability[{x}]"] for x in task.labels_ or ()}
    targets = {name: prediction[f"prediction[{name}]"] for name in task.columns or ()}
    meaning = answers.quantity(task, c.output[0]).meaning
    return Reasons(
        whole.name, row, task.name, prediction, chances, targets, truth, meaning, c, attributions, near, cells, absent,
        list(one.bad), notes,
    )  # fmt: skip


def _same(a: Any, b: Any) -> bool:
    if not (isinstance(a, str | Path) and isinstance(b, str | Path)):
        return a is b
    try:
        return Path(a).samefile(b)
    except OSError:
        return False


def _parts(
    model: Model, table: Table, rows: Rows, c: Contributions, method: str
) -> tuple[list[Attribution], list[str]]:
    """Attributions of the modalities that the row has, and why others have none; an asked method must work once."""
    attributions, refusals = [], []
    for m, here in zip(c.modalities, c.present[0], strict=True):
        if not here:
            continue
        try:
            attributions.append(attribute_rows(model, table, rows, 0, m, method=method, output=c.output[0]))
        except InputError as e:
            refusals.append((m, e))
    if method != "auto" and refusals and not attributions:
        raise refusals[0][1]
    return attributions, [f"What in {m} made the answer is not shown: {e}" for m, e in refusals]


def _notes(model: Model, c: Contributions, rows: int) -> list[str]:
    """What a reader must know of the contributions."""
    notes = []
    if not c.present[0].any():
        notes.append("The row has nothing that the model reads, so its answer is that to an empty row.")
    if len(c.modalities) == 1:
        notes.append(f"The model has one modality, {c.modalities[0]}, so the whole of the answer's change is its.")
    elif np.isnan(c.additive[0]):
        notes.append(f"The table has {rows:,} rows, too few to tell the additive part of the answer from the rest.")
    if c.orders:
        notes.append(f"Contributions are means over {c.orders} random orders, with standard errors.")
    return notes
