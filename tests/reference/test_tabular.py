"""Numbers, categories, booleans and dates against their definitions."""

import datetime
import decimal
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from cases import over
from polymodal.batch import Masked
from polymodal.errors import InputError, Unreadable
from polymodal.levels import Level
from polymodal.modalities.tabular import lists
from polymodal.modalities.tabular.codec import Cells, column_kind
from polymodal.modalities.tabular.codes import has_check_digit
from polymodal.modalities.tabular.columns import fit_number, number
from polymodal.modalities.tabular.encoders import FTTransformer, TabularMLP
from polymodal.modalities.tabular.words import CellWords
from polymodal.nn import SIZES

TINY = SIZES["tiny"]
NAN = float("nan")


def one(kind: str, training: list[Any]) -> Cells:
    return Cells({"x": kind}).fit([{"x": v} for v in training], TINY)


def code(codec: Cells, value: Any) -> list[float]:
    x = codec.encode({"x": value})
    return [NAN] * len(codec.fields) if x is None else x.tolist()


def test_a_number_is_asinh_of_its_distance_from_the_median_in_robust_deviations() -> None:
    g = np.random.default_rng(0)
    x = g.lognormal(3, 2, 201)
    codec = one("number", [*x, None, "abc", math.inf])
    low, middle, high = np.quantile(x, [0.25, 0.5, 0.75])
    for v in (x[0], x[1], 1e-3, -5.0, 0):
        expected = math.asinh((v - middle) / ((high - low) / 1.349))
        assert code(codec, v) == [pytest.approx(expected, abs=1e-6)]


def test_without_quartiles_the_deviation_stands_in_and_without_that_one() -> None:
    rare = one("number", [0] * 30 + [4])
    assert code(rare, 4) == [pytest.approx(math.asinh(4 / np.std([0] * 30 + [4])))]
    assert code(one("number", [5.0, 5.0]), 6) == [pytest.approx(math.asinh(1))]
    assert code(one("number", [None, "x"]), 2) == [pytest.approx(math.asinh(2))]
    # what rounding leaves of a constant column is no spread
    assert code(one("number", [0.1 + 0.2, 0.3, 0.3]), 0.3 + 1e-9) == [pytest.approx(0, abs=1e-6)]


@over("huge", [1e300, -1e308, 10**200])
def test_huge_numbers_stay_finite(huge: float) -> None:
    for codec in (one("number", [1, 2, 3]), one("number", [1, huge, 3, -huge])):
        (y,) = code(codec, huge)
        assert math.isfinite(y) and abs(y) <= 10


@over(
    "raw, value",
    [
        ("3.5", 3.5),
        (" 1,250.50 ", 1250.5),
        ("$3", 3.0),
        ("12 %", 12.0),
        ("-1e3", -1000.0),
        (True, 1.0),
        (np.float32(2.5), 2.5),
        (decimal.Decimal("1.25"), 1.25),
        (torch.tensor(4), 4.0),
    ],
)
def test_numbers_are_read(raw: Any, value: float) -> None:
    codec = one("number", [0.0, 1.0])
    assert codec.unreadable({"x": raw}) == {}
    assert code(codec, raw) == code(codec, value)


@over("kind", ["number", "category", "boolean", "date"])
@over("raw", [None, NAN, "", "  ", pd.NA, pd.NaT, np.float32(NAN), np.datetime64("NaT")])
def test_missing_is_missing(kind: str, raw: Any) -> None:
    codec = one(kind, ["1", "0"] if kind != "date" else ["2024-01-01"])
    assert codec.encode({"x": raw}) is None and codec.encode({}) is None
    assert codec.unreadable({"x": raw}) == {}


@over(
    "kind, raw, says",
    [
        ("number", "abc", "'abc' is not a number"),
        ("number", "1_000", "'1_000' is not a number"),
        ("number", math.inf, "inf is not a finite number"),
        ("number", "-inf", "'-inf' is not a finite number"),
        ("number", 10**400, "is not a number"),
        ("number", [1, 2], "[1, 2] is not a number"),
        ("number", datetime.date(2024, 1, 1), "is not a number"),
        ("boolean", "maybe", "'maybe' is neither true nor false"),
        ("boolean", 2, "2 is neither true nor false"),
        ("date", "2024-13-45", "'2024-13-45' is not a date"),
        ("date", "today", "'today' is not a date"),
        ("date", 12, "12 is not a date"),
        ("number", "x" * 10_000_000, "is not a number"),
    ],
)
def test_what_is_unreadable_is_reported_and_costs_no_other_cell(kind: str, raw: Any, says: str) -> None:
    codec = Cells({"x": kind, "y": "number"}).fit([{"x": None, "y": 1}, {"y": 2}, {"y": 3}], TINY)
    cell = {"x": raw, "y": 2}
    assert codec.unreadable(cell).keys() == {"x"} and says in codec.unreadable(cell)["x"]
    assert len(codec.unreadable(cell)["x"]) < 120
    x = codec.encode(cell)
    assert x is not None and x[:-1].isnan().all() and x[-1] == 0


def test_words_for_nothing_are_missing_but_may_name_a_category() -> None:
    for kind in ("number", "boolean", "date"):
        codec = one(kind, ["1"])
        assert codec.encode({"x": "N/A"}) is None and codec.unreadable({"x": "N/A"}) == {}
    assert code(one("category", ["NA", "none"]), "NA") == [1.0]


def test_categories_are_places_the_commonest_first_and_unknown_is_0() -> None:
    codec = one("category", ["b", "a", "b", "c", None, "a", "b"])
    assert [code(codec, v) for v in ("b", "a", "c", "never")] == [[1.0], [2.0], [3.0], [0.0]]
    assert codec.fields == [4] and codec.unreadable({"x": "never"}) == {}


def test_a_whole_number_is_one_category_however_it_is_written() -> None:
    codec = one("category", [3, "4.0", 5.0])
    for forms in ((3, 3.0, "3", "3.0", np.int64(3)), (4, "4"), (5, "5.0")):
        assert len({tuple(code(codec, v)) for v in forms}) == 1 and code(codec, forms[0]) != [0.0]
    assert code(codec, "03") == [0.0]


def test_too_many_categories_are_bounded() -> None:
    codec = one("category", [str(i) for i in range(5000)])
    assert codec.fields == [1001]


def test_booleans() -> None:
    codec = one("boolean", [])
    for raw in (True, "yes", " TRUE ", "y", 1, "1", 1.0, np.True_):
        assert code(codec, raw) == [1.0]
    for raw in (False, "no", "False", 0, "0.0", "off"):
        assert code(codec, raw) == [-1.0]


def test_a_date_is_years_and_circles() -> None:
    codec = one("date", ["2020-01-01", "2022-01-01", "2024-01-01"])
    assert codec.fields == [0] * 5 and codec.field_columns == ["x"] * 5
    years, sin_year, cos_year, sin_week, cos_week = code(codec, "2022-01-01")
    assert years == pytest.approx(0, abs=1e-6) and (sin_year, cos_year) == (0, 1)
    week = 2 * math.pi * 5 / 7  # a Saturday
    assert (sin_week, cos_week) == (pytest.approx(math.sin(week)), pytest.approx(math.cos(week)))
    assert code(codec, "2024-01-01")[0] == pytest.approx(math.asinh(2 / (2 / 1.349)), abs=1e-6)


def test_the_hour_is_a_field_where_training_has_one() -> None:
    codec = one("date", ["2020-01-01 06:00", "2022-01-01T18:30:00"])
    assert len(codec.fields) == 7
    assert code(codec, "2021-05-05 06:00")[-2:] == [pytest.approx(1), pytest.approx(0, abs=1e-6)]


@over(
    "raw",
    [
        "2024-03-05",
        "2024-03-05T00:00:00Z",
        "20240305",
        datetime.date(2024, 3, 5),
        datetime.datetime(2024, 3, 5),
        pd.Timestamp("2024-03-05", tz="Europe/Oslo"),
        np.datetime64("2024-03-05"),
        "05/03/2024",
        "5 March 2024",
        "Mar 5, 2024",
        20240305,
    ],
)
def test_dates_are_read(raw: Any) -> None:
    codec = one("date", ["2022-01-01", "25/12/2023", "1 May 2023", "May 1, 2023"])
    assert codec.unreadable({"x": raw}) == {}
    assert code(codec, raw) == code(codec, "2024-03-05")


def test_day_or_month_first_is_asked_of_the_whole_column() -> None:
    european, american = ["03/04/2024", "25/12/2023"], ["03/04/2024", "12/25/2023"]
    assert code(one("date", european), "03/04/2024") == code(one("date", european), "2024-04-03")
    assert code(one("date", american), "03/04/2024") == code(one("date", american), "2024-03-04")
    assert one("date", european).unreadable({"x": "12/25/2023"}) == {"x": "'12/25/2023' is not a date"}


def test_all_missing_is_none_and_a_wrong_cell_is_unreadable() -> None:
    codec = Cells({"a": "number", "b": "category"}).fit([{"a": 1, "b": "x"}], TINY)
    assert codec.encode({"a": None}) is None and codec.encode({"c": 3}) is None
    with pytest.raises(Unreadable, match="3 is not a mapping"):
        codec.encode(3)
    with pytest.raises(InputError, match=r"\{'a': 'numeric'\}; it knows: number, category, boolean, date"):
        Cells({"a": "numeric"})


def test_fields_in_the_order_of_the_columns() -> None:
    codec = Cells({"b": "category", "n": "number", "d": "date"})
    codec.fit([{"b": "x", "n": 1, "d": "2024-01-01"}, {"b": "y"}], TINY)
    assert codec.fields == [3, 0, 0, 0, 0, 0, 0]
    assert codec.field_columns == ["b", "n", *["d"] * 5]


@over(
    "cells, kind, reason",
    [
        ([i / 7 for i in range(200)], "number", "all 200 cells are numbers, 200 distinct"),
        ([str(i) for i in range(50)], "number", "all 50 cells are numbers, 50 distinct"),
        ([1, 2, 3] * 40, "category", "only 3 distinct whole numbers in 120 cells"),
        ([1, 2, 3] * 5, "number", "all 15 cells are numbers, 3 distinct"),
        ([0.5, 1.5] * 50, "number", "all 100 cells are numbers, 2 distinct"),
        (["5.5"] * 95 + ["abc"] * 5, "number", "95 of 100 cells are numbers, 1 distinct"),
        ([f"c{i}" for i in range(12)] * 20, "category", "12 distinct values in 240 cells"),
        (["yes", "No"] * 9, "boolean", "all 18 cells are words of yes or no"),
        ([True, False, None], "boolean", "all 2 cells are words of yes or no"),
        (["male", "female"] * 9, "category", "2 distinct values in 18 cells"),
        (["2024-01-05", "2024-02-07"], "date", "all 2 cells are dates"),
        ([pd.Timestamp("2024-01-05")] * 3, "date", "all 3 cells are dates"),
        (["05/01/2024 10:00"] * 19 + ["?"], "date", "19 of 20 cells are dates"),
        ([None, NAN, ""], "category", "every cell is empty"),
        ([[1, 2], [3, 4]], "category", "2 of 2 cells hold more than one value"),
        ([Path("a.png")], "category", "1 of 1 cells hold more than one value"),
    ],
)
def test_column_kind(cells: list[Any], kind: str, reason: str) -> None:
    found, guess = column_kind(cells)
    assert (found, guess.reason) == (kind, reason)
    sure = not any(word in reason for word in ("empty", "more than one"))
    assert (guess.confidence > 0.5) == sure


def test_an_id_or_a_text_is_hardly_a_category() -> None:
    assert column_kind([f"id-{i}" for i in range(40)])[1].confidence < 0.2
    assert column_kind(["is there a red circle in it", "what colour is the shape"] * 20)[1].confidence < 0.5


def test_a_field_is_a_token() -> None:
    net = FTTransformer([0, 3, 0], 4, layers=0).eval()
    x = torch.tensor([[2.0, 1.0, -1.0]])
    y = net(Masked(x, torch.tensor([[True, True, True]]))).values[0]
    expected = [
        net.bias[0] + 2 * net.weight[0],
        net.bias[1] + net.split.table[1],
        net.bias[2] - net.weight[1],
    ]
    torch.testing.assert_close(y, net.norm(torch.stack(expected)))


def test_a_missing_field_is_no_token() -> None:
    """What the other fields give is what a network without that field gives."""
    torch.manual_seed(0)
    both, alone = FTTransformer([0, 0], 8, heads=2).eval(), FTTransformer([0], 8, heads=2).eval()
    state = both.state_dict()
    alone.load_state_dict(state | {k: state[k][:1] for k in ("weight", "bias")})
    y = both(Masked(torch.tensor([[1.5, 7.0]]), torch.tensor([[True, False]])))
    expected = alone(Masked(torch.tensor([[1.5]]), torch.tensor([[True]])))
    torch.testing.assert_close(y.values[:, :1], expected.values)
    assert not y.values[:, 1].any() and y.mask.tolist() == [[True, False]]


@over("fields", [[0, 0], [0, 3]])
def test_missing_is_neither_the_median_nor_an_unknown_category(fields: list[int]) -> None:
    net = TabularMLP(fields, 8).eval()
    torch.nn.init.normal_(net.split.table)
    x = torch.tensor([[1.0, 0.0]])
    there, gone = (net(Masked(x, torch.tensor([[True, m]]))).values for m in (True, False))
    assert not torch.allclose(there, gone)
    if fields[1]:
        assert not net.split(Masked(x, torch.tensor([[True, False]])))[1].any()


@over("encoder", [TabularMLP, FTTransformer])
@over("fields", [[0], [4], [0, 0], [2, 3]])
def test_fields_of_one_sort_alone(encoder: Any, fields: list[int]) -> None:
    net = encoder(fields, 8).eval()
    x = Masked(torch.ones(2, len(fields)), torch.ones(2, len(fields), dtype=torch.bool))
    assert net(x).values.isfinite().all()


def test_columns_keep_their_own_categories() -> None:
    net = TabularMLP([2, 3], 8)
    row = Masked(torch.tensor([[1.0, 2.0]]), torch.tensor([[True, True]]))
    first, second = net.split(row)[1][0]
    assert torch.equal(first, net.split.table[1]) and torch.equal(second, net.split.table[2 + 2])


@over("encoder", [TabularMLP, FTTransformer])
def test_it_learns_what_no_linear_model_can(encoder: Any) -> None:
    """The label is whether a number lies near 0, turned round by a category."""
    g = np.random.default_rng(0)
    rows = [{"a": v, "b": c} for v, c in zip(g.normal(size=300), g.choice(["u", "v"], 300), strict=True)]
    label = torch.tensor([(abs(r["a"]) < 0.67) == (r["b"] == "u") for r in rows]).long()
    codec = Cells({"a": "number", "b": "category"}).fit(rows[:200], TINY)
    x = codec.collate([codec.encode(r) for r in rows])
    torch.manual_seed(0)
    net, head = encoder.for_codec(codec, TINY), torch.nn.Linear(TINY.dim, 2)
    optimizer = torch.optim.AdamW([*net.parameters(), *head.parameters()], 1e-2)
    seen, new = torch.arange(200), torch.arange(200, 300)
    for _ in range(80):
        loss = torch.nn.functional.cross_entropy(head(net(x.take(seen)).values.mean(1)), label[seen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    right = head(net.eval()(x.take(new)).values.mean(1)).argmax(1) == label[new]
    assert right.float().mean() > 0.9


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["1 lb. 5 oz.", "12 oz", "3 lb"], [0.5953, 0.3402, 1.3608]),
        (['52"', "4 ft 2 in", "6'"], [1.3208, 1.27, 1.8288]),
        (["5 kg", "300 g", "1,200 g"], [5, 0.3, 1.2]),
        (["1.5 mi", "3 km", "20 m"], [2414.016, 3000, 20]),
        (["3h 20m", "45m", "1 hr, 5 mins and 3 s"], [12000, 2700, 3903]),
        (["12 pcs", "1 pc", "-3 pcs"], [12, 1, -3]),
        (["1.234,56", "12,5", "3.000", "€ 0,5"], [1234.56, 12.5, 3000, 0.5]),
        (["10-20", "5 to 7", "65+", "<18", "8"], [15, 6, 65, 18, 8]),
    ],
    ids=["mass", "length", "kilograms", "distance", "time", "pieces", "comma", "ranges"],
)
def test_numbers_are_read_in_the_way_of_their_column(cells: list[str], values: list[float]) -> None:
    """Units by their definitions: a pound is 0.45359237 kg, a foot 0.3048 m."""
    kind, guess = column_kind(cells)
    assert kind == "number" and guess.confidence > 0.95, "surer than a text could be"
    state = fit_number([*cells, None, "n/a"])
    assert [number(c, state) for c in cells] == pytest.approx(values, abs=1e-4)
    assert number("n/a", state) is None
    with pytest.raises(Unreadable, match="'a few' is not a number"):
        number("a few", state)


def test_a_number_without_a_unit_is_none_where_the_others_of_its_column_have_one() -> None:
    state = fit_number(["500 mg", "1 g", "2.5 g", "750mg"])
    for cell in ("500", 500, 0.5):
        with pytest.raises(Unreadable, match=rf"{cell}'? has no unit, and its column is of mass in kg"):
            number(cell, state)
    assert number(0, state) == number("0", state) == 0 and number(math.nan, state) is None
    assert number("12", fit_number(["12 pcs", "1 pc"])) == 12, "of what is counted there is one unit"


def test_the_name_of_an_ordered_category_is_a_word_as_it_is_in_a_file() -> None:
    size, plain = Level.each(["small", "large"])[1], {"x": "large", "y": "3"}
    assert CellWords().read({"x": size, "y": 3}).tolist() == CellWords().read(plain).tolist() == [*b"large"]


@pytest.mark.parametrize(
    "cells",
    [["3-2", "1-4", "2-2", "4-0"], ["01-12", "02-13"], ["A1", "B2"], ["12 Main St", "14 Oak St"], ["5 kg", "3 pcs"],
     ["10 red", "20 blue"]],
    ids=str,
)  # fmt: skip
def test_what_is_written_in_several_ways_or_in_none_is_no_number(cells: list[str]) -> None:
    assert column_kind(cells)[0] == "category"


def test_plain_numbers_are_read_plainly_whatever_else_they_could_be() -> None:
    assert "way" not in fit_number(["1,234", "2,345", "12"])  # thousands
    assert "way" not in fit_number([1.5, "2", None])
    assert fit_number(["1", "2", "3", "4-6"])["way"] == "ranges"  # reads more of them


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("9780306406157", True), ("978-0-306-40615-7", True), ("9780306406158", False),  # ISBN-13
        ("0306406152", True), ("080442957X", True), ("0306406153", False),  # ISBN-10
        ("4006381333931", True), ("036000291452", True), ("96385074", True),  # EAN-13, UPC, EAN-8
        ("4539 1488 0343 6467", True), ("4539148803436468", False),  # Luhn
        ("1234567", False), ("94110", False), ("a9780306406157", False),
    ],
)  # fmt: skip
def test_check_digits(text: str, valid: bool) -> None:
    """Examples of the standards: ISO 2108, GS1 General Specifications, ISO/IEC 7812."""
    assert has_check_digit(text) is valid


COLOURS = "red green blue grey".split()


def lists_of_colours(n: int, separator: str) -> list[str]:
    """Each of the 15 lists of some of four colours, in turn."""
    return [separator.join(c for k, c in enumerate(COLOURS) if (1 + i % 15) >> k & 1) for i in range(n)]


@pytest.mark.parametrize("form", [", ", "/", ";", "json", "list"])
def test_a_list_of_categories_has_a_field_an_item(form: str) -> None:
    cells: list[Any] = lists_of_colours(60, form if len(form) < 3 else ",")
    cells = [x.split(",") if form == "list" else json.dumps(x.split(",")) if form == "json" else x for x in cells]
    kind, guess = column_kind(cells)
    assert (kind, guess.confidence) == ("category", 0.97) and "lists of 4 items" in guess.reason
    codec = one("category", cells)
    items = codec.columns_["x"]["items"]
    assert sorted(items) == sorted(COLOURS) and codec.fields == [16, 0, 0, 0, 0] and codec.field_columns == ["x"] * 5
    for cell in cells[:15]:
        text = str(cell)
        assert code(codec, cell)[0] > 0 and code(codec, cell)[1:] == [float(c in text) for c in items]
    assert code(codec, "red")[1 + items.index("red")] == 1 and sum(code(codec, "pink")) == 0
    assert all(math.isnan(v) for v in code(codec, None))


@pytest.mark.parametrize(
    "cells",
    [
        ["Oslo, Norway", "Bergen, Norway", "Paris, France"] * 20,  # no more lists than items
        [f"Smith, John {i}" for i in range(60)],  # items of one cell
        ["a quiet film, with a long end", "a loud film, with a long end", "a quiet film, with a short end"] * 20,
        lists_of_colours(8, ","),
    ],
    ids=["pairs", "names", "sentences", "few"],
)
def test_what_only_has_commas_is_no_list(cells: list[str]) -> None:
    assert lists.find(cells) is None and "items" not in one("category", cells).columns_["x"]
