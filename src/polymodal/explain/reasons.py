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
from polymodal.explain.evidence import faith, named
from polymodal.explain.nearest import FUSED, Nearest, Neighbour, nearest
from polymodal.explain.parts import METHODS, Attribution, attribute_rows
from polymodal.explain.shown import Shown, shown
from polymodal.model import Model
from polymodal.view.text import SMALL, figure, signed

OTHERS = 47  # rows of the table beside the one, for the additive part of its answer
TOP = 5  # parts of a modality that are named


class Reasons(NamedTuple):
    """The answer to a row and its reasons.

    prediction: column -> value, as `predict` gives it. truth: the label that the table has, or None. unit: what is
    explained, in words. contributions: of this row alone. attributions: of each modality that could be cut into parts.
    nearest: None without a training table. cells: by modality. absent: modalities of which the row has nothing, and
    hidden ones. bad: cells of the row that can't be read. notes: what is not there, and how to get it.
    """

    table: str
    row: int
    task: str
    prediction: dict[str, Any]
    truth: str | None
    unit: str
    contributions: Contributions
    attributions: list[Attribution]
    nearest: Nearest | None
    cells: dict[str, Shown]
    absent: list[str]
    bad: list[Bad]
    notes: list[str]

    @property
    def text(self) -> str:
        """The prediction in words."""
        said = self.prediction.get("prediction")
        if said is None:
            return ", ".join(f"{k[11:-1]}: {figure(v)}" for k, v in self.prediction.items())
        if isinstance(said, list):
            return ", ".join(map(str, said)) or "none of the labels"
        return figure(said) if self.task == "regression" else str(said)

    def to_json(self) -> dict[str, Any]:
        """Plain containers."""
        c = self.contributions
        known = not np.isnan(c.additive[0])
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
            "additive": float(c.additive[0]) if known else None,
            "crossmodal": float(c.crossmodal[0]) if known else None,
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
    quiet: bool = True,
) -> Reasons:
    """Explain the answer to a row.

    row: as everywhere, 1 is the first below the header. output: the label or target to explain [the predicted one].
    method: how parts of a modality get their scores, see `parts.attribute`. train: the table that nearest rows are
    looked for in. parts: whether to look for what in each modality made the answer. without: modalities that are
    hidden. Raises InputError for a row, output, method or column that is not there, and for a model that writes text.
    """
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
    said = {k: v[0] for k, v in task.decode(model.outputs(one)).items()}
    absent = [m for m, here in zip(c.modalities, c.present[0], strict=True) if not here]
    notes = _notes(model, c, whole.rows)
    found: list[Attribution] = []
    if parts:
        found, failed = _parts(model, some, rows, c, method)
        notes += failed
    near = None
    if train is None:
        notes.append("Name the training table to see the training rows that are most like this one: --train TABLE.")
    else:
        skip = row if _same(table, train) else None
        near = nearest(model, one, said.get("prediction"), train, skip=skip, cache=folder, quiet=quiet)
    schema = model.preprocessor.schema
    has = all(t in whole.columns for t in schema.target)
    truth = answers.truth(task, target_cells(some, schema)[0]) if has else None
    cells = {m: x for m, x in shown(model.preprocessor, some, 0).items() if m not in absent}
    meaning = answers.quantity(task, c.output[0]).meaning
    return Reasons(
        whole.name, row, task.name, said, truth, meaning, c, found, near, cells, absent, list(one.bad), notes
    )


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
    found, failed = [], []
    for m, here in zip(c.modalities, c.present[0], strict=True):
        if not here:
            continue
        try:
            found.append(attribute_rows(model, table, rows, 0, m, method=method, output=c.output[0]))
        except InputError as e:
            failed.append((m, e))
    if method != "auto" and failed and not found:
        raise failed[0][1]
    return found, [f"What in {m} made the answer is not shown: {e}" for m, e in failed]


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


# --- in words -----------------------------------------------------------------------------------------


def told(e: Reasons) -> list[str]:
    """The explanation, a line each, for a terminal."""
    c = e.contributions
    beside = "" if e.truth is None else f" (the table says {e.truth})"
    sure = f", probability {e.prediction['probability']:.3f}" if "probability" in e.prediction else ""
    out = [f"{e.table}, row {e.row}: {e.text}{sure}{beside}", ""]
    out += [f"{e.unit}: {figure(c.answer[0])}; with nothing known it is {figure(c.base[0])}"]
    width = max(len(m) for m in c.modalities)
    for m, i in sorted(((m, i) for i, m in enumerate(c.modalities)), key=lambda x: -abs(c.shapley[0, x[1]])):
        if not c.present[0, i]:
            out.append(f"  {m:<{width}}  absent")
            continue
        error = f" ± {c.error[0, i]:.3f}" if c.error[0, i] else ""
        out.append(f"  {m:<{width}}  {signed(c.shapley[0, i])}{error}  (alone {signed(c.alone[0, i])})")
    out += [f"  {a} with {b}: {signed(x)} beyond what each brings" for a, b, x, _ in e.interactions[:TOP]]
    if len(c.modalities) > 1 and not np.isnan(c.additive[0]):
        out.append(f"  additive part {figure(float(c.additive[0]))}, cross-modal {signed(float(c.crossmodal[0]))}")
    for a in e.attributions:
        out += ["", f"{a.modality}, by {a.method}: {summary(a)}", f"  {faith(a)}"]
    if e.nearest is not None:
        out += ["", f"nearest of {e.nearest.rows:,} rows of {e.nearest.table}, by {e.nearest.by}:"]
        out += [line for s in e.nearest.spaces for line in _near(s.modality, s.nearest, s.other)]
    return [*out, *([""] if e.notes else []), *e.notes]


def _near(modality: str, rows: Sequence[Neighbour], other: Neighbour | None) -> list[str]:
    said = [f"row {n.row} ({n.label if n.label is not None else 'no label'}, {n.distance:.3f})" for n in rows]
    away = "" if other is None else f"; of another label row {other.row} ({other.label}, {other.distance:.3f})"
    return [f"  {modality if modality != FUSED else 'all together'}: {', '.join(said) or 'none'}{away}"]


def summary(a: Attribution) -> str:
    """The parts that speak most for the output, and most against it."""
    if not len(a.scores):
        return "it has no parts"
    order, names = np.argsort(-np.abs(a.scores), kind="stable")[:TOP], named(a)
    said = [f"{names[i]} {signed(float(a.scores[i]))}" for i in order if abs(a.scores[i]) > SMALL]
    return "; ".join(said) or "nothing in it changes the answer"
