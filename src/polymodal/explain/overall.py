"""Which modality a model's answers come from, over a whole table: contributions of every row, summed up.

Axes: n row, m modality, r bootstrap sample.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from polymodal.data.encode import Bad
from polymodal.data.table import Table
from polymodal.evaluate.intervals import Interval, weights
from polymodal.explain import answers
from polymodal.explain.answers import Floats
from polymodal.explain.contributions import Contributions, contributions
from polymodal.model import Model
from polymodal.progress import silent
from polymodal.view.text import Note, many, some

LIMIT = 1000  # rows that are explained, unless asked otherwise
ROUNDING = 1e-9  # sizes that differ by less of themselves are equal


class Share(NamedTuple):
    """One modality over the rows. size: mean |Shapley value|, with its 95% bootstrap interval. mean: of the values with
    their signs. alone: mean main effect. largest: of the rows in which any modality counts, the share in which this one
    counts most; equals share a row. absent: rows without it."""

    modality: str
    size: Interval
    mean: float
    alone: float
    largest: float
    absent: int


class Pair(NamedTuple):
    """Two modalities over the rows that have both. mean: of their interactions (positive: each makes the other worth
    more); size: of the interactions' absolute values; both NaN where no row has both."""

    first: str
    second: str
    mean: float
    size: float
    rows: int


class Summary(NamedTuple):
    """Contributions over the rows of a table.

    crossmodal: mean |answer - additive part| over `split` rows, and additive: mean |additive part - base|; NaN where
    unknown. classes: by predicted label its number of rows, and mean |Shapley value| by modality.
    """

    modalities: list[Share]
    pairs: list[Pair]
    additive: float
    crossmodal: float
    split: int
    classes: dict[str, dict[str, Any]]


class Overall(NamedTuple):
    """A model explained over a table. rows: explained of the `total` that there are. unit: what contributions are parts
    of. notes: what a reader must know. rest: bad cells, and every row's own values."""

    table: str
    task: str
    unit: str
    rows: int
    total: int
    summary: Summary
    notes: list[Note]
    bad: list[Bad]
    contributions: Contributions

    def __repr__(self) -> str:
        shares = some(self.contributions.modalities)
        return f"<Overall: {self.rows:,} of {many(self.total, 'row')} of {self.table}, by {shares}>"

    def to_json(self) -> dict[str, Any]:
        """Plain containers, with the summary alone; `frame` has a line a row."""
        s = self.summary
        return {
            "table": self.table,
            "task": self.task,
            "explained": self.unit,
            "rows": self.rows,
            "rows_in_table": self.total,
            "modalities": [m._asdict() | {"size": m.size._asdict()} for m in s.modalities],
            "interactions": [p._asdict() for p in s.pairs],
            "additive": s.additive,
            "crossmodal": s.crossmodal,
            "additive_rows": s.split,
            "classes": s.classes,
            "random_orders": self.contributions.orders,
            "notes": [str(n) for n in self.notes],
            "bad": [b._asdict() for b in self.bad],
        }

    def frame(self) -> Any:
        """A DataFrame: a line a row, with shapley[modality], alone[modality] and interaction[first, second]."""
        import pandas as pd

        c = self.contributions
        out: dict[str, Any] = {"row": c.numbers, "explained": c.output, "answer": c.answer, "base": c.base}
        out |= {f"shapley[{m}]": c.shapley[:, i] for i, m in enumerate(c.modalities)}
        if c.orders:
            out |= {f"standard_error[{m}]": c.error[:, i] for i, m in enumerate(c.modalities)}
        out |= {f"alone[{m}]": c.alone[:, i] for i, m in enumerate(c.modalities)}
        modalities = list(enumerate(c.modalities))
        out |= {f"interaction[{a}, {b}]": c.interaction[:, i, j] for (i, a), (j, b) in combinations(modalities, 2)}
        return pd.DataFrame({**out, "additive": c.additive, "crossmodal": c.crossmodal})


def overall(
    model: Model,
    table: Any,
    *,
    output: str | None = None,
    limit: int = LIMIT,
    without: Sequence[str] = (),
    cache: Path | str | None = None,
    seed: int = 0,
    progress: bool | None = None,
) -> Overall:
    """Explain the rows of a table, or a random sample of `limit` of them, by modality. See `contributions`.

    Raises InputError for a model that writes text, an output that it does not have, a table without its columns.
    """
    quantities = model.task.quantities
    quantity = None if output is None else answers.quantity(model.task, output)
    output, unit = (None, quantities.usual) if quantity is None else (quantity.name, quantity.meaning)
    table = Table.read(table)
    at = np.random.default_rng(seed).permutation(table.rows)[: max(1, limit)]
    some = table if len(at) == table.rows else table.take(sorted(at.tolist()))
    rows = model.preprocessor.encode(
        some, None, cache=None if cache is None else Path(cache), without=without, quiet=silent(progress)
    )
    games = contributions(model, rows, output=output, seed=seed)
    group = model.preprocessor.schema.group
    summary = summarise(games, some.cells(group) if group in some.columns else None, seed)
    notes = _notes(games, summary, some.rows, table.rows, without)
    return Overall(table.name, model.task.name, unit, some.rows, table.rows, summary, notes, list(rows.bad), games)


def summarise(c: Contributions, groups: Sequence[Any] | None = None, seed: int = 0) -> Summary:
    """Means over rows, with bootstrap intervals by rows or by groups of them."""
    size_nm = np.abs(c.shapley)
    low, high = _ends(size_nm, groups, seed)
    first_nm = largest(size_nm)
    most = first_nm.sum(0) / max(1.0, float(first_nm.sum()))
    shares = [
        Share(m, Interval(float(size_nm[:, i].mean()), float(low[i]), float(high[i])), float(c.shapley[:, i].mean()),
              float(c.alone[:, i].mean()), float(most[i]), int((~c.present[:, i]).sum()))
        for i, m in enumerate(c.modalities)
    ]  # fmt: skip
    finite = np.isfinite(c.additive)
    ends = [np.abs(x[finite]).mean() if finite.any() else np.nan for x in (c.additive - c.base, c.crossmodal)]
    return Summary(shares, _pairs(c), float(ends[0]), float(ends[1]), int(finite.sum()), _classes(c))


def largest(size_nm: Floats) -> Floats:
    """(N, M) sizes -> (N, M): 1 at the largest of a row, in equal parts where several are so; 0 in a row of zeros."""
    top_n1 = size_nm.max(1, keepdims=True)
    first = (size_nm >= top_n1 * (1 - ROUNDING)) & (top_n1 > 0)
    return np.asarray(first / np.maximum(first.sum(1, keepdims=True), 1))


def strongest(size: Mapping[str, float]) -> list[str]:
    """The modalities with the largest size, which may be several; none where all are 0."""
    return [m for m, part in zip(size, largest(np.array([[*size.values()]]))[0], strict=True) if part]


def _ends(size_nm: Floats, groups: Sequence[Any] | None, seed: int) -> tuple[Floats, Floats]:
    """(M,) 95% percentile bounds of the mean over rows."""
    if len(size_nm) < 2:
        return size_nm.mean(0), size_nm.mean(0)
    parts = [w @ size_nm / w.sum(1, keepdims=True) for w in weights(len(size_nm), 1000, groups, seed)]
    low, high = np.quantile(np.concatenate(parts), [0.025, 0.975], axis=0)
    return low, high


def _pairs(c: Contributions) -> list[Pair]:
    out = []
    for (i, a), (j, b) in combinations(enumerate(c.modalities), 2):
        both = c.present[:, i] & c.present[:, j] & np.isfinite(c.interaction[:, i, j])
        x = c.interaction[both, i, j]
        mean, size = (float(y.mean()) if len(x) else float("nan") for y in (x, np.abs(x)))
        out.append(Pair(a, b, mean, size, len(x)))
    return out


def _classes(c: Contributions) -> dict[str, dict[str, Any]]:
    """By predicted output, the commonest first; nothing where there is one alone."""
    labels, at, counts = np.unique(np.array(c.predicted, dtype=object), return_inverse=True, return_counts=True)
    if len(labels) < 2:
        return {}
    out = {}
    for i in np.argsort(-counts, kind="stable"):
        mean = np.abs(c.shapley[at == i]).mean(0)
        out[str(labels[i])] = {"rows": int(counts[i]), "size": dict(zip(c.modalities, mean.tolist(), strict=True))}
    return out


def _notes(c: Contributions, s: Summary, rows: int, total: int, without: Sequence[str]) -> list[Note]:
    """What a reader must know."""
    some = Note(f"{rows:,} of the {total:,} rows, drawn at random", "--limit asks for more")
    notes = [some] if rows < total else []
    notes += [Note(f"{m} is hidden from every row") for m in without if m in c.modalities]
    absent = [m.modality for m in s.modalities if m.absent == rows and m.modality not in without]
    notes += [Note(f"No row has anything that the model reads of {m}, so it adds nothing") for m in absent]
    if len(c.modalities) == 1:
        notes.append(Note(f"The model has one modality, {c.modalities[0]}, so all of every answer's change is its"))
    if c.orders:
        notes.append(Note(f"Values are means over {c.orders} random orders", "with standard errors in the CSV"))
    return notes
