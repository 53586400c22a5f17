"""What each column of a table is, how sure that is, and why: guessed, readable, and overruled with one word."""

import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from polymodal.data.table import Table, resolve, unknown
from polymodal.errors import InputError
from polymodal.modalities import MODALITIES
from polymodal.modalities.audio.files import RECORDINGS
from polymodal.modalities.base import Guess
from polymodal.modalities.image.files import PICTURES
from polymodal.modalities.tabular.codec import column_kind

SAMPLE = 200  # cells that a guess is made from
TABULAR = ("number", "category", "boolean", "date")
OWN = tuple(k for k in MODALITIES if k != "tabular")  # each such column is a modality of its own
FEATURES = (*OWN, *TABULAR)
KINDS = (*FEATURES, "id", "target", "group", "ignored")
NOT_YET = {  # kinds that have room here, and are not read yet
    "video": (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg"),
    "points": (".bin", ".ply", ".pcd", ".las", ".laz", ".xyz"),
}
MEDIA = (*PICTURES, *RECORDINGS, ".npy", *(s for suffixes in NOT_YET.values() for s in suffixes))
ID_NAMES = ("id", "uuid", "guid", "index", "idx", "key", "row", "identifier", "uid")


class Column(NamedTuple):
    """One column: its kind (of `KINDS`), how sure that is (0 to 1), and why, for a person."""

    name: str
    kind: str
    confidence: float
    reason: str


class Schema(NamedTuple):
    """Columns by name, in the table's order; the target columns; the group column, if any."""

    columns: dict[str, Column]
    target: list[str]
    group: str | None = None

    @classmethod
    def infer(
        cls,
        table: Table,
        target: str | Sequence[str] | None = None,
        group: str | None = None,
        kinds: Mapping[str, str] | None = None,
        ignore: Sequence[str] = (),
    ) -> "Schema":
        """Guess each column's kind from a sample of its cells.

        Every codec is asked whether the column is its own, and the surest wins. kinds: by column, what it is,
        whatever the cells say. Raises InputError for names that are not there.
        """
        targets = [target] if isinstance(target, str) else list(dict.fromkeys(target or ()))
        kinds = dict(kinds or {})
        for name in [*targets, *([group] if group is not None else []), *kinds, *ignore]:
            if name not in table.columns:
                raise InputError(f"{table.name} {unknown('column', name, table.columns)}")
        for name, kind in kinds.items():
            if kind not in (*FEATURES, "id"):
                raise InputError(f"column {name!r} can't be of kind {kind!r}; the kinds are {', '.join(FEATURES)}, id")
        for name in targets:
            if name in ignore or name == group or name in kinds:
                raise InputError(f"{name!r} is the target; it can't be ignored, the group, or of another kind too")
        told = {c: ("ignored", "left out by you") for c in ignore}
        told |= {c: (k, "set by you") for c, k in kinds.items()}
        told |= {group: ("group", "rows of one group stay together")} if group is not None else {}
        told |= {t: ("target", "what is predicted") for t in targets}
        columns = {c: Column(c, told[c][0], 1.0, told[c][1]) if c in told else _guess(table, c) for c in table.columns}
        return cls(columns, targets, group)

    def check(self, name: str) -> None:
        """Raises InputError where the table of this name has nothing to learn from."""
        if not self.modalities():
            seen = "; ".join(f"{c.name}: {c.kind} ({c.reason})" for c in self.columns.values() if c.kind != "target")
            raise InputError(
                f"{name} has no column to predict {', '.join(self.target)} from. {seen or 'It has no other column'}. "
                "Say what a column holds with --modality COLUMN=KIND"
            )

    def modalities(self) -> dict[str, tuple[str, list[str]]]:
        """Each modality's kind and columns, by its name.

        A column of text, image, audio, series or vectors is a modality named by the column; numbers, categories,
        booleans and dates together are one, of kind "tabular", named "table".
        """
        out = {c.name: (c.kind, [c.name]) for c in self.columns.values() if c.kind in OWN}
        together = [c.name for c in self.columns.values() if c.kind in TABULAR]
        if together:
            name = "table"
            while name in self.columns:
                name += "_"
            out[name] = ("tabular", together)
        return out

    def to_json(self) -> dict[str, Any]:
        """Plain containers, for a person to read and edit."""
        columns = {
            c.name: {"kind": c.kind, "confidence": round(c.confidence, 3), "reason": c.reason}
            for c in self.columns.values()
        }
        return {"target": self.target, "group": self.group, "columns": columns}

    @classmethod
    def from_json(cls, form: Mapping[str, Any]) -> "Schema":
        """What `to_json` wrote. Raises InputError where something is missing or of another type."""
        try:
            columns = {
                name: Column(name, c["kind"], float(c["confidence"]), str(c["reason"]))
                for name, c in form["columns"].items()
            }
            schema = cls(columns, [str(t) for t in form["target"]], form["group"])
        except (KeyError, TypeError, ValueError, AttributeError) as e:
            raise InputError(f"the schema can't be read ({type(e).__name__}: {e}); it was altered") from None
        for c in schema.columns.values():
            if c.kind not in KINDS:
                raise InputError(
                    f"the schema's column {c.name!r} is of kind {c.kind!r}; the kinds are {', '.join(KINDS)}"
                )
        return schema


def _guess(table: Table, name: str) -> Column:
    every = [c for c in table.cells(name) if c is not None]
    if not every:
        return Column(name, "ignored", 1.0, f"all {table.rows:,} cells are empty")
    texts = [str(c) for c in every]
    distinct = len(set(texts))
    if distinct == 1 and len(every) == table.rows > 1:  # with gaps, being there may tell something
        return Column(name, "ignored", 1.0, f"all {len(every):,} cells are the same: {texts[0][:40]!r}")
    # drawn, not every n-th: tables are often in an order with a period
    chosen = sorted(random.Random(0).sample(range(len(every)), min(SAMPLE, len(every))))
    sample = [_path(every[i], table.folder) for i in chosen]
    for kind, suffixes in NOT_YET.items():
        share = sum(isinstance(c, Path) and c.suffix.lower() in suffixes for c in sample)
        if share > len(sample) / 2:
            return Column(
                name,
                "ignored",
                0.9,
                f"{share} of {len(sample)} cells are {kind} files, which are not read yet",
            )
    guesses = {kind: _best(kind, sample) for kind in OWN}
    kind, guess = max(guesses.items(), key=lambda item: item[1].confidence)
    tabular, other = column_kind(sample)
    if other.confidence >= guess.confidence:
        kind, guess = tabular, other
    if why := _identifies(name, kind, every, distinct):
        return Column(name, "id", 0.9, why)
    if kind == "category" and distinct > 0.9 * len(every) and len(every) >= 20:
        return Column(
            name,
            "id",
            0.7,
            f"{distinct:,} of {len(every):,} cells are distinct, and none holds several words",
        )
    return Column(name, kind, *guess)


def _best(kind: str, sample: Sequence[Any]) -> Guess:
    codec = next(iter(MODALITIES[kind].codecs.values()))
    return codec.accepts(sample)


def _path(cell: Any, folder: Path) -> Any:
    """A text cell as a path where it names a file, or ends like a media file."""
    if not isinstance(cell, str) or len(cell) > 1024 or "\n" in cell or "\0" in cell or cell.startswith("["):
        return cell
    path = resolve(cell, folder)
    if path.suffix.lower() in MEDIA:
        return path
    try:
        return path if path.suffix and path.is_file() else cell
    except OSError:
        return cell


def _identifies(name: str, kind: str, cells: Sequence[Any], distinct: int) -> str | None:
    """Why the column only names its rows; None where it does not."""
    if kind not in (*TABULAR, "text") or kind == "date" or len(cells) < 10:
        return None
    words = re.findall(r"[a-z]+|[A-Z]+(?![a-z])|[A-Z][a-z]*", name)  # item_id, videoId, ID; not "paid"
    named = any(w.lower() in ID_NAMES for w in words)
    whole = all(not isinstance(c, float) and str(c).lstrip("-").isdigit() for c in cells)
    if kind == "number" and not whole:
        return None  # a measurement
    if kind == "text" and any(" " in str(c) for c in cells[:SAMPLE]):
        return None
    if named and distinct >= 0.1 * len(cells):
        return f"named like an identifier, and {distinct:,} of {len(cells):,} cells are distinct"
    if whole and distinct == len(cells):
        numbers = sorted(int(c) for c in cells)
        if numbers[-1] - numbers[0] == len(cells) - 1:
            return "whole numbers that count the rows"
    return None
