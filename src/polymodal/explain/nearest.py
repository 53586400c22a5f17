"""Counterfactual by example: the training rows that a model finds most like a row, by each modality and all together.

    row, training rows --embedding of a modality, or the fused one--> vectors --cosine distance--> the nearest few

Axes: n training row, d width.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from polymodal.data.preprocess import Rows, target_cells
from polymodal.data.table import Table, chunks
from polymodal.errors import InputError
from polymodal.explain import answers
from polymodal.explain.shown import Display, displays
from polymodal.learners.base import Learner, Vectors, evaluating
from polymodal.learners.matrix import Matrix, below, unit
from polymodal.model import BATCH, Model
from polymodal.progress import bar

COUNT = 3  # rows that are shown of each space
CHUNK = 1024  # training rows that are in memory at a time
FUSED = ""  # the name of the space of all modalities together; no modality is called so


class Neighbour(NamedTuple):
    """A training row: its number, its label as text (None without one), the cosine distance, 0 to 2, and its cells."""

    row: int
    label: str | None
    distance: float
    cells: dict[str, Display]


class Space(NamedTuple):
    """The training rows nearest by one modality, or by all together (`FUSED`). other: the nearest one of another label
    than the predicted one; of numbers, one whose target is further than the targets' usual spread away."""

    modality: str
    nearest: list[Neighbour]
    other: Neighbour | None


class Nearest(NamedTuple):
    """Neighbours of a row among the `rows` of a training table. by: what made the vectors."""

    table: str
    rows: int
    by: str
    spaces: list[Space]

    def to_json(self) -> dict[str, Any]:
        """Plain containers; cells as text."""
        return {
            "table": self.table,
            "rows": self.rows,
            "by": self.by,
            "spaces": [
                {
                    "modality": s.modality,
                    "nearest": [_json(n) for n in s.nearest],
                    "other": None if s.other is None else _json(s.other),
                }
                for s in self.spaces
            ],
        }


def _json(n: Neighbour) -> dict[str, Any]:
    cells = {m: c.text for m, c in n.cells.items()}
    return {"row": n.row, "label": n.label, "distance": round(n.distance, 6), "cells": cells}


Embed = Callable[[Rows], Mapping[str, Vectors]]


def nearest(
    model: Model,
    row: Rows,
    prediction: Any,
    train: Any,
    *,
    skip: int | None = None,
    cache: Path | str | None = None,
    quiet: bool = True,
) -> Nearest:
    """The training rows nearest to the one row that is encoded in `row`, in each space in which it has anything.

    prediction: what the model says of it. train: the training table; it is read by parts, so memory does not grow with
    it. skip: the number of a training row that is the row itself. Raises InputError for a learner without
    embeddings, and a table without the model's columns.
    """
    embedding = embedder(model)
    if embedding is None:
        raise InputError(f"a {model.learner.kind} has no embeddings, so no nearest rows; leave --train out")
    by, embed = embedding
    own = {s: unit(v.values) for s, v in embed(row).items() if v.present[0]}
    best: dict[str, tuple[list[Neighbour], list[Neighbour]]] = {s: ([], []) for s in own}
    name, total = "", 0
    with bar("nearest rows", 1, quiet) as tick:
        for part in chunks(train, CHUNK):
            name, total = part.name, total + part.rows
            tick(0.0, f"{total:,} training rows")
            for space, distance_n in _distances(model, part, embed, own, cache).items():
                _keep(best[space], model, part, space, distance_n, prediction, skip)
    spaces = [Space(s, near, away[0] if away else None) for s, (near, away) in best.items()]
    return Nearest(name, total, by, sorted(spaces, key=lambda s: s.modality != FUSED))


def _distances(
    model: Model, part: Table, embed: Embed, own: Mapping[str, Matrix], cache: Path | str | None
) -> dict[str, NDArray[np.float64]]:
    """By space (N,) cosine distances of the rows of a part; infinite where a row has nothing there."""
    rows = model.preprocessor.encode(part, None, cache=None if cache is None else Path(cache), quiet=True)
    out = {}
    for space, x in embed(rows).items():
        if space in own:
            near = unit(x.values) @ own[space].T
            cosine = np.asarray(near.todense() if sparse.issparse(near) else near, dtype=np.float64)[:, 0]
            out[space] = np.where(x.present, 1 - cosine.clip(-1, 1), np.inf)
    return out


def _keep(
    best: tuple[list[Neighbour], list[Neighbour]], model: Model, part: Table, space: str,
    distance_n: NDArray[np.float64], prediction: Any, skip: int | None,
) -> None:  # fmt: skip
    """Add the best rows of a part to those known, and cut both lists again."""
    schema = model.preprocessor.schema
    labels = target_cells(part, schema) if all(t in part.columns for t in schema.target) else [None] * part.rows
    order = [int(i) for i in np.argsort(distance_n, kind="stable") if np.isfinite(distance_n[i])]
    order = [i for i in order if part.row_number(i) != skip]
    away = next((i for i in order if model.task.differs(labels[i], prediction)), None)
    for best_so_far, new, most in ((best[0], order[:COUNT], COUNT), (best[1], [] if away is None else [away], 1)):
        for i in new:
            cells = displays(model.preprocessor, part, i)
            cells = cells if space == FUSED else {space: cells[space]}
            label = answers.truth(model.task, labels[i])
            best_so_far.append(Neighbour(part.row_number(i), label, max(0.0, float(distance_n[i])), cells))
        best_so_far.sort(key=lambda n: (n.distance, n.row))
        del best_so_far[most:]


# --- embeddings ---------------------------------------------------------------------------------------


def embedder(model: Model) -> tuple[str, Embed] | None:
    """What makes vectors of rows, in words, and the function; None for a learner that has none.

    A network's are the means of each modality's tokens, and what its head reads; those of estimators the standardised
    features of each modality, and the answer's probabilities. An ensemble's are those of its heaviest member that
    has any.
    """
    part = next((p for p in model.learner.parts() if p.learner.embeds), None)
    if part is None:
        return None
    of = f" of {part.name}, the heaviest part of the ensemble" if part.name else ""
    return f"{part.learner.embeds}{of}", lambda rows: _vectors(part.learner, rows, model.preprocessor.views)


def _vectors(learner: Learner, rows: Rows, views: Mapping[str, str]) -> dict[str, Vectors]:
    device = next((p.device for p in learner.parameters()), torch.device("cpu"))
    rows = rows.only(learner.reads)
    parts: dict[str, list[Vectors]] = {}
    with evaluating(learner), torch.inference_mode():
        for s in range(0, len(rows), BATCH):
            batch = rows.batch(range(s, min(s + BATCH, len(rows)))).to(device)
            for v, x in learner.embed(batch.inputs).items():
                parts.setdefault(views.get(v, v), []).append(x)
    return {
        m: Vectors(below([x.values for x in xs]), np.concatenate([x.present for x in xs])) for m, xs in parts.items()
    }
