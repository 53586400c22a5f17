"""One reader for each format of table file: a generator of parts {column: cells}.

All parts of a file have the same columns, in the same order. CSV cells stay strings, "007" too, and pandas'
words for a missing value are None; the other formats keep objects.
"""

import csv
import gzip
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from polymodal.errors import InputError
from polymodal.levels import Level

Part = dict[str, list[Any]]
# what pandas.read_csv takes for a missing value
MISSING = frozenset(
    "#N/A|#N/A N/A|#NA|-1.#IND|-1.#QNAN|-NaN|-nan|1.#IND|1.#QNAN|<NA>|N/A|NA|NULL|NaN|None|n/a|nan|null|".split("|")
)
BOMS = {
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}


def unique(names: Sequence[str], name: object) -> list[str]:
    """The columns' names, if no two are the same; else InputError names those that are."""
    for column, times in Counter(names).items():
        if times > 1:
            where = ", ".join(str(i + 1) for i, n in enumerate(names) if n == column)
            raise InputError(
                f"{name} has {times} columns named {column!r} (numbers {where}); rename all but one, or add a header "
                "line if the file has none"
            )
    return list(names)


# --- text ---------------------------------------------------------------------------------------------


@contextmanager
def text(path: Path) -> Iterator[TextIO]:
    """The file as text: UTF-8, or what its byte order mark says; a wrong byte is an InputError that says where."""
    opener: Any = gzip.open if path.suffix.lower() == ".gz" else Path.open
    with opener(path, "rb") as f:
        start = f.read(4)
    encoding = next((e for bom, e in BOMS.items() if start.startswith(bom)), "utf-8")
    try:
        with opener(path, "rt", encoding=encoding, newline="") as f:
            yield f
    except UnicodeDecodeError as e:
        if encoding == "utf-8":
            with opener(path, "rb") as f:
                where = _bad_byte(f)
        else:
            where = str(e.reason)
        raise InputError(
            f"{path} is not {encoding.upper()}: {where}. Save it as UTF-8 (in a spreadsheet: 'CSV UTF-8'), or convert "
            f"it: iconv -f WINDOWS-1252 -t UTF-8 {path.name} > utf8.csv"
        ) from e
    except UnicodeError as e:
        raise InputError(f"{path} is not {encoding.upper()}, as its first bytes say: {e}; save it as UTF-8") from e


def _bad_byte(lines: Iterable[bytes]) -> str:
    offset = 0
    for number, line in enumerate(lines, 1):
        try:
            line.decode()
        except UnicodeDecodeError as e:
            return f"byte 0x{line[e.start]:02x} at offset {offset + e.start} (line {number}) is none of its characters"
        offset += len(line)
    return "it ends in the middle of a character"


class _Lines:
    """The lines of a text, counted; `over` once the reader asked for more than there are."""

    def __init__(self, lines: TextIO, path: Path) -> None:
        self.lines, self.path, self.count, self.over = lines, path, 0, False

    def __iter__(self) -> Iterator[str]:
        for line in self.lines:
            self.count += 1
            if "\0" in line:
                raise InputError(
                    f"{self.path}, line {self.count}: holds a NUL byte, so the file is damaged, or UTF-16 without a "
                    "byte order mark, or no text at all; save it as UTF-8"
                )
            yield line
        self.over = True


def read_csv(path: Path, rows: int | None) -> Iterator[Part]:
    """Comma-separated (or, where the header says so: semicolons, tabs or bars)."""
    yield from _delimited(path, rows, None)


def read_tsv(path: Path, rows: int | None) -> Iterator[Part]:
    """Tab-separated."""
    yield from _delimited(path, rows, "\t")


def _delimited(path: Path, rows: int | None, delimiter: str | None) -> Iterator[Part]:
    csv.field_size_limit(2**31 - 1)  # a text may have any length
    with text(path) as f:
        lines = _Lines(f, path)
        todo = iter(lines)
        head = next((line for line in todo if line.strip()), None)
        if head is not None and head.lower().startswith("sep=") and len(head.strip()) == 5:  # a habit of Excel
            delimiter, head = head.strip()[-1], next(todo, None)
        if head is None:
            raise InputError(f"{path} is empty; a table needs a header and at least one row")
        records = csv.reader(_chain(head, todo), delimiter=delimiter or _delimiter(head))
        names = next(records)
        # "id, text": the blank belongs to the separator, and a quote may follow it
        padding = len(names) > 1 and all(n.startswith(" ") for n in names[1:])
        if padding:
            records = csv.reader(todo, delimiter=delimiter or _delimiter(head), skipinitialspace=True)
        columns = unique([n.strip() or f"Unnamed: {i}" for i, n in enumerate(names)], path)
        complete = _complete(records, lines, columns, path)
        while part := list(islice(complete, rows)):
            yield {c: [_csv_cell(x) for x in cells] for c, cells in zip(columns, zip(*part, strict=True), strict=True)}


def _chain(head: str, rest: Iterator[str]) -> Iterator[str]:
    yield head
    yield from rest


def _delimiter(head: str) -> str:
    """The comma, unless the header has none outside quotes, but another separator."""
    counts = {d: len(next(csv.reader([head], delimiter=d))) for d in (",", ";", "\t", "|")}
    return "," if counts[","] > 1 else max(counts, key=lambda d: counts[d])


def _complete(records: Iterator[list[str]], lines: _Lines, columns: Sequence[str], path: Path) -> Iterator[list[str]]:
    """The records that hold something, each with one cell a column; else InputError names the line."""
    while True:
        line = lines.count + 1
        try:
            record = next(records)
        except StopIteration:
            return
        except csv.Error as e:
            raise InputError(f"{path}, line {line}: {e}; mend or quote that cell") from e
        if not record or (len(columns) > 1 and len(record) == 1 and not record[0].strip()):
            continue
        if lines.over:
            raise InputError(
                f"{path}, line {line}: a quotation mark is opened and never closed; close it, or double it if it is "
                "part of the text"
            )
        if len(record) != len(columns):
            raise InputError(
                f"{path}, line {line}: {len(record)} cells, but the header names {len(columns)} columns; put quotes "
                "around cells that hold the separator or a line break"
            )
        yield record


def _csv_cell(x: str) -> str | None:
    return None if x in MISSING or x.isspace() else x


def read_jsonl(path: Path, rows: int | None) -> Iterator[Part]:
    """One JSON object a line; a key that a line lacks is missing there."""
    columns: dict[str, None] = {}
    if rows is not None:  # each part must have every column, also one that first occurs in the last line
        for record in _objects(path):
            columns.update(dict.fromkeys(record))
    todo = _objects(path)
    while part := list(islice(todo, rows)):
        if rows is None:
            columns = dict.fromkeys(k for record in part for k in record)
        yield {c: [record.get(c) for record in part] for c in columns}


def _objects(path: Path) -> Iterator[dict[str, Any]]:
    with text(path) as f:
        for number, line in enumerate(f, 1):
            if line.isspace():
                continue
            yield _object(_parse(line, f"{path}, line {number}"), f"{path}, line {number}")


def _parse(source: str, where: str) -> Any:
    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        unique([k for k, _ in items], where)
        return dict(items)

    try:
        return json.loads(source, object_pairs_hook=pairs)
    except InputError:
        raise
    except json.JSONDecodeError as e:
        at = f"line {e.lineno}, column {e.colno}" if e.lineno > 1 else f"column {e.colno}"
        raise InputError(f"{where}: not JSON ({e.msg}, {at})") from e
    except (ValueError, RecursionError) as e:
        raise InputError(f"{where}: JSON that can't be read: {e}") from e


def _object(x: Any, where: str) -> dict[str, Any]:
    if not isinstance(x, dict):
        raise InputError(f'{where}: a {type(x).__name__}, expected an object such as {{"column": "cell"}}')
    return x


def read_json(path: Path, rows: int | None) -> Iterator[Part]:
    """A list of objects, or an object of lists. Read at once: only JSON lines can be read by parts."""
    with text(path) as f:
        source = f.read()
    try:
        form = _parse(source, str(path))
    except InputError as e:
        if len(source.splitlines()) > 1 and source.lstrip().startswith("{"):
            raise InputError(f"{e}; if each line is an object, rename the file to .jsonl") from e
        raise
    if isinstance(form, dict) and form and all(isinstance(v, list) for v in form.values()):
        if len({len(v) for v in form.values()}) > 1:
            lengths = ", ".join(f"{k}: {len(v)}" for k, v in form.items())
            raise InputError(f"{path}: its columns have unequal lengths ({lengths})")
        whole: Part = form
    elif isinstance(form, list):
        records = [_object(x, f"{path}, item {i}") for i, x in enumerate(form, 1)]
        whole = {c: [r.get(c) for r in records] for c in dict.fromkeys(k for r in records for k in r)}
    else:
        raise InputError(f'{path}: expected a list of objects, one a row: [{{"column": "cell"}}, ...]')
    yield from slices(whole, rows)


def slices(whole: Part, rows: int | None) -> Iterator[Part]:
    """A table in memory, by parts."""
    count = len(next(iter(whole.values()), ()))
    for start in range(0, count, rows or max(count, 1)):
        yield {c: v[start : start + (rows or count)] for c, v in whole.items()}


# --- Arrow --------------------------------------------------------------------------------------------


def read_parquet(path: Path, rows: int | None) -> Iterator[Part]:
    """Parquet, by row groups."""
    arrow = packages(f"reading {path.name}")
    try:
        file = arrow.parquet.ParquetFile(path)
        unique(file.schema_arrow.names, path)
        yield from _batches(file.iter_batches(batch_size=rows or 65_536), rows)
    except arrow.ArrowException as e:
        raise InputError(f"{path} can't be read as Parquet: {e}") from e


def read_arrow(path: Path, rows: int | None) -> Iterator[Part]:
    """Arrow IPC: a file (Feather) or a stream."""
    arrow = packages(f"reading {path.name}")
    try:
        with arrow.memory_map(str(path)) as source:
            try:
                file = arrow.ipc.open_file(source)
                batches: Iterable[Any] = (file.get_batch(i) for i in range(file.num_record_batches))
            except arrow.ArrowInvalid:
                source.seek(0)
                batches = file = arrow.ipc.open_stream(source)
            unique(file.schema.names, path)
            yield from _batches(batches, rows)
    except arrow.ArrowException as e:
        raise InputError(f"{path} can't be read as an Arrow file: {e}") from e


def packages(what: str) -> Any:
    """The package, or an ImportError that says how to get it."""
    try:
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError as e:
        raise ImportError(f"{what} needs pyarrow: pip install polymodal[table]") from e
    return pyarrow


def _batches(batches: Iterable[Any], rows: int | None) -> Iterator[Part]:
    if rows is None:
        whole: Part = {}
        for batch in batches:
            for c, cells in arrow_part(batch).items():
                whole.setdefault(c, []).extend(cells)
        yield whole
        return
    for batch in batches:
        for start in range(0, batch.num_rows, rows):
            yield arrow_part(batch.slice(start, rows))


def arrow_part(batch: Any) -> Part:
    """Columns of an Arrow table or record batch; a list of numbers becomes an array, which takes less room."""
    arrow = packages("an Arrow table")

    def cells(column: Any) -> list[Any]:
        kind, is_a = column.type, arrow.types
        if is_a.is_dictionary(kind) and kind.ordered:
            each = column.combine_chunks() if hasattr(column, "combine_chunks") else column
            levels = Level.each(each.dictionary.to_pylist())
            return [None if i is None else levels[i] for i in each.indices.to_pylist()]
        if (is_a.is_list(kind) or is_a.is_large_list(kind) or is_a.is_fixed_size_list(kind)) and (
            is_a.is_integer(kind.value_type) or is_a.is_floating(kind.value_type)
        ):
            return [x.values.to_numpy(zero_copy_only=False) if x.is_valid else None for x in column]
        whole: list[Any] = column.to_pylist()
        return whole

    return {str(c): cells(batch.column(i)) for i, c in enumerate(batch.schema.names)}
