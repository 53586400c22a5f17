"""What each column of a table is, how sure that is, and why: guessed, readable, and overruled with one word."""

import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np

from polymodal.data.table import Table, content, resolve, unknown
from polymodal.errors import InputError
from polymodal.modalities import MODALITIES, NOT_YET, column_kinds, of_column
from polymodal.modalities.base import Guess
from polymodal.modalities.files import is_address
from polymodal.modalities.tabular.codes import count_nothing, have_check_digits
from polymodal.modalities.tabular.columns import CATEGORY, NUMBER, whole
from polymodal.view.text import some

SAMPLE = 200  # cells that a guess is made from
LISTS = 0.9  # how sure it is at least that cells are lists, of which most may differ
PATH = 1024  # characters of a path
ROLES = ("id", "target", "group", "weight", "ignored")  # of columns that nothing is learned from
ID_NAMES = ("id", "uuid", "guid", "index", "idx", "key", "row", "identifier", "uid")


class Column(NamedTuple):
    """One column: its kind (of `column_kinds()`, or one of ROLES), how sure that is (0 to 1), and why, for a person."""

    name: str
    kind: str
    confidence: float
    reason: str


class Schema(NamedTuple):
    """Columns by name, in the table's order; the target columns; the columns of groups and of weights, if any."""

    columns: dict[str, Column]
    target: list[str]
    group: str | None = None
    weight: str | None = None

    @classmethod
    def infer(
        cls,
        table: Table,
        target: str | Sequence[str] | None = None,
        group: str | None = None,
        kinds: Mapping[str, str] | None = None,
        ignore: Sequence[str] = (),
        weight: str | None = None,
    ) -> "Schema":
        """Guess each column's kind from a sample of its cells.

        Every codec is asked whether the column is its own, and the surest wins. kinds: by column, what it is,
        whatever the cells say. Raises InputError for names that are not there.
        """
        targets = [target] if isinstance(target, str) else list(dict.fromkeys(target or ()))
        kinds, ignore = dict(kinds or {}), [ignore] if isinstance(ignore, str) else ignore
        if weight is not None and not isinstance(weight, str):
            raise InputError(
                f"--weight can't be a {type(weight).__name__}; put the weights in a column of the table, and name it"
            )
        for name in [*targets, *(x for x in (group, weight) if x is not None), *kinds, *ignore]:
            if name not in table.columns:
                raise InputError(f"{table.name} {unknown('column', name, table.columns)}")
        for name, kind in kinds.items():
            if kind not in (*column_kinds(), "id"):
                names = ", ".join(column_kinds())
                raise InputError(f"column {name!r} can't be of kind {kind!r}; the kinds are {names}, id")
        for name in targets:
            if name in ignore or name == group or name in kinds:
                raise InputError(f"{name!r} is the target; it can't be ignored, the group, or of another kind too")
        if weight is not None and weight in (*targets, *ignore, group, *kinds):
            raise InputError(f"{weight!r} says how much rows count; it can't be something else too")
        explicit = {c: ("ignored", "left out by you") for c in ignore}
        explicit |= {c: (k, "set by you") for c, k in kinds.items()}
        explicit |= {group: ("group", "rows of one group stay together")} if group is not None else {}
        explicit |= {weight: ("weight", "how much each row counts")} if weight is not None else {}
        explicit |= {t: ("target", "what is predicted") for t in targets}
        columns = {
            c: Column(c, explicit[c][0], 1.0, explicit[c][1]) if c in explicit else _guess(table, c)
            for c in table.columns
        }
        return cls(columns, targets, group, weight)

    def __repr__(self) -> str:
        return f"<Schema {some(f'{c.name} ({c.kind})' for c in self.columns.values())}>"

    def check(self, name: str) -> None:
        """Raises InputError where the table of this name has nothing to learn from."""
        if not self.modalities():
            all_columns = (c for c in self.columns.values() if c.kind != "target")
            others = "; ".join(f"{c.name}: {c.kind} ({c.reason})" for c in all_columns)
            goal = ", ".join(self.target)
            if not others:
                raise InputError(f"{name} has no column but {goal}; add columns to predict it from")
            raise InputError(
                f"{name} has no column to predict {goal} from. {others}. Say what a column holds with "
                "--modality=COLUMN=KIND"
            )

    def modalities(self) -> dict[str, tuple[str, list[str]]]:
        """Each modality's kind and columns, by its name.

        A column of text, image, audio, series or vectors is a modality named by the column; numbers, categories,
        booleans and dates together are one, named "table".
        """
        out = {c.name: (c.kind, [c.name]) for c in self.columns.values() if c.kind in MODALITIES}
        for m in MODALITIES.values():
            if together := [c.name for c in self.columns.values() if c.kind in m.columns]:
                name = m.name
                while name in self.columns:
                    name += "_"
                out[name] = (m.kind, together)
        return out

    def cells(self, table: Table, modality: str, files: bool) -> list[Any]:
        """The cells of a modality, one a row: of several columns mappings, strings as paths where they are `files`."""
        kind, columns = self.modalities()[modality]
        if MODALITIES[kind].columns:
            columns_cells = [table.cells(c) for c in columns]
            return [dict(zip(columns, row, strict=True)) for row in zip(*columns_cells, strict=True)]
        cells = table.cells(columns[0])
        return [resolve(c, table.folder) for c in cells] if files else cells

    def to_json(self) -> dict[str, Any]:
        """Plain containers, for a person to read and edit."""
        columns = {
            c.name: {"kind": c.kind, "confidence": round(c.confidence, 3), "reason": c.reason}
            for c in self.columns.values()
        }
        return {"target": self.target, "group": self.group, "weight": self.weight, "columns": columns}

    @classmethod
    def from_json(cls, form: Mapping[str, Any]) -> "Schema":
        """What `to_json` wrote. Raises InputError where something is missing or of another type."""
        try:
            columns = {
                name: Column(name, c["kind"], float(c["confidence"]), str(c["reason"]))
                for name, c in form["columns"].items()
            }
            schema = cls(columns, [str(t) for t in form["target"]], form["group"], form.get("weight"))
        except (KeyError, TypeError, ValueError, AttributeError) as e:
            raise InputError(f"the schema can't be read ({type(e).__name__}: {e}); it was altered") from None
        for c in schema.columns.values():
            if c.kind not in (kinds := (*column_kinds(), *ROLES)):
                raise InputError(
                    f"the schema's column {c.name!r} is of kind {c.kind!r}; the kinds are {', '.join(kinds)}"
                )
        return schema


def _guess(table: Table, name: str) -> Column:
    every = [c for c in table.cells(name) if c is not None]
    if not every:
        return Column(name, "ignored", 1.0, f"all {table.rows:,} cells are empty")
    distinct = len(set(map(content, every)))
    if distinct == 1 and len(every) == table.rows > 1:  # with gaps, being there may tell something
        return Column(name, "ignored", 1.0, f"all {len(every):,} cells are the same: {str(every[0])[:40]!r}")
    # drawn, not every n-th: tables are often in an order with a period
    places = sorted(random.Random(0).sample(range(len(every)), min(SAMPLE, len(every))))
    raw = [every[i] for i in places]
    for unread, share in Counter(map(_unread, raw)).items():
        if unread and share > len(raw) / 2:
            return Column(name, "ignored", 0.9, f"{share} of {len(raw)} cells {unread}")
    sample = [_path(c, table.folder) for c in raw]
    guesses = [(m.guess(sample), bool(m.columns)) for m in MODALITIES.values()]
    kind, guess = max(guesses, key=lambda g: (g[0][1].confidence, g[1]))[0]  # of two as sure, the plain one
    if why := _identifies(name, kind, every, distinct):
        return Column(name, "id", 0.9, why)
    if kind == NUMBER and (why := count_nothing(words(name), every)):
        kind, guess = CATEGORY, Guess(0.8, f"{distinct:,} codes in {len(every):,} cells: {why}")
    if kind == CATEGORY and distinct > 0.9 * len(every) and len(every) >= 20 and guess.confidence < LISTS:
        return Column(
            name,
            "id",
            0.7,
            f"{distinct:,} of {len(every):,} cells are distinct, and none holds several words",
        )
    return Column(name, kind, *guess)


def _path(cell: Any, folder: Path) -> Any:
    """A text cell as a path where it names a file, or ends like a media file."""
    if not isinstance(cell, str) or len(cell) > PATH or "\n" in cell or "\0" in cell or cell.startswith("["):
        return cell
    path = resolve(cell, folder)
    if _is_media(path):
        return path
    try:
        return path if path.suffix and path.is_file() else cell
    except OSError:
        return cell


def _is_media(path: Path) -> bool:
    return any(path.suffix.lower() in s for s in (*(m.suffixes for m in MODALITIES.values()), *NOT_YET.values()))


def _unread(cell: Any) -> str | None:
    """What a cell is, known by its form, that nothing reads; None for any other."""
    if is_address(cell):
        far = "are addresses of files, and nothing is downloaded: fetch the files, and name them by their paths"
        return far if _is_media(Path(urlsplit(str(cell).strip()).path)) else None
    if _are_files(_parts(cell)):
        return "hold several files, and one is read: give each file a row or a column of its own"
    suffix = Path(cell).suffix.lower() if isinstance(cell, str) and len(cell) <= PATH else ""
    return next((f"are {k} files, which are not read yet" for k, known in NOT_YET.items() if suffix in known), None)


def _parts(cell: Any) -> list[Any]:
    """What a cell is a list of; of text, what commas and the like part."""
    if not isinstance(cell, str):
        return list(cell) if isinstance(cell, list | tuple | np.ndarray) else []
    return [p for x in re.split(r"[;|,\n]", cell.strip("[] \n")) if (p := x.strip(" \n'\""))]


def _are_files(parts: Sequence[Any]) -> bool:
    """Whether these are several paths of media files, or the files themselves, such as pictures."""
    if len(parts) < 2 or any(isinstance(p, int | float | np.ndarray) for p in parts[:2]):
        return False
    if all(isinstance(p, str | Path) for p in parts):
        return all(len(str(p)) <= PATH and _is_media(Path(p)) for p in parts)
    return any(m.codec.accepts(parts[:2]).confidence == 1 for m in MODALITIES.values() if m.suffixes)


def _identifies(name: str, kind: str, cells: Sequence[Any], distinct: int) -> str | None:
    """Why the column only names its rows; None where it does not."""
    modality = of_column(kind)
    if len(cells) < 10 or modality is None or not modality.identifies(kind, cells):
        return None
    if have_check_digits(cells):
        return "nearly all cells are numbers with a check digit, such as an ISBN, an EAN or a card's"
    hint = any(w in ID_NAMES for w in words(name))
    if hint and distinct >= 0.1 * len(cells):
        return f"named like an identifier, and {distinct:,} of {len(cells):,} cells are distinct"
    if distinct == len(cells) and all(map(whole, cells)):
        numbers = sorted(int(c) for c in cells)
        if numbers[-1] - numbers[0] == len(cells) - 1:
            return "whole numbers that count the rows"
    return None


def words(name: str) -> list[str]:
    """The words of a column's name.

    >>> words("item_id"), words("videoId"), words("ID"), words("Unnamed: 0")
    (['item', 'id'], ['video', 'id'], ['id'], ['unnamed'])
    """
    return [w.lower() for w in re.findall(r"[a-z]+|[A-Z]+(?![a-z])|[A-Z][a-z]*", name)]
