"""Which task a target column asks for, and why."""

import itertools
import json
import math
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cases import over
from polymodal.errors import InputError
from polymodal.experiment import problem
from polymodal.experiment.config import Columns
from polymodal.tasks import Regression, guess


@over(
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


def texts(form: str, n: int = 60) -> list[str]:
    """n texts that differ; {i} and {a} of the form are a number and letters that differ from row to row."""
    return [form.format(i=i, a="".join("абвгдежзик"[int(c)] for c in str(i))) for i in range(1, n + 1)]


@over(
    "cells, said",
    [
        (texts("A dog with a {a} runs."), "6.0 words a text, 60 different texts of 60 rows: sentences, to be written"),
        (texts("собака {a} на траве"), "4.0 words"),
        (texts("一只狗在{a}草地上跑"), "5.0 words"),  # eight letters, and a word of another script
        ([*texts("a man rides a {a} horse", 50), *texts("{i} men on a horse", 10)], "5.8 words"),
        (texts("a {a} dog; it runs over the wide hill"), "4.5 words"),  # a semicolon in prose
        ([[t, t + " there"] for t in texts("the dog is {a}")], "4.5 words a text, 120 different texts of 60 rows"),
        ([json.dumps([t]) for t in texts("the {a} dog runs")], "4.0 words a text, 60"),
        ([{"x": t, "y": None} for t in texts("the {a} dog runs")], "4.0 words"),
    ],
)  # fmt: skip
def test_sentences_are_written(cells: list[Any], said: str) -> None:
    got, why = guess(cells, ["x", "y"] if isinstance(cells[0], dict) else ["y"])
    assert got.name == "generate" and re.search(said, why), why


@over(
    "cells",
    [
        texts("{i} Main Street, Springfield, Illinois"),  # addresses
        texts("Rue de la Paix {i}, 75002 Paris"),
        texts("東京都千代田区丸の内{i}番"),
        texts("Order no {i} of this year"),
        [*texts("the {a} dog runs", 45), *texts("the dog {i} runs", 15)],  # a quarter of them with a digit
        texts("Dr. {a} Smith"),  # names
        texts("山田{a}"),
        texts("http://a.page/{a}"),
        [[t] for t in texts("{i} Main Street, Springfield")],
        [json.dumps([t, t + "!"]) for t in texts("the {a} dog")],
    ],
)
def test_texts_that_are_no_sentences_are_refused_with_a_way_out(cells: list[Any]) -> None:
    with pytest.raises(
        InputError,
        match=r"looks like free text or an id, .*; name another target column, or write such texts with --task=generate$",
    ):
        guess(cells, ["y"])


def test_addresses_in_several_columns_are_no_references() -> None:
    cells = [
        {"street": s, "town": t} for s, t in zip(texts("{i} Main Street of"), texts("Upper {a} Town"), strict=True)
    ]
    with pytest.raises(InputError, match=r"all are numbers, but 'street' holds '1 Main Street of'.*--task=generate$"):
        guess(cells, ["street", "town"])


def test_labels_of_several_words_that_are_joined_in_many_ways_are_no_sentence() -> None:
    names = ["war", "love", "crime", "comedy", "drama", "horror", "music"]
    cells = ["; ".join(c) for c in itertools.combinations(names, 4)]
    got, why = guess(cells, ["y"])
    assert got.name == "multilabel" and "35 of 35 cells join labels with ';', 7" in why
    few = [["wide green hills"], ["wide green hills", "a small dog"], ["a small dog"]] * 9
    assert guess(few, ["y"])[0].name == "multilabel"


@over(
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


def test_a_task_by_name_of_several_columns():
    frame = pd.DataFrame({"x": ["some words"] * 9, "a": np.arange(9) / 2, "b": np.arange(9) * 1.5})
    goal = problem.state(frame, ["a", "b"], columns=Columns(kinds={"x": "text"}), task="regression")
    assert goal.task.columns == ["a", "b"] and goal.reason.startswith("set by you; 2 numeric target columns")
    with pytest.raises(InputError, match=r"--task=ordinal has one target column, and there are 2: a, b.*regression"):
        problem.state(frame, ["a", "b"], columns=Columns(kinds={"x": "text"}), task="ordinal")
