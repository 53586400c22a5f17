"""A table, looked at before training: what it holds, what is missing, and what would mislead."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from polymodal.data import chronology, suspects
from polymodal.data.encode import Bad
from polymodal.data.measure import Measurements, measure
from polymodal.data.schema import Schema
from polymodal.data.suspects import Group, Suspect
from polymodal.data.table import Table
from polymodal.errors import InputError
from polymodal.progress import silent
from polymodal.tasks.base import Task
from polymodal.tasks.infer import guess as guess_task
from polymodal.tasks.labels import count, missing, plain
from polymodal.view.text import many

PAIRS = 10  # pairs of equal rows that are named
CLASSES = 100  # labels whose rows are counted one by one


@dataclass(frozen=True)
class Inspection:
    """What `inspect` found. Rows are numbered as in the file: 1 is the first below the header.

    sizes: by column; image {width, height}, audio {seconds, rates, channels}, series {length, channels},
    vector {length, width}, text {words}; each {min, median, max}, but rates {rate: cells}.
    missing: {column: cells}. patterns: the absent modalities (nothing there, or not to be read) and how many
    rows lack just these, most frequent first. unreadable: every cell that can't be read.
    duplicates: how many rows repeat an earlier one, ids and ignored columns aside, and the pairs (the earlier
    row, the later one). target: one entry for each target column. groups: columns to split by.
    warnings: of kind "leak", "id", "conflict", "order" or "target".
    """

    table: str
    rows: int
    schema: Schema
    sizes: dict[str, dict[str, Any]]
    missing: dict[str, int]
    patterns: list[tuple[list[str], int]]
    unreadable: list[Bad]
    duplicates: tuple[int, list[tuple[int, int]]]
    target: list[dict[str, Any]]
    groups: list[Group]
    warnings: list[Suspect]

    def __repr__(self) -> str:
        found = f"{many(len(self.warnings), 'warning')}, {many(len(self.unreadable), 'unreadable cell')}"
        return f"<Inspection of {self.table}: {many(self.rows, 'row')}, {found}; show() prints it>"

    def to_json(self) -> dict[str, Any]:
        """Plain containers.

        ``{"table", "rows", "schema": Schema.to_json(), "sizes": {column: {...}},
        "missing": {"columns": {column: cells}, "patterns": [{"absent": [modality], "rows"}]},
        "unreadable": [{"row", "column", "cell", "reason"}], "duplicates": {"rows", "pairs": [[row, row]]},
        "target": [{"column", "task", "reason", "missing", "distinct", "classes": [{"label", "rows"}] or null,
        "numbers": {"min", "median", "mean", "max"} or null}],
        "groups": [{"column", "groups", "largest", "reason"}], "warnings": [{"kind", "column", "message"}]}``
        """
        count, pairs = self.duplicates
        return {
            "table": self.table,
            "rows": self.rows,
            "schema": self.schema.to_json(),
            "sizes": self.sizes,
            "missing": {
                "columns": self.missing,
                "patterns": [{"absent": absent, "rows": n} for absent, n in self.patterns],
            },
            "unreadable": [b._asdict() for b in self.unreadable],
            "duplicates": {"rows": count, "pairs": [list(p) for p in pairs[:PAIRS]]},
            "target": self.target,
            "groups": [g._asdict() for g in self.groups],
            "warnings": [w._asdict() for w in self.warnings],
        }

    def show(self) -> None:
        """Print it for a person."""
        from polymodal.data.portray import portray
        from polymodal.view.console import show

        show(portray(self))


def inspect(
    table: Any,
    target: str | Sequence[str] | None = None,
    group: str | None = None,
    kinds: Mapping[str, str] | None = None,
    ignore: Sequence[str] = (),
    progress: bool | None = None,
) -> Inspection:
    """Look at a table: every cell is opened once. Arguments as `Table.read` and `Schema.infer` take them."""
    table = Table.read(table)
    schema = Schema.infer(table, target, group, kinds, ignore)
    patterns = measure(table, schema, silent(progress))
    numbers = [table.row_number(i) for i in range(table.rows)]
    columns = {
        c.name: patterns.content[c.name] for c in schema.columns.values() if c.kind not in ("id", "ignored", "group")
    }
    goals = [_target(table, t) for t in schema.target]
    return Inspection(
        table=table.name,
        rows=table.rows,
        schema=schema,
        sizes=patterns.sizes,
        missing={c: len(patterns.absent[c]) for c in table.columns},
        patterns=_patterns(table, schema, patterns),
        unreadable=sorted(patterns.bad),
        duplicates=suspects.duplicates(columns, numbers),
        target=[form for _, form in goals],
        groups=suspects.groups(table, schema, patterns.content),
        warnings=[
            *(Suspect("target", form["column"], form["reason"]) for task, form in goals if task is None),
            *(w for task, form in goals if task for w in suspects.leaks(table, schema, task, form["column"])),
            *_conflicts(schema, columns, goals),
            *suspects.ids(table, schema),
            *_order(table, schema),
        ],
    )


def _patterns(table: Table, schema: Schema, sizes: Measurements) -> list[tuple[list[str], int]]:
    """How many rows lack which modalities; the table of plain cells is absent where all of them are."""
    place = {table.row_number(i): i for i in range(table.rows)}
    absent_rows = {c: set(absent) for c, absent in sizes.absent.items()}
    for b in sizes.bad:
        absent_rows[b.column].add(place[b.row])
    absent = {
        m: set.intersection(*(absent_rows[c] for c in columns)) for m, (_, columns) in schema.modalities().items()
    }
    patterns = Counter(tuple(m for m, rows in absent.items() if i in rows) for i in range(table.rows))
    return [(list(p), n) for p, n in patterns.most_common()]


def _target(table: Table, column: str) -> tuple[Task | None, dict[str, Any]]:
    """The task that a target asks for, None where there is none, and how its labels are spread."""
    cells = table.cells(column)
    values = [c for c in cells if not missing(c)]
    out: dict[str, Any] = {"column": column, "task": None, "reason": "", "missing": len(cells) - len(values)}
    task: Task | None = None
    try:
        guess, reason = guess_task(cells, [column])
        task = guess if "decode" in guess.capabilities else guess.fit(values)
        out |= {"task": task.name, "reason": reason}
    except InputError as e:
        out["reason"] = str(e)
    out |= {"distinct": 0, "classes": None, "numbers": None}
    if task is not None and "residuals" in task.capabilities:
        x = np.array([y for c in values for y in task.numbers_of(c)])
        x = x[~np.isnan(x)]
        out["distinct"] = len(np.unique(x))
        out["numbers"] = {
            "min": float(x.min()),
            "median": float(np.median(x)),
            "mean": float(x.mean()),
            "max": float(x.max()),
        }
        return task, out
    try:
        labels, counts = (task.labels_, task.counts_) if task and task.labels_ else count(plain(c) for c in values)
    except InputError:  # cells that are no labels: the reason says so
        return task, out
    order = sorted(zip(labels, counts, strict=True), key=lambda pair: -pair[1])
    classes = [{"label": label, "rows": n} for label, n in order[:CLASSES]]
    return task, out | {"distinct": len(labels), "classes": classes}


def _order(table: Table, schema: Schema) -> list[Suspect]:
    """Of rows in the order of time whose neighbours hold the same readings."""
    found = chronology.find(table, schema, None, None) if schema.target else None
    return [] if found is None else [Suspect("order", None, found.describe())]


def _conflicts(
    schema: Schema, columns: Mapping[str, Sequence[Any]], goals: Sequence[tuple[Task | None, Mapping[str, Any]]]
) -> list[Suspect]:
    """Rows that no model can tell apart, and that have different labels."""
    features = {c: v for c, v in columns.items() if c not in schema.target}
    out = []
    for task, goal in goals:
        if task and "confusion" in task.capabilities and (n := suspects.conflicts(features, columns[goal["column"]])):
            message = (
                f"{n} rows equal another in every feature, but have another {goal['column']!r}: "
                "no model can be right on all of them"
            )
            out.append(Suspect("conflict", goal["column"], message))
    return out
