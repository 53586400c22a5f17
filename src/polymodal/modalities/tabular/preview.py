"""What there is to look at in a row."""

from typing import Any

from polymodal.modalities.base import missing
from polymodal.view.cell import Fields
from polymodal.view.text import short

NAME, VALUE = 80, 120  # characters of a column's name, of a value
COLUMNS = 12  # of a table's row


def fields(cell: Any) -> Fields:
    """The first columns of a mapping from column to value."""
    columns = list(cell.items())[:COLUMNS]
    return Fields([(short(c, NAME), "" if missing(x) else short(x, VALUE)) for c, x in columns])
