"""Tables of raw cells: files, DataFrames and lists of dicts, read alike.

A cell is as its source has it, None where it is missing. The cells of CSV and TSV files are text ("007" stays "007"): what a
column means is the schema's business. Rows are numbered from 1, the first below the header, and keep their number when
some of them are taken, so that messages name the row that a person finds in the file.
"""

import csv
import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from polymodal.errors import InputError

# pandas' words for a missing value, less those that are likelier to be a value ("None", "n/a" stay missing there too)
MISSING = frozenset(
    {"", "NA", "N/A", "n/a", "NaN", "nan", "-nan", "-NaN", "null", "NULL", "<NA>", "#N/A", "NaT", "None"}
)
DELIMITED = {".csv": ",", ".tsv": "\t"}
LINES = (".jsonl", ".ndjson")
ARROW = (".parquet", ".arrow", ".feather")
READS = (*DELIMITED, *LINES, ".json", *ARROW)
UTF16 = (b"\xff\xfe", b"\xfe\xff")


class Table:
    """Columns of cells. `Table.read` makes one; `folder` is what paths in cells are relative to."""

    def __init__(
        self, name: str, folder: Path, data: Mapping[str, list[Any]], numbers: Sequence[int]
    ) -> None:
        self.name, self.folder, self._data, self._numbers = name, folder, dict(data), numbers

    @classmethod
    def read(cls, source: Any, folder: Path | str | None = None) -> "Table":
        """A table from a path (CSV, TSV, JSONL, JSON, Parquet, Arrow), a pandas or polars DataFrame, a list of dicts, a
        dict of columns, or another Table, which is returned as it is.

        folder: what paths in cells are relative to [default: the file's folder, else the working folder].
        Raises InputError for a source that can't be read as a table, saying where and what to do.
        """
        if isinstance(source, Table):
            return source
        parts = list(_parts(source, None, folder))
        if not parts:
            name = Path(source).name if isinstance(source, str | Path) else "the table"
            raise InputError(f"{name} has no rows: it holds column names, or nothing at all; add some rows")
        return parts[0]

    @property
    def columns(self) -> list[str]:
        """Names of the columns, in order."""
        return list(self._data)

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self._numbers)

    def cells(self, column: str) -> list[Any]:
        """The cells of a column, one a row. Raises InputError, offering the nearest name, where there is none."""
        if column not in self._data:
            raise InputError(f"{self.name} {unknown('column', column, self.columns)}")
        return self._data[column]

    def row_number(self, row: int) -> int:
        """The number of the row in its source: 1 is the first below the header."""
        return self._numbers[row]

    def take(self, rows: Sequence[int]) -> "Table":
        """These rows, in this order."""
        data = {c: [cells[r] for r in rows] for c, cells in self._data.items()}
        return Table(self.name, self.folder, data, [self._numbers[r] for r in rows])

    def frame(self) -> Any:
        """A new pandas DataFrame of the same cells."""
        import pandas as pd

        return pd.DataFrame({c: pd.Series(cells, dtype=object) for c, cells in self._data.items()})

    def __repr__(self) -> str:
        return f"<Table {self.name}: {self.rows:,} rows of {', '.join(self.columns)}>"


def chunks(source: Any, rows: int = 1024, folder: Path | str | None = None) -> Iterator[Table]:
    """The table by parts of `rows` rows. Files are streamed, so that memory does not grow with them."""
    if isinstance(source, Table):
        for start in range(0, source.rows, rows):
            yield source.take(range(start, min(start + rows, source.rows)))
        return
    some = False
    for part in _parts(source, rows, folder):
        some = True
        yield part
    if not some:
        Table.read(source, folder)  # raises


def resolve(cell: Any, folder: Path) -> Any:
    """A text cell as a path below `folder`; any other cell as it is."""
    if not isinstance(cell, str):
        return cell
    path = Path(cell.strip())
    return path.expanduser() if cell.startswith("~") else folder / path


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """'has no column 'stras'; did you mean 'stars'? It has: ...'."""
    known = list(known)
    near = difflib.get_close_matches(str(name), known, 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"has no {what} {name!r}; {hint}It has: {', '.join(known)}"


def _parts(source: Any, rows: int | None, folder: Path | str | None) -> Iterator[Table]:
    """The source as tables of at most `rows` rows, or one of all."""
    if isinstance(source, str | Path):
        path = _existing(Path(source).expanduser())
        name, home = path.name, Path(folder) if folder is not None else path.parent
        records = _records(path)
    else:
        name, home = "the table", Path(folder) if folder is not None else Path()
        records = _objects(source)
    number = 1
    header = next(records)
    _check_header(name, header)
    while part := list(islice(records, rows)):
        data = {c: [_cell(row[i]) for row in part] for i, c in enumerate(header)}
        yield Table(name, home, data, range(number, number + len(part)))
        number += len(part)


def _records(path: Path) -> Iterator[list[Any]]:
    """The header, then each row as a list of its cells."""
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    suffix = suffix.lower()
    if suffix in DELIMITED:
        return _delimited(path, DELIMITED[suffix])
    if suffix in LINES:
        return _from_dicts(path.name, _lines(path))
    if suffix == ".json":
        return _from_dicts(path.name, _json(path))
    if suffix in ARROW:
        return _arrow(path, suffix)
    raise InputError(f"{path}: tables are read from {', '.join(READS)}, but this ends in {path.suffix!r}")


def _existing(path: Path) -> Path:
    if path.is_dir():
        found = sorted(p.name for p in path.iterdir() if p.suffix in READS)[:5]
        inside = f"; it holds {', '.join(found)}" if found else ""
        raise InputError(f"{path} is a folder, not a table{inside}")
    if not path.exists():
        beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, beside, 1)
        hint = f"did you mean {near[0]}?" if near else "check the path"
        raise InputError(f"no such table: {path}; {hint}")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes); a table has a line of column names, then rows")
    return path


def _text(path: Path) -> Iterator[str]:
    """Lines of a text file, UTF-8 (or UTF-16 with its mark), line ends kept."""
    import gzip

    open_ = gzip.open if path.suffix == ".gz" else open
    with open_(path, "rb") as f:
        encoding = "utf-16" if f.read(2) in UTF16 else "utf-8-sig"
    with open_(path, "rt", encoding=encoding, newline="") as f:
        try:
            yield from f
        except UnicodeDecodeError as e:
            raise InputError(
                f"{path.name} is not {encoding.removesuffix('-sig').upper()} text: byte {e.object[e.start]:#04x} "
                f"can't be decoded ({e.reason}). Save it again as UTF-8, for example with "
                f"iconv -f latin1 -t utf-8 {path.name}"
            ) from None
        except (OSError, EOFError) as e:
            raise InputError(f"{path.name} can't be read: {e}") from None


def _delimited(path: Path, delimiter: str) -> Iterator[list[Any]]:
    csv.field_size_limit(2**31 - 1)  # a cell may hold a whole document
    reader = csv.reader(_text(path), delimiter=delimiter)
    header: list[str] | None = None
    try:
        for row in reader:
            if not row:
                continue  # an empty line
            if header is None:
                header = row
            elif len(row) != len(header):
                raise InputError(
                    f"{path.name}, line {reader.line_num}: {len(row)} cells where the header has {len(header)}; quote a "
                    f"cell that holds {delimiter!r} or a line break"
                )
            yield row
    except csv.Error as e:
        raise InputError(f"{path.name}, line {reader.line_num}: {e}") from None
    if header is None:
        raise InputError(f"{path.name} is empty: it has no line of column names")


def _lines(path: Path) -> Iterator[Any]:
    for number, line in enumerate(_text(path), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as e:
            raise InputError(
                f"{path.name}, line {number}: not JSON ({e}); expected one object a line"
            ) from None
        if not isinstance(record, dict):
            raise InputError(
                f"{path.name}, line {number}: {type(record).__name__} where an object is expected"
            )
        yield record


def _json(path: Path) -> list[Any]:
    try:
        records = json.loads("".join(_text(path)))
    except json.JSONDecodeError as e:
        raise InputError(f"{path.name} is not JSON: {e}; for one object a line use .jsonl") from None
    if not isinstance(records, list) or not all(isinstance(r, dict) for r in records):
        raise InputError(f"{path.name}: expected a list of objects, one a row")
    return records


def _arrow(path: Path, suffix: str) -> Iterator[list[Any]]:
    try:
        import pyarrow as pa
        import pyarrow.feather
        import pyarrow.parquet as pq
    except ImportError as e:
        raise ImportError(f"reading {suffix} needs pyarrow: pip install 'polymodal[table]'") from e
    try:
        if suffix == ".parquet":
            file = pq.ParquetFile(path)
            batches, names = file.iter_batches(1024), file.schema_arrow.names
        else:
            table = pyarrow.feather.read_table(path)
            batches, names = table.to_batches(1024), table.column_names
        yield list(names)
        for batch in batches:
            yield from (list(row) for row in zip(*(c.to_pylist() for c in batch.columns), strict=True))
    except (pa.ArrowException, OSError) as e:
        raise InputError(f"{path.name} can't be read as {suffix[1:]}: {e}") from None


def _objects(source: Any) -> Iterator[list[Any]]:
    """A DataFrame, a list of dicts or a dict of columns as a header and rows."""
    if hasattr(source, "collect") and hasattr(source, "lazy"):  # polars, lazy
        source = source.collect()
    if hasattr(source, "iter_rows") and hasattr(source, "columns"):  # polars
        return iter([list(map(str, source.columns)), *(list(r) for r in source.iter_rows())])
    if hasattr(source, "itertuples") and hasattr(source, "columns"):  # pandas
        rows = (
            list(r) for r in zip(*(source.iloc[:, i].tolist() for i in range(source.shape[1])), strict=True)
        )
        return iter([list(map(str, source.columns)), *rows])
    if isinstance(source, Mapping):
        lengths = {c: len(v) for c, v in source.items()}
        if len(set(lengths.values())) > 1:
            raise InputError(f"the table's columns differ in length: {lengths}")
        return iter([list(map(str, source)), *(list(r) for r in zip(*source.values(), strict=True))])
    if isinstance(source, Sequence) and all(isinstance(r, Mapping) for r in source):
        return _from_dicts("the table", source)
    raise InputError(
        f"a table can't be made of {type(source).__name__}; give a path, a DataFrame, a list of dicts or a dict of columns"
    )


def _from_dicts(name: str, records: Iterable[Mapping[str, Any]]) -> Iterator[list[Any]]:
    """Columns are all those that any row has, in order of appearance; for a stream, those of its first 1,000 rows."""
    rows = iter(records)
    first = list(islice(rows, 1000))
    header = list(dict.fromkeys(str(k) for r in first for k in r))
    if not header:
        raise InputError(f"{name} is empty: it has no rows")
    yield header
    known = set(header)
    for i, record in enumerate(first):
        yield [record.get(c) for c in header]
    for i, record in enumerate(rows, len(first) + 1):
        if late := record.keys() - known:
            raise InputError(
                f"{name}, row {i}: column {min(late)!r} is not in the first 1,000 rows; give it there too (null will do)"
            )
        yield [record.get(c) for c in header]


def _check_header(name: str, header: Sequence[str]) -> None:
    twice = [c for c in dict.fromkeys(header) if list(header).count(c) > 1]
    if twice:
        raise InputError(
            f"{name}: the column name {twice[0]!r} stands there more than once; rename one of them"
        )


def _cell(x: Any) -> Any:
    """None for what is missing; numpy scalars as Python's own."""
    if x is None:
        return None
    if isinstance(x, str):
        return None if x in MISSING or x.isspace() else x
    if getattr(x, "shape", None) == () and hasattr(x, "item"):
        x = x.item()
    if isinstance(x, float):
        return None if x != x else x
    if type(x).__name__ in ("NAType", "NaTType"):  # pandas.NA, pandas.NaT
        return None
    return x
