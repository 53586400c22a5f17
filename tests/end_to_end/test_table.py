"""Tables as people have them: every kind of source, and every way in which a file can be wrong."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from polymodal.data.table import Table, chunks, resolve
from polymodal.errors import InputError

Write = Callable[[str, str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def cells(source: Any) -> dict[str, list[Any]]:
    table = Table.read(source)
    return {c: table.cells(c) for c in table.columns}


def error(source: Any) -> str:
    with pytest.raises(InputError) as e:
        Table.read(source)
    return str(e.value)


# --- what is read -------------------------------------------------------------------------------------


def test_csv_cells_stay_text_and_missing_ones_are_none(write: Write) -> None:
    path = write("t.csv", 'code,note\n007,"a, ""b""\nc"\nNA,\n1e5,  \n')
    assert cells(path) == {"code": ["007", None, "1e5"], "note": ['a, "b"\nc', None, None]}


def test_a_table_knows_its_name_folder_and_row_numbers(write: Write) -> None:
    path = write("t.csv", "a\nx\ny\nz\nw\n")
    table = Table.read(str(path))
    assert (table.name, table.folder, table.columns, table.rows) == ("t.csv", path.parent, ["a"], 4)
    part = table.take([3, 1]).take([1, 0])
    assert part.cells("a") == ["y", "w"]
    assert [part.row_number(i) for i in range(2)] == [2, 4]
    assert Table.read(table) is table


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_with_a_byte_order_mark_are_known(write: Write, encoding: str) -> None:
    assert cells(write("t.csv", "naïve,日本\né,語\n".encode(encoding))) == {"naïve": ["é"], "日本": ["語"]}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.CSV", "a,b\r\n1,x\r\n2,y\r\n"),
        ("t.tsv", "a\tb\n1\tx\n2\ty"),
        ("t.csv.gz", gzip.compress(b"a,b\n1,x\n2,y\n", mtime=0)),
        ("t.csv", "a,b\n\n1,x\n\n2,y\n\n"),
    ],
)
def test_delimited_files(write: Write, name: str, content: str | bytes) -> None:
    assert cells(write(name, content)) == {"a": ["1", "2"], "b": ["x", "y"]}


def test_json_lines_keep_objects_and_take_the_union_of_keys(write: Write) -> None:
    path = write("t.jsonl", '{"a": 1, "v": [1, 2.5]}\n\n{"a": "", "b": true, "v": null}\n{"a": NaN}\n')
    assert cells(path) == {"a": [1, None, None], "v": [[1, 2.5], None, None], "b": [None, True, None]}
    assert cells(write("t.json", '[{"a": 1}, {"b": 2}]')) == {"a": [1, None], "b": [None, 2]}


def test_arrow_files(tmp_path: Path) -> None:
    table = pa.table({"n": [1, None], "s": ["x", "y"], "v": [[1.0, 2.0], None]})
    pq.write_table(table, tmp_path / "t.parquet")
    pyarrow.feather.write_feather(table, tmp_path / "t.feather")
    for name in ("t.parquet", "t.feather"):
        found = cells(tmp_path / name)
        assert found["n"] == [1, None]
        assert found["s"] == ["x", "y"]
        assert list(found["v"][0]) == [1.0, 2.0]
        assert found["v"][1] is None


def test_frames_lists_and_dicts_are_read_alike() -> None:
    data = {"n": [1.5, None], "s": ["x", None]}
    want = {"n": [1.5, None], "s": ["x", None]}
    frame = pd.DataFrame(data)
    for source in (
        frame,
        frame.astype({"s": "category"}),
        frame.convert_dtypes(),
        frame.set_index(pd.Index([7, 7])),
        pl.DataFrame(data),
        pl.DataFrame(data).lazy(),
        data,
        [{"n": 1.5, "s": "x"}, {}],
    ):
        assert cells(source) == want


def test_missing_values_of_every_library_are_none_and_scalars_are_pythons() -> None:
    found = cells(
        {
            "missing": [None, float("nan"), np.float32("nan"), pd.NaT, pd.NA, ""],
            "number": [np.float32(0.5), np.int64(3), np.bool_(True), 2, 2.5, np.uint8(7)],
        }
    )
    assert found["missing"] == [None] * 6
    assert [type(x) for x in found["number"]] == [float, int, bool, int, float, int]


def test_arrays_and_objects_stay_as_they_are() -> None:
    array, picture = np.arange(3), object()
    (x,), (y,) = cells({"a": [array], "o": [picture]}).values()
    assert x is array
    assert y is picture


def test_a_frame_of_the_cells_reads_back_the_same() -> None:
    data = {"n": [1, None], "s": ["x", "NAN"], "l": [[1], None], "o": [True, 2.5]}
    assert cells(Table.read(data).frame()) == cells(data)


def test_a_cell_of_ten_megabytes(write: Write) -> None:
    text = "x" * 10_000_000
    assert cells(write("t.csv", f"a,b\n1,{text}\n"))["b"] == [text]


def test_columns_that_are_no_words(write: Write) -> None:
    assert Table.read(pd.DataFrame([[1, 2]])).columns == ["0", "1"]
    assert Table.read(write("t.csv", "a.b,[x],{},💡\n1,2,3,4\n")).columns == ["a.b", "[x]", "{}", "💡"]


# --- parts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet", "t.json", "frame"])
def test_chunks_are_the_table_in_order_with_its_row_numbers(tmp_path: Path, name: str) -> None:
    frame = pd.DataFrame({"a": range(25), "b": [None if i % 3 else "x" for i in range(25)]})
    path = tmp_path / name
    if name == "t.csv":
        frame.to_csv(path, index=False)
    elif name == "t.parquet":
        frame.to_parquet(path)
    elif name != "frame":
        frame.to_json(path, orient="records", lines=name == "t.jsonl")
    source: Any = frame if name == "frame" else path
    parts = list(chunks(source, 10))
    assert [p.rows for p in parts] == [10, 10, 5]
    assert [p.row_number(i) for p in parts for i in range(p.rows)] == list(range(1, 26))
    assert all(p.columns == ["a", "b"] for p in parts)
    assert {c: [x for p in parts for x in p.cells(c)] for c in "ab"} == cells(source)


def test_chunks_do_not_hold_the_file(tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "t.csv"
    with path.open("w") as f:
        f.write("a,b\n")
        for i in range(20_000):
            f.write(f"{i},{'x' * 500}\n")
    tracemalloc.start()
    rows = sum(part.rows for part in chunks(path, 500))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert rows == 20_000
    assert peak < path.stat().st_size / 4


def test_resolve() -> None:
    folder = Path("/data")
    assert resolve("a/b.png", folder) == Path("/data/a/b.png")
    assert resolve("/abs/b.png", folder) == Path("/abs/b.png")
    assert resolve("~/b.png", folder) == Path.home() / "b.png"
    assert resolve(None, folder) is None
    assert resolve(3.5, folder) == 3.5


# --- what is wrong ------------------------------------------------------------------------------------


def test_no_such_table_offers_the_closest_name(write: Write) -> None:
    path = write("reviews.csv", "a\n1\n")
    message = error(path.with_name("review.csv"))
    assert "no such table" in message
    assert "did you mean" in message
    assert "reviews.csv" in message
    assert "no such table" in error(path.parent / "nowhere" / "t.csv")


def test_a_folder_is_no_table(write: Write) -> None:
    folder = write("train.csv", "a\n1\n").parent
    message = error(folder)
    assert "is a folder" in message
    assert "train.csv" in message


def test_nothing_in_it(write: Write) -> None:
    assert "is empty (0 bytes)" in error(write("t.csv", ""))
    assert "is empty" in error(write("u.csv", "\n\n"))
    assert "no rows" in error(write("h.csv", "a,b\n"))
    assert "no rows" in error(pd.DataFrame({"a": []}))
    with pytest.raises(InputError, match="no rows"):
        list(chunks(write("c.csv", "a,b\n")))


def test_another_kind_of_file_names_those_that_are_read(write: Write) -> None:
    message = error(write("t.xlsx", "PK"))
    assert ".xlsx" in message
    assert ".parquet" in message


def test_another_encoding_names_the_byte_and_the_way_out(write: Write) -> None:
    message = error(write("t.csv", "a,b\n1,caf\xe9\n".encode("latin-1")))
    assert "t.csv is not UTF-8" in message
    assert "0xe9" in message
    assert "iconv" in message


@pytest.mark.parametrize(
    ("name", "content"),
    [("t.csv", "id,text,id\n1,2,3\n"), ("frame", pd.DataFrame([[1, 2]], columns=["id", "id"]))],
)
def test_two_columns_of_one_name(write: Write, name: str, content: Any) -> None:
    message = error(write(name, content) if isinstance(content, str) else content)
    assert "'id'" in message
    assert "rename" in message


@pytest.mark.parametrize("row", ["1,2,3", "1"])
def test_a_ragged_line_is_named(write: Write, row: str) -> None:
    message = error(write("t.csv", f"a,b\n1,2\n{row}\n"))
    assert "t.csv, line 3" in message
    assert "quote" in message


def test_a_broken_json_line_is_named(write: Write) -> None:
    assert "t.jsonl, line 3: not JSON" in error(write("t.jsonl", '{"a": 1}\n\n{"a":\n'))
    assert "l.jsonl, line 1" in error(write("l.jsonl", "[1]\n"))
    assert "list of objects" in error(write("s.json", json.dumps("x")))
    assert ".jsonl" in error(write("j.json", '{"a": 1}\n{"a": 2}\n'))


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow"])
def test_a_damaged_arrow_file(write: Write, name: str) -> None:
    assert f"{name} can't be read" in error(write(name, b"PAR1 no such thing"))


def test_a_gzip_that_is_cut_off(write: Write) -> None:
    whole = gzip.compress(b"a,b\n" + b"1,2\n" * 9999)
    assert "t.csv.gz is damaged or cut off" in error(write("t.csv.gz", whole[:-9]))


def test_a_column_that_is_not_there(write: Write) -> None:
    with pytest.raises(InputError, match=r"t\.csv has no column 'stras'; did you mean 'stars'\?.*text, stars"):
        Table.read(write("t.csv", "text,stars\nx,1\n")).cells("stras")


@pytest.mark.parametrize("source", [3, np.zeros((2, 2))])
def test_what_is_no_table(source: Any) -> None:
    assert "DataFrame" in error(source)


def test_columns_of_unequal_length() -> None:
    assert "'a' has 1, 'b' has 2" in error({"a": [1], "b": [1, 2]})
    assert "row 1 is a int, expected a dict" in error([1, 2])


def test_a_quote_that_is_never_closed_swallows_nothing(write: Write) -> None:
    text = 'a,b\n1,"x\n' + "2,y\n" * 50
    assert "quote" in error(write("t.csv", text))


def test_dates_of_a_frame_stay_dates() -> None:
    frame = pd.DataFrame({"d": pd.to_datetime(["2024-01-05", None])})
    cells = Table.read(frame).cells("d")
    assert str(cells[0]).startswith("2024-01-05") and cells[1] is None
