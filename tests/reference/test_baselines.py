"""Baselines against their definitions: scikit-learn's dummies, and the row before."""

import numpy as np
import pytest
import torch
from sklearn.dummy import DummyClassifier, DummyRegressor

from polymodal.batch import Masked
from polymodal.evaluate.baselines import baselines, constant, persistence
from polymodal.evaluate.compare import Result, compare
from polymodal.output import Scores
from polymodal.tasks import TASKS, Ordinal, Regression

CELLS = {
    "binary": ["a", "b", "b", "b", None, "a", "b"],
    "multiclass": ["a", "b", "c", "b", None, "c", "b"],
    "ordinal": [1, 2, 3, 3, None, 3, 2],
    "regression": [0.5, 2.0, 7.0, 1.0, None, 3.0, 4.0],
    "multilabel": ["a|b", "b", "c", "b|c", None, "a", "b|a"],
}


def labels(name: str) -> tuple:
    task = TASKS[name]().fit(CELLS[name])
    return task, task.collate([task.encode(c) for c in CELLS[name]])


@pytest.mark.parametrize("name", ["binary", "multiclass"])
def test_the_constant_of_labels_is_that_of_the_dummy(name: str) -> None:
    task, target = labels(name)
    known = [c for c in CELLS[name] if c is not None]
    dummy = DummyClassifier(strategy="prior").fit(np.zeros((6, 1)), known)
    probability = constant(task, target).softmax(0)
    assert probability.tolist() == pytest.approx(dummy.predict_proba(np.zeros((1, 1)))[0].tolist())
    said = task.decode(Scores(constant(task, target)[None]))["prediction"]
    assert said == ["b"] == dummy.predict(np.zeros((1, 1))).tolist()


def test_the_constant_of_numbers_is_their_mean_and_explains_nothing() -> None:
    task, target = labels("regression")
    known = [c for c in CELLS["regression"] if c is not None]
    mean = DummyRegressor().fit(np.zeros((6, 1)), known).predict(np.zeros((1, 1)))
    assert task.decode(Scores(constant(task, target)[None]))["prediction"] == pytest.approx(mean.tolist())
    (base,) = baselines(task, target, target, None)
    assert float(task.score(base.output, target, np.ones((1, 7)))[0]) == pytest.approx(0, abs=1e-6)


def test_the_constant_of_ranks_is_their_median_and_of_label_sets_what_most_rows_have() -> None:
    task, target = labels("ordinal")
    assert task.decode(Scores(constant(task, target)[None]))["prediction"] == [
        2
    ]  # 1 2 2 3 3 3: P(> 2) is no more than 1/2
    task, target = labels("multilabel")
    p = constant(task, target).sigmoid().tolist()
    assert p == pytest.approx([3 / 6, 4 / 6, 2 / 6]) and task.labels_ == ["a", "b", "c"]


def test_a_label_that_no_training_row_has_is_unlikely_and_finite() -> None:
    task = TASKS["multiclass"]().fit(["a", "b", "c"])
    learned = task.collate([task.encode(c) for c in ["a", "a", "b"]])
    logits = constant(task, learned)
    assert logits.isfinite().all() and float(logits.softmax(0)[2]) < 1e-5


@pytest.mark.parametrize("name", CELLS)
def test_persistence_says_the_label_of_the_latest_row_before(name: str) -> None:
    """In a slow loop; rows are out of order, one has no label, and two are of one time."""
    task, target = labels(name)
    when = [5.0, 1.0, 3.0, 2.0, 4.0, 3.0, 0.0]
    got = persistence(task, target, when)
    for i, t in enumerate(when):
        before = [j for j, u in enumerate(when) if u < t and CELLS[name][j] is not None]
        if not before:
            assert i == 6 and got[i].isnan().all()
            continue
        latest = max(before, key=lambda j: (when[j], j))
        said = task.decode(Scores(got[i : i + 1]))["prediction"][0]
        cell = CELLS[name][latest]
        assert {*said} == {*filter(None, cell.split("|"))} if name == "multilabel" else said == pytest.approx(cell)


def test_what_has_no_row_before_is_answered_by_the_constant() -> None:
    task, target = labels("binary")
    base, last = baselines(task, target, target, list(range(7)))
    assert (base.name, last.name) == ("majority (baseline)", "persistence (baseline)")
    said = task.decode(last.output)["prediction"]
    assert said == [
        "b",
        "a",
        "b",
        "b",
        "b",
        "b",
        "a",
    ]  # the fifth row has no label, so the sixth says that of the fourth
    task = Regression(["x", "y"]).fit([{"x": 1.0, "y": 2.0}, {"x": 3.0, "y": 6.0}])
    target = task.collate([task.encode({"x": 1.0, "y": None}), task.encode({"x": 3.0, "y": 6.0})])
    _, last = baselines(task, target, target, [0, 1])
    assert last.output.values.isfinite().all() and last.output.values[1, 1] == last.output.values[0, 1]


def test_a_model_is_said_to_be_so_far_above_the_constant() -> None:
    task = TASKS["binary"]().fit(["a", "b"])
    target = Masked(torch.arange(40) % 2, torch.ones(40, dtype=torch.bool))
    right = Scores(torch.nn.functional.one_hot(target.values, 2) * 8.0)
    model = Result("gated", "fusion", right, 10, 1, 1.0)
    found = compare(task, [model, *baselines(task, target, target, None)], target)
    assert found.gains["majority (baseline)"].value == pytest.approx(0.5)
    assert "gated beats majority (baseline) by 50.0 points of accuracy" in found.verdict


def test_ranks_with_a_level_that_no_row_has() -> None:
    task = Ordinal(order=[1, 2, 3, 4]).fit([1, 2, 2])
    logits = constant(task, task.collate([task.encode(c) for c in (1, 2, 2)]))
    assert logits.isfinite().all() and task.decode(Scores(logits[None]))["prediction"] == [2]
