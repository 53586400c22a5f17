"""Which reader a table file needs, and what is wrong with a path that is none."""

import difflib
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from polymodal.data.readers import (
    Part,
    read_arrow,
    read_csv,
    read_json,
    read_jsonl,
    read_parquet,
    read_tsv,
)
from polymodal.errors import InputError
from polymodal.modalities.files import ELSEWHERE, address, is_address

READERS: dict[str, Callable[[Path, int | None], Iterator[Part]]] = {
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_json,
    ".parquet": read_parquet,
    ".arrow": read_arrow,
    ".feather": read_arrow,
}
TEXTS = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")

OTHERS = {  # formats that people have, and the way out
    (".xlsx", ".xls", ".ods"): "save the sheet as CSV (UTF-8)",
    (".pkl", ".pickle"): "a pickle can run any program; save it with DataFrame.to_parquet",
    (".txt", ".dat"): "if its columns are parted by commas or tabs, rename it to .csv or .tsv",
}


def parts(path: Path, rows: int | None = None) -> Iterator[Part]:
    """Columns, `rows` rows at a time (all at once where it is None): at least one part, none empty.

    Raises InputError, saying what was seen, where, and the way out, for a file that isn't such a table.
    """
    check(path)
    reader = READERS[suffix(path)]
    count = 0
    try:
        for part in reader(path, rows):
            if rows_here := max(map(len, part.values()), default=0):
                count += rows_here
                yield part
    except OSError as e:
        raise InputError(f"{path} can't be read: {e.strerror or e}") from e
    except (EOFError, zlib.error) as e:
        raise InputError(f"{path} is damaged or cut off: {e}") from e
    if count == 0:
        raise InputError(f"{path} has columns but no rows; a table needs at least one row below its header")


def suffix(path: Path) -> str:
    """The key of `READERS` for a file's name; raises InputError where there is none."""
    names = [s.lower() for s in path.suffixes]
    last = names[-2] if names[-1:] == [".gz"] and len(names) > 1 else names[-1] if names else ""
    if last in READERS and (names[-1] != ".gz" or last in TEXTS):
        return last
    suffixes = f"expected one of {', '.join(READERS)} (or {', '.join(f'{t}.gz' for t in TEXTS)})"
    for others, way in OTHERS.items():
        if last in others:
            raise InputError(f"{path} is a {last} file, which polymodal does not read: {way}; {suffixes}")
    raise InputError(f"{path} has the extension {last!r}; {suffixes}")


def check(path: Path) -> None:
    """Raises InputError for a path that is no file, or an empty one; offers close names in that folder."""
    if is_address(path):
        raise InputError(f"the table {address(path)} {ELSEWHERE}")
    try:
        there, folder, size = path.exists(), path.is_dir(), path.stat().st_size if path.is_file() else 0
    except (OSError, ValueError) as e:  # a name too long, no permission, a NUL in the name
        raise InputError(f"the table {str(path)[:200]!r} can't be read: {e}") from e
    if folder:
        raise InputError(f"{path} is a folder, expected a table file{_offer(tables(path))}")
    if not there:
        raise InputError(f"no such table: {path}{_near(path)}")
    if size == 0 and path.is_file():
        raise InputError(f"{path} is empty (0 bytes); a table needs a header and at least one row")


def tables(folder: Path) -> list[str]:
    """Names of the files in a folder that could be tables."""
    try:
        return sorted(p.name for p in folder.iterdir() if p.suffix.lower() in READERS or p.suffix == ".gz")
    except OSError:
        return []


def _offer(names: Sequence[str]) -> str:
    return f"; it holds {', '.join(names[:5])}" if names else ""


def _near(path: Path) -> str:
    if not path.parent.is_dir():
        return f"; the folder {path.parent} does not exist"
    names = tables(path.parent)
    close = difflib.get_close_matches(path.name, names, 1)
    if not close:  # right but for the extension
        close = [n for n in names if n.split(".")[0].lower() == path.name.split(".")[0].lower()]
    if close:
        return f"; did you mean {str(path.with_name(close[0]))!r}?"
    return f"; {path.parent} holds {', '.join(names[:5])}" if names else ""
