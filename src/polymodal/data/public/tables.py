"""From a publisher's files to our tables: train.csv, val.csv, test.csv with paths of pictures or recordings."""

import csv
import json
import os
import shutil
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from polymodal.data.public.catalogue import find
from polymodal.data.public.forms import FORMS, Row
from polymodal.data.public.sources import Entry, Source
from polymodal.errors import InputError
from polymodal.progress import bar

SPLITS = ("published", "random")
NOTE = "public_set.json"  # beside the tables: which set, its licence, whom to cite


class Reading(NamedTuple):
    """What `read` wrote. rows and captions are counted by table; skipped: rows without their file; unused: captions of
    things in no table; extracted: files taken out of archives."""

    name: str
    tables: dict[str, Path]
    rows: dict[str, int]
    captions: dict[str, int]
    columns: dict[str, list[str]]
    skipped: int
    unused: int
    extracted: int
    notes: tuple[str, ...]


def read(
    name: str, folder: str | Path, out: str | Path, *, split: str = "published", skip: bool = False, quiet: bool = True
) -> Reading:
    """Write the set of this name, whose files are in `folder` (or a zip file), as tables in `out`.

    Pictures and recordings stay where they are; those inside zip files are extracted to `out`. Captions are columns
    caption_0, caption_1 ...; of Multi30k each language is a column.
    split: "published", or "random" for Flickr30k. skip: leave out rows whose file is absent instead of raising.

    Raises InputError that says what is missing, how much of it, and what to do.
    """
    public = find(name)
    if split not in SPLITS or (split == "random" and name != "flickr30k"):
        raise InputError(f"{name} can't be split {split!r}; its publisher's split is used (--split published)")
    source, out = Source(Path(folder).expanduser()), Path(out).expanduser()
    form = FORMS[name](source, split)
    names = {part: [(row, _media(source, row)) for row in rows] for part, rows in form.tables.items()}
    pairs = [pair for rows in names.values() for pair in rows]
    absent = [row for row, entry in pairs if row.media and entry is None]
    if not pairs:
        raise InputError(f"{source.place}: the files of {name} hold no rows: get them again")
    if len(absent) == len(pairs) or (absent and not skip):
        raise InputError(_absence(source, absent, len(pairs), form.column, public.how))
    usable = {part: [(row, e) for row, e in rows if e or not row.media] for part, rows in names.items()}
    columns = {part: _columns(form.column, rows) for part, rows in usable.items()}
    old = _ready(out, usable)
    count = _extract(usable, out, form.column, quiet)
    home: dict[str, str] = {}
    for part, rows in usable.items():
        cells = [({form.column: _path(e, out, form.column, home)} if e else {}) | row.texts for row, e in rows]
        _write(out / f"{part}.csv", columns[part], cells)
    for part in old - usable.keys():
        (out / f"{part}.csv").unlink(missing_ok=True)  # of another split, read earlier
    counts = {
        part: sum(len(list(filter(None, row.texts.values()))) for row, _ in rows) for part, rows in usable.items()
    }
    _note(out, {"set": name, "tables": list(usable), "licence": public.licence, "citation": public.citation})
    return Reading(
        name,
        {part: out / f"{part}.csv" for part in usable},
        {part: len(rows) for part, rows in usable.items()},
        counts,
        columns,
        len(absent),
        form.unused,
        count,
        form.notes,
    )


def _media(source: Source, row: Row) -> Entry | None:
    if not row.media:
        return None
    # photos of 2017 are those of 2014 under a shorter name
    short = row.media.rpartition("_")[2] if row.media.startswith("COCO_") else ""
    return source.media(row.media, row.folder) or source.media(short)


def _absence(source: Source, absent: Sequence[Row], rows: int, column: str, how: str) -> str:
    what = "photos" if column == "image" else "recordings"
    names = ", ".join(sorted({row.media for row in absent})[:3])
    archives = sorted(
        p.name for p in source.place.glob("*") if p.suffix.lower() in (".7z", ".rar", ".tar", ".tgz", ".gz")
    )
    way = f"extract {', '.join(archives[:4])} there first" if archives else "get them again"
    some = ", or leave their rows out: --skip-missing" if len(absent) < rows else ""
    return (
        f"{len(absent):,} of {rows:,} {what} are absent or empty files in {source.place}, such as {names}; "
        f"{source.holds()}: {way}{some}"
    )


def _columns(column: str, rows: Sequence[tuple[Row, Entry | None]]) -> list[str]:
    texts = dict.fromkeys(c for row, _ in sorted(rows, key=lambda pair: -len(pair[0].texts)) for c in row.texts)
    return [column] * any(row.media for row, _ in rows) + list(texts)


def _path(entry: Entry, out: Path, column: str, home: dict[str, str]) -> str:
    """What the table says: relative to its own folder, but absolute on another drive. home: folders seen so far."""
    file = str(_target(entry, out, column)) if entry.member else entry.file
    folder, name = os.path.split(file)
    if folder not in home:
        try:
            places = Path(os.path.relpath(Path(folder).resolve(), out.resolve()))
        except ValueError:
            places = Path(folder).resolve()
        home[folder] = f"{places.as_posix()}/"  # "./" too: a cell that begins with "[" would be a list of numbers
    return home[folder] + name


def _target(entry: Entry, out: Path, column: str) -> Path:
    """Where a member of an archive is extracted to: its own name and its folder's, never a path from the archive."""
    below = "" if entry.parent in ("", ".", "..") else entry.parent
    return out / ("images" if column == "image" else column) / below / entry.base


def _extract(names: dict[str, list[tuple[Row, Entry | None]]], out: Path, column: str, quiet: bool) -> int:
    """Extract what the tables name and is not there yet; how many files were written."""
    todo: defaultdict[str, dict[Path, Entry]] = defaultdict(dict)
    for rows in names.values():
        for _, e in rows:
            if e and e.member and not _whole(target := _target(e, out, column), e.size):
                todo[e.file][target] = e
    total = sum(e.size for members in todo.values() for e in members.values())
    if total > shutil.disk_usage(out).free:
        raise InputError(
            f"{out} has no room for the {total / 1e9:.1f} GB that are to be extracted; choose another --out"
        )
    i = 0
    with bar("extract", max(1, total), quiet) as tick:
        for archive, members in todo.items():
            with zipfile.ZipFile(archive) as z:
                for target, e in members.items():
                    _copy(z, e, target)
                    tick(i := i + e.size)
    return sum(map(len, todo.values()))


def _whole(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _copy(z: zipfile.ZipFile, entry: Entry, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    try:
        with z.open(entry.member) as a, part.open("wb") as b:
            shutil.copyfileobj(a, b, 1 << 20)
        part.replace(target)
    except (zipfile.BadZipFile, EOFError, zlib.error, RuntimeError) as e:
        raise InputError(f"{entry.name()} is damaged ({e}): download the archive again") from e
    except OSError as e:
        raise InputError(f"{target} can't be written: {e.strerror or e}") from e
    finally:
        part.unlink(missing_ok=True)


def _ready(out: Path, parts: Iterable[str]) -> set[str]:
    """Make the folder; which tables an earlier reading wrote there. Raises InputError where somebody else's file would
    be overwritten."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        note = json.loads((out / NOTE).read_text(encoding="utf-8")) if (out / NOTE).is_file() else {}
    except (OSError, ValueError) as e:
        raise InputError(f"--out {out} can't be used ({e}); give a folder") from e
    old = set(note.get("tables", []))
    for part in parts:
        if part not in old and (out / f"{part}.csv").exists():
            raise InputError(f"{out / part}.csv is there, and no table that this command wrote; choose another --out")
    return old


def _note(out: Path, form: dict[str, object]) -> None:
    (out / NOTE).write_text(json.dumps(form, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _write(path: Path, columns: list[str], rows: list[dict[str, str]]) -> None:
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w", encoding="utf-8", newline="") as f:
            table = csv.DictWriter(f, columns)
            table.writeheader()
            table.writerows(rows)
        part.replace(path)
    except OSError as e:
        raise InputError(f"{path} can't be written: {e.strerror or e}") from e
    finally:
        part.unlink(missing_ok=True)
