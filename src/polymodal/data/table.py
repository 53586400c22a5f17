"""A table of cells: what a person has, in the form that the rest of the library reads.

A cell is None where nothing is there (an empty string, NaN, NaT, pandas' NA), otherwise a Python object: a
string, a number, a list, an array, a picture, bytes. What a cell means is the schema's question.
"""

import difflib
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from polymodal.data import formats, readers
from polymodal.errors import InputError
from polymodal.levels import Level, order_of
from polymodal.modalities.base import missing
from polymodal.modalities.files import is_address
from polymodal.view.text import many, some

if TYPE_CHECKING:
    import pandas as pd


class Table:
    """Columns of cells, all of one length.

    name: for messages. folder: what relative paths in cells are relative to. numbers: each row's number in the
    source that it came from, 1 for the first below the header; it is kept when rows are taken out.
    """

    def __init__(self, name: str, folder: Path, cells: Mapping[str, list[Any]], numbers: Sequence[int]) -> None:
        self.name, self.folder, self._cells, self._numbers = name, folder, dict(cells), numbers

    @classmethod
    def read(cls, source: Any, folder: str | Path | None = None, name: str = "the table") -> "Table":
        """The table in a file or in memory.

        source: the path of a .csv, .tsv, .jsonl, .ndjson, .json, .parquet, .arrow or .feather file; a pandas or
        polars frame, an Arrow table, a list of dicts, a dict of columns; or a Table, returned as it is.
        folder: where relative paths in cells start [default: the file's folder, else the current one].

        Raises InputError, saying what was seen, where, and the way out, for anything else.
        """
        if isinstance(source, Table):
            return source
        if isinstance(source, str | Path):
            path = expand(Path(source))
            (part,) = formats.parts(path)
            name, folder = path.name, path.parent if folder is None else folder
        else:
            part = _columns(source, name)
        rows = max(map(len, part.values()), default=0)
        if rows == 0:
            raise InputError(f"{name} has no rows; a table needs at least one")
        return cls(name, Path("." if folder is None else folder), _clean(part), range(1, rows + 1))

    @property
    def columns(self) -> list[str]:
        """Names of the columns, in order."""
        return list(self._cells)

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self._numbers)

    def cells(self, column: str) -> list[Any]:
        """The column's cells, one a row. Raises InputError, with the closest name, where there is none."""
        if column not in self._cells:
            raise InputError(f"{self.name} {unknown('column', column, self.columns)}")
        return self._cells[column]

    def take(self, rows: Sequence[int]) -> "Table":
        """The rows at these positions, in this order."""
        cells = {c: [v[i] for i in rows] for c, v in self._cells.items()}
        return Table(self.name, self.folder, cells, [self._numbers[i] for i in rows])

    def replaced(self, cells: Mapping[str, list[Any]]) -> "Table":
        """The same rows, with other cells in these columns."""
        return Table(self.name, self.folder, {**self._cells, **cells}, self._numbers)

    def row_number(self, row: int) -> int:
        """The number, in the source, of the row at this position: 1 is the first below the header."""
        return self._numbers[row]

    def frame(self) -> "pd.DataFrame":
        """The same cells as a DataFrame of object columns."""
        import pandas as pd

        return pd.DataFrame({c: pd.Series(v, dtype=object) for c, v in self._cells.items()})

    def __repr__(self) -> str:
        return f"<Table {self.name}: {many(self.rows, 'row')} of {some(self.columns)}>"


def chunks(source: Any, rows: int = 1024, folder: str | Path | None = None) -> Iterator[Table]:
    """The table by parts of at most `rows` rows, so that memory does not grow with a file; row numbers go on.

    Reads what `Table.read` reads. A .json file, which has to be read at once, and what is in memory is sliced.
    """
    if not isinstance(source, str | Path):
        whole = Table.read(source, folder)
        for start in range(0, whole.rows, rows):
            yield whole.take(range(start, min(start + rows, whole.rows)))
        return
    path, offset = expand(Path(source)), 0
    for part in formats.parts(path, rows):
        count = len(next(iter(part.values())))
        home = path.parent if folder is None else Path(folder)
        yield Table(path.name, home, _clean(part), range(offset + 1, offset + count + 1))
        offset += count


def resolve(cell: Any, folder: Path) -> Any:
    """A string as the path of a file, relative to the table's folder; anything else as it is.

    >>> resolve("photos/1.jpg", Path("/data")).as_posix(), resolve(None, Path("/data"))
    ('/data/photos/1.jpg', None)
    """
    if not isinstance(cell, str | Path) or (isinstance(cell, str) and cell.lstrip().startswith("[")):
        return cell  # "[0.1, 0.2]" is a list of numbers
    if is_address(cell):
        return Path(cell)  # of no folder here
    path = folder / expand(Path(cell.strip() if isinstance(cell, str) else cell))
    if isinstance(cell, str) and "\\" in cell and os.sep == "/" and not is_file(path):
        other = folder / cell.strip().replace("\\", "/")  # the table was written on Windows
        return other if is_file(other) else path
    return path


def is_file(path: Path) -> bool:
    """Whether there is such a file; never raises, whatever the name."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long, a NUL in it
        return False


def expand(path: Path) -> Path:
    """The path with ~ replaced by the home folder, where there is one."""
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def unknown(what: str, name: str, options: Iterable[str]) -> str:
    """The end of a sentence about something that has no such part.

    >>> unknown("column", "stras", ["text", "stars"])
    "has no column 'stras'; did you mean 'stars'? It has: text, stars"
    """
    names = list(options)
    lower = {n.strip().casefold(): n for n in names}
    near = difflib.get_close_matches(str(name).strip().casefold(), lower, 1)
    hint = f"did you mean {lower[near[0]]!r}? " if near else ""
    more = f" and {len(names) - 30} more" if len(names) > 30 else ""
    return f"has no {what} {name!r}; {hint}{'It' if hint else 'it'} has: {', '.join(names[:30])}{more}"


def _columns(source: Any, name: str) -> readers.Part:
    """Columns of what is in memory, their names as strings."""
    package = type(source).__module__.split(".")[0]
    if package == "polars":
        frame = source.collect() if hasattr(source, "collect") else source
        if hasattr(frame, "get_columns"):
            return {c.name: c.to_list() for c in frame.get_columns()}
    if hasattr(source, "iloc") and getattr(source, "ndim", 0) == 2:  # pandas, or a class made from its
        names = readers.unique([str(c) for c in source.columns], name)
        return {c: _series(source.iloc[:, i]) for i, c in enumerate(names)}
    if package == "pyarrow" and hasattr(source, "schema"):
        readers.unique([str(c) for c in source.schema.names], name)
        return readers.arrow_part(source)
    if isinstance(source, Mapping):
        return _by_column(source, name)
    if isinstance(source, Sequence) and not isinstance(source, bytes | bytearray):
        return _by_row(source, name)
    raise InputError(
        f"a {type(source).__name__} is not a table; give a path, a pandas or polars DataFrame, a list of dicts "
        "or a dict of columns"
    )


def _series(column: Any) -> list[Any]:
    """The cells of a pandas column; of an ordered category they are levels."""
    if not getattr(column.dtype, "ordered", False):
        return column.tolist()  # type: ignore[no-any-return]
    levels = Level.each(column.cat.categories.tolist())
    return [levels[i] if i >= 0 else None for i in column.cat.codes]


def _by_column(source: Mapping[Any, Any], name: str) -> readers.Part:
    names = readers.unique([str(c) for c in source], name)
    for c, v in source.items():
        if isinstance(v, str | bytes | Mapping) or not hasattr(v, "__len__") or not hasattr(v, "__iter__"):
            raise InputError(f"{name}: column {c!r} is a {type(v).__name__}, expected a list of cells")
    if len({len(v) for v in source.values()}) > 1:
        lengths = ", ".join(f"{c!r} has {len(v)}" for c, v in source.items())
        raise InputError(f"{name}: its columns have unequal lengths: {lengths}")
    return {c: list(v) for c, v in zip(names, source.values(), strict=True)}


def _by_row(source: Sequence[Any], name: str) -> readers.Part:
    for i, row in enumerate(source, 1):
        if not isinstance(row, Mapping):
            raise InputError(f"{name}: row {i} is a {type(row).__name__}, expected a dict of column to cell")
    keys = list(dict.fromkeys(k for row in source for k in row))
    names = readers.unique([str(k) for k in keys], name)
    return {c: [row.get(k) for row in source] for c, k in zip(names, keys, strict=True)}


def _clean(part: readers.Part) -> readers.Part:
    return {c: [_cell(x) for x in v] for c, v in part.items()}


def _cell(x: Any) -> Any:
    """None for what is missing, a Python scalar for numpy's and torch's, otherwise the object itself.

    >>> import numpy as np
    >>> _cell(np.float32(0.5)), _cell(float("nan")), _cell("  ")
    (0.5, None, None)
    """
    if isinstance(x, str):
        return (x if order_of([x]) else str(x)) if x and not x.isspace() else None
    if missing(x):
        return None
    if isinstance(x, dict) and x.keys() == {"bytes", "path"}:  # how Hugging Face keeps a picture or a recording
        return x["path"] if x["bytes"] is None else x["bytes"]
    if getattr(x, "shape", None) == () and hasattr(x, "item"):
        kind = getattr(getattr(x, "dtype", None), "kind", "")
        if kind in ("m", "M"):  # nanoseconds would become an integer
            x = x.astype(f"{'datetime' if kind == 'M' else 'timedelta'}64[us]")
        return _cell(x.item())
    if isinstance(x, date) and hasattr(x, "to_pydatetime"):
        return x.to_pydatetime(warn=False)
    return x


def digest(table: Table) -> str:
    """A key of all cells of a table."""
    out = hashlib.blake2b(digest_size=16)
    for column in table.columns:
        out.update(column.encode())
        for cell in table.cells(column):
            out.update(content(cell))
            out.update(b"\x00")
    return out.hexdigest()


def content(cell: Any) -> bytes:
    """What a cell holds, equal for equal ones: as text an array is cut short, and a picture is an address."""
    if hasattr(cell, "__array__") or hasattr(cell, "__array_interface__"):
        with suppress(Exception):  # a damaged picture, a tensor that is no array
            x = np.asarray(cell)
            if x.dtype != object:
                return hashlib.blake2b(x.tobytes(), digest_size=16).digest()
    return str(cell).encode("utf-8", "surrogatepass")
