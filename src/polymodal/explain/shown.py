"""The cells of a row, for a reader."""

from typing import Any, NamedTuple

from polymodal.data.preprocess import Preprocessor
from polymodal.data.table import Table, resolve
from polymodal.errors import Unreadable
from polymodal.modalities import MODALITIES
from polymodal.view.blocks import Cell
from polymodal.view.text import short, tail

LONGEST = 200  # characters of a cell
NAME, REASON = 80, 120  # characters of a modality's name; of what is wrong with a cell


class Display(NamedTuple):
    """One modality of a row. cell: what its codecs are given. text: the cell as the table has it, the beginning of it.
    file: whether the cell is a file's name."""

    kind: str
    cell: Any
    text: str
    file: bool = False

    def block(self, modality: str, thumb: bool = False) -> Cell:
        """To be looked at and listened to; what can't be read is named, with the reason."""
        name, title = short(modality, NAME), tail(self.text) if self.file and self.text else ""
        try:
            preview = MODALITIES[self.kind].preview(self.cell)
        except Unreadable as e:
            return Cell(name, None, title, f"can't be read: {short(e, REASON)}")
        return Cell(name, preview, title, "absent" if preview is None else "", thumb)


def displays(prep: Preprocessor, table: Table, at: int) -> dict[str, Display]:
    """The cells of the row at a position, by modality, of those that hold anything."""
    out = {}
    for m in prep.modalities:
        kind, columns = prep.schema.modalities()[m]
        if MODALITIES[kind].columns:
            cell: Any = {c: table.cells(c)[at] for c in columns if c in table.columns}
            if any(x is not None for x in cell.values()):
                text = "; ".join(f"{c}: {x}" for c, x in cell.items() if x is not None)
                out[m] = Display(kind, cell, text[:LONGEST])
        elif columns[0] in table.columns and (cell := table.cells(columns[0])[at]) is not None:
            files = any(prep.codecs[v].takes_files for v, of in prep.views.items() if of == m)
            text = cell if isinstance(cell, str) else "" if hasattr(cell, "__array__") else str(cell)
            path = resolve(cell, table.folder) if files else cell
            out[m] = Display(kind, path, text[:LONGEST], files and path is not cell)
    return out
