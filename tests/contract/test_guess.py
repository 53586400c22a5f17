"""Which task a target column asks for, and why."""

import math
import re
from typing import Any

import pytest

from polymodal.errors import InputError
from polymodal.tasks import Regression, guess


@pytest.mark.parametrize(
    "cells, task, said",
    [
        (["0", "1", None, "1"], "binary", "2 different labels, '0', '1', in 3 rows"),
        ([0.5, 1.5, 0.5], "binary", "2 different"),
        ([True, False], "binary", "False, True"),
        (["cat", "dog", "cow"] * 2, "multiclass", "3 different labels in 6 rows, the commonest"),
        ([str(i % 10) for i in range(100)], "multiclass", "only 10 different whole numbers.*ordinal"),
        ([float(i % 5) for i in range(60)], "multiclass", "only 5 different whole numbers"),
        ([i % 80 for i in range(4000)], "multiclass", "only 80"),
        ([i % 80 for i in range(400)], "regression", "80 different whole numbers in 400 rows: a quantity"),
        ([i % 27 for i in range(323)], "multiclass", "only 27"),
        ([i % 150 for i in range(40000)], "regression", "150 different"),
        (["1.5", "2.5", "3", "1.5"], "regression", "2 of the 3 different ones with a fraction"),
        ([1, 2, 3, 4, 5], "regression", "5 different whole numbers in 5 rows"),
        ([["a"], ["a", "b"], []], "multilabel", "3 of 3 cells are lists"),
        (['["a"]', '["a", "b"]', "[]"], "multilabel", "3 of 3 cells are lists"),
        (["a|b", "b|c", "a|c", "a", "b", "a|b|c"], "multilabel", r"4 of 6 cells join labels with '\|', 3"),
    ],
)  # fmt: skip
def test_guess(cells: list[Any], task: str, said: str) -> None:
    got, why = guess(cells, ["y"])
    assert got.name == task and re.search(said, why), why
    got.fit(cells)


def test_guess_of_several_columns() -> None:
    cells = [{"x": "1.5", "y": 2}, {"x": None, "y": 3}, {"x": "7", "y": 4}]
    got, why = guess(cells, ["x", "y"])
    assert isinstance(got, Regression) and got.columns == ["x", "y"] and why == "2 numeric target columns: x, y"
    with pytest.raises(InputError, match="only where all are numbers, but 'x' holds 'red'"):
        guess([*cells, {"x": "red", "y": 1}], ["x", "y"])
    with pytest.raises(InputError, match="no row has a label in the target 'x'"):
        guess([{"x": None, "y": 1}], ["x", "y"])


@pytest.mark.parametrize(
    "cells, said",
    [
        ([None, "", math.nan], "none of the 3 rows has a label in the target 'y'"),
        ([], "none of the 0 rows"),
        (["a", "a", None], "the target 'y' is constant: 'a' in all 2 labelled rows"),
        (
            [f"review-{i}" for i in range(50)],
            "looks like free text or an id.*50 different values in 50 rows",
        ),
    ],
)
def test_guess_refuses(cells: list[Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        guess(cells, ["y"])
