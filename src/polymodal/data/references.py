"""Several references of one input: rows that differ in their target alone become one row with a list of texts.

photo, caption           photo, caption
1.jpg, a dog       ->    1.jpg, [a dog, a brown dog]
1.jpg, a brown dog
"""

import re
from collections import Counter
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from polymodal.data.schema import Column, Schema
from polymodal.data.table import Table, is_file, resolve
from polymodal.errors import InputError
from polymodal.modalities import MODALITIES, column_kinds, of_column

NUMBERING = re.compile(r"(?:^|[^a-z])(?:id|idx|index|no|nr|num|number)$")


def merge_references(table: Table, schema: Schema) -> Schema:
    """The schema without columns that only number the references of an input, such as caption_id.

    Such a column is of numbers or categories, has a name like an index, and differs in all rows that are otherwise one.
    """
    columns = dict(schema.columns)
    for c in schema.columns.values():
        modality = of_column(c.kind)
        plain = modality is not None and modality.columns
        if not plain or not NUMBERING.search(c.name.lower()) or c.reason == "set by you":
            continue
        without = schema._replace(columns={**columns, c.name: c._replace(kind="id")})
        groups = Counter(keys(table, without))
        pairs = Counter(zip(keys(table, without), map(_key, table.cells(c.name)), strict=True))
        if max(groups.values()) > 1 and max(pairs.values()) == 1:
            why = f"numbers the references of one input (--modality {c.name}={c.kind} reads it all the same)"
            columns[c.name] = Column(c.name, "id", 0.9, why)
    return schema._replace(columns=columns)


def gather_references(table: Table, schema: Schema) -> Table:
    """One row for each input, at the place of its first row; each target cell is a list of the rows' cells."""
    places: dict[Hashable, list[int]] = {}
    for i, k in enumerate(keys(table, schema)):
        places.setdefault(k, []).append(i)
    if len(places) == table.rows:
        return table
    targets = {}
    for name in schema.target:
        if name in table.columns:
            cells = table.cells(name)
            lists = [[cells[i] for i in rows if cells[i] is not None] for rows in places.values()]
            targets[name] = [cells_of or None for cells_of in lists]
    return table.take([rows[0] for rows in places.values()]).replaced(targets)


def keys(table: Table, schema: Schema) -> list[Hashable]:
    """What makes the rows of one input one: the cells of all modalities, and of the group. A row with nothing to read
    is an input of its own."""
    reserved = (*column_kinds(), "group")
    names = [c.name for c in schema.columns.values() if c.kind in reserved and c.name in table.columns]
    columns = [table.cells(n) for n in names]
    rows = zip(*columns, strict=True) if columns else iter([()] * table.rows)
    return [tuple(map(_key, row)) if any(c is not None for c in row) else i for i, row in enumerate(rows)]


def files(table: Table, schema: Schema) -> list[list[Path]]:
    """The files that each row reads, in the order of the columns."""
    paths_of: list[list[Path]] = [[] for _ in range(table.rows)]
    of_files = {k for k, m in MODALITIES.items() if m.codec.takes_files}
    for name in [c.name for c in schema.columns.values() if c.kind in of_files and c.name in table.columns]:
        for paths, cell in zip(paths_of, table.cells(name), strict=True):
            path = resolve(cell, table.folder)
            if isinstance(path, Path) and is_file(path):
                paths.append(path.resolve())
    return paths_of


def refuse_shared(train: Table, other: Table, schema: Schema, what: str) -> None:
    """Raises InputError where a file of any column is in both tables: learned by heart, it would pass for skill."""
    train_files, other_files = ({p for paths in files(t, schema) for p in paths} for t in (train, other))
    both = sorted(train_files & other_files)
    if both:
        raise InputError(
            f"the training table reads {len(both):,} file{'s' * (len(both) > 1)} of the {what} table {other.name} "
            f"too, for example {both[0].name}; what was learned by heart there would pass for skill. Take the rows "
            "out of one of the two, or say that it is meant with --allow-overlap"
        )


def _key(cell: Any) -> Hashable:
    if isinstance(cell, np.ndarray):
        return cell.tobytes()
    return cell if isinstance(cell, str | int | float | bytes | Path | type(None)) else repr(cell)


def sharers(table: Table, schema: Schema) -> Sequence[Any] | None:
    """A group a row, by the first file that it reads, where several rows read one file; else None."""
    first_files = [paths[0] if paths else None for paths in files(table, schema)]
    return first_files if max(Counter(p for p in first_files if p is not None).values(), default=0) > 1 else None
