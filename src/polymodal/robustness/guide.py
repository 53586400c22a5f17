"""What the removal of cells depends on: a column that can be seen, or the target.

Axes: n row, m modality.
"""

from typing import NamedTuple

import numpy as np

from polymodal.data.table import unknown
from polymodal.errors import InputError, Unreadable
from polymodal.modalities.columns import category, missing, number
from polymodal.robustness.absent import Bools, Floats, ranks
from polymodal.robustness.measure import Reader


class Guide(NamedTuple):
    """rank_n: 0 to 1, by which cells are removed. stays: the modality that is seen, and so never removed."""

    by: str
    rank_n: Floats
    stays: str | None = None

    def stays_m(self, modalities: list[str]) -> Bools:
        """(M,) which modalities stay."""
        return np.array([m == self.stays for m in modalities])


def at_random(reader: Reader, given: str | None) -> Guide | None:
    """What cells are removed by at random (MAR): the column `given`; else the group; else the first column of numbers
    among those that the model reads; else how large another modality is, or whether it is there at all.

    Rubin's term asks that this is seen where cells are gone, so a modality that it belongs to stays in every row. None
    where there is nothing of the kind. Raises InputError for a column that is not there, or is the target.
    """
    schema, table = reader.model.preprocessor.schema, reader.table
    if given is not None:
        if given not in table.columns:
            raise InputError(f"--given: {table.name} {unknown('column', given, table.columns)}")
        if given in schema.target:
            raise InputError(
                f"--given {given}: that is the target, and removal by the target is measured anyway (mnar)"
            )
        return _column(reader, given)
    if schema.group is not None and schema.group in table.columns and (found := _column(reader, schema.group)):
        return found
    numbers = [c.name for c in schema.columns.values() if c.kind == "number" and c.name in table.columns]
    if len(reader.modalities) > 1:
        return next((g for g in [*(_column(reader, c) for c in numbers), _size(reader)] if g is not None), None)
    return None


def by_target(reader: Reader) -> Guide:
    """Removal by the target itself (MNAR): a number's or a class's rank, how many labels, how long a text."""
    values = []
    for y in reader.rows.labels:
        long = y is not None and y.ndim > 1
        values.append(np.nan if y is None else float(np.prod(y.shape)) if long else float(y.double().nansum()))
    return Guide(", ".join(reader.model.preprocessor.schema.target), ranks(np.array(values)))


def _column(reader: Reader, name: str) -> Guide | None:
    """The ranks of a column's numbers, or of its categories in the order of their names; None where all are equal."""
    cells = reader.table.cells(name)
    try:
        values = [np.nan if missing(c) or (x := number(c)) is None else x for c in cells]
    except Unreadable:
        names = [None if missing(c) else category(c) for c in cells]
        place = {w: i for i, w in enumerate(sorted({w for w in names if w is not None}))}
        values = [np.nan if w is None else place[w] for w in names]
    modalities = reader.model.preprocessor.schema.modalities()
    stays = next((m for m in reader.modalities if name in modalities[m][1]), None)
    rank_n = ranks(np.array(values, dtype=np.float64))
    return Guide(name, rank_n, stays) if rank_n.min() < rank_n.max() else None


def _size(reader: Reader) -> Guide | None:
    """The ranks of the sizes of the first modality of which they differ."""
    for m in reader.modalities:
        rank_n = ranks(reader.rows.inputs[reader.views(m)[0]].sizes().astype(np.float64))
        if rank_n.min() < rank_n.max():
            return Guide(f"the size of {m}", rank_n, m)
    return None
