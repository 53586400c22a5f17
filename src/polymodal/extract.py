"""`polymodal features`: classical features of a table as a table of numbers, with names that a person understands."""

import inspect
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from polymodal.data.encode import Bad
from polymodal.data.preprocess import Preprocessor, records_of
from polymodal.data.schema import Schema
from polymodal.data.table import Table
from polymodal.errors import InputError
from polymodal.modalities import MODALITIES
from polymodal.modalities.extractor import Extractor
from polymodal.modalities.features import Features
from polymodal.progress import silent
from polymodal.saving import put, replace_path

if TYPE_CHECKING:
    import pandas as pd

MOST = 1000  # columns of sparse features: of words and n-grams, those that most rows hold


class Extracted(NamedTuple):
    """A table of features. frame: the columns that were numbers or labels already, then the features.

    counts: by "column: extractor", how many features. left_out: likewise, how many were too rare to be kept.
    """

    frame: "pd.DataFrame"
    counts: dict[str, int]
    left_out: dict[str, int]
    bad: list[Bad]


def features(
    table: Any,
    *,
    learn: Any = None,
    select: Mapping[str, str] | None = None,
    kinds: Mapping[str, str] | None = None,
    ignore: Sequence[str] = (),
    cache: Path | None = None,
    progress: bool | None = None,
) -> Extracted:
    """Classical features of each text, image, audio and series column of a table, one row a row, in order.

    learn: the table that vocabularies and code books are learned from, if not this one. select: by column, the names of
    extractors, with commas between. Other columns are kept as they are. Where a cell is missing or can't be read, its
    features are NaN. Raises InputError for unknown columns and names, and a table without any such column.
    """
    import pandas as pd

    table = Table.read(table)
    source = table if learn is None else Table.read(learn)
    schema = Schema.infer(source, None, None, kinds, ignore)
    selection = _select(schema, select or {})
    if not selection:
        kinds_with = ", ".join(k for k, m in MODALITIES.items() if m.extractors and not m.columns)
        columns = ", ".join(f"{c.name} ({c.kind})" for c in schema.columns.values())
        raise InputError(
            f"{source.name} has no column of {kinds_with} to extract features from; it has: {columns}. Say "
            "what a column holds with --modality COLUMN=KIND"
        )
    codecs = {f"{c}: {n}": Features(e) for c, by_name in selection.items() for n, e in by_name.items()}
    views = {f"{c}: {n}": c for c, by_name in selection.items() for n in by_name}
    prep = Preprocessor(schema, codecs, views)
    quiet = silent(progress)
    rows = prep.encode(table, None, cache=cache, quiet=quiet)
    source_rows = rows if learn is None else prep.encode(source, None, cache=cache, quiet=quiet)
    rest = {c: [*map(_whole, table.cells(c))] for c in table.columns if c not in selection and c not in ignore}
    parts, counts, left_out = [pd.DataFrame(rest)], {}, {}
    for view, codec in codecs.items():
        part, left_out[view] = _frame(
            codec.extractor, records_of(source_rows, view), records_of(rows, view), views[view]
        )
        counts[view] = part.shape[1]
        parts.append(part)
    return Extracted(pd.concat(parts, axis=1), counts, {k: n for k, n in left_out.items() if n}, list(rows.bad))


def write(frame: "pd.DataFrame", path: Path) -> None:
    """Write Parquet, CSV or TSV, by the end of the name; put in place only when it is whole."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        if path.suffix == ".parquet":
            frame.apply(_of_one_type).to_parquet(temporary, index=False)
        elif path.suffix in (".csv", ".tsv"):
            frame.to_csv(temporary, index=False, sep="\t" if path.suffix == ".tsv" else ",")
        else:
            raise InputError(f"--out {path} ends in {path.suffix or 'nothing'!r}; expected .parquet, .csv or .tsv")
        temporary.replace(path)
    except OSError as e:
        raise InputError(f"{path} can't be written: {e.strerror or e}") from None
    except ImportError:
        raise ImportError("writing .parquet needs pyarrow: pip install polymodal[table]; or write a .csv") from None
    finally:
        temporary.unlink(missing_ok=True)


def _of_one_type(column: "pd.Series") -> "pd.Series":
    """Parquet knows one type a column: cells of several, such as numbers and words, are written as CSV has them."""
    types = {type(x) for x in column.dropna()} if column.dtype == object else set()
    return column.map(str, na_action="ignore") if len(types) > 1 and not types <= {int, float} else column


def _whole(cell: Any) -> Any:
    """A text without halves of characters (lone surrogates), which pandas and files can't hold."""
    return cell.encode("utf-8", "replace").decode() if isinstance(cell, str) else cell


def _select(schema: Schema, select: Mapping[str, str]) -> dict[str, dict[str, Extractor]]:
    """The extractors of each column, by their names."""
    kinds = {c.name: c.kind for c in schema.columns.values() if c.kind in MODALITIES and MODALITIES[c.kind].extractors}
    for column in select:
        if column not in kinds:
            raise InputError(f"{column!r} is no column with features; there are: {', '.join(kinds) or 'none'}")
    out: dict[str, dict[str, Extractor]] = {}
    for column, kind in kinds.items():
        names = select[column].split(",") if column in select else MODALITIES[kind].default_extractors
        out[column] = {n: make(kind, n) for n in names}
    return out


def make(kind: str, name: str) -> Extractor:
    """The extractor of this name; "wordvectors:FILE" reads vectors from a file. Raises InputError for another name."""
    name, colon, path = name.partition(":")
    parameters = MODALITIES[kind].extractors
    if name not in parameters:
        raise InputError(f"no features {name!r} of {kind}; there are: {', '.join(parameters)}")
    needs = "path" in inspect.signature(parameters[name]).parameters
    if needs != bool(colon):
        form = f"{name}:FILE" if needs else name
        raise InputError(f"features {name + colon + path!r} of {kind} are written {form}")
    return parameters[name](path) if needs else parameters[name]()  # type: ignore[call-arg]


def _frame(extractor: Extractor, learn: Sequence[Any], rows: Sequence[Any], column: str) -> "tuple[pd.DataFrame, int]":
    """The features of one column by one extractor, and how many were left out."""
    import pandas as pd

    x: Any = extractor.learn(learn).vectors(rows)
    names = extractor.names()
    left_out = 0
    if sparse.issparse(x):
        frequent = np.argsort(-x.getnnz(axis=0), kind="stable")[:MOST]
        keep, left_out = np.sort(frequent), max(0, x.shape[1] - MOST)
        absent = np.array([r is None for r in rows])
        x, names = x[:, keep].toarray(), [names[i] for i in keep]
        x[absent] = np.nan
    return pd.DataFrame(np.asarray(x), columns=[f"{column}.{n}" for n in names]), left_out


def write_points(points: NDArray[np.float32], path: Path) -> None:
    """(N, D) as a NumPy file (.npy), or as a table with a column a dimension, as `write` writes it.

    Raises InputError where the file can't be written.
    """
    import pandas as pd

    if path.suffix != ".npy":
        write(pd.DataFrame(points, columns=[str(i) for i in range(points.shape[1])]), path)
        return
    replace_path(path)
    file = io.BytesIO()
    np.save(file, points)
    put(path, file.getvalue())
