"""What columns are taken for, how that is overruled, and what is refused."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from PIL import Image

import flat
from polymodal import tasks
from polymodal.data.inspect import inspect
from polymodal.data.schema import Schema
from polymodal.data.table import Table, resolve
from polymodal.errors import InputError, Unreadable
from polymodal.modalities import MODALITIES
from polymodal.modalities.files import ELSEWHERE
from polymodal.nn import SIZES

N = 60
WORDS = "lamp river stone cloud paper grass metal candle window garden".split()


def columns() -> dict[str, list[Any]]:
    r = random.Random(0)
    return {
        "id": [f"k-{i}" for i in range(N)],
        "text": [" ".join(r.choices(WORDS, k=7)) for _ in range(N)],
        "price": [f"{r.lognormvariate(3, 1):.2f}" for _ in range(N)],
        "city": [r.choice(["Oslo", "Bergen", "Alta"]) for _ in range(N)],
        "sold": [r.choice(["yes", "no"]) for _ in range(N)],
        "day": [f"2024-{r.randint(1, 12):02}-{r.randint(1, 28):02}" for _ in range(N)],
        "vector": [[r.random() for _ in range(8)] for _ in range(N)],
        "series": [np.zeros((r.randint(5, 9), 3)) + r.random() for _ in range(N)],
        "constant": ["dev"] * N,
        "empty": [None] * N,
        "y": [r.randint(0, 1) for _ in range(N)],
    }


def kinds(schema: Schema) -> dict[str, str]:
    return {c.name: c.kind for c in schema.columns.values()}


def test_each_kind_of_column_is_known() -> None:
    schema = Schema.infer(Table.read(columns()), "y")
    assert kinds(schema) == {
        "id": "id",
        "text": "text",
        "price": "number",
        "city": "category",
        "sold": "boolean",
        "day": "date",
        "vector": "vector",
        "series": "series",
        "constant": "ignored",
        "empty": "ignored",
        "y": "target",
    }
    assert all(0 < c.confidence <= 1 and c.reason for c in schema.columns.values())
    assert "the same: 'dev'" in schema.columns["constant"].reason
    assert "all 60 cells are empty" in schema.columns["empty"].reason


def test_files_are_known_by_opening_them(tmp_path: Path) -> None:
    lines = ["photo,sound,film,cloud,gone,y"]
    for i in range(12):
        Image.new("RGB", (8, 8), (9 * i, 0, 0)).save(tmp_path / f"{i}.png")
        soundfile.write(tmp_path / f"{i}.wav", np.full(800, i / 20), 8000)
        lines.append(f"{i}.png,{i}.wav,{i}.mp4,{i}.ply,no/{i}.jpg,{i % 2}")
    (tmp_path / "4.png").write_text("no picture")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    schema = Schema.infer(Table.read(tmp_path / "t.csv"), "y")
    found = schema.columns
    assert (found["photo"].kind, found["sound"].kind) == ("image", "audio")
    assert "11 of 12 cells are paths that open as images" in found["photo"].reason
    assert (found["film"].kind, found["cloud"].kind) == ("ignored", "ignored")
    assert "12 of 12 cells are video files, which are not read yet" in found["film"].reason
    assert "points" in found["cloud"].reason
    assert found["gone"].kind == "image"
    assert "0 of 12 cells are paths that open as images" in found["gone"].reason


@pytest.mark.parametrize(
    ("name", "cells", "kind"),
    [
        ("userId", [str(i // 2) for i in range(N)], "id"),
        ("x", list(range(N)), "id"),  # counts the rows
        ("x", [float(i) for i in range(N)], "number"),
        ("x", [3 * i + i % 2 for i in range(N)], "number"),
        ("price_id", [i / 7 for i in range(N)], "number"),  # floats are never ids
        ("uuid", [f"{i * 7919 % 65536:04x}-{i}" for i in range(N)], "id"),
    ],
)
def test_ids(name: str, cells: list[Any], kind: str) -> None:
    table = Table.read({name: cells, "text": columns()["text"]})
    assert kinds(Schema.infer(table))[name] == kind


def test_the_guess_is_the_same_each_time_and_not_fooled_by_a_period() -> None:
    cells = {"which": [i % 5 for i in range(1000)], "text": columns()["text"] * 16 + ["last one"] * 40}
    table = Table.read(cells)
    assert Schema.infer(table) == Schema.infer(table)
    assert kinds(Schema.infer(table))["which"] == "category"


def test_the_user_has_the_last_word() -> None:
    table = Table.read(columns())
    schema = Schema.infer(table, "y", "city", {"id": "text", "price": "category"}, ["day"])
    found = schema.columns
    assert (found["id"].kind, found["price"].kind, found["day"].kind) == ("text", "category", "ignored")
    assert (found["id"].confidence, found["id"].reason) == (1.0, "set by you")
    assert (found["city"].kind, schema.group, schema.target) == ("group", "city", ["y"])


def test_modalities() -> None:
    cells = columns()
    found = Schema.infer(Table.read(cells), "y").modalities()
    assert found == {
        "text": ("text", ["text"]),
        "vector": ("vector", ["vector"]),
        "series": ("series", ["series"]),
        "table": ("tabular", ["price", "city", "sold", "day"]),
    }
    cells["table"] = cells.pop("text")
    assert set(Schema.infer(Table.read(cells), "y").modalities()) == {"table", "vector", "series", "table_"}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (dict(target="sodl"), r"no column 'sodl'; did you mean 'sold'\?"),
        (dict(group="citi"), r"no column 'citi'; did you mean 'city'\?"),
        (dict(ignore=["prize"]), r"no column 'prize'; did you mean 'price'\?"),
        (dict(kinds={"tex": "text"}), r"no column 'tex'; did you mean 'text'\?"),
        (dict(kinds={"text": "imge"}), r"'imge'; the kinds are text, image"),
        (dict(kinds={"text": "video"}), r"'video'; the kinds are"),
        (dict(ignore="prize"), r"no column 'prize'; did you mean 'price'\?"),
        (dict(target="y", ignore=["y"]), r"'y' is the target; it can't be ignored"),
        (dict(target="y", group="y"), r"'y' is the target"),
        (dict(target="y", kinds={"y": "text"}), r"'y' is the target"),
    ],
)
def test_what_is_refused(args: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Schema.infer(Table.read(columns()), **args)


def test_nothing_to_learn_from_says_what_became_of_each_column() -> None:
    table = Table.read({k: columns()[k] for k in ("id", "constant", "empty", "y")})
    with pytest.raises(InputError, match=r"no column to predict y from.*id: id.*constant: ignored.*--modality"):
        Schema.infer(table, "y").check(table.name)


def test_json_round_trip_is_readable() -> None:
    schema = Schema.infer(Table.read(columns()), "y", "city")
    form = json.loads(json.dumps(schema.to_json()))
    back = Schema.from_json(form)
    assert kinds(back) == kinds(schema)
    assert list(back.columns) == list(schema.columns)
    assert (back.target, back.group, back.modalities()) == (["y"], "city", schema.modalities())
    assert form["columns"]["text"]["kind"] == "text"


@pytest.mark.parametrize("form", [3, {}, {"columns": {}}, {"columns": [], "target": [], "group": None}])
def test_json_of_another_shape_is_refused(form: Any) -> None:
    with pytest.raises(InputError, match="schema can't be read"):
        Schema.from_json(form)


@pytest.mark.parametrize("change", [{"kind": "spell"}, {"confidence": "high"}, {"kind": None}])
def test_json_of_an_altered_column_is_refused(change: dict[str, Any]) -> None:
    form = Schema.infer(Table.read(columns()), "y").to_json()
    form["columns"]["text"] |= change
    with pytest.raises(InputError, match="schema"):
        Schema.from_json(form)


def test_names_that_only_end_like_an_identifier_are_kept() -> None:
    rows = [{"paid": str(i * 7919 % 4999), "itemId": str(i * 7919 % 4999), "y": str(i % 2)} for i in range(60)]
    columns = Schema.infer(Table.read(rows), "y").columns
    assert columns["paid"].kind == "number" and columns["itemId"].kind == "id"


def test_a_cell_of_an_unknown_home_folder_is_text() -> None:
    rows = [{"a": f"~nobody/at all, {i}", "y": str(i % 2)} for i in range(20)]
    assert Schema.infer(Table.read(rows), "y").columns["a"].kind == "text"


def picture(i: int, channels: int = 3) -> np.ndarray:
    """(32, 32, channels), black but for one place in the middle."""
    x = np.zeros((32, 32, channels), dtype=np.uint8)
    x[10:20, 10:20] = 7 * i
    return x


@pytest.mark.parametrize(
    "cells",
    [
        [picture(i) for i in range(30)],
        [picture(i).transpose(2, 0, 1) for i in range(30)],
        [picture(i).transpose(2, 0, 1) / np.float32(255) for i in range(30)],
        [torch.from_numpy(picture(i, 1)).permute(2, 0, 1) for i in range(30)],
        [Image.fromarray(picture(i)) for i in range(30)],
        [Image.fromarray(picture(i)[..., 0]) for i in range(30)],
    ],
    ids=["HWC", "CHW", "float CHW", "tensor", "PIL", "PIL grey"],
)
def test_pictures_in_a_frame_are_pictures_whichever_axis_is_first(cells: list[Any]) -> None:
    """Black corners, by which numpy tells arrays as text, don't make them all one."""
    table = Table.read(pd.DataFrame({"x": pd.Series(cells, dtype=object), "y": [0, 1] * 15}))
    assert kinds(Schema.infer(table, "y"))["x"] == "image"
    seen = MODALITIES["image"].codec().fit(table.cells("x"), SIZES["tiny"]).encode(table.cells("x")[9])
    assert seen is not None and seen.shape[0] == 3 and int(seen.max()) == 63


def test_series_of_several_axes_stay_series() -> None:
    g = np.random.default_rng(0)
    cells = {"wide": [g.random((3, 6, 500)) for _ in range(20)], "flat": [g.random((40, 6)) for _ in range(20)]}
    assert set(kinds(Schema.infer(Table.read(cells))).values()) == {"series"}


@pytest.mark.parametrize(
    "form", [["a{}.png", "b{}.png"], "a{}.jpg; b{}.jpg", '["a{}.wav", "b{}.wav"]', "pictures"], ids=str
)
def test_a_column_of_lists_of_files_is_left_out_and_says_so(form: Any) -> None:
    texts = [[t.format(i) for t in form] if isinstance(form, list) else form.format(i, i) for i in range(30)]
    cells = texts if form != "pictures" else [[Image.fromarray(picture(i))] * 2 for i in range(30)]
    column = Schema.infer(Table.read({"x": cells, "y": [0, 1] * 15}), "y").columns["x"]
    assert column.kind == "ignored"
    assert column.reason.startswith("30 of 30 cells hold several files, and one is read: give each file a row or")


def test_nothing_is_downloaded_and_that_is_said(tmp_path: Path) -> None:
    names = [f"https://example.com/{i}.png?w=64" for i in range(12)]
    table = Table.read({"x": names, "y": [0, 1] * 6})
    column = Schema.infer(table, "y").columns["x"]
    assert column.kind == "ignored" and "nothing is downloaded: fetch the files, and name them" in column.reason
    (bad, *_) = inspect(table, "y", kinds={"x": "image"}, progress=False).unreadable
    assert bad.reason == f"{names[0]} {ELSEWHERE}" and "nothing is downloaded" in bad.reason
    with pytest.raises(Unreadable, match=r"s3://b/1\.npy lies elsewhere"):
        MODALITIES["series"].codec().encode(resolve("s3://b/1.npy", tmp_path))
    with pytest.raises(InputError, match=r"the table https://example\.com/t\.csv lies elsewhere, and nothing is down"):
        Table.read("https://example.com/t.csv")


def sizes(n: int, seed: int = 0) -> pd.DataFrame:
    """size, an ordered category whose names are in no order of the alphabet, and what it costs."""
    g = np.random.default_rng(seed)
    at = g.integers(0, 3, n)
    size = pd.Categorical.from_codes(at, ["small", "middle", "large"], ordered=True)
    grade = pd.Categorical.from_codes((at + (g.random(n) < 0.1)).clip(max=3), [1, 2, 3, 4], ordered=True)
    return pd.DataFrame({"size": size, "grade": grade, "price": at * 10 + g.normal(0, 1, n)})


def test_an_ordered_category_is_a_number_by_its_place(tmp_path: Path) -> None:
    frame = sizes(60)
    frame.loc[3, "size"] = None
    frame.to_parquet(tmp_path / "t.parquet")
    for table in (Table.read(frame), Table.read(tmp_path / "t.parquet"), Table.read(Table.read(frame).frame())):
        column = Schema.infer(table, "price").columns["size"]
        assert (column.kind, column.reason) == ("number", "an ordered category: small < middle < large")
        codec = MODALITIES["tabular"].codec(columns={"size": column.kind})
        codec.fit([{"size": c} for c in table.cells("size")], SIZES["tiny"])
        small, middle, large = (float(codec.encode({"size": c})[0]) for c in ("small", "middle", "large"))
        assert small < middle < large  # of plain text, as a CSV has it
        assert middle < float(codec.encode({"size": 1.5})[0]) < large  # a place that noise has shifted
        assert codec.unreadable({"size": "huge"}) == {"size": "'huge' is not one of small, middle, large"}
        assert table.cells("size")[3] is None


def test_an_ordered_target_is_ordinal_in_its_order() -> None:
    frame = sizes(120)
    guess, why = tasks.guess(Table.read(frame).cells("size"), ["size"])
    assert guess.name == "ordinal" and why == "an ordered category, 'small', 'middle', 'large'"
    assert guess.fit(Table.read(frame).cells("size")).labels_ == ["small", "middle", "large"]
    model = flat.fit(frame, "grade", fusion="concat", size="tiny", epochs=1, baselines=False, cache=None)
    assert model.report.task == "ordinal" and list(model.task.labels_) == [1, 2, 3, 4]
    assert set(model.predict(frame)["prediction"]) <= {1, 2, 3, 4}
    assert tasks.by_name("ordinal", Table.read(frame).cells("size")).order == ["small", "middle", "large"]
    two = Table.read(frame[frame["size"] != "large"]).cells("size")
    assert tasks.guess(two, ["size"])[0].name == "binary"


def ean(i: int) -> str:
    digits = f"40063813{i:04}"
    return digits + str(-sum(int(d) * (1, 3)[k % 2] for k, d in enumerate(digits)) % 10)


def test_numbers_that_count_nothing_are_names() -> None:
    r = random.Random(0)
    towns = [f"{r.randint(0, 30_000):05}" for _ in range(40)]
    cells = {
        "barcode": [int(ean(i % 50)) for i in range(90)],
        "number": [str(r.randint(10**12, 10**13)) for i in range(90)],  # no check digit
        "zipCode": [10_000 + 37 * (i % 30) for i in range(90)],
        "town": [r.choice(towns) for _ in range(90)],
        "phone": [f"+47 555 {i:05}" for i in range(90)],
        "price": [10_000 + 37 * (i % 30) for i in range(90)],
    }
    schema = Schema.infer(Table.read(cells))
    expected = {"barcode": "id", "number": "number", "zipCode": "category", "town": "category", "phone": "id"}
    assert kinds(schema) == {**expected, "price": "number"}
    assert "check digit, such as an ISBN" in schema.columns["barcode"].reason
    assert "named 'zip'" in schema.columns["zipCode"].reason
    assert "begin with 0" in schema.columns["town"].reason


def test_a_model_reads_later_tables_in_the_way_of_its_training_rows() -> None:
    """What is not written so is missing, and reported, with the row."""
    g = np.random.default_rng(0)
    x = g.integers(1, 40, 200)
    frame = pd.DataFrame({"weight": [f"{v // 16} lb {v % 16} oz" for v in x], "y": x + g.normal(0, 0.1, 200)})
    model = flat.fit(frame, "y", fusion="features", preset="fast", time_limit=5, cache=None)
    assert model.evaluate(frame).metrics["r2"].value > 0.95
    later = pd.DataFrame({"weight": ["1.5 lb", "24 oz", "heavy"], "y": [24.0, 24.0, 24.0]})
    same, also, _ = model.predict(later)["prediction"]
    assert same == pytest.approx(also)
    (bad,) = model.evaluate(later).bad
    assert (bad.row, bad.column) == (3, "weight") and "'heavy' is not a number" in bad.reason


def test_lists_that_all_differ_are_no_ids() -> None:
    r = random.Random(0)
    cells = {"tags": [";".join(r.sample("abcdefghij", 5)) for _ in range(100)], "y": [0, 1] * 50}
    assert len(set(cells["tags"])) > 90
    found = inspect(Table.read(cells), "y", progress=False)
    assert found.schema.columns["tags"].kind == "category" and not found.warnings
