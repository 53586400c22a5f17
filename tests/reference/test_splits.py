"""Splits against their definition: every row once, shares of labels kept, groups whole."""

from collections import Counter

import pytest

from cases import over
from polymodal.data.splits import folds, holdout
from polymodal.errors import InputError

LABELS = ["a"] * 70 + ["b"] * 25 + ["c"] * 5


def test_holdout_parts_the_rows_and_keeps_the_shares() -> None:
    kept, held = holdout(100, 0.2, LABELS)
    assert sorted(kept + held) == list(range(100))
    assert kept == sorted(kept)
    assert held == sorted(held)
    assert Counter(LABELS[i] for i in held) == {"a": 14, "b": 5, "c": 1}


def test_folds_hold_each_row_out_once_and_keep_the_shares() -> None:
    parts = folds(100, 5, LABELS)
    assert sorted(i for _, held in parts for i in held) == list(range(100))
    for kept, held in parts:
        assert sorted(kept + held) == list(range(100))
        assert Counter(LABELS[i] for i in held) == {"a": 14, "b": 5, "c": 1}


def test_the_same_seed_gives_the_same_split_and_another_seed_another() -> None:
    assert holdout(100, stratify=LABELS, seed=3) == holdout(100, stratify=LABELS, seed=3)
    assert holdout(100, stratify=LABELS, seed=3) != holdout(100, stratify=LABELS, seed=4)


def test_a_label_of_one_row_stays_in_training() -> None:
    for seed in range(10):
        assert 99 not in holdout(100, stratify=[*LABELS[:99], "once"], seed=seed)[1]


@over("stratify", [None, LABELS])
def test_groups_are_never_parted(stratify: list[str] | None) -> None:
    groups = [f"g{i // 7}" for i in range(100)]
    for seed in range(5):
        for kept, held in [holdout(100, 0.2, stratify, groups, seed), *folds(100, 4, stratify, groups, seed)]:
            assert not {groups[i] for i in kept} & {groups[i] for i in held}
            assert sorted(kept + held) == list(range(100))


def test_a_row_without_a_group_is_a_group_of_its_own() -> None:
    parts = folds(10, 5, groups=[None] * 10)
    assert [len(held) for _, held in parts] == [2] * 5


def test_too_few_groups_is_an_error_with_the_way_out() -> None:
    with pytest.raises(InputError, match=r"group column has 1 distinct.*leave --group out.*--valid"):
        holdout(10, groups=["one"] * 10)
    with pytest.raises(InputError, match="at least 4 are needed"):
        folds(9, 4, groups=["a", "b", "c"] * 3)


def test_too_few_rows_is_an_error() -> None:
    with pytest.raises(InputError, match="3 rows can't be parted into 5"):
        folds(3, 5)


@over("n", [2, 3, 5, 11])
def test_both_parts_hold_a_row(n: int) -> None:
    for stratify in (None, ["x"] * n, list(range(n))):
        kept, held = holdout(n, 0.2, stratify)
        assert kept
        assert held


def test_labels_fewer_than_the_folds_and_missing_ones_are_no_error() -> None:
    labels = [0] * 25 + [1] * 2 + [None] * 3
    groups = [i // 2 for i in range(30)]
    for of in (None, groups):
        parts = folds(30, 5, labels, of)
        assert sum(len(held) for _, held in parts) == 30


def test_holdout_takes_the_part_nearest_to_what_was_asked_for() -> None:
    groups = ["big"] * 9 + ["small"]
    for seed in range(5):
        train, held = holdout(10, groups=groups, seed=seed)
        assert held == [9] and len(train) == 9
