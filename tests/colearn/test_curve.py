"""Learning curves: nested shares, interpolation, what is saved, and the files."""

import json
import math

import pandas as pd
import pytest
import torch

from conftest import make_shop
from flat import curve as learning_curve
from flat import fit
from polymodal.data.table import Table
from polymodal.errors import InputError
from polymodal.evaluate.intervals import Interval
from polymodal.experiment import learning_curve as curves
from polymodal.experiment import problem
from polymodal.experiment.config import Columns
from polymodal.experiment.learning_curve import Curve, Point, labels_for, nested_order
from polymodal.objectives.colearning import Colearning

TINY = {"size": "tiny", "epochs": 1, "lr": 0.01, "fusion": "concat"}


def stated(frame, group=None):
    goal = problem.state(frame, "y", group=group, columns=Columns(kinds={"x": "number"}), task="multiclass")
    goal.task.fit(frame["y"].dropna())
    return goal


def frame(rows=120):
    labels = ["a"] * (rows // 2) + ["b"] * (rows // 3) + ["c"] * (rows - rows // 2 - rows // 3)
    labels = [None if i % 10 == 9 else y for i, y in enumerate(labels)]
    return pd.DataFrame(
        {"x": [i * 0.7 % 3 for i in range(rows)], "y": labels, "who": [f"g{i % 12}" for i in range(rows)]}
    )


def test_each_beginning_has_the_classes_in_proportion():
    table = frame()
    order = nested_order(stated(table), Table.read(table), 0)
    there = [i for i, y in enumerate(table["y"].notna()) if y]
    assert sorted(order) == there, "each labelled row once, and no other"
    whole = table["y"].dropna().value_counts(normalize=True)
    assert set(table["y"][order[:3]]) == {"a", "b", "c"}
    for k in (20, 40, 80):
        part = table["y"][order[:k]].value_counts(normalize=True)
        assert all(abs(part[c] - whole[c]) < 1.5 * 3 / k for c in whole.index), (k, part)
    assert order != nested_order(stated(table), Table.read(table), 1)


def test_groups_come_whole_and_bring_every_class_early():
    table = frame()
    order = nested_order(stated(table, "who"), Table.read(table), 0)
    of = [table["who"][i] for i in order]
    runs = [g for k, g in enumerate(of) if k == 0 or of[k - 1] != g]
    assert len(runs) == len(set(runs)) and sorted(order) == [i for i, y in enumerate(table["y"].notna()) if y]


def test_where_a_curve_reaches_a_height():
    points = [(10, 0.5), (20, 0.7), (40, 0.6), (80, 0.9)]
    assert (
        labels_for(points, 0.6) == 15
        and labels_for(points, 0.7) == 20
        and labels_for(points, 0.8) == pytest.approx(200 / 3)
    )
    assert labels_for(points, 0.4) == 10 and labels_for(points, 0.95) is None
    assert labels_for([(5, math.nan), (10, 0.5), (15, math.nan), *points[1:]], 0.6) == 15


@pytest.mark.parametrize("group", [None, "who"])
def test_a_share_knows_each_class_of_the_validation_rows(monkeypatch, group):
    """Twelve classes, of which a twentieth of the labels would know four."""
    frame = pd.DataFrame(
        {"x": range(96), "y": [f"c{i % 12}" for i in range(96)], "who": [f"g{i % 16}" for i in range(96)]}
    )
    asked = []

    def once(goal, held, part, *more):
        there = {c for c in part.cells("y") if c is not None}
        asked.append(sum(c is not None for c in part.cells("y")))
        assert set(held.cells("y")) <= there
        return torch.zeros(held.rows, len(there))

    monkeypatch.setattr(curves, "_fit", once)
    found = learning_curve(frame, "y", **TINY, kinds={"x": "number"}, group=group, fractions=[0.05, 0.5])
    assert asked == [p.labels for p in found.points] and asked[0] < asked[1] < asked[2]
    assert [p.fraction for p in found.points] == [k / asked[2] for k in asked]
    if group is None:
        assert asked[0] == 12 and "fractions of fewer than 12 labels were raised to as many" in found.sentence


def test_the_sentence_says_what_is_saved_or_that_nothing_is(monkeypatch):
    goal = stated(frame())

    def said(*values, helped=None, all_of_them=0.8, gain=0.05):
        points = [
            Point(k / 100, k, Interval(all_of_them, 0, 1), Interval(v, 0, 1), Interval(gain, gain - 0.01, gain + 0.01))
            for k, v in zip((10, 50, 100), values, strict=True)
        ]
        return curves._curve(goal, Table.read(frame()), helped or Colearning(pretrain="masked"), points, 100)

    found = said(0.7, 0.9, 0.9)
    assert found.saved == pytest.approx(0.7) and "with 30: it saves 70% of the labels" in found.sentence
    assert "with 10 or fewer" in said(0.85, 0.9, 0.9).sentence
    unsure = said(0.7, 0.9, 0.9, gain=0.005)
    assert (
        unsure.saved is None and "no gain of pretraining (masked) over training without it was shown" in unsure.sentence
    )
    none = said(0.5, 0.6, 0.7)
    assert none.saved is None and "pretraining (masked) saves none: with no fraction of the labels" in none.sentence


def test_files_and_shares_of_a_small_table(tmp_path):
    table = make_shop(tmp_path / "shop", 50)
    how = {**TINY, "colearning": Colearning(pretrain="contrastive"), "fractions": [0.2, 0.5], "out": tmp_path / "c"}
    found = learning_curve(table, "kind", **how)
    assert [p.fraction for p in found.points] == [0.2, 0.5, 1.0] and [p.labels for p in found.points] == [8, 20, 40]
    assert found.valid == 10 and all(p.gain is not None for p in found.points)
    for p in found.points:
        assert p.gain.value == pytest.approx(p.helped.value - p.plain.value)
    names = {p.name for p in found.write(tmp_path / "c")}
    assert names == {"curve.json", "curve.csv", "curve.png"}
    assert json.loads((tmp_path / "c/curve.json").read_text())["points"][2]["labels"] == 40
    lines = pd.read_csv(tmp_path / "c/curve.csv")
    assert list(lines["labels"]) == [8, 20, 40] and {"plain_low", "helped_value", "gain_high"} <= set(lines)
    with pytest.raises(InputError, match="holds something; add --resume to go on with it, --overwrite"):
        learning_curve(table, "kind", **how)


def test_a_finished_fit_is_not_done_again(tmp_path, monkeypatch):
    table, calls = make_shop(tmp_path / "shop", 40), []

    def once(goal, held, part, *more):
        calls.append(sum(c is not None for c in part.cells("kind")))
        return torch.zeros(held.rows, 2)

    monkeypatch.setattr(curves, "_fit", once)
    how = {**TINY, "fractions": [0.5], "out": tmp_path / "c"}
    assert isinstance(learning_curve(table, "kind", **how), Curve) and calls == [16, 32]
    learning_curve(table, "kind", **how, resume=True)
    assert calls == [16, 32]
    for times, other in enumerate(({"seed": 1}, {"encoders": {"note": "gru"}}, {"ignore": ["price"]}), 2):
        how |= other  # each differs from the one before in one thing
        learning_curve(table, "kind", **how, resume=True)
        assert calls == [16, 32] * times, "fits of another question were taken over"


def test_what_can_not_be_asked(tmp_path):
    table = make_shop(tmp_path / "shop", 20)
    for shares, said in (([0, 1], "0, 1"), ([], "nothing"), ([1.5], "1.5")):
        with pytest.raises(InputError, match=f"--fractions can't be {said}; each lies above 0, and at 1 most"):
            learning_curve(table, "kind", fractions=shares)
    with pytest.raises(InputError, match="a learning curve is of one network: --fusion=auto chooses among several"):
        learning_curve(table, "kind", fusion="auto")
    with pytest.raises(InputError, match="seed can't be -1; it must be a whole number from 0"):
        learning_curve(table, "kind", **{**TINY, "seed": -1})
    with pytest.raises(InputError, match=f"--out={table} is a file; name a folder"):
        learning_curve(table, "kind", **TINY, out=table)
    fit(table, "kind", **TINY, baselines=False, out=tmp_path / "m")
    with pytest.raises(InputError, match=r"that model has seen all labels of shop\.csv"):
        learning_curve(table, "kind", colearning=Colearning(init_from=str(tmp_path / "m")))


def test_the_command_line(tmp_path, run):
    table = make_shop(tmp_path / "shop", 30)
    done = run("learning-curve", table, "-t", "kind", "--fractions", "0.5", "--fusion", "concat", "--size", "tiny",
               "--epochs", 1, "--out", tmp_path / "c", "--pretrain", "masked")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "labels alone" in done.stdout and "pretraining (masked)" in done.stdout and "curve.csv" in done.stdout
    wrong = run("learning-curve", table, "-t", "kind", "--fractions", "half", "--out", tmp_path / "d")
    assert wrong.returncode == 2 and "--fractions 'half' is no list of fractions" in wrong.stderr
