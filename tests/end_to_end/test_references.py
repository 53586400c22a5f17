"""Which files the rows of tables read, and that none is on both sides."""

from pathlib import Path

import pytest

from polymodal.data.references import files, refuse_shared, sharers
from polymodal.data.schema import Schema
from polymodal.data.table import Table
from polymodal.errors import InputError

KINDS = {"photo": "image", "sound": "audio", "curve": "series", "net": "vector"}


def made(folder: Path, *rows: str) -> tuple[Table, Schema]:
    """A table whose rows read the files that are named: "photo sound curve net", - for none."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [",".join([*KINDS, "caption"])]
    for row in rows:
        names = ["" if name == "-" else name for name in row.split()]
        for name in filter(None, names):
            (folder / name).touch()
        lines.append(",".join([*names, f"of {row}"]))
    (folder / f"{len(lines)}.csv").write_text("\n".join(lines) + "\n")
    table = Table.read(folder / f"{len(lines)}.csv")
    return table, Schema.infer(table, "caption", kinds=KINDS)


def test_all_files_of_a_row_are_found_in_the_order_of_the_columns(tmp_path: Path) -> None:
    table, schema = made(tmp_path, "a.png a.wav a.csv a.npy", "- b.wav - -", "- - - -")
    (tmp_path / "a.wav").unlink()  # named, but not there
    first = [tmp_path / name for name in ("a.png", "a.csv", "a.npy")]
    assert files(table, schema) == [first, [tmp_path / "b.wav"], []]


SHARED = ["a.png z.wav z.csv z.npy", "z.png a.wav z.csv z.npy", "z.png z.wav a.csv z.npy", "z.png - - a.npy"]


@pytest.mark.parametrize("row", SHARED)
def test_a_file_of_any_column_in_both_tables_is_refused(row: str, tmp_path: Path) -> None:
    train, schema = made(tmp_path, "a.png a.wav a.csv a.npy", "b.png b.wav b.csv b.npy")
    shared = next(name for name in row.split() if name[0] == "a")
    other, _ = made(tmp_path, "y.png y.wav y.csv y.npy", row, row)
    with pytest.raises(
        InputError, match=rf"reads 1 file of the test table 4\.csv too, for example {shared}; .*--allow-overlap"
    ):
        refuse_shared(train, other, schema, "test")


def test_files_in_both_tables_are_counted_once(tmp_path: Path) -> None:
    train, schema = made(tmp_path, "a.png a.wav - -", "a.png b.wav - -")
    other, _ = made(tmp_path, "a.png a.wav - -", "a.png z.wav - -", "- b.wav - -")
    with pytest.raises(InputError, match=r"reads 3 files of the validation table 4\.csv too, for example a\.png;"):
        refuse_shared(train, other, schema, "validation")


def test_tables_with_files_of_their_own_pass(tmp_path: Path) -> None:
    first = "a.png a.wav a.csv a.npy"
    train, schema = made(tmp_path, first, "- - - -")
    for folder, row in ((tmp_path, first.replace("a.", "b.")), (tmp_path / "other", first), (tmp_path, "- - - -")):
        refuse_shared(train, made(folder, row)[0], schema, "test")


def test_rows_share_by_their_first_file(tmp_path: Path) -> None:
    assert sharers(*made(tmp_path, "a.png a.wav - -", "b.png a.wav - -", "- - - -", "- - - -")) is None
    groups = sharers(*made(tmp_path, "a.png a.wav - -", "a.png b.wav - -", "- b.wav - -", "- - - -"))
    assert groups == [tmp_path / "a.png", tmp_path / "a.png", tmp_path / "b.wav", None]
