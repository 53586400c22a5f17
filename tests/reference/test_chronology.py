"""Rows in the order of time: found where neighbours overlap, and parted so that no held-out row has a near copy."""

import numpy as np
import pandas as pd
import pytest

import flat
import polymodal
from polymodal.data import chronology
from polymodal.data.chronology import Chronology
from polymodal.data.schema import Schema
from polymodal.data.table import Table
from polymodal.errors import InputError
from polymodal.experiment.problem import state

LONG = 8


def windows(rows: int = 120, step: int = 1, seed: int = 0) -> pd.DataFrame:
    """Windows of one wandering series, and what comes next."""
    g = np.random.default_rng(seed)
    x = np.cumsum(g.normal(size=rows * step + LONG + 1))
    starts = range(0, rows * step, step)
    return pd.DataFrame(
        {
            "past": [x[i : i + LONG].tolist() for i in starts],
            "day": [f"{1 + i % 28}.{1 + i // 28 % 12}.{2001 + i // 336}" for i in range(rows)],
            "next": [x[i + LONG] for i in starts],
        }
    )


def found(frame: pd.DataFrame, split: str | None = None, order: str | None = None, **more: str) -> Chronology | None:
    table = Table.read(frame)
    return chronology.find(table, Schema.infer(table, "next", **more), split, order)


@pytest.mark.parametrize("step", [1, 3])
def test_windows_of_one_series_are_found_whichever_way_they_run(step):
    frame = windows(step=step)
    up, down = found(frame), found(frame.iloc[::-1].reset_index(drop=True))
    assert up is not None and down is not None and (up.down, down.down) == (True, False)
    assert up.gap == LONG // step and "'past' holds readings of the row above" in up.reason
    when = up.times(Table.read(frame))
    assert down.times(Table.read(frame.iloc[::-1])) == [-t for t in when]


def test_columns_of_earlier_values_are_found():
    x = np.random.default_rng(0).normal(size=104)
    lags = pd.DataFrame({f"lag_{k}": x[3 - k : 103 - k] for k in (1, 2, 3)} | {"next": x[3:103]})
    up = found(lags)
    assert up is not None and up.gap == 3 and "of the row above" in up.reason
    counted = pd.DataFrame({"start": np.arange(100.0), "end": np.arange(1.0, 101), "next": x[:100]})
    assert found(counted) is None, "what counts the rows is no reading"


def test_other_rows_are_in_no_order():
    frame = windows()
    assert found(frame.sample(frac=1, random_state=0)) is None
    assert found(frame.assign(past=[[i // 60] * LONG for i in range(120)])) is None, "readings that never vary"
    assert found(frame, split="random") is None and found(frame, group="day") is None
    assert found(frame.head(30)) is None, "too few to tell"


def test_a_column_of_dates_orders_rows_wherever_they_stand():
    frame = windows()
    mixed = frame.sample(frac=1, random_state=1)
    got = found(mixed, order="day")
    assert got is not None and got.gap == LONG
    assert np.argsort(got.times(Table.read(mixed))).tolist() == np.argsort(mixed.index).tolist()
    asked = found(mixed.drop(columns="past"), split="time")
    assert asked is not None and asked.gap == 0


def test_what_can_not_order_rows():
    frame = windows()
    frame.loc[7, "day"] = "soon"
    with pytest.raises(InputError, match="by 'day': row 8 of the table: 'soon' is not a date; the others are dates"):
        found(frame, order="day")
    frame.loc[[7, 9], "day"] = None
    with pytest.raises(InputError, match="row 8 of the table has no time"):
        found(frame, order="day")
    for asked, message in (
        ({"split": "weekly"}, "one of random, time"),
        ({"split": "random", "order": "day"}, "leave one out"),
        ({"split": "time", "group": "day"}, "leave one out"),
        ({"order": "next"}, "is the target"),
        ({"order": "date"}, "no column 'date'; it has: past, day, next"),
    ):
        with pytest.raises(InputError, match=message):
            found(frame, **asked)


def test_numbers_order_rows_and_one_that_is_none_is_named():
    frame = windows().assign(day=[str(i // 7) for i in range(120)])
    got = found(frame, order="day")
    held = got.holdout(got.times(Table.read(frame)), 0.2)[1]
    assert held == list(range(98, 120)), "rows of one time stay together"
    assert [len(held) for _, held in got.folds(got.times(Table.read(frame)), 2)] == [63, 57]
    frame.loc[3, "day"] = "inf"
    with pytest.raises(InputError, match="row 4 of the table: 'inf' is not a finite number; the others are numbers"):
        found(frame, order="day")
    with pytest.raises(InputError, match="it is the same in all of them"):
        found(frame.assign(day=1), order="day")


def test_dates_are_read_in_one_way_in_every_part_of_a_table():
    """Day first, as two of the dates alone can tell."""
    dates = [f"{d:02}/{m:02}/2024" for m in range(1, 13) for d in (1, 5, 9)] + ["17/12/2024", "25/12/2024"]
    frame = pd.DataFrame({"day": dates, "x": range(38), "next": range(38)})
    got, part = found(frame, order="day"), Table.read(frame).take(range(36))
    assert got.times(part) == sorted(got.times(part))


def test_however_long_the_windows_something_is_left_to_learn_from():
    parts = Chronology(None, 1000, "").folds(list(map(float, range(20))), 2)
    assert [(len(train), len(held)) for train, held in parts] == [(5, 10), (10, 10)]


def test_a_fold_is_a_stretch_of_time_and_no_row_soon_after_it_is_learned_from():
    when = np.random.default_rng(0).permutation(50).astype(float)
    parts = Chronology(None, 4, "").folds(when.tolist(), 5)
    assert sorted(i for _, held in parts for i in held) == list(range(50))
    for train, held in parts:
        late, learned = sorted(when[held]), set(when[train])
        assert late == list(range(int(late[0]), int(late[0]) + 10))
        assert learned == set(range(50)) - set(late) - {late[-1] + k for k in range(1, 5)}
    assert sorted(when[Chronology(None, 0, "").holdout(when.tolist(), 0.2)[1]]) == list(range(40, 50))


def test_inspect_says_so_too():
    (warning,) = (w for w in polymodal.inspect(windows(), "next", progress=False).warnings if w.kind == "order")
    assert "'past' holds readings of the row above" in warning.message


def test_folds_and_held_out_rows_of_such_a_table_are_stretches_of_it():
    problem = state(windows(), "next", ignore=["day"])
    for _, held in problem.folds(problem.table, None, 4, seed=0):
        assert held == list(range(held[0], held[0] + 30))
    assert problem.hold_out(problem.table, None, 0.25, seed=0)[1] == list(range(90, 120))
    assert problem.split(0)[1] == list(range(96, 120))


def test_fit_validates_on_the_latest_rows_and_says_so():
    frame = windows()
    model = flat.fit(frame, "next", fusion="features", preset="fast", ignore=["day"])
    assert any("the latest validate, where no others are given (--split random" in note for note in model.report.notes)
    later = model.report.plan["chronology"]
    assert later["gap"] == LONG and model.report.comparison.rows == 120
    other = flat.fit(frame, "next", fusion="features", preset="fast", ignore=["day"], split="random")
    assert other.report.plan["chronology"] is None
    easy, honest = (m.report.comparison.candidates[0].score.value for m in (other, model))
    assert honest < easy, "a random part has near copies of what is held out"


def test_a_gap_is_left_out_on_either_side_of_what_is_held_out():
    when = np.random.default_rng(0).permutation(50).astype(float)
    apart = Chronology(None, 4, "", apart=6)
    train, held = apart.holdout(when.tolist(), 0.2)
    assert sorted(when[held]) == list(range(40, 50)) and sorted(when[train]) == list(range(34))
    for k, (train, held) in enumerate(apart.folds(when.tolist(), 5)):
        first, end = 10 * k, 10 * k + 10
        assert sorted(when[held]) == list(range(first, end))
        assert sorted(when[train]) == [t for t in range(50) if t < first - 6 or t >= end + 6]
    with pytest.raises(InputError, match="a gap of 40 rows leaves none of 50 to train on; give a smaller --gap"):
        Chronology(None, 0, "", apart=40).folds(when.tolist(), 5)


def test_fit_leaves_the_rows_of_a_gap_out():
    frame = windows(100)
    how = dict(fusion="concat", size="tiny", epochs=1, baselines=False, ignore=["day"])
    model = flat.fit(frame, "next", gap=7, **how)
    assert model.report.rows == {"train": 73, "valid": 20, "unlabelled": 0}
    assert any("with a gap of 7 rows before them" in note for note in model.report.notes)
    unlabelled = frame.assign(next=[None if i == 79 else x for i, x in enumerate(frame["next"])])
    problem = state(unlabelled, "next", columns=polymodal.Columns(gap=7))
    train, valid = problem.split(0)
    assert len(valid) == 20 and 79 in train and not {*range(72, 79)} & {*train}, "of rows with a label"
    for wrong, text in (
        ({"gap": 7, "split": "random"}, "--gap is between stretches of time; add --split=time or --order, or leave it"),
        ({"gap": 2.5}, r"--gap can't be 2.5; it must be a number of rows from 0"),
        ({"gap": -1}, r"--gap can't be -1; it must be a number of rows from 0"),
        ({"gap": 80}, "a gap of 80 rows leaves none of 100 to train on"),
    ):
        with pytest.raises(InputError, match=text):
            flat.fit(frame, "next", **wrong, **how)
